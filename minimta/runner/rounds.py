"""In which order the tasks of an attempt go to the mailers, and which of them must wait.

    quick           mailboxes and files, one task of each message at a time
    slow            programs and other hosts beside each other, of each message the programs first:
                    in a slot (``system.slots``), and each user's programs in a place of their own
    busy            what another program had locked is tried again, after all others, for a while;
                    only one attempt waits for the same mailbox
    not reached     a host that was not reached is not asked again
    too long        whose programs have taken Timeout.program together gets no more of this attempt

What finds no place is not begun: another attempt has it when one is free.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace

from minimta.mailers.by_name import Mailers
from minimta.mailers.job import Job, Settled, SteppedMailer
from minimta.message.outcome import Fate, Outcome, crowded, deferred
from minimta.message.printable import printable
from minimta.runner.lanes import Lanes, Steps
from minimta.runner.make_jobs import Task
from minimta.system import log
from minimta.system.waiting import Wait, alone

#: seconds for which locked mailboxes are tried, all together, and between two rounds
_BUSY_TIME, _BUSY_PAUSE = 30.0, 0.25
#: mailers that take one task of a message at a time, in this order
_IN_TURNS = ("local", "*file*", "prog")
_NO_SLOT = "Deferred: waits for one of MaxQueueChildren deliveries to end"

#: a task is over: what became of its users by name, and when it was begun (epoch seconds)
Record = Callable[[Task, Mapping[bytes, Outcome], float], None]


class Rounds:
    """Brings tasks to mailers; remembers which hosts are down, so a new one is a new run."""

    def __init__(
        self,
        mailers: Mailers,
        record: Record,
        *,
        connecting: Callable[[Task], None],
        before_waits: Callable[[], None],
        stop: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        """*record* is called once for each task that was not stopped, *connecting* before it begins,
        *before_waits* before anything may take long.

        *stop* is asked between acts; *clock* gives epoch seconds.
        """
        self._mailers = mailers
        self._record = record
        self._connecting = connecting
        self._before_waits = before_waits
        self._stop = stop
        self._clock = clock
        #: host -> why it was not reached; nobody waits for it again in this run
        self._unreachable: dict[str, Outcome] = {}
        #: what another program had locked, and whether its next answer counts
        self._busy: list[Task] = []
        #: seconds that a user's programs have taken in this run
        self._taken: dict[str, float] = {}
        self._is_last = False

    def deliver(self, made: list[list[Task]], go_on: Callable[[], bool]) -> None:
        """All tasks of all messages, the quick ones first: no mailbox waits for a program or host.

        *go_on* is asked before the slow ones; see ``Deliverer.attempt``.
        """
        slow = [name for name in _IN_TURNS if name in self._mailers.slow]
        self._in_turns([name for name in _IN_TURNS if name not in slow], made)
        left = [
            [task for task in of_one if task.mailer in slow]
            + [task for task in of_one if task.mailer == "esmtp"]
            for of_one in made
        ]
        if not (any(left) or self._busy) or self._stop():
            self._busy.clear()
            return
        if not go_on():
            for task in [*(task for of_one in left for task in of_one), *self._busy]:
                task.progress.why_left = _NO_SLOT
            self._busy.clear()
            return
        if any(left):
            self._beside_each_other(left)
        self._come_back()

    def _come_back(self) -> None:
        """Try what others had locked, each a little, until all are done or the time is over.

        Not one after the other: whoever locks ten mailboxes would hold us ten times as long. In a
        resident runner another child has new mail by now.
        """
        until = time.monotonic() + _BUSY_TIME
        with ExitStack() as places:
            self._busy = list(self._waited_for(places))
            while self._busy and not self._stop():
                busy, self._busy = self._busy, []
                self._is_last = time.monotonic() >= until
                for name in _IN_TURNS:
                    self._run(name, [task for task in busy if task.mailer == name])
                if self._busy:
                    time.sleep(_BUSY_PAUSE)
        self._busy.clear()
        self._is_last = False

    def _waited_for(self, places: ExitStack) -> Iterator[Task]:
        """Those busy tasks that no other attempt waits for, too; *places* are held meanwhile."""
        mine: dict[str, bool] = {}
        for task in self._busy:
            where = _mailbox(task)
            if where not in mine:
                place = self._mailers.slots.place_at(f"lock {where}", 1)
                mine[where] = place is not None
                if place is not None:
                    places.enter_context(place)
            if mine[where]:
                yield task
            else:
                self._put_off([task], crowded(f"{where}, which is locked", 1))

    def _in_turns(self, names: Collection[str], made: list[list[Task]]) -> None:
        """One task of each message at a time: the second is not begun before the first is recorded.

        Else a crash could repeat more than one act of a message. The mailboxes of different messages
        are filled together.
        """
        queues = [[task for task in of_one if task.mailer in names] for of_one in made]
        while (queues := [waiting for waiting in queues if waiting]) and not self._stop():
            turn = [waiting.pop(0) for waiting in queues]
            for name in names:
                self._run(name, [task for task in turn if task.mailer == name])

    def _beside_each_other(self, left: list[list[Task]]) -> None:
        """All that may take long; *left* is in order for each message, and is emptied.

        A program that hangs delays what is behind it in its message and what else its user has; a
        host that hangs delays the mail for it. As in _in_turns() a message has one task under way,
        but its other hosts are asked together.
        """
        lanes = Lanes(self._mailers.slots)
        with closing(lanes):
            while True:
                if not (lanes.is_told() or self._stop()):
                    self._begin(left, lanes)
                if not lanes.turn():
                    return

    def _begin(self, left: list[list[Task]], lanes: Lanes) -> None:
        """Start what need not wait for something that is under way."""
        shared: dict[str, list[Task]] = {}
        for of_one in left:
            if not of_one or lanes.has_message(of_one[0].progress):
                continue
            name = of_one[0].mailer
            if name in self._mailers.by_users:
                self._begin_program(of_one, lanes)
            elif name == "esmtp":  # also beside itself: the first hosts may be mute
                shared.setdefault(name, []).extend(of_one)
                of_one.clear()
            elif not lanes.has(name):
                shared.setdefault(name, []).append(of_one.pop(0))
        for name, some in shared.items():
            given = self._reachable(some) if name == "esmtp" else some
            lanes.begin(name, self._steps(name, given), {task.progress for task in some})

    def _begin_program(self, of_one: list[Task], lanes: Lanes) -> None:
        """Programs that never end shall cost their user, not everybody, the time of the others."""
        task = of_one[0]
        name = f"{task.mailer} {_whose(task)}"
        if not lanes.has(name) and lanes.begin_program(
            name, self._program_steps(task), task.progress
        ):
            del of_one[0]

    def _program_steps(self, task: Task) -> Steps:
        """Twenty programs that hang, of one .forward, are not to take twenty times the time limit.

        The same one is not tried twice in a run: see ``programs.process``.
        """
        user, slots = _whose(task), self._mailers.slots
        if self._taken.get(user, 0.0) >= self._mailers.options.timeout_program:
            self._put_off([task], crowded(f"programs of {user}, which take long", 1))
            return
        place = slots.place_at(f"{task.mailer} {user}")
        if place is None:
            self._put_off([task], crowded(f"programs of {user}", slots.most))
            return
        with place:
            begun = time.monotonic()
            yield from self._steps(task.mailer, [task])
            self._taken[user] = self._taken.get(user, 0.0) + time.monotonic() - begun

    def _run(self, name: str, given: Iterable[Task]) -> None:
        """Let the mailer *name* do its tasks, and wait for it."""
        for _ in alone(self._steps(name, given)):
            pass

    def _steps(self, name: str, given: Iterable[Task]) -> Steps:
        """Let the mailer *name* do its tasks, and record each as it is done."""
        try:
            yield from self._asked_and_recorded(name, given)
        finally:
            self._before_waits()

    def _asked_and_recorded(self, name: str, given: Iterable[Task]) -> Steps:
        # What cannot be recorded must not be done again and again: see checkpoint.
        waiting = [task for task in given if not task.progress.stopped]
        if not waiting:
            return
        begun = self._clock()
        undone: dict[Job, Task] = {task.job: task for task in waiting}
        if name != "esmtp":  # which says itself whom it connects to
            for task in waiting:
                self._connecting(task)
        try:
            for made in self._asked_of(name, [task.job for task in waiting]):
                if isinstance(made, Wait):
                    self._before_waits()
                    yield made
                else:
                    job, outcomes = made
                    self._done(undone.pop(job), outcomes, begun)
        except Exception:
            log.bug("", f"mailer {name}")
            if len(undone) > 1:
                # One of them is poison; alone, each harms nobody but itself.
                for task in undone.values():
                    yield from self._asked_and_recorded(name, [task])
                return
        self._put_off(undone.values(), deferred("4.3.0", f"mailer {name} failed"), begun)

    def _asked_of(self, name: str, jobs: list[Job]) -> Iterator[Settled | Wait]:
        mailer = self._mailers[name]
        return mailer.steps(jobs) if isinstance(mailer, SteppedMailer) else mailer.deliver(jobs)

    def _put_off(self, tasks: Iterable[Task], outcome: Outcome, begun: float | None = None) -> None:
        """All their users share *outcome*."""
        for task in tasks:
            outcomes = {user.name: outcome for user in task.job.users}
            self._record(task, outcomes, self._clock() if begun is None else begun)

    def _done(self, task: Task, outcomes: Mapping[bytes, Outcome], begun: float) -> None:
        if not self._is_last and any(outcome.is_busy for outcome in outcomes.values()):
            self._busy.append(task)
            return
        for outcome in outcomes.values():
            # Not if the host itself said so of a recipient: a smart host that cannot reach another.
            unreached = outcome.status == "4.4.1" and not outcome.diagnostic
            if outcome.fate is Fate.DEFERRED and unreached:
                known = replace(outcome, is_remembered=True, dialogue=())
                self._unreachable[task.job.host] = known
        self._record(task, outcomes, begun)

    def _reachable(self, waiting: list[Task]) -> Iterator[Task]:
        """The tasks whose host answered, or was not asked yet, in this run."""
        for task in waiting:
            outcome = self._unreachable.get(task.job.host)
            if outcome is None:
                yield task
            else:
                self._put_off([task], outcome)


def _mailbox(task: Task) -> str:
    """What the task appends to, for people and for ``Slots.place_at``."""
    name = printable(task.job.users[0].name).decode("ascii")
    return f"mailbox {name}" if task.mailer == "local" else f"file {name}"


def _whose(task: Task) -> str:
    """The user as whom programs run, for people and for ``Slots.place_at``."""
    user = task.job.controlling
    if task.mailer == "local":
        return printable(task.job.users[0].name).decode("ascii")
    return user.name if user else "nobody"
