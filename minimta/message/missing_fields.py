"""What is added to a message's header when it is accepted: the fields Sendmail adds, in its order.

P  Return-Path: <g>                 marker, filled in on final delivery
   Received: ...                    this hop
D  Resent-Date, Date                only what is missing
F  Resent-From, From                not for the null reverse-path
x  Full-Name                        the name for From; never leaves the queue
M  Resent-Message-Id, Message-Id
   X-Authentication-Warning: ...
   the message's own fields
   To, Bcc, ...                     NoRecipientAction
"""

from __future__ import annotations

from minimta.message import address, fullname, headers
from minimta.message.printable import as_text, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minimta.message.envelope import Envelope

_DESTINATIONS = {b"to", b"cc", b"bcc", b"apparently-to", b"resent-to", b"resent-cc", b"resent-bcc"}


class Facts:
    """What is known of this hop, beside envelope and message. All octets."""

    __slots__ = ("compact_date", "date", "host", "no_recipient_action", "qid", "qualify", "trace")

    def __init__(
        self,
        *,
        qid: bytes,
        host: bytes,
        date: bytes,
        compact_date: bytes,
        trace: bytes,
        no_recipient_action: str = "none",
        qualify: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """*trace* and the dates are ready to be written; *no_recipient_action* is that option."""
        self.qid = qid
        #: our full name
        self.host = host
        #: RFC 5322 form, for Date
        self.date = date
        #: "202611220937", for Message-Id
        self.compact_date = compact_date
        #: the whole Received field
        self.trace = trace
        self.no_recipient_action = no_recipient_action
        #: completes the addresses of a field; None leaves them as they are
        self.qualify = qualify


#: what others have put there, and only we may
_LEFT_OUT = {b"return-path", b"full-name"}


def complete(
    fields: list[bytes], names: list[bytes], envelope: Envelope, facts: Facts
) -> list[headers.Field]:
    """The header as the control file keeps it: (flags, field) pairs.

    *fields* are the message's own, *names* theirs.
    """
    present = set(names) - _LEFT_OUT
    own = [field for field, name in zip(fields, names, strict=True) if name in present]
    resent = any(name.startswith(b"resent-") for name in present)
    whole: list[headers.Field] = [headers.RETURN_PATH, (b"", facts.trace)]
    for flag, text in _missing(present, resent, envelope, facts):
        whole.append((flag, facts.qualify(text) if facts.qualify else text))
    for warning in envelope.warnings:
        whole.append((b"", b"X-Authentication-Warning: " + printable(warning)))
    for field in own:
        whole.append((b"", facts.qualify(field) if facts.qualify else field))
    if not present & _DESTINATIONS:
        whole += _no_recipient(envelope, facts.no_recipient_action)
    return whole


def _missing(
    present: set[bytes], resent: bool, envelope: Envelope, facts: Facts
) -> list[headers.Field]:
    sender, full_name = address.bare(envelope.reverse_path), envelope.full_name
    mailbox = as_text(sender)
    if full_name:
        mailbox = b"%b <%b>" % (fullname.phrase(full_name), mailbox)
    message_id = b"<%b.%b@%b>" % (facts.compact_date, facts.qid, facts.host)
    wanted = [(b"D", b"Date", facts.date)]
    if sender:
        wanted.append((b"F", b"From", mailbox))
    wanted.append((b"M", b"Message-Id", message_id))
    added: list[headers.Field] = []
    for flag, name, text in wanted:
        for prefix in (b"Resent-", b"") if resent else (b"",):
            if (prefix + name).lower() not in present:
                added.append((flag, prefix + name + b": " + text))
        if flag == b"F" and full_name:
            added.append((b"x", b"Full-Name: " + printable(full_name)))
    return added


#: NoRecipientAction -> what is added; " " at its end: all recipients follow
_ADDED = {
    "add-to": b"To: ",
    "add-apparently-to": b"Apparently-To: ",
    "add-bcc": b"Bcc:",
    "add-to-undisclosed": b"To: undisclosed-recipients:;",
}


def _no_recipient(envelope: Envelope, action: str) -> list[headers.Field]:
    """NoRecipientAction: what to do with a header that names no recipient."""
    text = _ADDED.get(action)
    if text is None:
        return []
    if text.endswith(b" "):
        text += b", ".join(as_text(r.address) for r in envelope.recipients)
    return [(b"", text)]
