"""Delivery status notifications as octets (RFC 3464 in RFC 6522's multipart/report), pure.

    text part                 for people: reasons, transcript
    message/delivery-status   for programs: one block for the message, one for each recipient
    message/rfc822            the message, or text/rfc822-headers: its header alone

Date, From, Message-Id and Received are ``collect``'s work, as for any other message. Everything
that came from outside passes ``_clean``: a newline in a reply or an ORCPT would forge a field.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from minimta import address, dates, headers
from minimta.envelope import Recipient
from minimta.status import Fate, Outcome

#: octets of a message that go back with its bounce.
#: DIFFERS: Sendmail returns any size. Whoever forges senders would have us send it (threats T18).
RETURN_LIMIT = 65536
#: lines of transcript in one report
_TRANSCRIPT_LINES = 200
_BOX = """\
    **********************************************
    **      THIS IS A WARNING MESSAGE ONLY      **
    **  YOU DO NOT NEED TO RESEND YOUR MESSAGE  **
    **********************************************

"""


class Kind(Enum):
    """What a report is; the value is what Auto-Submitted says (RFC 3834 section 5)."""

    FAILURE = "failure"
    DELAY = "warning-timeout"
    RECEIPT = "return-receipt"
    #: a message with the null reverse-path failed: the postmaster hears of it, nobody else
    POSTMASTER = "postmaster-notification"


@dataclass(frozen=True, slots=True)
class Entry:
    """One recipient of a report."""

    recipient: Recipient
    outcome: Outcome
    #: name of the mailer that had it, "" if none
    mailer: str = ""
    #: it has waited too long: failed, although *outcome* is a deferral
    expired: bool = False

    @property
    def action(self) -> str:
        """RFC 3464 section 2.3.3."""
        if self.expired:
            return "failed"
        if self.outcome.fate is Fate.SENT:
            return "relayed" if self.mailer == "esmtp" else "delivered (to mailbox)"
        return str(self.outcome.fate.value)


@dataclass(frozen=True, slots=True)
class Original:
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

    kind: Kind
    #: where it goes, as for an R line: b"<emma@lab1.campus>"
    to: bytes
    original: Original
    entries: tuple[Entry, ...]
    #: our name
    host: str
    now: float
    #: what "for 4 hours" says, seconds: Timeout.queuewarn or Timeout.queuereturn
    waited: int = 0
    #: Timeout.queuereturn
    queuereturn: int = 0


def subject(report: Report) -> str:
    """Of the report; for a delay it is also what the log and mailq say."""
    if report.kind is Kind.DELAY:
        return f"Warning: could not send message for past {spell(report.waited)}"
    return {
        Kind.FAILURE: "Returned mail: see transcript for details",
        Kind.RECEIPT: "Return receipt",
        Kind.POSTMASTER: "Postmaster notify: see transcript for details",
    }[report.kind]


def compose(report: Report, qid: str, header: bytes, body: bytes | None) -> bytes:
    """The report as canonical text, LF line ends.

    *qid* is that of the report, *header* the original header block, *body* the original body or
    None for the header alone.
    """
    header, truncated = _presentable(header)
    if truncated or (body is not None and (b"\r" in body or b"\0" in body)):
        body = None
    part, eight_bit = _returned(header, body)
    boundary = f"{qid}.{int(report.now)}/{report.host}"
    while boundary.encode() in part:
        boundary += "_"
    whole = [
        _header(report, boundary, eight_bit),
        "\nThis is a MIME-encapsulated message\n",
        f"\n--{boundary}\n\n{_text(report)}",
        f"\n--{boundary}\nContent-Type: message/delivery-status\n\n{_status(report)}",
        f"\n--{boundary}\n",
    ]
    end = f"\n--{boundary}--\n"
    return "".join(whole).encode("ascii", "replace") + part + end.encode("ascii", "replace")


def losses(names: list[tuple[str, str]], directory: str, host: str) -> bytes:
    """A note to the postmaster: these (qid, reason) were put aside in *directory*."""
    lines = "".join(f"    Qf{_clean(qid)}: {_clean(reason)}\n" for qid, reason in names)
    return (
        "To: postmaster\nSubject: Queue files put aside\n"
        f"Auto-Submitted: auto-generated ({Kind.POSTMASTER.value})\n\n"
        f"These control files in {_clean(directory)} on {_clean(host)} cannot be used.\n"
        f"They were renamed to Qf and will not be tried again:\n\n{lines}"
    ).encode("ascii", "replace")


def _header(report: Report, boundary: str, eight_bit: bool) -> str:
    encoding = "Content-Transfer-Encoding: 8bit\n" if eight_bit else ""
    return (
        f"To: {_clean(report.to)}\n"
        "MIME-Version: 1.0\n"
        "Content-Type: multipart/report; report-type=delivery-status;\n"
        f'\tboundary="{boundary}"\n'
        f"{encoding}"
        f"Subject: {subject(report)}\n"
        f"Auto-Submitted: auto-generated ({report.kind.value})\n"
    )


# --- the text part ---------------------------------------------------------------------------------


def _text(report: Report) -> str:
    lines = [
        f"The original message was received at {dates.rfc5322(report.original.created)}",
        f"from {_clean(report.original.client or b'localhost')}",
    ]
    if report.kind is Kind.POSTMASTER:
        lines.append(f"with id {report.original.qid}")
    failed = [entry for entry in report.entries if entry.action == "failed"]
    if failed:
        lines += ["", "   ----- The following addresses had permanent fatal errors -----"]
        for entry in failed:
            lines += _reason(entry)
    done = [entry for entry in report.entries if entry.action in _SUCCESS]
    if done:
        lines += [
            "",
            "   ----- The following addresses had successful delivery notifications -----",
        ]
        lines += [f"{_shown(entry)}  ({_SUCCESS[entry.action][0]})" for entry in done]
    lines += ["", "   ----- Transcript of session follows -----"]
    lines += _transcript(report)
    box = _BOX if report.kind is Kind.DELAY else ""
    return box + "\n".join(lines) + "\n"


_SUCCESS = {
    "delivered (to mailbox)": ("successfully delivered to mailbox", "Successfully delivered"),
    "relayed": ("relayed to non-DSN-aware mailer", "relayed; expect no further notifications"),
}


def _reason(entry: Entry) -> list[str]:
    lines = [_shown(entry)]
    code = _diagnostic(entry)
    if code:
        lines.append(f"    (reason: {code})")
    if entry.recipient.final and "P" not in entry.recipient.flags:
        lines.append(f"    (expanded from: {_final_address(entry)})")
    return lines


def _transcript(report: Report) -> list[str]:
    lines: list[str] = []
    for entry in report.entries:
        for line in (*_session(entry), *_conclusion(entry)):
            if line not in lines:  # one session, several recipients
                lines.append(line)
    if any(entry.expired for entry in report.entries):
        lines.append(f"Message could not be delivered for {spell(report.queuereturn)}")
        lines.append("Message will be deleted from queue")
    elif report.kind is Kind.DELAY:
        lines.append(f"Warning: message still undelivered after {spell(report.waited)}")
        lines.append(f"Will keep trying until message is {spell(report.queuereturn)} old")
    if len(lines) > _TRANSCRIPT_LINES:
        lines[_TRANSCRIPT_LINES // 2 : -_TRANSCRIPT_LINES // 2] = ["..."]
    return lines


def _session(entry: Entry) -> list[str]:
    return [_clean(line) for line in entry.outcome.transcript]


def _conclusion(entry: Entry) -> list[str]:
    """The line that says of this recipient how it ended, unless the transcript has it already."""
    text = _clean(entry.outcome.text)
    if entry.action in _SUCCESS:
        return [f"{_shown(entry)}... {_SUCCESS[entry.action][1]}"]
    if entry.outcome.fate is Fate.DEFERRED:
        return [f"{_shown(entry)}... Deferred: {text}" if text else f"{_shown(entry)}... Deferred"]
    if any(text in line for line in entry.outcome.transcript if line[:3] not in ("<<<", ">>>")):
        return []
    about_address = entry.outcome.status.startswith("5.1.")
    code = "550" if about_address else "554"
    whom = f"{_shown(entry)}... " if about_address else ""
    return [f"{code} {entry.outcome.status} {whom}{text}"]


# --- the delivery-status part ------------------------------------------------------------------------


def _status(report: Report) -> str:
    """RFC 3464 section 2: the fields of the message, then a block for each recipient."""
    original = report.original
    lines = []
    if original.envid:
        lines.append(f"Original-Envelope-Id: {_clean(decode_xtext(original.envid))}")
    lines.append(f"Reporting-MTA: dns; {_clean(report.host)}")
    if original.helo:
        lines.append(f"Received-From-MTA: DNS; {_clean(original.helo)}")
    lines.append(f"Arrival-Date: {dates.rfc5322(original.created)}")
    for entry in report.entries:
        lines += ["", *_recipient_fields(report, entry)]
    return "\n".join(lines) + "\n"


def _recipient_fields(report: Report, entry: Entry) -> list[str]:
    """RFC 3464 section 2.3."""
    lines = []
    outcome = entry.outcome
    kind, _, original = entry.recipient.original.partition(b";")
    if kind and original:
        lines.append(f"Original-Recipient: {_clean(kind)};{_clean(decode_xtext(original))}")
    lines.append(f"Final-Recipient: RFC822; {_final_address(entry) or _actual(report, entry)}")
    lines.append(f"X-Actual-Recipient: rfc822; {_actual(report, entry)}")
    lines.append(f"Action: {entry.action}")
    lines.append(f"Status: {_status_of(entry)}")
    if outcome.remote_mta:
        lines.append(f"Remote-MTA: DNS; {_clean(outcome.remote_mta)}")
    code = _diagnostic(entry)
    if code:
        lines.append(f"Diagnostic-Code: {'SMTP' if entry.mailer == 'esmtp' else 'X-Unix'}; {code}")
    lines.append(f"Last-Attempt-Date: {dates.rfc5322(report.now)}")
    if entry.action == "delayed":
        until = report.original.created + report.queuereturn
        lines.append(f"Will-Retry-Until: {dates.rfc5322(until)}")
    return lines


def _status_of(entry: Entry) -> str:
    if entry.expired:
        return "4.4.7"
    if entry.outcome.fate is Fate.SENT:
        return "2.1.9" if entry.action == "relayed" else "2.1.5"
    return entry.outcome.status


def _diagnostic(entry: Entry) -> str:
    """The reply that decided; for a local failure what we would have replied."""
    outcome = entry.outcome
    if outcome.fate is Fate.SENT:
        return ""
    if outcome.diagnostic:
        return _clean(outcome.diagnostic)
    if outcome.fate is Fate.DEFERRED:
        return ""
    if entry.mailer != "esmtp":
        code = "550" if outcome.status.startswith("5.1.") else "554"
        return f"{code} {outcome.status} {_clean(outcome.text)}"
    return "550 Host unknown" if "host not found" in outcome.text else ""


def _shown(entry: Entry) -> str:
    return _clean(entry.recipient.address)


def _final_address(entry: Entry) -> str:
    return _clean(entry.recipient.final.partition(b";")[2].strip())


def _actual(report: Report, entry: Entry) -> str:
    """The address that was tried, fully qualified."""
    bare = address.bare(entry.recipient.address).removeprefix(b"\\")
    return _clean(bare if address.split(bare)[1] else b"%b@%b" % (bare, report.host.encode()))


# --- the third part ----------------------------------------------------------------------------------


def _presentable(header: bytes) -> tuple[bytes, bool]:
    """The header block without octets that no queue takes, cut at RETURN_LIMIT; was it cut?"""
    header = header.replace(b"\r", b"?").replace(b"\0", b"?")
    if len(header) <= RETURN_LIMIT:
        return header, False
    return header[: header.rfind(b"\n", 0, RETURN_LIMIT) + 1], True


def _returned(header: bytes, body: bytes | None) -> tuple[bytes, bool]:
    """The third part, and whether it has 8-bit octets (RFC 2045 section 6.4, RFC 6522 section 3)."""
    content = header if body is None else header + b"\n" + body
    eight_bit = not content.isascii()
    encoding = b"Content-Transfer-Encoding: 8bit\n" if eight_bit else b""
    kind = b"text/rfc822-headers" if body is None else b"message/rfc822"
    return b"Content-Type: %b\n%b\n%b" % (kind, encoding, content), eight_bit


# --- words -------------------------------------------------------------------------------------------


def decode_xtext(text: bytes) -> bytes:
    """RFC 3461 section 4: "+2B" is "+". What is no xtext stays as it is."""
    if b"+" not in text:
        return text
    first, *rest = text.split(b"+")
    out = [first]
    for piece in rest:
        digits = piece[:2]
        if len(digits) == 2 and not digits.translate(None, b"0123456789ABCDEFabcdef"):
            out.append(bytes((int(digits, 16),)) + piece[2:])
        else:
            out.append(b"+" + piece)
    return b"".join(out)


def spell(seconds: int) -> str:
    """A span of time as Sendmail says it: "4 hours", "1 day, 12 hours"."""
    parts = []
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count} {unit}" + ("s" if count > 1 else ""))
    return ", ".join(parts) or "0 seconds"


def _clean(text: bytes | str, limit: int = 900) -> str:
    """Printable ASCII, short enough for a line (RFC 5322 section 2.1.1)."""
    octets = text.encode("utf-8", "replace") if isinstance(text, str) else text
    return headers.printable(octets[:limit]).decode("ascii")
