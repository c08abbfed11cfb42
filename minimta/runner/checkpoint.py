"""One message during one attempt: what became of whom, and when it is written down.

    act (append, 250 read)   ->  settle()      in memory
    other recipients remain  ->  checkpoint()  qf rewritten without those who have it
    bounce durably queued    ->  close()       the failed are dropped, too
    nobody is left           ->  close()       qf and df removed: that is the record; the log has
                                               "done" with the number of those whom it tells of

Never before the act, or a crash in between would lose mail; and always before the next one, so that
a crash repeats one act at most and only its recipients get the message twice. The expansion of
aliases is written with the first checkpoint: until then nothing was done, and expanding again
repeats nothing.

What cannot be written down is Unrecorded: the message is stopped for this run and rests, else a
full disk would let everybody have it again and again. Where it is known before that there is no room
nobody gets it who is not the only one: for that a message only goes away, which needs none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

from minimta.config.options import Options
from minimta.message import dates, deliver_by
from minimta.message.envelope import Recipient
from minimta.message.outcome import Fate, Outcome
from minimta.queue.control import SETTLED
from minimta.queue.locked import LockedMessage
from minimta.queue.rest import rest_after
from minimta.routing.destination import Destination
from minimta.system import log, statistics

if TYPE_CHECKING:
    from minimta.queue.failed_attempts import FailedAttempt

#: seconds that a message rests whose fate could not be written down
BACK_OFF = 300
#: messages that are written back together at most, and how many are worth a syncfs(2)
_TOGETHER, _MANY = 100, 10
#: seconds after which the qf of a message says again when it was tried, although nobody was asked
_STILL_TRIED = 6 * 3600


class Unrecorded(Exception):
    """The queue file cannot be written. The message is stopped: what was done may be done again."""


class Deferrals:
    """Messages that nobody got, and that have to wait: they are written back together, soon.

    The content of each is on disk before its new qf has the name, as ever: by one syncfs(2) for all,
    or by an fsync of each when the disk has begun with all of them. Nothing was done for them: after a
    crash in between they are as they were.
    """

    def __init__(self, sync: Callable[[], bool]) -> None:
        """sync() makes all durable that was written; False if it cannot. Raises OSError."""
        self._sync = sync
        self._begun: list[MessageProgress] = []

    def add(self, progress: MessageProgress) -> None:
        """The rewrite of *progress* is begun."""
        self._begun.append(progress)
        if len(self._begun) >= _TOGETHER:
            self.flush()

    def flush(self) -> None:
        """All are written back, and let go; due before anything is waited for. Raises nothing."""
        begun, self._begun = self._begun, []
        is_synced, failed = False, None
        try:
            is_synced = len(begun) >= _MANY and self._sync()
        except OSError as error:
            failed = error  # of which of them, nobody knows
        for progress in () if is_synced or failed else begun:
            progress.message.write_back()
        for progress in begun:
            progress.end_deferral(is_synced=is_synced, failed=failed)


class MessageProgress:
    """A locked message, its destinations and their outcomes."""

    def __init__(
        self,
        message: LockedMessage,
        destinations: Sequence[Destination],
        now: float,
        deferrals: Deferrals | None = None,
    ) -> None:
        """*destinations* are what its recipients expand to, *now* epoch seconds: the attempt begins.

        It may be one of several *deferrals*.
        """
        self.message = message
        self._deferrals = deferrals
        self._begun = now
        self.qid = message.qid
        self.control = message.control
        #: bare, b"" for a bounce
        self.sender = message.control.sender
        self.destinations = list(destinations)
        #: by position in destinations
        self.outcomes: dict[int, Outcome] = {}
        #: jobs that are under way or wait for their turn
        self.open_jobs = 0
        #: nothing more may be done for it in this run
        self.stopped = False
        #: what mailq shows if it is left before its end, "": what it showed before
        self.why_left = ""
        #: the attempt is over: close() was called
        self.closed = False
        self._unrecorded = False
        #: does a recipient wait for another reason of its own than the qf has?
        self._has_new_status = False
        settled = message.control.macros.get(SETTLED, b"")
        self._settled_before = int(settled) if settled.isdigit() else 0
        #: what goes beside the message if it has to wait
        self._failures: list[FailedAttempt] = []

    def need_room(self) -> None:
        """Before the first of several acts: could be written down who has it? Raise Unrecorded if not.

        Else, as long as the disk is full, the first would get it anew in every run.

        A disk that only messages for several have filled (MinFreeBlocks=0) waits for room from elsewhere. To
        give it to all and then remove it needs none, but if one has to wait the others get it in every run; a
        qf that is changed in place is torn by a crash, needs room on Btrfs all the same, and has none for what
        an alias stands for; and room that is kept back in a file is taken by who fills the disk when it is let
        go. MinFreeBlocks is the room that is kept back: with its default the runner has what it needs.
        """
        # DIFFERS: Sendmail delivers, cannot write the qf anew, and delivers again in the next run.
        acts = len(self.destinations) + any("S" in one.recipient.flags for one in self.destinations)
        if acts > 1 and not self.message.has_room(len(self.destinations)):
            self._rest()
            text = "SYSERR(root): no room to record who gets it: nobody does before there is"
            log.line(self.qid, text, level=1, error=True)
            raise Unrecorded("no room")

    def settle(self, positions: Iterable[int], outcome: Outcome) -> None:
        """These recipients have their answer."""
        for position in positions:
            self.outcomes[position] = outcome
        self._unrecorded = self._unrecorded or outcome.fate is Fate.SENT

    def note_came(self) -> None:
        """For mailstats(8): count the message when it is tried for the first time."""
        if not self.control.attempts and not self._settled_before:
            mailer = "esmtp" if self.control.macros.get(b"r") else "local"
            statistics.count(mailer, "msgsfr")
            statistics.count(mailer, "bytes_from", statistics.kibibytes(self._octets()))

    def note_sent(self, mailer: str, recipients: int) -> None:
        """For mailstats(8): so many more have it."""
        statistics.count(mailer, "msgsto", recipients)
        octets = statistics.kibibytes(self._octets())
        statistics.count(mailer, "bytes_to", recipients * octets)

    def _octets(self) -> int:
        return self.message.size + sum(len(field) + 1 for _, field in self.control.headers)

    def recipients(self, positions: Iterable[int]) -> list[Recipient]:
        """The recipients at these positions among the destinations."""
        return [self.destinations[position].recipient for position in positions]

    def mailer(self, position: int) -> str:
        """Name of the mailer for that destination, as log and reports have it; "" if none had it."""
        route = self.destinations[position].route
        return "local" if route is None else "" if route.mailer == "error" else route.mailer

    def failed(
        self,
        recipients: Sequence[Recipient],
        outcome: Outcome,
        *,
        mailer: str,
        begun: float,
        now: float,
    ) -> None:
        """Remember for people how it failed for *recipients*, from *begun* to *now* (epoch seconds)."""
        from minimta.queue import failed_attempts  # most messages are sent

        self._failures.append(
            failed_attempts.FailedAttempt(
                self.control.attempts,
                int(begun),
                max(0, int(now - begun)),
                failed_attempts.named([recipient.address for recipient in recipients]),
                mailer,
                outcome.relay,
                outcome.status,
                outcome.stat,
                outcome.diagnostic,
                outcome.dialogue or outcome.transcript,
            )
        )

    def note_failures(self) -> None:
        """Keep beside the message what failed() remembered; whether that works changes nothing."""
        if self._failures:
            self.message.note_failures(self._failures)
            self._failures = []

    def needs_report(self) -> bool:
        """Is anybody to be told of anything? Not if all have it, and no sender asked to hear that."""
        wish = deliver_by.of_lines(self.control.carried)
        return (wish is not None and wish.traces) or any(
            outcome.fate is not Fate.SENT or "S" in self.destinations[position].recipient.flags
            for position, outcome in self.outcomes.items()
        )

    def checkpoint(self) -> None:
        """Write down who has it, if anybody got it since the last time. Raise Unrecorded."""
        if self._unrecorded:
            self._keep(self._not_sent(), self._begun)

    def close(
        self, dropped: Iterable[Recipient], *, now: float, options: Options, message: str = ""
    ) -> None:
        """End the attempt: drop those who have it and *dropped*; the rest waits, or it is over.

        *message* is what mailq shows, if not the reason of the last delay. Raise Unrecorded.
        """
        gone = {id(recipient) for recipient in dropped}
        left = [recipient for recipient in self._not_sent() if id(recipient) not in gone]
        self.closed = True
        try:
            if left:
                self._defer(left, now, options, message, lasting=bool(gone) or bool(message))
            else:
                self._remove(now)
        except Unrecorded:
            self.message.release()
            raise

    def _defer(
        self, left: list[Recipient], now: float, options: Options, message: str, *, lasting: bool
    ) -> None:
        control = self.control
        # DIFFERS: Sendmail counts it as an attempt, and writes all of them anew in each run.
        # Of what has to rest the qf says since when: mailq and Sendmail know from that until when.
        rests = rest_after(options, control.created, now) > 0
        if not (lasting or rests) and self._is_no_news(left, now):
            self._put_off(now)
            return
        control.last_attempt = int(now)
        control.attempts += 1
        if not all(outcome.is_crowded for outcome in self.outcomes.values()):
            control.priority += options.retry_factor  # what was not begun is not to wait for it
        control.message = message or self._reason()
        # If nobody got it and nobody was dropped, the qf before says the same of everybody: the
        # power may fail before the new name is on disk. It saves an fsync for each host that is down.
        due = now + rest_after(options, control.created, control.last_attempt)
        if lasting or self._unrecorded or self._deferrals is None:
            self._keep(left, due, lasting=lasting or self._unrecorded)
            self._let_go()
        else:
            self._note_left(left)
            self._begin_deferral(due, self._deferrals)

    def _is_no_news(self, left: list[Recipient], now: float) -> bool:
        """Does the qf say already why they wait, and was nobody asked for them now?

        Now and then it is written all the same that we still try: see ``Notifier.is_expired``.
        """
        control = self.control
        return (
            control.attempts > 0
            and 0 <= now - control.last_attempt < _STILL_TRIED
            and all(outcome.is_remembered for outcome in self.outcomes.values())
            and control.message == self._reason()
            and not self._has_new_status
            and left == control.recipients
        )

    def _put_off(self, due: float) -> None:
        """Of thousands of messages for a host that is down, only the time is new. Raise Unrecorded."""
        try:
            self.message.postpone(due)
        except OSError as error:
            self._stop(error)
        self._let_go()

    def _let_go(self) -> None:
        self.note_failures()
        self.message.release()

    def _begin_deferral(self, due: float, deferrals: Deferrals) -> None:
        try:
            try:
                self.message.begin_rewrite(due)
            except OSError:
                # Those that are begun may have the descriptors, or the room, that it wants.
                deferrals.flush()
                self.message.begin_rewrite(due)
        except (OSError, ValueError) as error:
            self._stop(error)
        deferrals.add(self)

    def end_deferral(self, *, is_synced: bool, failed: OSError | None) -> None:
        """The second half of a close() that ``Deferrals`` have put off. Raises nothing.

        It *is_synced* already, or that has *failed*.
        """
        try:
            if failed is not None:
                raise failed
            self.message.end_rewrite(is_synced=is_synced)
            self._let_go()
        except OSError as error:
            with contextlib.suppress(Unrecorded):
                self._stop(error)
            self.message.release()

    def leave(self) -> None:
        """Let go of a message that was not closed; what was done, and why_left, is written down."""
        if not self.stopped:
            with contextlib.suppress(Unrecorded):
                is_news = bool(self.why_left) and self.why_left != self.control.message
                self.control.message = self.why_left or self.control.message
                if self._unrecorded:
                    self.checkpoint()
                elif is_news:
                    self._rewrite(self._begun, lasting=False)
                self.note_failures()
        self.message.release()

    def _not_sent(self) -> list[Recipient]:
        """Those who still wait, with the reason that a peer gave."""
        waiting = []
        for number, destination in enumerate(self.destinations):
            outcome = self.outcomes.get(number)
            if outcome is None or outcome.fate is not Fate.SENT:
                if outcome is not None:
                    self._note_status(destination.recipient, outcome)
                waiting.append(destination.recipient)
        return waiting

    def _note_status(self, recipient: Recipient, outcome: Outcome) -> None:
        status = outcome.stat if outcome.diagnostic else ""
        self._has_new_status = self._has_new_status or status != recipient.message
        recipient.message = status

    def _reason(self) -> str:
        delays = [o for o in self.outcomes.values() if o.fate is Fate.DEFERRED]
        return delays[-1].stat if delays else self.control.message

    def _keep(self, recipients: list[Recipient], due: float, *, lasting: bool = True) -> None:
        self._note_left(recipients)
        self._rewrite(due, lasting=lasting)

    def _note_left(self, recipients: list[Recipient]) -> None:
        if settled := self._settled_before + len(self.destinations) - len(recipients):
            self.control.macros[SETTLED] = b"%d" % settled
        self.control.recipients = recipients

    def _rewrite(self, due: float, *, lasting: bool) -> None:
        try:
            self.message.rewrite(due, lasting=lasting)
        except (OSError, ValueError) as error:
            self._stop(error)
        self._unrecorded = False

    def _remove(self, now: float) -> None:
        # Before it is gone: what is still there after this line waits, whatever the log says of it.
        count = self._settled_before + len(self.destinations)
        delay = dates.duration(now - self.control.created)
        log.line(
            self.qid, f"done; delay={delay}, ntries={self.control.attempts + 1}, rcpts={count}"
        )
        try:
            self.message.retire()
        except OSError as error:
            self._stop(error)

    def _stop(self, error: Exception) -> NoReturn:
        reason = log.clean(str(error))
        text = f"SYSERR(root): cannot record what was delivered: {reason}; it may come twice"
        log.line(self.qid, text, level=1, error=True)
        self._rest()
        raise Unrecorded(reason) from error

    def _rest(self) -> None:
        """No more of it in this run. utime(2) needs no space: on a full disk it rests all the same."""
        self.stopped = True
        with contextlib.suppress(OSError):
            self.message.postpone(self._begun + BACK_OFF)
