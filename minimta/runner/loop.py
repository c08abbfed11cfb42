"""The loop of the resident runner: it watches the queue, and forks children for what is new.

It sleeps until mqueue (any of its directories, if there are several) or clientmqueue tells of a new name
(``watch``), a child of its own, a signal, or a time that has come; a directory that does not tell is looked
at ten times a second. It lists mqueue only when that has changed. It delivers nothing itself: it forks while
it has one thread and nothing open.

    new messages     a child delivers to mailboxes and files, one child at a time, so that what comes
                     meanwhile is taken together by the next; but nobody waits long for one that is
                     stuck (STUCK), in the home of a user on a dead server. Then, beside others, it goes on with
                     programs and other hosts, if it gets one of the MaxQueueChildren slots
                     (``system.slots``); if not it ends, and their turn comes when a slot is free.
                     What finds no place at its next hop is tried again when another child has ended,
                     what has its turn there later (DestinationRateDelay) is then
    clientmqueue     a child adopts; what it adopted shows in mqueue
    each interval    a child runs the whole queue
    busy next hops   a child that has kept connections (ConnectionCacheSize) takes the next messages,
                     if it is idle; another is forked for them if none is
    each minute      a child sees whether there is an outage to tell of, if somebody wants to hear (AlertCommand)

A child that dies has lost nothing: its locks go with it, the next full run finds its messages.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from minimta.runner.queue_child import GOES_ON, NO_SLOT, Child, Children, RunnerPipes, forked, held
from minimta.runner.queue_work import Work
from minimta.runner.turns import Turns
from minimta.runner.watch import Watch, Watches, no_more
from minimta.system import log, processes
from minimta.system.slots import Slots
from minimta.system.waiting import Wait
from minimta.system.wakeup import WakeUp

#: seconds between two looks where nobody tells that something has changed, and what a child may take to end
POLL, PATIENCE = 0.1, 10.0
#: seconds between two looks where somebody does: a directory may be another one by now
_LONGEST = 60.0
#: seconds between two looks for an outage, after one whose alert nothing remembers, and until the first:
#: what grew old while the host was off is delivered by then
_ALERT_PERIOD, _LONG_ALERT_PERIOD, _FIRST_ALERT = 60.0, 3600.0, 300.0
#: seconds until the same trouble is logged again
_SILENCE = 60.0
#: seconds between two tries of what found no place at its next hop
HELD_PAUSE = 5.0
#: seconds after which a child that is still at mailboxes and files is not waited for, and how many
#: such there may be
STUCK, MOST_STUCK = 5.0, 10
#: messages that one child takes; each is two open files
MOST_MESSAGES = 200


class Loop:
    """Watches, forks, reaps."""

    def __init__(
        self,
        work: Work,
        directories: tuple[str, str],
        names: Callable[[], list[str]],
        slots: Slots,
        *,
        interval: int | None,
        more: Callable[[], Iterable[str]] = no_more,
    ) -> None:
        """*directories* are mqueue and clientmqueue, *names* lists the first, and *more* directories
        whose paths may be others once the first has changed.

        *slots* are for children whose deliveries are slow; *interval* is seconds between full runs,
        None for none.
        """
        self._work = work
        self._queue, self._client = Watches(directories[0], more), Watch(directories[1])
        self._names = names
        self._slots = slots
        self._interval = interval
        self._next_run = 0.0
        #: not before (monotonic seconds) it is looked for an outage
        self._next_alert = 0.0
        self._known: set[str] = set()
        self._new: list[str] = []
        #: delivered locally, what is slow of them waits for a slot
        self._half: list[str] = []
        #: what found no place at its next hop, in order; is there one now, perhaps?
        self._held: dict[str, None] = {}
        self._has_place = False
        self._turns = Turns()
        #: not before (monotonic seconds) it is tried again
        self._next_held = 0.0
        self._children = Children()
        #: next hop -> when a message went there (monotonic seconds)
        self._lately: dict[str, float] = {}
        self._must_adopt = False
        #: until then (monotonic seconds) trouble is not told again
        self._silent_until = 0.0
        #: did the last look fail?
        self._in_trouble = False
        #: not before (monotonic seconds) mqueue is looked at again: many come at a time
        self._next_look = 0.0
        #: when (monotonic seconds) there is something to do if nothing happens before
        self._due = 0.0

    def stay(self, stop: Callable[[], bool], also: Callable[[], Wait]) -> None:
        """Until stop(), which is asked after each step; also() is what it waits for. Then end() is due.

        What is in the queue at the start is left to the first full run, which begins at once; if
        there are none, it is tried like new messages.
        """
        with WakeUp() as wake, self._queue.telling(), self._client.telling():
            self._queue.has_changed()
            try:
                self._known = set(self._names())
            except OSError:
                self._look_again()  # what is found then counts as new
            if self._interval is None:
                self._new = sorted(self._known)
            self._next_alert = time.monotonic() + _FIRST_ALERT
            while not stop():
                self._wait(wake, self._due - time.monotonic(), also())
                now = time.monotonic()
                self.step(now)
                # As of the step: what it has put off must not count as done when it ends later.
                self._due = time.monotonic() + self._rest(now)

    def renew(self, work: Work) -> None:
        """From now on children do *work*; those that are there do no other batch."""
        self._work = work
        self._due = 0.0
        for child in self._children.values():
            child.dismiss()

    def step(self, now: float) -> None:
        """One look at everything. *now* is monotonic seconds.

        Raises nothing: whatever fails here is logged and tried again, for nobody else would run the
        queue, and the listener ends with its runner.
        """
        try:
            self._step(now)
            self._in_trouble = False
        except Exception as error:
            self._in_trouble = True
            self._look_again()
            if now >= self._silent_until:
                self._silent_until = now + _SILENCE
                self._tell(error)

    def _look_again(self) -> None:
        """The last look failed, or was not finished: the next one is not to count on it."""
        self._queue.forget()
        self._client.forget()
        self._next_look = 0.0

    def _rest(self, now: float) -> float:
        """Seconds for which there is nothing to do after the step of *now*, as far as nothing happens.

        What has its time but must wait for a child is no reason to look: the end of the child is told.
        """
        if self._in_trouble or not (self._queue.tells and self._client.tells):
            return POLL
        due = [now + _LONGEST, self._turns.next]
        if self._interval is not None and not self._children.count("full"):
            due.append(self._next_run)
        if self._work.has_alerts() and not self._children.count("alert"):
            due.append(self._next_alert)
        if self._held and self._has_place:
            due.append(self._next_held)
        if self._is_at_mailboxes(now):
            due += (
                begun for one in self._children.at_mailboxes() if (begun := one.begun + STUCK) > now
            )
        elif self._new or self._half:  # for a slot, or a lower load
            due.append(now + POLL)
        elif self._next_look > now:
            due.append(self._next_look)
        return max(0.0, min(due) - now)

    @staticmethod
    def _tell(error: Exception) -> None:
        if isinstance(error, OSError):
            where = f"{error.filename}: " if error.filename else ""
            text = log.clean(f"{where}{error.strerror or error}")
            log.line("", f"SYSERR(root): {text}", level=1, error=True)
        else:
            log.bug("", "queue runner")

    def _step(self, now: float) -> None:
        self._reap()
        self._note_idle(now)
        self._look(now)
        if (
            self._interval is not None
            and now >= self._next_run
            and not self._children.count("full")
        ):
            self._fork("full", [])
            self._next_run = now + self._interval
        if self._must_adopt and not self._children.count("adopt"):
            self._fork("adopt", [])
            self._must_adopt = False
        self._look_for_outage(now)
        self._try_held(now)
        self._start_attempts(now)

    def _look_for_outage(self, now: float) -> None:
        """The ids that it needs are in our memory, and so in that of the child."""
        if (
            now >= self._next_alert
            and self._work.has_alerts()
            and not self._children.count("alert")
        ):
            self._next_alert = now + _ALERT_PERIOD
            self._fork("alert", [])

    def _try_held(self, now: float) -> None:
        """A delivery has ended: those that found no place are tried again, but not all the time."""
        self._half += self._turns.come(now)
        if self._held and self._has_place and now >= self._next_held:
            self._half += self._held
            self._held.clear()
            self._has_place = False
            self._next_held = now + HELD_PAUSE

    def _look(self, now: float) -> None:
        # A rewritten qf changes the directory, too, but not the set of names: it is not new.
        if self._client.has_changed():
            self._must_adopt = True
        # Of what nobody could begin with we need not know.
        if now >= self._next_look and not self._is_at_mailboxes(now) and self._queue.has_changed():
            names = set(self._names())
            new = sorted(names - self._known)
            self._new += new
            self._known = names
            if len(new) > 1:
                # Where several come at a time more are near, and one child has them all.
                self._next_look = now + POLL

    def _start_attempts(self, now: float) -> None:
        # One local phase at a time: two children would lock each other out of the same mailboxes, and
        # messages that come together are delivered together.
        if self._is_at_mailboxes(now) or not (self._new or self._half):
            return
        # Those that wait come first, or new ones could keep them waiting for ever.
        if self._half and self._slots.enter(waits=True):
            try:
                self._go_on_or_fork(self._half[:MOST_MESSAGES], now)
            finally:
                self._slots.leave()  # the child has it
            self._half = self._half[MOST_MESSAGES:]
        elif self._new and self._work.wants_new():
            self._go_on_or_fork(self._new[:MOST_MESSAGES], now)
            self._new = self._new[MOST_MESSAGES:]
        elif self._new and self._interval is not None:
            self._new.clear()  # the next full run has them

    def _go_on_or_fork(self, qids: list[str], now: float) -> None:
        """Give messages to who has a connection already, perhaps, or to a new child with our slot."""
        for child in reversed(self._children.idle()):
            self._slots.leave()  # it looks for one itself
            if child.give(qids, now):
                return
        self._fork("local", qids)

    def _note_idle(self, now: float) -> None:
        """Of some the batch is over."""
        for child in self._children.values():
            if child.kept and child.what != "idle":
                self._note(child)
                child.rest(now)

    def _is_at_mailboxes(self, now: float) -> bool:
        """Is a child there that will soon be done, or are too many stuck?"""
        there = self._children.at_mailboxes()
        stuck = [child for child in there if now - child.begun > STUCK]
        return len(stuck) < len(there) or len(stuck) >= MOST_STUCK

    # --- children ---------------------------------------------------------------------------------

    def _fork(self, what: str, qids: list[str]) -> None:
        """Start a child. Raise OSError; what it was to do is then taken off no list."""
        child = forked(what, qids, partial(self._be_child, what, qids))
        self._children[child.pid] = child

    def _be_child(
        self, what: str, qids: Sequence[str], unused: tuple[int, int], pipes: RunnerPipes
    ) -> int:
        """Do what is to do; *pipes* tell the runner how it goes. Returns the exit code."""
        for end in unused:
            os.close(end)
        ended = processes.signal_flag(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        self._work.begin()
        self._slots.forget_waiting()
        kept = self._work.kept(self._lately)
        found_no_place: dict[str, float] = {}
        if what == "full":
            found_no_place = self._work.full_run(ended)
        elif what == "adopt":
            self._work.take_in()
        elif what == "alert":
            return os.EX_OK if self._work.alert(self._known) else os.EX_TEMPFAIL
        while qids:
            found_no_place = self._work.attempt(qids, lambda: self._go_on(pipes), ended, kept)
            self._slots.leave()
            qids = pipes.next_batch(found_no_place, kept, ended)
            found_no_place = {}
        pipes.say(held(found_no_place))
        kept.close()
        return os.EX_OK

    def _go_on(self, pipes: RunnerPipes) -> bool:
        """In the child: all mailboxes are served. Is there a slot for the rest?"""
        has_slot = self._slots.enter()
        pipes.say(GOES_ON if has_slot else NO_SLOT)
        return has_slot

    def _wait(self, wake: WakeUp, seconds: float, *others: Wait) -> None:
        """Until a child has something to tell, or *others* have, at most *seconds*."""
        seconds = max(0.0, seconds)
        by_pipe = self._children.by_pipe()
        for pipe in wake.wait([Wait(by_pipe, seconds), *others], seconds):
            if pipe in by_pipe:
                by_pipe[pipe].listen()

    def _reap(self) -> None:
        for pid, child in list(self._children.items()):
            try:
                done, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                done, status = pid, 0
            if not done:
                continue
            self._ended(child)
            code = os.waitstatus_to_exitcode(status)
            if child.what == "alert" and code == os.EX_TEMPFAIL:
                # What nothing remembers would be told each minute.
                self._next_alert = time.monotonic() + _LONG_ALERT_PERIOD
            elif code:
                how = f"signal {-code}" if code < 0 else f"status {code}"
                log.line("", f"queue child {pid} ended with {how}", level=1, error=True)

    def _ended(self, child: Child) -> None:
        del self._children[child.pid]
        # What it said last may not have been heard yet: it has ended since the last look.
        child.listen()
        child.hang_up()
        child.dismiss()
        self._note(child)

    def _note(self, child: Child) -> None:
        """What is left of its batch, which is over."""
        self._lately.update(dict.fromkeys(child.hops, time.monotonic()))
        if not child.has_taken:
            self._new = child.qids + self._new
            return
        found_no_place = child.held
        if found_no_place:  # a kept connection may be what has it
            for one in self._children.idle():
                one.dismiss()
        if child.what == "half":
            self._half += child.qids
        else:
            for qid, turn in found_no_place.items():
                if turn:
                    self._turns.note(qid, turn)
                else:
                    self._held[qid] = None
        if child.what == "remote":
            # Not if it only found what it had found before: that would go on for ever.
            self._has_place = self._has_place or not set(child.qids) <= set(found_no_place)
        self._has_place = self._has_place or child.what in ("full", "idle")

    def end(self) -> None:
        """The children get PATIENCE seconds to come to a safe point."""
        for pid, child in self._children.items():
            child.dismiss()
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        with WakeUp() as wake:
            while self._children and (left := deadline - time.monotonic()) > 0:
                self._reap()
                if self._children:
                    self._wait(wake, left)
        # A child that waits for a slow host ends by itself when it has the answer: it must not be
        # killed between the answer and its record.
        for child in self._children.values():
            what = "an alert to send" if child.what == "alert" else "a delivery to end"
            log.line("", f"queue child {child.pid} still has {what}")
