"""The end of an attempt: what must be reported goes into the queue first, then recipients are dropped.

    who has the message       written down                       MessageProgress.checkpoint
    reports                   made (``dsn``), durably queued     collect, like any other message
    failed recipients         dropped                            MessageProgress.close

If a report cannot be queued (a full disk) those it is about stay recipients of their message, and
their failure is found again. Nothing is ever returned without a report, unless its sender asked for
none.
"""

from __future__ import annotations

import os

from minimta.dsn import compose, notify
from minimta.dsn.multipart import Report, ReportEntry, ReportKind, subject
from minimta.mailers.by_name import Mailers
from minimta.message import address, dates, headers
from minimta.message.envelope import Envelope, Recipient
from minimta.message.outcome import Fate
from minimta.queue import collect
from minimta.queue import qid as queue_id
from minimta.routing import controlling_user, recipients
from minimta.routing.local_host import LocalHost
from minimta.runner import delivery_log, last_resort
from minimta.runner.checkpoint import MessageProgress
from minimta.system import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.queue.directories import Queue

_UNREPORTED = "Deferred: cannot queue the report of failed delivery"


class ReportSender:
    """Makes bounces, warnings, receipts and notes to the postmaster."""

    def __init__(self, here: LocalHost, spool: Queue, mailers: Mailers) -> None:
        """*spool* is where reports are queued, and may have lost something; *here* knows who is a user.

        One of *mailers* puts into a mailbox what could be reported to nobody.
        """
        self._here = here
        self._options = here.options
        self._mailers = mailers
        self._spool = spool
        self._host = here.name
        #: ids of the reports that were queued since this was last emptied
        self.made: list[str] = []

    def finish(self, progress: MessageProgress, now: float) -> None:
        """Report what is to be reported, then drop or keep recipients. Raise Unrecorded.

        In this order: who has it is written down before anything else is queued, and a failed
        recipient is dropped when the report about it is durable. A crash in between reports twice,
        never not at all.
        """
        notifier = notify.Notifier(self._options, self._host, now)
        entries = _entries(progress, expired=notifier.is_expired(progress.control))
        reports = [
            told
            for report in notifier.reports(progress.control, progress.qid, entries)
            for told in self._to_somebody(notifier, progress, report)
        ]
        if reports:
            progress.checkpoint()
        dropped = [entry.recipient for entry in entries if entry.action == "failed"]
        message = ""
        for report in reports:
            if self._queued(notifier, progress, report):
                if report.kind is ReportKind.DELAY:
                    message = subject(report)
                    progress.control.flags = "w" + progress.control.flags
            elif report.kind is not ReportKind.DELAY:
                reported = {id(entry.recipient) for entry in report.entries}
                dropped = [recipient for recipient in dropped if id(recipient) not in reported]
                message = _UNREPORTED
        if dropped and len(dropped) == len(entries) and notify.is_double_bounce(progress.control):
            may_wait = not notifier.is_expired(progress.control)
            saved = last_resort.save(progress, self._mailers, self._host, may_wait=may_wait)
            if saved.fate is Fate.DEFERRED and may_wait:
                dropped, message = [], saved.stat
            elif saved.fate is not Fate.SENT:
                self._put_aside(progress)
                return
        elif reports or dropped:
            _log_untold(progress, dropped, reports)
        progress.close(dropped, now=now, options=self._options, message=message)

    def _to_somebody(
        self, notifier: notify.Notifier, progress: MessageProgress, report: Report
    ) -> list[Report]:
        """A failure of a sender who does not exist here is told to the postmaster at once, as one
        message: not a bounce, and then the bounce of that.
        """
        bare = address.bare(report.to)
        if report.kind is not ReportKind.FAILURE or not recipients.is_unknown(bare, self._here):
            return [report]
        delay = dates.duration(report.now - progress.control.created)
        facts = f"to={log.fact(report.to)}, delay={delay}, mailer=local"
        text = "dsn=5.1.1, reply=550 5.1.1 User unknown, stat=User unknown"
        log.line(progress.qid, f"{facts}, pri={progress.control.priority}, {text}")
        return notifier.to_postmaster(report)

    def _put_aside(self, progress: MessageProgress) -> None:
        """A double bounce that can be saved nowhere is kept as Qf: nobody is left to be told of it."""
        # Nobody is told: a note to the postmaster is what has just failed.
        progress.message.put_aside(
            "savemail: cannot save rejected email anywhere", "savemail panic"
        )
        progress.note_failures()
        progress.message.release()

    def _queued(self, notifier: notify.Notifier, progress: MessageProgress, report: Report) -> bool:
        """Make a report a message of its own; durable if True."""
        control, message = progress.control, progress.message
        header = headers.render(
            control.headers,
            mailer="local",
            reverse_path=controlling_user.owner(report.entries[0].recipient) or control.sender,
            flags=control.flags,
        )
        choices: list[tuple[bytes, bytes | None]] = [(header, None), (b"", None)]
        try:
            if notifier.returns_body(control, report, message.size):
                choices.insert(0, (header, os.pread(message.data, message.size, 0)))
            for head, body in choices:
                qid = self._commit(report, head, body)
                if qid:
                    log.line(progress.qid, f"{qid}: {notify.log_text(control, report)}")
                    return True
        except OSError as error:
            reason = log.clean(str(error))
            log.line(progress.qid, f"SYSERR(root): cannot queue a report: {reason}", error=True)
            return False
        log.line(progress.qid, "SYSERR(root): the report is refused by our own limits", error=True)
        return False

    def _commit(self, report: Report, header: bytes, body: bytes | None) -> str:
        """The id of the report, "" if it is larger than what the queue takes. Raise OSError."""
        qid = queue_id.new(report.now)
        text = compose.compose(report, qid, header, body)
        try:
            return self._enqueue(notify.envelope(report.to, report.copy), text, qid, report.now)
        except collect.MessageRefused:
            return ""

    def _enqueue(self, envelope: Envelope, text: bytes, qid: str, now: float) -> str:
        incoming = collect.Incoming(
            self._spool,
            self._options,
            envelope,
            qid=qid,
            now=now,
            host=self._host,
            response=True,
        )
        try:
            incoming.write(text)
            incoming.finish()
            qid = incoming.commit()
        except BaseException:
            incoming.abort()
            raise
        self.made.append(qid)
        return qid

    def report_losses(self, now: float) -> None:
        """Tell the postmaster, once, what the spool had to put aside; and whose it was, if that is known."""
        postmaster = self._options.double_bounce_address.encode("ascii", "replace")
        lost, self._spool.lost[:] = list(self._spool.lost), []
        refused, self._spool.refused[:] = list(self._spool.refused), []
        for login, qid, reason in refused:
            to = b"<%b>" % address.qualified(os.fsencode(login), self._host)
            self._tell(
                to, compose.refused(qid, reason, to, self._options.client_queue_directory), now
            )
        if not lost or not postmaster:
            return
        self._tell(postmaster, compose.losses(lost, self._spool.directory, self._host), now)

    def _tell(self, to: bytes, text: bytes, now: float) -> None:
        try:
            self._enqueue(notify.envelope(to), text, queue_id.new(now), now)
        except (OSError, collect.MessageRefused) as error:
            reason = f"cannot tell {log.clean(to)}: {log.clean(str(error))}"
            log.line("", f"SYSERR(root): {reason}", error=True)


def _log_untold(progress: MessageProgress, dropped: list[Recipient], reports: list[Report]) -> None:
    """Failures that nobody hears of: NOTIFY=NEVER, or there is no DoubleBounceAddress."""
    told = {
        id(entry.recipient)
        for report in reports
        if report.kind in (ReportKind.FAILURE, ReportKind.POSTMASTER)
        for entry in report.entries
    }
    untold = [recipient for recipient in dropped if id(recipient) not in told]
    for some in delivery_log.in_lines(untold):
        log.line(progress.qid, f"not returned: {log.clean(delivery_log.addresses(some), 1010)}")


def _entries(progress: MessageProgress, *, expired: bool) -> list[ReportEntry]:
    """All that is settled, for the reports; *expired* turns a delay into a failure."""
    return [
        ReportEntry(
            recipient := progress.destinations[position].recipient,
            outcome,
            progress.mailer(position),
            expired=expired and outcome.fate is Fate.DEFERRED,
            expanded_from=controlling_user.named(recipient),
        )
        for position, outcome in sorted(progress.outcomes.items())
    ]
