"""Who must be told what after an attempt: failures, a delay, receipts, a double bounce.

    failed      F in the recipient's flags (NOTIFY=FAILURE, or no NOTIFY)      one DSN
                by a fault of this host (sysexits 70 and 78)      the postmaster gets the same
    delivered   S (NOTIFY=SUCCESS), and the next hop does not report itself    in the same DSN
    relayed     BY=...T (RFC 2852), whatever the next hop does                 in the same DSN
    delayed     D, once for a message (flag w), not for bulk and list mail     a warning
                by Timeout.queuewarn, or the time that BY=...N names
    failed      and there is a PostmasterCopy                                  a note without the text
    failed, and it is the copy of AlwaysBcc, or the reverse-path is null: to DoubleBounceAddress; if that fails too, nobody

RFC 3461 sections 4.1 and 5.2, RFC 5321 section 4.5.5: nobody is told of a report that cannot be
delivered, or two hosts would send each other reports for ever. This file decides and finds the
words; ``runner.send_reports`` puts the result into the queue like any other message.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from minimta.config.options import Options
from minimta.dsn import multipart
from minimta.dsn.multipart import OriginalMessage, Report, ReportEntry, ReportKind
from minimta.message import deliver_by, headers
from minimta.message.envelope import Envelope, Recipient
from minimta.message.outcome import Fate
from minimta.queue import always_bcc, patience
from minimta.queue.control import MAILER_DAEMON, Control
from minimta.routing import controlling_user
from minimta.system import log
from minimta.system.files import read_if_there

_NO_WARNING = (b"list", b"bulk", b"junk")
#: octets of the file of ErrorHeader
_LONGEST_PREFACE = 4096
#: failures that only the postmaster can mend
_OUR_FAULTS = (os.EX_SOFTWARE, os.EX_CONFIG)


def is_double_bounce(control: Control) -> bool:
    """Is it our own report to the postmaster? Its failure makes no further message."""
    fields = headers.find(control.headers, b"auto-submitted")
    marked = any(ReportKind.POSTMASTER.value.encode() in field for field in fields)
    return "r" in control.flags and marked


class Notifier:
    """Decides for the messages of one attempt."""

    def __init__(self, options: Options, host: str, now: float) -> None:
        """*host* is our name, *now* epoch seconds."""
        self.options = options
        self.host = host
        self.now = now

    def reports(self, control: Control, qid: str, entries: Sequence[ReportEntry]) -> list[Report]:
        """The reports that these outcomes call for: none, one, or one and a warning.

        *entries* are all recipients of the message *qid* that have an outcome; owners of lists get
        reports of their own.
        """
        failed = [e for e in entries if e.action == "failed" and "F" in e.recipient.flags]
        blind = [e for e in entries if e.action == "failed" and self._is_blind_copy(e)]
        if not control.sender:
            return self._double_bounce(control, qid, failed + blind)
        visible = [e for e in entries if not self._is_blind_copy(e)]
        to_senders = self._to_senders(control, qid, visible)
        return [*to_senders, *self._double_bounce(control, qid, blind)]

    def _is_blind_copy(self, entry: ReportEntry) -> bool:
        return always_bcc.is_copy(entry.recipient, self.options, self.host)

    def _to_senders(
        self, control: Control, qid: str, entries: Sequence[ReportEntry]
    ) -> list[Report]:
        """To the sender, and to owners of lists."""
        failed = [e for e in entries if e.action == "failed" and "F" in e.recipient.flags]
        of_lists = [e for e in entries if controlling_user.owner(e.recipient) is not None]
        if of_lists:
            return self._to_owners(control, qid, entries, of_lists)
        wish = deliver_by.of_lines(control.carried)
        traces = wish is not None and wish.traces
        succeeded = [e for e in entries if _wants_receipt(e, traces=traces)]
        delayed = [e for e in entries if e.action == "delayed" and "D" in e.recipient.flags]
        found = []
        if failed or succeeded:
            kind = ReportKind.FAILURE if failed else ReportKind.RECEIPT
            told = set(
                map(id, failed + succeeded)
            )  # in the order of the envelope, as Sendmail has them
            both = [e for e in entries if id(e) in told]
            found.append(self._report(kind, control.reverse_path, control, qid, both))
        if failed:
            found += self._postmaster_copy(control, qid, failed)
        if delayed and self.is_late(control):
            found.append(
                self._report(ReportKind.DELAY, control.reverse_path, control, qid, delayed)
            )
        return found

    def _to_owners(
        self,
        control: Control,
        qid: str,
        entries: Sequence[ReportEntry],
        of_lists: list[ReportEntry],
    ) -> list[Report]:
        """The owner of a list hears of its members, the sender of all others."""
        theirs = set(map(id, of_lists))
        found = self._to_senders(control, qid, [e for e in entries if id(e) not in theirs])
        failed = [e for e in of_lists if e.action == "failed" and "F" in e.recipient.flags]
        for whom in dict.fromkeys(controlling_user.owner(e.recipient) or b"" for e in failed):
            mine = [e for e in failed if controlling_user.owner(e.recipient) == whom]
            found.append(self._report(ReportKind.FAILURE, whom, control, qid, mine))
        return found

    def _double_bounce(self, control: Control, qid: str, failed: list[ReportEntry]) -> list[Report]:
        if not failed or is_double_bounce(control):
            return []
        return self.to_postmaster(self._report(ReportKind.POSTMASTER, b"", control, qid, failed))

    def _postmaster_copy(
        self, control: Control, qid: str, failed: list[ReportEntry]
    ) -> list[Report]:
        """What PostmasterCopy wants to hear of a failure that the sender is told of."""
        if not (to := self.options.postmaster_copy.encode("utf-8", "surrogateescape")):
            return []
        report = self._report(ReportKind.POSTMASTER, to, control, qid, failed)
        return [replace(report, header_only=True)]

    def to_postmaster(self, report: Report) -> list[Report]:
        """*report* for DoubleBounceAddress, because its own reader cannot be told; none if that is empty."""
        postmaster = self.options.double_bounce_address.encode("ascii", "replace")
        failed = tuple(entry for entry in report.entries if entry.action == "failed")
        kind = ReportKind.POSTMASTER
        told = replace(report, kind=kind, to=postmaster, entries=failed, copy=b"")
        return [told] if postmaster else []

    def is_late(self, control: Control) -> bool:
        """Is the one warning due? (Timeout.queuewarn, BY=...N) Bulk and list mail warns nobody."""
        if "w" in control.flags:
            return False
        if self._is_past(control):
            return True
        limit = patience.warns_after(self.options, control)
        if not limit or self.now - control.created <= limit:
            return False
        classes = headers.find(control.headers, b"precedence")
        return not any(headers.value(field).lower() in _NO_WARNING for field in classes)

    def _is_past(self, control: Control) -> bool:
        """Is the time over that BY=...N names? Who named one wants to hear it (RFC 2852 section 4)."""
        wish = deliver_by.of_lines(control.carried)
        return wish is not None and not wish.returns and wish.left(control.created, self.now) <= 0

    def is_expired(self, control: Control) -> bool:
        """Is a failed attempt now the last one? (Timeout.queuereturn)

        A message that nobody tried for longer than that (and a day) gets another chance: the
        machine was off, or its clock jumped; neither says anything about the next hop.
        """
        limit = patience.returns_after(self.options, control)
        rested = self.now - max(control.last_attempt, control.created)
        return self.now - control.created > limit and rested <= max(limit, 86400)

    def _report(
        self, kind: ReportKind, to: bytes, control: Control, qid: str, entries: list[ReportEntry]
    ) -> Report:
        by_smtp = control.macros.get(b"r")
        is_our_fault = any(entry.outcome.exit_code in _OUR_FAULTS for entry in entries)
        return Report(
            kind,
            to,
            OriginalMessage(
                qid,
                control.created,
                control.macros.get(b"_", b""),
                control.macros.get(b"s", b"") if by_smtp else b"",
                control.envid,
            ),
            tuple(entries),
            self.host,
            self.now,
            self._waited(control),
            patience.returns_after(self.options, control),
            b"postmaster" if kind is ReportKind.FAILURE and is_our_fault else b"",
            "noactualrecipient" in self.options.privacy_options,
            preface=self._preface(),
        )

    def _preface(self) -> str:
        """Of ErrorHeader; "" if there is none. A file that cannot be read stops no bounce."""
        text = self.options.error_header
        if text.startswith("/"):
            try:
                text = read_if_there(text)[:_LONGEST_PREFACE].decode("utf-8", "replace")
            except OSError as error:
                log.line("", f"SYSERR(root): ErrorHeader: {log.clean(str(error))}", error=True)
                return ""
        return text.replace("$j", self.host)

    def _waited(self, control: Control) -> int:
        """What a warning says that it was waited, seconds."""
        wish = deliver_by.of_lines(control.carried)
        is_named = wish is not None and self._is_past(control)
        return (
            max(wish.seconds, 0)
            if wish and is_named
            else patience.warns_after(self.options, control)
        )

    def returns_body(self, control: Control, report: Report, size: int) -> bool:
        """Does the message go back whole? (RFC 3461 section 4.3: only with a failure)

        DIFFERS: Sendmail sends it whole with a warning, too.
        """
        failure = report.kind in (ReportKind.FAILURE, ReportKind.POSTMASTER)
        # RFC 8689 section 4.3: what may leave only with TLS does not go back in clear.
        private = "nobodyreturn" in self.options.privacy_options or control.requires_tls
        return (
            failure
            and not report.header_only
            and "n" not in control.flags
            and size <= multipart.RETURN_LIMIT
            and not private
        )


def _wants_receipt(entry: ReportEntry, *, traces: bool) -> bool:
    flags = entry.recipient.flags
    if entry.outcome.fate is not Fate.SENT:
        return False
    never = "N" in flags and not set(flags) & set("SFD")
    if traces and entry.action == "relayed" and not never:
        return True
    return not entry.outcome.dsn_passed_on and "S" in flags


def envelope(to: bytes, copy: bytes = b"") -> Envelope:
    """Of a report: null reverse-path, no reports about it (RFC 3461 section 6.1).

    That *copy* could not be delivered is told to nobody: it would be news for who did not get it.
    """
    made = Envelope(MAILER_DAEMON, [Recipient(to, "PF")])
    if copy:
        made.recipients.append(Recipient(copy, "PN"))
    made.full_name = b"Mail Delivery Subsystem"
    made.client = made.helo = b"localhost"
    return made


def log_text(control: Control, report: Report) -> str:
    """What the log says behind the id of the report."""
    if report.kind is ReportKind.DELAY:
        return f"sender notify: {multipart.subject(report)}"
    if report.kind is ReportKind.RECEIPT:
        return f"DSN: {multipart.subject(report)}"
    about = [entry for entry in report.entries if entry.action == "failed"][-1]
    text = log.fact(about.outcome.text)
    if about.expired:
        text = f"Cannot send message for {multipart.spell(report.queuereturn)}"
    if report.kind is ReportKind.POSTMASTER:
        return f"{'return to sender' if 'r' in control.flags else 'postmaster notify'}: {text}"
    return f"DSN: {text}"
