"""One connection to one peer: a PeerStream, a ``smtp.client``, and how long each answer may take.

Timeouts are those of RFC 5321 section 4.5.3.2, each an option. The time for a reply runs from the
reply before it, not from the last octet: a peer that sends one a minute holds nobody up.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from minimta.config.options import Options
from minimta.mailers.remote.content import Content
from minimta.mailers.remote.mx_targets import Target
from minimta.mailers.remote.peer_stream import PeerStream
from minimta.mailers.remote.transport import Transport
from minimta.smtp.client import Client, PeerClosed
from minimta.smtp.reply import ReplyError


class OutgoingConnection:
    """A stream to a peer, and the client that says what goes over it."""

    def __init__(
        self,
        target: Target,
        transport: Transport,
        *,
        say: Callable[[str], None] | None,
        alive: Callable[[], None],
    ) -> None:
        """*say* gets the lines of the dialogue (-v).

        *alive* is called after every wait, so that the parent knows that we still work.
        """
        self.target = target
        #: may the peer have a message that it has not answered for?
        self.content_begun = False
        self.client = Client(transport.ourselves.name, transport.dialect, say=say)
        self._transport = transport
        self._alive = alive
        self._timeouts = _timeouts(transport.options)
        self._stream: PeerStream | None = None

    def connect(self, seconds: float) -> None:
        """Open the connection, or take over what was opened. Raise OSError."""
        opened = self._transport.opened
        if opened is not None:
            self._stream = PeerStream(opened.socket)
            return
        try:
            self._stream = PeerStream.connect(self.target.address, self.target.port, seconds)
        finally:
            self._alive()

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

    def send_content(self, content: Content) -> None:
        """Send a message after the 354 and wait for the answer.

        Raise as converse() does, or Unreadable; then close() without another word, for what is
        half sent must not be ended by a dot.
        """
        self.content_begun = True
        for octets in content.wire():
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
        if self._stream is not None:
            self._stream.close()

    def _send(self, octets: bytes) -> None:
        assert self._stream is not None
        self._stream.send(octets, self._transport.options.timeout_datablock)
        self._alive()

    def _receive(self) -> None:
        """Read until the next reply is whole; its time runs from now, however it trickles in."""
        assert self._stream is not None
        due = self.client.awaiting
        answered = self.client.answered
        deadline = time.monotonic() + self._timeouts[due]
        while self.client.answered == answered:
            octets = self._stream.recv(deadline)
            if not octets:
                raise ConnectionAbortedError(f"closed while waiting for the answer to {due}")
            self.client.receive(octets)
        self._alive()


def _timeouts(options: Options) -> dict[str, int]:
    """What the Client is awaiting -> seconds until it must have come."""
    return {
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
