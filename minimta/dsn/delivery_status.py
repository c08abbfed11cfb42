"""The second part of a report: message/delivery-status, for programs (RFC 3464 section 2).

With an address beyond ASCII it is message/global-delivery-status, in UTF-8 (RFC 6533 section 4).

A block of fields for the message, then one for each recipient, with empty lines between. Every value
that came from outside is cleaned, or it could forge a field. Nothing here fails.
"""

from __future__ import annotations

from minimta.dsn.multipart import (
    Report,
    ReportEntry,
    address_type,
    clean,
    joined,
    shown,
    utf8_original,
)
from minimta.message import dates
from minimta.message.outcome import Fate
from minimta.message.xtext import decode_xtext


def fields(report: Report) -> str:
    """The part, LF line ends: the fields of the message, then a block for each recipient."""
    original = report.original
    lines = []
    if original.envid:
        lines.append(f"Original-Envelope-Id: {clean(decode_xtext(original.envid))}")
    lines.append(f"Reporting-MTA: dns; {clean(report.host)}")
    if original.helo:
        lines.append(f"Received-From-MTA: DNS; {clean(original.helo)}")
    lines.append(f"Arrival-Date: {dates.rfc5322(original.created)}")
    for entry in report.entries:
        lines += ["", *_recipient_fields(report, entry)]
    return joined(lines)


def _recipient_fields(report: Report, entry: ReportEntry) -> list[str]:
    """RFC 3464 section 2.3."""
    lines = []
    outcome = entry.outcome
    kind, _, original = entry.recipient.original.partition(b";")
    if kind and original:
        utf8 = utf8_original(entry.recipient.original)
        named = shown(utf8) if utf8 else clean(decode_xtext(original))
        lines.append(f"Original-Recipient: {clean(kind)};{named}")
    tried = entry.actual_address(report.host)
    final = entry.final_address or tried.partition("; ")[2]
    kind_of_final = "RFC822" if final.isascii() else address_type(final)
    lines.append(f"Final-Recipient: {kind_of_final}; {final}")
    if not report.hides_actual:
        lines.append(f"X-Actual-Recipient: {tried}")
    lines.append(f"Action: {entry.action}")
    lines.append(f"Status: {_status_of(entry)}")
    if outcome.remote_mta:
        lines.append(f"Remote-MTA: DNS; {clean(outcome.remote_mta)}")
    code = entry.diagnostic
    if code and entry.is_unix:
        code = str(outcome.exit_code)
    if code:
        lines.append(f"Diagnostic-Code: {'SMTP' if entry.mailer == 'esmtp' else 'X-Unix'}; {code}")
    lines.append(f"Last-Attempt-Date: {dates.rfc5322(report.now)}")
    if entry.action == "delayed":
        until = report.original.created + report.queuereturn
        lines.append(f"Will-Retry-Until: {dates.rfc5322(until)}")
    return lines


def _status_of(entry: ReportEntry) -> str:
    if entry.expired:
        return "4.4.7"
    if entry.outcome.fate is Fate.SENT:
        return "2.1.9" if entry.action == "relayed" else "2.1.5"
    return entry.outcome.status
