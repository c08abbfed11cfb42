"""The octets of one connection: every system call that a session makes on its socket.

TLS (STARTTLS, port 465) lies between these methods and the socket; the socket stays what it is. To
replace it by an ssl.SSLSocket would be wrong in four places: recv() refuses MSG_PEEK; it never
returns when SO_RCVTIMEO runs out; shutdown(), called by another thread, drops the TLS layer, so that
what the session still sends goes out in clear; and close_notify is not sent at the end.

    method  plain                            with TLS
    take    recv(2), before the handshake    none
    recv    recv(2), ended by SO_RCVTIMEO    decrypt; read again until there is text or the end
    send    send(2)                          encrypt before
    peek    recv(2) with MSG_PEEK            what came and was not yet decrypted counts as well
    secure                                   the handshake, all of it until a deadline
    end     shutdown(2), then read a little  close_notify first
    close   close(2)                         close_notify first, if it can be sent at once
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time

from minimta.listener.addresses import plain_address
from minimta.system import tls_handshake
from minimta.system.tls import TlsLayer

_CHUNK = 65536
#: seconds for a client to take one reply, and for one send(2) to make any progress
SEND_DEADLINE, _SEND_TIMEOUT = 300.0, 60
#: what a client still says after our last reply is read so long (seconds, octets)
_LINGER, _MOST_LINGER = 1.0, 1 << 20


class Stream:
    """A connected TCP socket, used by one thread; only wake() and drop() are for others."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._layer: TlsLayer | None = None
        #: with TLS: has close_notify been sent?
        self._has_ended = False
        self._timeout = 0
        # Replies are single segments, and the next command waits for them (Nagle's algorithm).
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(_SEND_TIMEOUT))

    def own_address(self) -> str:
        """The address that the client connected to: "10.0.3.135", "2001:db8::1"."""
        return plain_address(self._socket.getsockname()[0])

    def other_port(self) -> int:
        """The port that the client connects from; 0 if it is gone."""
        try:
            return int(self._socket.getpeername()[1])
        except OSError:
            return 0

    def secure(self, layer: TlsLayer, seconds: float) -> None:
        """Make the handshake of *layer*; from then on all goes through it.

        Raise TlsError for whatever goes wrong, also when it is not over after *seconds*. What the
        client said in clear and nobody has read is taken for a part of the handshake, which it
        breaks (CVE-2011-0411).
        """
        end = time.monotonic() + seconds

        def recv() -> bytes:
            octets = self._recv(max(1, round(end - time.monotonic())))
            if octets and time.monotonic() > end:
                raise TimeoutError
            return octets

        tls_handshake.establish(layer, recv, self._send)
        self._layer = layer

    def recv(self, seconds: int) -> bytes:
        """The next octets; b"" at the end of the connection, or after wake().

        Raise TimeoutError if none came in *seconds* (at least 1), OSError if the connection broke,
        TlsError if what came is no TLS.
        """
        layer = self._layer
        if layer is None:
            return self._recv(seconds)
        end = time.monotonic() + seconds
        while (text := layer.read()) is None:
            if time.monotonic() > end:
                raise TimeoutError("nothing but TLS")  # records without text, one after the other
            self._send(layer.take())  # TLS has answers of its own, to a change of keys
            octets = self._recv(seconds)
            # The layer does not hear of the end, which it would take for an error: woken by another
            # thread the session still says goodbye.
            if not octets:
                return b""
            layer.feed(octets)
        return text

    def take(self, count: int, end: float) -> bytes:
        """Exactly *count* octets, before there is TLS; none behind them is taken.

        Raise TimeoutError at *end* (time.monotonic()), OSError if the connection broke or was closed.
        """
        octets = b""
        while len(octets) < count:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("no more came in time")
            piece = self._recv(max(1, round(left)), count - len(octets))
            if not piece:
                raise ConnectionResetError("closed")
            octets += piece
        return octets

    def _recv(self, seconds: int, most: int = _CHUNK) -> bytes:
        # The kernel's timeout, set when it changes: one of Python's would cost a poll(2) each time.
        if seconds != self._timeout:
            self._timeout = seconds
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(seconds))
        try:
            return self._socket.recv(most)
        except BlockingIOError as error:  # what SO_RCVTIMEO makes of a timeout
            raise TimeoutError(f"nothing came in {seconds} seconds") from error

    def peek(self) -> bytes:
        """The first octet that waits to be read, without waiting and without taking it; else b"".

        With TLS it is any octet: what it means is not known before it is taken.
        """
        if self._layer is not None and self._layer.has_text:
            return b"\0"
        try:
            return self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""

    def speaks_within(self, seconds: float) -> bool:
        """Does anything come in this time? It is not taken; an end of the connection is nothing."""
        if self.peek():
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(seconds * 1000)) and bool(self.peek())

    def has_hung_up(self) -> bool:
        """Has the client closed, at least its sending side, whatever of its is still unread?"""
        ends = select.POLLRDHUP | select.POLLHUP | select.POLLERR
        poll = select.poll()
        poll.register(self._socket, ends)
        return bool(poll.poll(0))

    def send(self, octets: bytes) -> None:
        """Send all of it. Raise OSError if the client is gone or does not take it in time."""
        if self._layer is not None:
            self._layer.write(octets)
            octets = self._layer.take()
        self._send(octets)

    def _send(self, octets: bytes) -> None:
        if not octets:
            return
        sent = self._socket.send(octets)
        if sent == len(octets):
            return
        end = time.monotonic() + SEND_DEADLINE
        rest = memoryview(octets)[sent:]
        while rest:
            if time.monotonic() > end:
                raise TimeoutError("client does not read")
            rest = rest[self._socket.send(rest) :]

    def end(self) -> None:
        """No more from us: let the last reply arrive. Raise OSError if the client is gone."""
        self._say_goodbye()
        self._socket.shutdown(socket.SHUT_WR)
        # close(2) with octets unread makes the kernel send a reset, which takes the reply along.
        end, read = time.monotonic() + _LINGER, 0
        while time.monotonic() < end and read < _MOST_LINGER:
            try:
                chunk = self._recv(1)
            except TimeoutError:
                return
            if not chunk:
                return
            read += len(chunk)

    def close(self) -> None:
        """Give the socket back."""
        with contextlib.suppress(OSError):  # the client is gone
            self._say_goodbye(socket.MSG_DONTWAIT)
        self._socket.close()

    def _say_goodbye(self, flags: int = 0) -> None:
        """With TLS: close_notify, once. The layer stays: nothing may follow in clear."""
        if self._layer is not None and not self._has_ended:
            self._has_ended = True
            self._layer.close()
            self._socket.send(self._layer.take(), flags)

    # --- from another thread ----------------------------------------------------------------------
    # Always the raw socket: nothing of a TLS layer may be touched while its thread is inside it.

    def wake(self) -> None:
        """Let recv() return b"", now or next time; what is sent still arrives."""
        with contextlib.suppress(OSError):  # it has ended already
            self._socket.shutdown(socket.SHUT_RD)

    def drop(self) -> None:
        """End the connection both ways."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def _timeval(seconds: int) -> bytes:
    return struct.pack("ll", max(seconds, 1), 0)
