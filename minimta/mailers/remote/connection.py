"""One connection to one peer: a PeerStream, a ``smtp.client``, TLS, and how long an answer may take.

TLS (RFC 3207) is used where the peer offers it and the policy does not say none. Where the policy
binds and there is none, or not with whom it should be, that is a TlsError, and nothing was sent.

Timeouts are those of RFC 5321 section 4.5.3.2, each an option. The time for a reply runs from the
reply before it, not from the last octet: a peer that sends one a minute holds nobody up.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from minimta.config.options import Options
from minimta.mailers.remote import handshake
from minimta.mailers.remote.content import Content
from minimta.mailers.remote.dialogue import RecordedDialogue
from minimta.mailers.remote.handshake import SecureSession, Unmet
from minimta.mailers.remote.mx_targets import SMTP_PORT, Target
from minimta.mailers.remote.peer_stream import PeerStream, is_tls
from minimta.mailers.remote.tls_policy import AFTER_FAILURE, NO_TLS, Level, Policy
from minimta.mailers.remote.transport import Transport
from minimta.message.address import domain_key
from minimta.smtp import limits
from minimta.smtp.client import SMTP, Client, PeerClosed, Transaction
from minimta.smtp.reply import Reply, ReplyError, verbatim
from minimta.system.certificates import is_named
from minimta.system.tls_requirement import Proved
from minimta.system.tls_values import ClearTextError, TlsError, TlsFacts

#: seconds after which a connection is not kept, so that what DNS says meanwhile counts
LONGEST = 300.0
#: seconds of silence after which a port other than 25 is asked whether it speaks TLS
SILENCE = 10.0


class OutgoingConnection:
    """A stream to a peer, and the client that says what goes over it."""

    def __init__(
        self,
        target: Target,
        transport: Transport,
        policy: Policy = NO_TLS,
        *,
        dialogue: RecordedDialogue,
        alive: Callable[[], None],
    ) -> None:
        """*policy* is what TLS there must be; the *dialogue* hears what is said.

        *alive* is called after every wait, so that the parent knows that we still work.
        """
        self.target = target
        #: may the peer have a message that it has not answered for?
        self.content_begun = False
        own_name = transport.options.helo_name or transport.ourselves.name
        self.client = Client(own_name, transport.dialect, say=dialogue.hear)
        self.dialogue = dialogue
        #: of the TLS that there is, None in clear
        self.tls: TlsFacts | None = None
        #: the same, for the rows of the access table
        self.proved = Proved(_verify(policy))
        self._transport = transport
        self._policy = policy
        self._session: SecureSession | None = None
        #: was it found out whether the port speaks TLS?
        self._is_tls_asked = target.port in (0, SMTP_PORT)
        self._alive = alive
        self._timeouts = _timeouts(transport.options)
        self._stream: PeerStream | None = None
        self._begun = time.monotonic()

    def may_stay(self) -> bool:
        """May it be kept for messages that come later, as the Transport has time for them?"""
        is_young = time.monotonic() - self._begun < LONGEST
        has_time = self._transport.idle > 0 and is_young and not self.has_enough
        return has_time and self.is_quiet()

    @property
    def has_enough(self) -> bool:
        """Has the peer all the messages that it takes over one connection (MAILMAX of RFC 9422)?"""
        most = limits.parse(self.client.extensions.get("LIMITS", "")).mails
        return 0 < most <= self.client.begun

    def connect(self, seconds: float) -> None:
        """Open the connection, or take over what was opened. Raise OSError."""
        opened = self._transport.opened
        if opened is not None:
            self._stream = PeerStream(opened.socket)
            return
        try:
            address = self.target.address
            source = self._transport.source(address) or ""
            self._stream = PeerStream.connect(address, self.target.port, seconds, source)
        finally:
            self._alive()
        if "." not in self.client.own_name and self._transport.dialect is SMTP:
            # DIFFERS: Sendmail says its short name; RFC 5321 section 4.1.4 wants a literal then.
            self.client.own_name = _literal(self._stream.own_address)

    def greet(self) -> None:
        """Everything before the first message: the greeting, EHLO, and TLS as the policy wants it.

        Raise TlsError if that cannot be had; else as converse() does.
        """
        if self._policy.implicit:
            try:
                self._secure()
            except ClearTextError as error:
                raise TlsError(f"{error.reason} (STARTTLS has another port: 587, 25)") from error
        self.converse()
        if self._policy.level is not Level.NONE and self.tls is None:
            try:
                self._start_tls()
            except TlsError:
                raise
            except OSError as error:
                # Whom our certificate, or the lack of one, does not please says so late (TLS 1.3).
                hint = "; perhaps it wants a certificate of ours" if self.tls else ""
                raise TlsError(f"the connection broke at the handshake{hint}") from error

    def _start_tls(self) -> None:
        client = self.client
        if "STARTTLS" in client.extensions:
            client.starttls()
            self.converse()
        if client.wants_handshake:
            self._secure()
            client.secured()
            self.converse()
        elif self._policy.is_binding:
            raise self._unoffered(client.starttls_reply)

    def _unoffered(self, answer: Reply | None) -> TlsError:
        """What is wrong with a peer that gives this *answer* to STARTTLS, or did not offer it."""
        said = f"answers STARTTLS with {verbatim(answer)[-1]}" if answer else "offers no STARTTLS"
        if answer is None:
            self._check_required()
        if self._policy.logs_in:
            return TlsError(f"it {said}; logins are taken at port 587 or 465, as a rule")
        return TlsError(f"it {said}", remedy="may", result="starttls-not-supported")

    def why_untrusted(self, host: str) -> str:
        """See SecureSession; there is TLS."""
        assert self._session is not None
        return self._session.why_untrusted(host)

    def _secure(self) -> None:
        """The handshake. Raise TlsError."""
        tls, stream = self._transport.tls, self._stream
        assert tls is not None and stream is not None
        try:
            self._session = SecureSession(tls, self.target, self._policy)
            deadline = time.monotonic() + self._transport.options.timeout_starttls
            self.tls = self._session.establish(stream, deadline)
        finally:
            self._alive()
        self.proved = self._session.proved(self.tls)
        self.dialogue.happened(f"{self.tls.version}, {self.tls.cipher}, verify={self.tls.verify}")
        required = self._policy.required
        if required is not None and required.verified and self.untrusting:
            raise TlsError(self.untrusting)
        self._check_required()

    def _check_required(self) -> None:
        """Raise Unmet if the access table wants more than there is (TLS_Srv:)."""
        required = self._policy.required
        if required is None:
            return
        allows = self._transport.rules.allows
        what = required.unmet(self.proved, self.target.name, allows)
        if what:
            raise Unmet(required, what)

    @property
    def why_no_requiretls(self) -> str:
        """Why the peer is none for a message with REQUIRETLS (RFC 8689 section 4.2.1); "" if it is."""
        if self.tls is None or "REQUIRETLS" not in self.client.extensions:
            return "it is not offered by the host"
        if self._policy.is_binding and self._policy.level in (Level.VERIFY, Level.FINGERPRINT):
            return ""  # it is whom DANE, MTA-STS or the administrator have named
        name = self.target.name.strip("[]").removesuffix(".")
        named = is_named(self.proved.certificate.names, [name])
        if not (self.proved.verify == "TRUSTED" or (self.proved.verify == "OK" and named)):
            return "the certificate of the host proves nothing"
        return "" if self.target.vouched else "nobody vouches for the host's name"

    @property
    def untrusting(self) -> str:
        """Why the certificate that was shown could not be verified: for a fault of ours; else ""."""
        tls = self._transport.tls
        return tls.untrusting if tls is not None and self.tls is not None else ""

    @property
    def leads_to_us(self) -> bool:
        """Did a host that nobody configured in brackets as the next hop greet with our full name?

        Only that is nobody else's: many hosts call themselves localhost, or by a first label.
        """
        transport = self._transport
        configured = transport.opened or transport.next_hop or self.target.name[:1] == "["
        own_name = transport.ourselves.name.encode("ascii", "replace")
        if configured or b"." not in own_name:
            return False
        return domain_key(self.client.peer_name.encode("ascii", "replace")) == domain_key(own_name)

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

    def offer(self, transaction: Transaction) -> None:
        """Say the commands of a message, and its text if that is a chunk. Raise as converse() does."""
        self.client.begin(transaction)
        self.content_begun = bool(transaction.chunk)
        try:
            self.converse()
        except PeerClosed:
            # A 421 before the chunk's own answer: whatever was sent, the peer has not taken it.
            self.content_begun = False
            raise
        self.content_begun = False

    @property
    def takes_chunks(self) -> bool:
        """Does it help to send a small message behind its commands, by BDAT (RFC 3030)?

        It saves a round trip with PIPELINING. Only inside TLS: who stands in between and has left
        CHUNKING in the answer to EHLO without knowing BDAT would take the text for commands.
        """
        wanted = {"CHUNKING", "PIPELINING"} <= self.client.extensions.keys()
        return wanted and self.tls is not None and not self.client.dialect.answers_each

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

    def fileno(self) -> int:
        """Of the open connection: it is readable when is_quiet() may have another answer."""
        assert self._stream is not None
        return self._stream.fileno()

    def is_quiet(self) -> bool:
        """Would the peer listen to a command now, as far as can be seen without waiting?"""
        assert self._stream is not None
        return not self.client.closing and self._stream.is_quiet()

    def quit(self) -> None:
        """Take leave; whatever goes wrong now does not matter (RFC 5321 section 4.1.1.10)."""
        self.client.quit()
        with contextlib.suppress(OSError, PeerClosed, ReplyError):
            self.converse()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._session is not None and self.tls is not None:
            self._session.keep()
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
        recv = self._recv_greeting if due == "greeting" else self._stream.recv
        while self.client.answered == answered:
            octets = recv(deadline)
            if not octets:
                raise ConnectionAbortedError(f"closed while waiting for the answer to {due}")
            self.client.receive(octets)
        self._alive()

    def _recv_greeting(self, deadline: float) -> bytes:
        """The next octets of the greeting. Raise TlsPort if they are none, or none come."""
        assert self._stream is not None
        if self.tls is not None:
            return self._stream.recv(deadline)
        # Who waits for our ClientHello would be silent until Timeout.initial.
        is_asked, self._is_tls_asked = self._is_tls_asked, True
        soon = deadline if is_asked else min(deadline, time.monotonic() + SILENCE)
        try:
            octets = self._stream.recv(soon)
        except TimeoutError:
            if soon == deadline:
                raise
            if self._transport.tls and handshake.speaks_tls(self._transport.tls, self.target):
                raise handshake.TlsPort(self.target, self._policy) from None
            octets = self._stream.recv(deadline)
        if is_tls(octets):
            raise handshake.TlsPort(self.target, self._policy)
        return octets


def _verify(policy: Policy) -> str:
    """Sendmail's ${verify} of a connection without TLS."""
    if policy is AFTER_FAILURE:
        return "SOFTWARE"
    return "CLEAR" if policy.level is Level.NONE else "NONE"


def _literal(address: str) -> str:
    """RFC 5321 section 4.1.3."""
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def _timeouts(options: Options) -> dict[str, int]:
    """What the Client is awaiting -> seconds until it must have come."""
    return {
        "greeting": options.timeout_initial,
        "EHLO": options.timeout_helo,
        "HELO": options.timeout_helo,
        "LHLO": options.timeout_lhlo,
        "STARTTLS": options.timeout_starttls,
        "AUTH": options.timeout_auth,
        "MAIL": options.timeout_mail,
        "RCPT": options.timeout_rcpt,
        "DATA": options.timeout_datainit,
        ".": options.timeout_datafinal,
        "BDAT": options.timeout_datafinal,
        "lone dot": options.timeout_datafinal,
        "RSET": options.timeout_rset,
        "QUIT": options.timeout_quit,
    }
