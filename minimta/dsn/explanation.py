"""The first part of a report: what happened, for people, in Sendmail's words.

    The original message was received at ...       date, and the client it came from
    ----- permanent fatal errors -----             each failed recipient with the reply that decided
    ----- successful delivery notifications -----
    ----- Transcript of session follows -----      the dialogue with the host, and how each ended

All of it is cleaned; what a host said fills at most _TRANSCRIPT_LINES. Nothing here fails.
"""

from __future__ import annotations

from minimta.dsn.multipart import Report, ReportEntry, ReportKind, clean, joined, spell
from minimta.message import dates
from minimta.message.outcome import Fate

#: lines of transcript in one report
_TRANSCRIPT_LINES = 200
_BOX = """\
    **********************************************
    **      THIS IS A WARNING MESSAGE ONLY      **
    **  YOU DO NOT NEED TO RESEND YOUR MESSAGE  **
    **********************************************

"""


def text(report: Report) -> str:
    """The part, LF line ends."""
    lines = [
        f"The original message was received at {dates.rfc5322(report.original.created)}",
        f"from {clean(report.original.client or b'localhost')}",
    ]
    if report.kind is ReportKind.POSTMASTER:
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
        lines += [f"{entry.address}  ({_SUCCESS[entry.action][0]})" for entry in done]
    lines += ["", "   ----- Transcript of session follows -----"]
    lines += _transcript(report)
    box = _BOX if report.kind is ReportKind.DELAY else ""
    return _preface(report) + box + joined(lines)


def _preface(report: Report) -> str:
    """The lines of ErrorHeader, and an empty one."""
    lines = [clean(line) for line in report.preface.splitlines()]
    return joined([*lines, ""]) if any(lines) else ""


_SUCCESS = {
    "delivered (to mailbox)": ("successfully delivered to mailbox", "Successfully delivered"),
    "relayed": ("relayed to non-DSN-aware mailer", "relayed; expect no further notifications"),
}


def _reason(entry: ReportEntry) -> list[str]:
    lines = [entry.address]
    code = entry.diagnostic
    if code:
        lines.append(f"    (reason: {code})")
    if entry.recipient.final and "P" not in entry.recipient.flags:
        lines.append(f"    (expanded from: {entry.origin})")
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
    elif report.kind is ReportKind.DELAY:
        lines.append(f"Warning: message still undelivered after {spell(report.waited)}")
        lines.append(f"Will keep trying until message is {spell(report.queuereturn)} old")
    if len(lines) > _TRANSCRIPT_LINES:
        lines[_TRANSCRIPT_LINES // 2 : -_TRANSCRIPT_LINES // 2] = ["..."]
    return lines


def _session(entry: ReportEntry) -> list[str]:
    return [clean(line) for line in entry.outcome.transcript]


def _conclusion(entry: ReportEntry) -> list[str]:
    """The line that says of this recipient how it ended, unless the transcript has it already."""
    text = clean(entry.outcome.text)
    if entry.action in _SUCCESS:
        return [f"{entry.address}... {_SUCCESS[entry.action][1]}"]
    if entry.outcome.fate is Fate.DEFERRED:
        return [f"{entry.address}... Deferred: {text}" if text else f"{entry.address}... Deferred"]
    if any(text in line for line in entry.outcome.transcript if line[:3] not in ("<<<", ">>>")):
        return []
    about_address = entry.outcome.status.startswith("5.1.")
    code = "550" if about_address else "554"
    whom = f"{entry.address}... " if about_address else ""
    return [f"{code} {entry.outcome.status} {whom}{text}"]
