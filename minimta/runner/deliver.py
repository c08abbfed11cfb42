"""One attempt at some queued messages, from lock to unlock.

    open      lock, then look; expand aliases; decide what needs no mailer
    deliver   mailboxes and files first, then what may take long: programs and other hosts. All
              messages of the batch together, so that those for one mailbox share its opening and
              those for one host its connection
    record    after every act, before the next one
    finish    failures reported through the front door, then recipients dropped, or the message

What is unclear is temporary. Whatever happens to one message is logged, and the others go on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from minimta.config.options import Options
from minimta.mailers.by_name import Mailers
from minimta.maps.table import all_rows
from minimta.message import deliver_by, headers
from minimta.message.envelope import Recipient
from minimta.message.outcome import Fate, Outcome, deferred
from minimta.queue import always_bcc, commit
from minimta.queue.directories import open_queue
from minimta.queue.directory import UNKNOWN_UID
from minimta.queue.locked import LockedMessage
from minimta.queue.pattern import of_message
from minimta.queue.spool import Spool
from minimta.routing.destination import Destination, not_in_time, too_many_hops
from minimta.routing.expand import expand
from minimta.routing.local_host import LocalHost
from minimta.routing.sender_relay import SenderRelays
from minimta.runner.checkpoint import Deferrals, MessageProgress, Unrecorded
from minimta.runner.delivery_log import DeliveryLog
from minimta.runner.due import waits_for_full_run
from minimta.runner.make_jobs import Task, tasks
from minimta.runner.rounds import Rounds
from minimta.system import files, log, statistics
from minimta.system.slots import Slots
from minimta.system.users import Users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.mailers.remote.kept_workers import KeptWorkers
    from minimta.queue.directories import Queue
    from minimta.routing.rewrite import Rewriter
    from minimta.runner.send_reports import ReportSender

#: a bounce and its double bounce are tried in the attempt that made them
_GENERATIONS = 3


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What an attempt did to one message."""

    qid: str
    #: another process has it, or it is gone, or it was put aside
    locked: bool = False
    #: sysexits: of the first recipient that failed; a delay is no failure. What else a program may
    #: end with is 69 to who submitted the message
    exit_code: int = os.EX_OK


class Deliverer:
    """Makes attempts, one after the other; knows this host and its mailers.

    For one thread of a process that may fork. What it learns (hosts that are down, senders that are
    users) it keeps, so a new Deliverer is a new run.
    """

    def __init__(
        self,
        here: LocalHost,
        spool: Queue | None = None,
        *,
        slots: Slots | None = None,
        is_run: bool = True,
        say: Callable[[str], None] | None = None,
        tell: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.time,
        stop: Callable[[], bool] = lambda: False,
        kept: KeptWorkers | None = None,
    ) -> None:
        """*spool* is the queue, if the caller has it open already; *slots* bound what is slow.

        If it *is_run*, it asks hosts that were not reached before it began. *say* gets what -v shows,
        *tell* what expansions refuse; *stop* is asked between acts, and *clock* gives epoch seconds;
        *kept* has connections to busy next hops. Raise OSError (no queue).
        """
        self.spool = spool or open_spool(here.options)
        self.mailers = Mailers(here.options, here.users, slots, say=say, is_run=is_run, kept=kept)
        self._here = here
        self._sender_relays = SenderRelays(here.options.sender_relay, all_rows, self._shown_sender)
        self._options = here.options
        self._status_file = statistics.path_of(
            here.options.status_file, here.options.queue_directory
        )
        self._say = say
        self._tell = tell
        self._clock = clock
        self._stop = stop
        self._log = DeliveryLog(here.users, here.router, say)
        self._report_sender: ReportSender | None = None
        self._deferrals = Deferrals(self._sync_all)
        self._rounds = Rounds(
            self.mailers,
            self._record,
            connecting=self._connecting,
            before_waits=self._deferrals.flush,
            stop=stop,
            clock=clock,
        )
        self._fresh = False
        #: called whenever the attempt at a message is over
        self.finished: Callable[[], None] = lambda: None
        #: what rewrites addresses, or None; () until it is known
        self._rewriter: tuple[()] | tuple[Rewriter | None] = ()
        #: ids (names) of messages of which something was not begun, because others crowd there, or because
        #: it has its turn later: then (epoch seconds), else 0.0
        self.held: dict[str, float] = {}

    def attempt(
        self,
        qids: Sequence[str],
        *,
        go_on: Callable[[], bool] | None = None,
        fresh: bool = False,
        kind: str = "qf",
    ) -> list[AttemptResult]:
        """Try the messages of these ids, or names (``queue.directories``), once, and then the bounces
        that came of it.

        *go_on* is asked when all that is quick is done and programs or other hosts are left: False
        leaves them for another attempt. Without it they are tried, in a slot if one is free. *fresh*
        messages have just been seen in the queue: one that was submitted with -odq is to wait for
        a full run. *kind* "hf" are messages in quarantine, which stay there if they stay at all.
        """
        go_on = go_on or (lambda: self.mailers.slots.enter() or True)
        self._fresh = fresh
        results = self._attempt(qids, go_on, kind)
        self._fresh = False
        for _ in range(_GENERATIONS - 1):
            made = self._take_reports()
            if not made or self._stop():
                break
            self._attempt(made, go_on)
        if self.spool.lost:
            self._reports.report_losses(self._clock())
        statistics.flush_to(self._status_file)
        return results

    # --- one batch --------------------------------------------------------------------------------

    def _attempt(
        self, qids: Sequence[str], go_on: Callable[[], bool], kind: str = "qf"
    ) -> list[AttemptResult]:
        results = {name: AttemptResult(of_message(name)[1], locked=True) for name in qids}
        tried: list[MessageProgress] = []
        try:
            for name in results:
                progress = self._open(name, kind)
                if progress is not None:
                    tried.append(progress)
            self._deliver(tried, go_on)
        finally:
            self._deferrals.flush()
            for progress in tried:
                if not progress.closed:
                    progress.leave()
                code = _exit_code(
                    outcome
                    for position, outcome in progress.outcomes.items()
                    if not self._is_blind_copy(progress.destinations[position].recipient)
                )
                results[progress.message.name] = AttemptResult(progress.qid, exit_code=code)
        if self.spool.retired:
            # One fsync for the whole batch; until it is done each df stays: see QueueDirectory.flush.
            with self._trouble_with(""):
                self.spool.flush()
        return list(results.values())

    def _sync_all(self) -> bool:
        """See Deferrals. Several directories may be on several disks."""
        group = self._options.group_commit
        return isinstance(self.spool, Spool) and commit.sync_all(self.spool, group)

    def _is_blind_copy(self, recipient: Recipient) -> bool:
        """Is it that of AlwaysBcc? What becomes of it is nothing that a sender hears."""
        return always_bcc.is_copy(recipient, self._options, self._here.name)

    def _open(self, name: str, kind: str) -> MessageProgress | None:
        """Lock and expand; None if there is nothing to be done for it now."""
        message = None
        with self._trouble_with(of_message(name)[1]):
            # Lock first, then look: what was listed may have been delivered by another meanwhile.
            message = self.spool.lock(name, kind=kind)
            if message is None:
                return None
            is_held = bool(message.control.quarantine) and kind == "qf"
            if not is_held and not (self._fresh and waits_for_full_run(message.control)):
                found, now = self._expand(message), self._clock()
                return MessageProgress(message, found, now, self._deferrals)
        if message is not None:
            message.release()
        return None

    def _expand(self, message: LockedMessage) -> list[Destination]:
        control = message.control
        hops = len(headers.find(control.headers, b"received"))
        if hops > self._options.max_hop_count:
            looping = too_many_hops(hops, self._options.max_hop_count)
            return [Destination(r, None, looping) for r in control.recipients]
        wish = deliver_by.of_lines(control.carried)
        tried = {"attempts": control.attempts, "last_attempt": control.last_attempt}
        if wish is not None and wish.is_over(control.created, self._clock(), **tried):
            late = not_in_time(wish.seconds)
            return [Destination(r, None, late) for r in control.recipients]
        try:
            found = expand(
                control.recipients,
                control.reverse_path,
                self._here,
                qid=message.qid,
                say=self._say,
            )
            if self._options.redirect_all:
                from minimta.runner import redirect  # few hosts have the option

                whose = control.reverse_path
                found = redirect.redirected(
                    found, whose, self._here, qid=message.qid, say=self._say
                )
            found = self._sender_relays.applied(found, control.sender, self._here.name)
            reason = "expanded to nobody"
        except Exception:
            log.bug(message.qid, "expand")
            found, reason = [], "cannot be expanded"
        return found or [
            Destination(r, None, deferred("4.3.0", reason)) for r in control.recipients
        ]

    def _deliver(self, tried: list[MessageProgress], go_on: Callable[[], bool]) -> None:
        made: list[list[Task]] = []
        for progress in tried:
            with self._trouble_with(progress.qid):
                made.append(self._prepare(progress))
        self._rounds.deliver(made, go_on)

    def _prepare(self, progress: MessageProgress) -> list[Task]:
        """Settle what needs no mailer, and make tasks of the rest. Raise Unrecorded."""
        progress.need_room()
        progress.note_came()
        now = self._clock()
        made, why = self._tasks(progress)
        served = {n for task in made for positions in task.users.values() for n in positions}
        for number, destination in enumerate(progress.destinations):
            if destination.outcome is not None:
                self._settle(progress, [number], destination.outcome, now)
                told = destination.outcome.told()
                for line in () if self._is_blind_copy(destination.recipient) else told:
                    self._tell(log.clean(line))
            elif number not in served:
                self._settle(progress, [number], deferred("4.3.0", why), now)
        progress.open_jobs = len(made)
        if not made:
            self._finish(progress)
        return made

    def _tasks(self, progress: MessageProgress) -> tuple[list[Task], str]:
        """The tasks of a message, and why what none of them serves has to wait."""
        try:
            return tasks(progress, self._here.name, self._rewriting()), "no mailer for this route"
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return [], log.clean(f"{where}{error.strerror or error}")
        except Exception:
            log.bug(progress.qid, "header")
            return [], "header cannot be made"

    def _shown_sender(self, bare: bytes) -> bytes:
        """What other hosts see of a complete sender. Raise OSError."""
        rewriter = self._rewriting()
        return bare if rewriter is None else rewriter.sender(bare, "esmtp")

    def _rewriting(self) -> Rewriter | None:
        """What rewrites addresses, made when it is first asked for. Raise OSError."""
        if not self._rewriter:
            self._rewriter = (self._make_rewriter(),)
        return self._rewriter[0]

    def _make_rewriter(self) -> Rewriter | None:
        """None if nothing is to be rewritten here, which most hosts learn without loading it."""
        options, path = self._options, self._options.generics_table
        asked = options.masquerade_as or options.always_add_domain or options.srs_domain
        if not asked and not (path and files.may_exist(path, path + ".cdb")):
            return None
        from minimta.routing import rewrite

        return rewrite.rewriter(self._here, self._clock)

    # --- what became of it ------------------------------------------------------------------------

    def _connecting(self, task: Task) -> None:
        if self._say:
            self._log.connecting(task.progress.recipients(task.positions), task.mailer)

    def _record(self, task: Task, outcomes: Mapping[bytes, Outcome], begun: float) -> None:
        """A task is over: tell, record, and if it was the message's last one, finish."""
        progress = task.progress
        if held := [outcome.turn for outcome in outcomes.values() if outcome.is_crowded]:
            self.held[progress.message.name] = max(held)
        with self._trouble_with(progress.qid):
            together: dict[Outcome, list[int]] = {}
            for name, positions in task.users.items():
                outcome = outcomes.get(name) or deferred(
                    "4.3.0", f"mailer {task.mailer} said nothing"
                )
                together.setdefault(outcome, []).extend(positions)
            for outcome, positions in together.items():
                self._settle(progress, positions, outcome, begun)
            progress.open_jobs -= 1
            if progress.open_jobs:
                progress.checkpoint()
            else:
                self._finish(progress)

    def _settle(
        self, progress: MessageProgress, positions: Sequence[int], outcome: Outcome, begun: float
    ) -> None:
        """These recipients have their answer: remember it, and say so."""
        if self._options.soft_bounce and outcome.fate is Fate.FAILED:
            from minimta.mailers.remote import reply_outcomes  # few hosts have the option

            outcome = reply_outcomes.for_now(outcome)
        progress.settle(positions, outcome)
        recipients, mailer = progress.recipients(positions), progress.mailer(positions[0])
        if outcome.fate is Fate.SENT:
            progress.note_sent(mailer, len(positions))
        now = self._clock()
        self._log.write(progress, recipients, outcome, mailer=mailer, now=now, took=now - begun)
        if outcome.fate is not Fate.SENT and not (outcome.is_crowded or outcome.is_remembered):
            progress.failed(recipients, outcome, mailer=mailer, begun=begun, now=now)

    # --- the end of a message ---------------------------------------------------------------------

    def _finish(self, progress: MessageProgress) -> None:
        """Every recipient has an answer: report, then drop or keep. Raise Unrecorded."""
        now = self._clock()
        if progress.needs_report():
            self._reports.finish(progress, now)
        else:
            progress.close((), now=now, options=self._options)
        self.finished()

    @property
    def _reports(self) -> ReportSender:
        """Most messages need none: what makes reports is loaded for the first that does."""
        if self._report_sender is None:
            from minimta.runner.send_reports import ReportSender

            self._report_sender = ReportSender(self._here, self.spool, self.mailers)
        return self._report_sender

    def _take_reports(self) -> list[str]:
        """Ids of the reports that were queued since the last time."""
        if self._report_sender is None:
            return []
        made, self._report_sender.made = self._report_sender.made, []
        return made

    @contextmanager
    def _trouble_with(self, qid: str) -> Iterator[None]:
        """Whatever goes wrong with one message is logged and ends there; it stays queued."""
        try:
            yield
        except Unrecorded:
            pass  # logged, and the message is stopped
        except OSError as error:
            log.line(qid, f"SYSERR(root): {log.clean(str(error))}", level=1, error=True)
        except Exception:
            log.bug(qid, "attempt")


def _exit_code(outcomes: Iterable[Outcome]) -> int:
    failed = [outcome.exit_code for outcome in outcomes if outcome.fate is Fate.FAILED]
    is_one = bool(failed) and os.EX_USAGE <= failed[0] <= os.EX_CONFIG
    return failed[0] if is_one else os.EX_UNAVAILABLE if failed else os.EX_OK


def open_spool(options: Options) -> Queue:
    """The MTA queue, as a runner sees it. Raise OSError, also if RunAsUser cannot be looked up."""
    if not options.run_as_user:
        return open_queue(options)
    user = Users("").find(options.run_as_user.encode())
    return open_queue(options, listener_uid=user.uid if user else UNKNOWN_UID)
