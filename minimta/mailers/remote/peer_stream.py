"""The octets of one connection to a peer: every system call that is made on its socket.

TLS (after STARTTLS, or from the start on port 465) will lie between these methods and the socket,
as an ssl.SSLObject with two ssl.MemoryBIO that a method ``secure`` puts in; the calls on the socket
stay as they are. That method may rely on ``Client``: octets in clear behind the answer to STARTTLS,
which somebody in between may have added, are a ReplyError there.

    method    plain                             what TLS will add
    connect   connect(2)                        on port 465 the handshake
    recv      recv(2), until the deadline       decrypt; read again until there is text or the end
    send      send(2), all within the time      encrypt before
    secure    (not here yet)                    the handshake, within the time of an answer
    close     close(2), at once                 nothing: a close_notify behind half a message could
                                                pass for its end, and QUIT has ended a whole one
"""

from __future__ import annotations

import socket
import time

_CHUNK = 65536
#: a timeout of 0 would be a socket that does not wait at all
_LEAST = 0.001


class PeerStream:
    """A connected socket, TCP or of this host, used by one thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    @classmethod
    def connect(cls, address: str, port: int, seconds: float) -> PeerStream:
        """Connect to an IPv4 or IPv6 *address*. Raise OSError, TimeoutError after *seconds*."""
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            # Commands are single segments, and the peer waits for them (Nagle's algorithm).
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(max(seconds, _LEAST))
            sock.connect((address, port))
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    def recv(self, deadline: float) -> bytes:
        """The next octets; b"" at the end of the connection.

        Raise TimeoutError if none has come at *deadline* (time.monotonic()), OSError if the
        connection broke.
        """
        self._socket.settimeout(max(deadline - time.monotonic(), _LEAST))
        return self._socket.recv(_CHUNK)

    def send(self, octets: bytes, seconds: float) -> None:
        """Send all of it. Raise TimeoutError after *seconds*, OSError if the connection broke."""
        self._socket.settimeout(max(seconds, _LEAST))
        self._socket.sendall(octets)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
