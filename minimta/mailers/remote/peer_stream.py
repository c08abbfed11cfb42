"""The octets of one connection to a peer: every system call that is made on its socket.

TLS (after STARTTLS, or from the start on port 465) lies between these methods and the socket.

    method    plain                             with TLS
    connect   connect(2)                        the same; secure() follows
    recv      recv(2), until the deadline       decrypt; read again until there is text or the end
    send      send(2), all within the time      encrypt before
    secure                                      the handshake, until the deadline
    is_quiet  is nothing to read?               the same, but for records without text: tickets
    close     close(2), at once                 the same: a close_notify behind half a message could
                                                pass for its end, and QUIT has ended a whole one
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import time

from minimta.message.printable import shown
from minimta.system import tls_handshake
from minimta.system.tls import TlsLayer
from minimta.system.tls_values import ClearTextError
from minimta.system.waiting import readable

#: how a record begins that may answer one: alert, handshake
_RECORDS = (b"\x15", b"\x16")
_CHUNK = 65536
#: seconds that are waited in any case
_LEAST = 0.001


class PeerStream:
    """A connected socket, TCP or of this host, used by one thread."""

    def __init__(self, sock: socket.socket) -> None:
        # Whose socket has a timeout asks before each call whether it would wait, and says it anew
        # each time that the timeout is another.
        sock.setblocking(False)
        self._socket = sock
        self._layer: TlsLayer | None = None

    @classmethod
    def connect(cls, address: str, port: int, seconds: float, source: str = "") -> PeerStream:
        """Connect to an IPv4 or IPv6 *address* from *source*, an address of ours, "" for any.

        Raise OSError, TimeoutError after *seconds*.
        """
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            # Commands are single segments, and the peer waits for them (Nagle's algorithm).
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if source:
                _bind(sock, source)
            sock.settimeout(max(seconds, _LEAST))
            sock.connect((address, port))
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    def secure(self, layer: TlsLayer, deadline: float) -> None:
        """Make the handshake; from then on all goes through *layer*.

        Raise TlsError for whatever goes wrong, also when it is not over at *deadline*
        (time.monotonic()). What of the peer's clear text was not read yet is taken for a part of
        the handshake, which it breaks.
        """
        is_first = True

        def recv() -> bytes:
            nonlocal is_first
            octets = self._recv(deadline)
            if is_first and octets and not is_tls(octets):
                told = shown(octets.partition(b"\r")[0], 60)
                raise ClearTextError(f"the answer is no TLS: {told}")
            is_first = False
            return octets

        tls_handshake.establish(layer, recv, lambda octets: self._send(octets, deadline))
        self._layer = layer

    @property
    def own_address(self) -> str:
        """From which address we talk: "10.0.3.134", "2001:db8::1"; "" if it is no TCP."""
        name = self._socket.getsockname()
        return str(name[0]).partition("%")[0] if isinstance(name, tuple) else ""

    def recv(self, deadline: float) -> bytes:
        """The next octets; b"" at the end of the connection.

        Raise TimeoutError if none has come at *deadline* (time.monotonic()), OSError if the
        connection broke, TlsError if what came is no TLS.
        """
        layer = self._layer
        if layer is None:
            return self._recv(deadline)
        while (text := layer.read()) is None:
            octets = self._recv(deadline)
            if octets and time.monotonic() > deadline:
                raise TimeoutError("nothing but TLS")  # records without text, one after the other
            layer.feed(octets)
        return text

    def send(self, octets: bytes, seconds: float) -> None:
        """Send all of it. Raise TimeoutError after *seconds*, OSError if the connection broke."""
        if self._layer is not None:
            self._layer.write(octets)
            octets = self._layer.take()
        self._send(octets, time.monotonic() + seconds)

    def _recv(self, deadline: float) -> bytes:
        while True:
            # Nearly always the peer has to think first.
            self._wait(select.POLLIN, deadline)
            with contextlib.suppress(BlockingIOError):
                return self._socket.recv(_CHUNK)

    def _send(self, octets: bytes, deadline: float) -> None:
        left = memoryview(octets)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:  # the peer reads slowly
                if time.monotonic() > deadline:
                    raise TimeoutError("timed out") from None  # a little now and then is not enough
                self._wait(select.POLLOUT, deadline)

    def _wait(self, event: int, deadline: float) -> None:
        """Until the socket can be read, or written. Raise TimeoutError."""
        poll = select.poll()
        poll.register(self._socket, event)
        if not poll.poll(math.ceil(max(deadline - time.monotonic(), _LEAST) * 1000)):
            raise TimeoutError("timed out")

    def fileno(self) -> int:
        """The descriptor: it is readable when is_quiet() may have another answer."""
        return self._socket.fileno()

    def is_quiet(self) -> bool:
        """Is the connection open, and has the peer said nothing that was not read yet? Never waits."""
        layer = self._layer
        try:
            while layer is None or layer.read() is None:
                if not readable([self.fileno()], 0):
                    return True
                octets = b"" if layer is None else self._socket.recv(_CHUNK)
                if layer is None or not octets:
                    return False
                layer.feed(octets)
        except OSError:
            pass
        return False

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def is_tls(octets: bytes) -> bool:
    """Do *octets*, the first of a connection, look like TLS?"""
    return octets[:1] in _RECORDS


def _bind(sock: socket.socket, source: str) -> None:
    """Raise OSError, with a reason of its own: the peer has no part in it."""
    try:
        sock.bind((source, 0))
    except OSError as error:
        raise OSError(f"cannot use {source} (ClientPortOptions): {error.strerror}") from error
