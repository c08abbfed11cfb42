"""What a report (RFC 3464 in RFC 6522's multipart/report) is made of: values, and words of all parts.

    Report            one message to be made: whom it tells, of what kind, about which recipients
    ReportKind        a failure, a delay, a receipt, a note to the postmaster
    ReportEntry       a recipient and its outcome; the words in which each part names it
    OriginalMessage   what is told of the message it is about

The parts: ``explanation``, ``delivery_status``; ``compose`` puts them together. Text that came from
outside is shown through clean(): a newline in it would forge a field. Nothing here fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from minimta.message import address, printable
from minimta.message.envelope import Recipient
from minimta.message.outcome import Fate, Outcome
from minimta.message.xtext import decode_utf8_address

#: octets of a message that go back with its bounce.
#: DIFFERS: Sendmail returns any size. Whoever forges senders would have us send it (backscatter).
RETURN_LIMIT = 65536
#: octets of a line (RFC 5322 section 2.1.1)
_LONGEST = 998


class ReportKind(Enum):
    """What a report is; the value is what Auto-Submitted says (RFC 3834 section 5)."""

    FAILURE = "failure"
    DELAY = "warning-timeout"
    RECEIPT = "return-receipt"
    #: a message with the null reverse-path failed: the postmaster hears of it, nobody else
    POSTMASTER = "postmaster-notification"


@dataclass(frozen=True, slots=True)
class ReportEntry:
    """One recipient of a report."""

    recipient: Recipient
    outcome: Outcome
    #: name of the mailer that had it, "" if none
    mailer: str = ""
    #: it has waited too long: failed, although *outcome* is a deferral
    expired: bool = False
    #: the address that led to it, as it stands in its C line; b"" if it is one of the envelope
    expanded_from: bytes = b""

    @property
    def action(self) -> str:
        """RFC 3464 section 2.3.3."""
        if self.expired:
            return "failed"
        if self.outcome.fate is Fate.SENT:
            return "relayed" if self.mailer == "esmtp" else "delivered (to mailbox)"
        return str(self.outcome.fate.value)

    @property
    def is_unix(self) -> bool:
        """Is it a program or a file, not a mailbox?"""
        return self.mailer in ("prog", "*file*")

    @property
    def address(self) -> str:
        """The recipient's address, fit to be shown."""
        return shown(self.recipient.address)

    @property
    def final_address(self) -> str:
        """The address that the sender used, of Final-Recipient; "" if it is not known."""
        return shown(self.recipient.final.partition(b";")[2].strip())

    @property
    def origin(self) -> str:
        """The address whose expansion led to it: that of an alias or .forward, or the sender's."""
        return shown(self.expanded_from) if self.expanded_from else self.final_address

    def actual_address(self, host: str) -> str:
        """The address that was tried, with its type: rfc822, fully qualified, or a program or file.

        *host* is our name.
        """
        bare = address.bare(self.recipient.address)
        if self.is_unix:
            return "X-Unix; " + clean(bare.strip(b'"'))
        whole = shown(address.qualified(bare.removeprefix(b"\\"), host))
        return f"{address_type(whole)}; {whole}"

    @property
    def diagnostic(self) -> str:
        """The reply that decided; for a local failure what we would have replied; "" if neither."""
        outcome = self.outcome
        if outcome.fate is Fate.SENT:
            return ""
        if outcome.diagnostic:
            return clean(outcome.diagnostic)
        if outcome.fate is Fate.DEFERRED:
            return ""
        if self.is_unix:
            return clean(outcome.text)
        if self.mailer != "esmtp":
            code = "550" if outcome.status.startswith("5.1.") else "554"
            return f"{code} {outcome.status} {clean(outcome.text)}"
        return "550 Host unknown" if "host not found" in outcome.text else ""


@dataclass(frozen=True, slots=True)
class OriginalMessage:
    """What a report says of the message it is about."""

    qid: str
    #: seconds since the epoch
    created: int
    #: macro $_: b"lab1.campus [10.0.3.134]"
    client: bytes = b""
    #: the name in HELO, b"" if it did not come by SMTP
    helo: bytes = b""
    #: ENVID, xtext as received
    envid: bytes = b""


@dataclass(frozen=True, slots=True)
class Report:
    """Whom to tell what of which message. Times are seconds since the epoch."""

    kind: ReportKind
    #: where it goes, as for an R line: b"<emma@lab1.campus>"
    to: bytes
    original: OriginalMessage
    entries: tuple[ReportEntry, ...]
    #: our name
    host: str
    now: float
    #: what "for 4 hours" says, seconds: Timeout.queuewarn or Timeout.queuereturn
    waited: int = 0
    #: Timeout.queuereturn
    queuereturn: int = 0
    #: who gets the same report, b"" if nobody: b"postmaster" where only that can mend it
    copy: bytes = b""
    #: PrivacyOptions=noactualrecipient: what an address leads to is not told
    hides_actual: bool = False
    #: the text of the message does not go with it
    header_only: bool = False
    #: what ErrorHeader has stand before everything else, "" if nothing
    preface: str = ""

    @property
    def is_utf8(self) -> bool:
        """Does it name an address beyond ASCII? Then it has the form of RFC 6533."""
        named = [self.to, self.copy]
        for entry in self.entries:
            named += [entry.recipient.address, entry.recipient.final, entry.expanded_from]
            named.append(utf8_original(entry.recipient.original))
        return not all(shown(address).isascii() for address in named)


def subject(report: Report) -> str:
    """Of the report; for a delay it is also what the log and mailq say."""
    if report.kind is ReportKind.DELAY:
        return f"Warning: could not send message for past {spell(report.waited)}"
    return {
        ReportKind.FAILURE: "Returned mail: see transcript for details",
        ReportKind.RECEIPT: "Return receipt",
        ReportKind.POSTMASTER: "Postmaster notify: see transcript for details",
    }[report.kind]


def spell(seconds: int) -> str:
    """A span of time as Sendmail says it: "4 hours", "1 day, 12 hours"."""
    parts = []
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count} {unit}" + ("s" if count > 1 else ""))
    return ", ".join(parts) or "0 seconds"


def shown(address: bytes) -> str:
    """An address, in UTF-8 if it is one (RFC 6533); else as clean()."""
    return address[:900].decode("utf-8", "ignore") if printable.is_text(address) else clean(address)


def address_type(address: str) -> str:
    """How a report calls the type of an address (RFC 3464 section 2.1.2, RFC 6533 section 3)."""
    return "rfc822" if address.isascii() else "utf-8"


def utf8_original(original: bytes) -> bytes:
    """The address of an ORCPT of type "utf-8" as it is meant; b"" for any other."""
    kind, _, text = original.partition(b";")
    return decode_utf8_address(text) if kind.lower() == b"utf-8" else b""


def clean(text: bytes | str, limit: int = 900) -> str:
    """Printable ASCII, short enough for a line (RFC 5322 section 2.1.1)."""
    return printable.shown(text[:limit])


def joined(lines: Iterable[str]) -> str:
    """The text of a part; a line in which several long values stand is cut."""
    return "".join(f"{line[:_LONGEST]}\n" for line in lines)
