"""One connection to one host: a socket, a ``smtp.client``, and how long each answer may take.

Timeouts are those of RFC 5321 section 4.5.3.2, each an option. The time for a reply runs from the
reply before it, not from the last octet: a host that sends one a minute holds nobody.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

from minimta.config.options import Options
from minimta.mailers.remote.content import Letter
from minimta.mailers.remote.mx_targets import Target
from minimta.smtp.client import LMTP, SMTP, Client, PeerClosed
from minimta.smtp.reply import ReplyError


class OutgoingConnection:
    """A socket and the client that says what goes over it."""

    def __init__(
        self,
        target: Target,
        options: Options,
        own_name: str,
        *,
        say: Callable[[str], None] | None,
        alive: Callable[[], None],
        lmtp: bool = False,
    ) -> None:
        """*alive* is called after every wait, so that who watches us knows that we still work."""
        self.target = target
        #: may the peer have a message that it has not answered for?
        self.content_begun = False
        self.client = Client(own_name, LMTP if lmtp else SMTP, say=say)
        self._options = options
        self._alive = alive
        self._timeouts = {
            "greeting": options.timeout_initial,
            "EHLO": options.timeout_helo,
            "HELO": options.timeout_helo,
            "LHLO": options.timeout_helo,
            "MAIL": options.timeout_mail,
            "RCPT": options.timeout_rcpt,
            "DATA": options.timeout_datainit,
            ".": options.timeout_datafinal,
            "lone dot": options.timeout_datafinal,
            "RSET": options.timeout_rset,
            "QUIT": options.timeout_quit,
        }
        self._socket: socket.socket | None = None

    def connect(self, timeout: float) -> None:
        """Open the connection. Raise OSError."""
        address = self.target.address
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(max(timeout, 0.001))
        try:
            self._socket.connect((address, self.target.port))
        finally:
            self._alive()

    def adopt(self, connection: socket.socket) -> None:
        """Use a *connection* that somebody else opened."""
        self._socket = connection

    def converse(self) -> None:
        """Say what is to be said until no answer is due. Raise OSError, PeerClosed, ReplyError."""
        client = self.client
        while True:
            octets = client.take()
            if octets:
                self._send(octets)
            if not client.awaiting:
                return
            self._receive()

    def send_content(self, letter: Letter) -> None:
        """Send a message after the 354 and wait for the answer.

        Raise as converse() does, or Unreadable; then close() without another word, for what is
        half sent must not be ended by a dot.
        """
        self.content_begun = True
        for octets in letter.wire():
            self._send(octets)
        self.client.content_sent()
        self.converse()
        self.content_begun = False

    def quit(self) -> None:
        """Take leave; whatever goes wrong now does not matter (RFC 5321 section 4.1.1.10)."""
        self.client.quit()
        with contextlib.suppress(OSError, PeerClosed, ReplyError):
            self.converse()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()

    def _send(self, octets: bytes) -> None:
        assert self._socket is not None
        self._socket.settimeout(self._options.timeout_datablock)
        self._socket.sendall(octets)
        self._alive()

    def _receive(self) -> None:
        """Read until the next reply is whole; its time runs from now, however it trickles in."""
        assert self._socket is not None
        due = self.client.awaiting
        answered = self.client.answered
        deadline = time.monotonic() + self._timeouts[due]
        while self.client.answered == answered:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            octets = self._socket.recv(65536)
            if not octets:
                raise ConnectionAbortedError(f"closed while waiting for the answer to {due}")
            self.client.receive(octets)
        self._alive()
