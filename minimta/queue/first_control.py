"""The control file that a message begins with: its header completed, priority, flags and macros.

    header     the fields that Sendmail adds, in its order      message.missing_fields
    P line     size + RecipientFactor * recipients - ClassFactor * class of Precedence
    F line     r 8 b d n s
    macros     where the message came from, and when it is first tried

Nothing here is written; ``collect`` makes it durable, and nothing fails.
"""

from __future__ import annotations

from minimta.message import address, addresslist, dates, headers, missing_fields, received
from minimta.message.printable import printable
from minimta.queue.control import DELIVERY_MODE, OWN_MAIL, QUEUE_ONLY, REQUIRE_TLS, Control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options
    from minimta.message.envelope import Envelope, Recipient

#: Precedence -> Sendmail's message class
_CLASSES = {b"special-delivery": 100, b"first-class": 0, b"list": -30, b"bulk": -60, b"junk": -100}
_NAMING = {b"to", b"cc", b"resent-to", b"resent-cc", b"apparently-to"}


class FirstControl:
    """Makes the first control file of one message."""

    def __init__(
        self,
        options: Options,
        host: str,
        now: float,
        *,
        submit: bool,
        qualify: bool,
        response: bool,
    ) -> None:
        """*host* is our full name, *now* epoch seconds.

        *submit* marks the submission form of the product, *qualify* completes unqualified addresses
        in the header, *response* marks a bounce.
        """
        #: what a Date field says that we have to add, epoch seconds
        self.date = now
        #: fields above our Received, which filters have put there
        self.above: list[bytes] = []
        #: who is named after "for" in Received; None: the only recipient of an SMTP transaction
        self.trace_recipient: bytes | None = None
        #: Sendmail's message class, by the fields that it was made for last
        self.message_class = 0
        self._options = options
        self._host = host
        self._now = now
        self._submit = submit
        self._qualify = qualify
        self._response = response

    def make(
        self,
        envelope: Envelope,
        fields: list[bytes],
        names: list[bytes],
        qid: str,
        size: int,
        eight_bit: bool,
    ) -> Control:
        """The control file; completes the recipients' r lines in *envelope*.

        *fields* are the message's own, with their *names*, *size* its octets with LF line ends.
        """
        options = self._options
        self.message_class = precedence(fields, names)
        for recipient in envelope.recipients:
            recipient.final = recipient.final or _final(recipient, self._host)
        facts = self._facts(envelope, qid.encode("ascii"))
        macros = _macros(envelope, envelope.delivery_mode or options.delivery_mode)
        completed = missing_fields.complete(fields, names, envelope, facts)
        completed[1:1] = [(b"", field) for field in self.above]  # Return-Path stays the first
        recipients = [*envelope.recipients, *self._blind_copy(envelope)]
        control = Control(int(self._now), envelope.reverse_path, recipients)
        control.body_type = envelope.body_type
        control.envid = envelope.envid
        control.auth = envelope.auth
        control.carried = [envelope.deliver_by] if envelope.deliver_by else []
        control.quarantine = envelope.quarantine
        control.macros = macros
        control.headers = completed
        # What a queue run sorts by, low first.
        weight = options.recipient_factor * len(recipients)
        control.priority = size + weight - options.class_factor * self.message_class
        control.flags = self._flags(names, envelope.ret, eight_bit)
        return control

    def _blind_copy(self, envelope: Envelope) -> list[Recipient]:
        """AlwaysBcc, unless it gets the message anyway; not of what we write ourselves."""
        if not self._options.always_bcc or self._response:
            return []
        from minimta.queue import always_bcc  # few hosts have the option

        added = always_bcc.recipient(self._options, self._host)
        named = {recipient.final.lower() for recipient in envelope.recipients}
        return [] if added.final.lower() in named else [added]

    def _flags(self, names: list[bytes], ret: bytes, eight_bit: bool) -> str:
        """The F line, in Sendmail's order; "s" (split) always stands there."""
        letters = {
            "r": self._response,
            "8": eight_bit,
            "b": not (_NAMING.isdisjoint(names) or self._response),
            "d": bool(ret),
            "n": ret == b"HDRS" or self.message_class < 0,
            "s": True,
        }
        return "".join(letter for letter, is_set in letters.items() if is_set)

    def _facts(self, envelope: Envelope, qid: bytes) -> missing_fields.Facts:
        host = self._host.encode("ascii", "replace")
        date = dates.rfc5322(self._now).encode("ascii")
        own_date = date if self.date == self._now else dates.rfc5322(self.date).encode("ascii")
        qualify = (lambda field: addresslist.qualify_field(field, host)) if self._qualify else None
        return missing_fields.Facts(
            qid=qid,
            host=host,
            date=own_date,
            compact_date=dates.compact(self._now).encode("ascii"),
            trace=self._trace(envelope, host, qid, date),
            no_recipient_action=self._options.no_recipient_action,
            qualify=qualify,
        )

    def _trace(self, envelope: Envelope, host: bytes, qid: bytes, date: bytes) -> bytes:
        """Our Received field."""
        recipient = self.trace_recipient
        if recipient is None:
            only = len(envelope.recipients) == 1 and envelope.protocol
            recipient = envelope.recipients[0].address if only else b""
        return received.received(
            client=envelope.client,
            helo=envelope.helo,
            protocol=envelope.protocol,
            host=host,
            product=received.PRODUCT + b"/Submit" if self._submit else received.PRODUCT,
            qid=qid,
            recipient=recipient,
            date=date,
            tls=envelope.tls,
            login=envelope.login,
        )


def precedence(fields: list[bytes], names: list[bytes]) -> int:
    """Sendmail's message class; the last Precedence field counts. *names* are those of the *fields*."""
    if b"precedence" not in names:
        return 0
    last = max(number for number, name in enumerate(names) if name == b"precedence")
    return _CLASSES.get(headers.value(fields[last]).lower(), 0)


def _final(recipient: Recipient, host: str) -> bytes:
    """The r line: final recipient for the DSN, fully qualified (RFC 3464 section 2.3.2)."""
    bare = address.without_final_dot(address.bare(recipient.address))
    # RFC 6533 section 3: an address that no "rfc822" can name.
    kind = b"RFC822; " if bare.isascii() else b"utf-8; "
    return kind + address.qualified(bare, host)


def _macros(envelope: Envelope, delivery_mode: str) -> dict[bytes, bytes]:
    macros = {b"_": printable(envelope.client)}
    if envelope.protocol or envelope.helo:
        macros[b"r"] = printable(envelope.protocol)
        macros[b"s"] = printable(envelope.helo)
    macros[b"{daemon_flags}"] = envelope.daemon_flags
    if envelope.if_address:
        macros[b"{if_addr}"] = envelope.if_address
    if envelope.requires_tls:
        macros[REQUIRE_TLS] = b"1"
    if envelope.is_own:
        macros[OWN_MAIL] = b"1"
    if delivery_mode in QUEUE_ONLY:
        # Sendmail's macro: for the resident runner, which else would try it as soon as it sees it.
        macros[DELIVERY_MODE] = delivery_mode[:1].encode("ascii")
    return macros
