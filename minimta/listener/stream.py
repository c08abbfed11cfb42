"""The octets of one connection: every system call that a session makes on its socket.

TLS (STARTTLS, port 465) will lie between these methods and the socket, as an ssl.SSLObject with two
ssl.MemoryBIO that a method ``secure`` puts in; the calls on the socket stay as they are. To replace
the socket by an ssl.SSLSocket would be wrong in four places: recv() refuses MSG_PEEK; it never
returns when SO_RCVTIMEO runs out; shutdown(), called by another thread, drops the TLS layer, so that
what the session still sends goes out in clear; and close_notify is not sent at the end.

    method  plain                            what TLS will add
    recv    recv(2), ended by SO_RCVTIMEO    decrypt; read again until there is text or the end
    send    send(2)                          encrypt before
    peek    recv(2) with MSG_PEEK            text that was decrypted and not taken counts as well
    secure  (not here yet)                   the handshake; refused while peek() finds clear text,
                                             which somebody may have put before it (CVE-2011-0411)
    end     shutdown(2), then read a little  close_notify first
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time

_CHUNK = 65536
#: seconds for a client to take one reply, and for one send(2) to make any progress
SEND_DEADLINE, _SEND_TIMEOUT = 300.0, 60
#: what a client still says after our last reply is read so long (seconds, octets)
_LINGER, _MOST_LINGER = 1.0, 1 << 20


class Stream:
    """A connected TCP socket, used by one thread; only wake() and drop() are for others."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._timeout = 0
        # Replies are single segments, and the next command waits for them (Nagle's algorithm).
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(_SEND_TIMEOUT))

    def own_address(self) -> str:
        """The address that the client connected to: "10.0.3.135", "2001:db8::1"."""
        return plain_address(self._socket.getsockname()[0])

    def recv(self, seconds: int) -> bytes:
        """The next octets; b"" at the end of the connection, or after wake().

        Raise TimeoutError if none came in *seconds* (at least 1), OSError if the connection broke.
        """
        # The kernel's timeout, set when it changes: one of Python's would cost a poll(2) each time.
        if seconds != self._timeout:
            self._timeout = seconds
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(seconds))
        try:
            return self._socket.recv(_CHUNK)
        except BlockingIOError as error:  # what SO_RCVTIMEO makes of a timeout
            raise TimeoutError(f"nothing came in {seconds} seconds") from error

    def peek(self) -> bytes:
        """The first octet that waits to be read, without waiting and without taking it; else b""."""
        try:
            return self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""

    def speaks_within(self, seconds: float) -> bool:
        """Does anything come in this time? It is not taken; an end of the connection is nothing."""
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
        self._socket.shutdown(socket.SHUT_WR)
        # close(2) with octets unread makes the kernel send a reset, which takes the reply along.
        end, read = time.monotonic() + _LINGER, 0
        while time.monotonic() < end and read < _MOST_LINGER:
            try:
                chunk = self.recv(1)
            except TimeoutError:
                return
            if not chunk:
                return
            read += len(chunk)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

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


def plain_address(address: object) -> str:
    """An address of a socket without what IPv6 puts around it: "::ffff:10.0.3.1", "fe80::1%eth0"."""
    return str(address).removeprefix("::ffff:").partition("%")[0]


def _timeval(seconds: int) -> bytes:
    return struct.pack("ll", max(seconds, 1), 0)
