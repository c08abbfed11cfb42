"""The resident runner (sendmail -q15m): watches the queue and starts a child for what is new.

Ten times a second it looks at the mtimes of mqueue and clientmqueue, and lists mqueue only when
that has changed. It delivers nothing itself: it forks while it has one thread and nothing open.

    new messages     a child delivers to mailboxes and files, one child at a time, so that what comes
                     meanwhile is taken together by the next; but nobody waits long for one that is
                     stuck (STUCK), in the home of a user on a dead server. Then, beside others, it goes on with
                     programs and other hosts, if it gets one of the MaxQueueChildren slots
                     (``system.slots``); if not it ends, and their turn comes when a slot is free.
                     What finds no place at its next hop is tried again when another child has ended,
                     what has its turn there later (DestinationRateDelay) is then
    clientmqueue     a child adopts; what it adopted shows in mqueue
    each interval    a child runs the whole queue

A child that dies has lost nothing: its locks go with it, the next full run finds its messages.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import time
from collections.abc import Callable

from minimta.config.options import Options
from minimta.mailers.by_name import Mailers
from minimta.queue.spool import Spool
from minimta.runner.make_jobs import MAILERS
from minimta.runner.queue_child import GOES_ON, NO_SLOT, Child, held
from minimta.runner.queue_work import QueueWork, Work
from minimta.runner.redirect import announce
from minimta.runner.turns import Turns
from minimta.runner.watch import Watch
from minimta.system import locks, log, processes, tls
from minimta.system.slots import Slots, of_queue
from minimta.system.terminal import complain
from minimta.system.users import Users

#: seconds between two looks, and what a child may take to end
POLL, PATIENCE = 0.1, 10.0
#: seconds for a runner that was told to end to leave its place
RESTART = 3.0
#: seconds until the same trouble is logged again
_SILENCE = 60.0
#: seconds between two tries of what found no place at its next hop
HELD_PAUSE = 5.0
#: seconds after which a child that is still at mailboxes and files is not waited for, and how many
#: such there may be
STUCK, MOST_STUCK = 5.0, 10
#: messages that one child takes; each is two open files
MOST_MESSAGES = 200


def _nothing() -> None:
    """Is told, and does nothing."""


def _no_news() -> None:
    """The options stay as they are."""


def stay(
    options: Options,
    interval: int | None,
    stop: Callable[[], bool],
    *,
    begins: Callable[[], None] = _nothing,
    waits: Callable[[], None] | None = None,
    ends: Callable[[], None] = _nothing,
    renewed: Callable[[], Options | None] = _no_news,
) -> int:
    """Be the resident runner until stop(): new messages at once, a full run each *interval* seconds.

    begins() is called when the queue is ours. Another runner may just be ending, which takes a
    moment; if it stays the exit code is 75. With waits(), which is called then, its end is waited for.
    ends() is called just before the queue is free again for others: what names us, who run it, must
    not go when it names the next one; our children may still work then. renewed() gives new options,
    once they are there; attempts that have begun go on with the old ones.
    """
    try:
        lock = _place(options, stop, waits)
    except OSError as error:
        path = locks.beside(options.queue_directory)
        complain(f"sendmail: cannot lock {path}: {error.strerror or error}")
        return os.EX_OSERR  # not 78, after which a unit would not start again
    if lock is None:
        return os.EX_OK if stop() else os.EX_TEMPFAIL
    with lock:
        begins()
        announce(options)
        slots = of_queue(options)
        _load_for_children(options, slots)
        loop = Loop(
            QueueWork(options, slots),
            (options.queue_directory, options.client_queue_directory),
            Spool(options.queue_directory).names,
            slots,
            interval=interval,
        )
        # A runner that only waits for its children is in nobody's way: a restart need not wait.

        def look() -> bool:
            if (news := renewed()) is not None:
                announce(news)
                slots.resize(news.max_queue_children)
                loop.renew(QueueWork(news, slots))
            return stop()

        loop.stay(look)
        ends()
        lock.release()
        loop.end()
    return os.EX_OK


def _place(
    options: Options, stop: Callable[[], bool], waits: Callable[[], None] | None
) -> locks.Lock | None:
    """The place of the one resident runner; None if it is not to be had. Raise OSError."""
    path = locks.beside(options.queue_directory)
    lock = locks.wait_for(path, stop, RESTART)
    if lock is not None or stop():
        return lock
    text = f"another queue runner is resident for {options.queue_directory}"
    if waits is None:
        log.line("", text, level=1, error=True)
        complain(f"sendmail: {text}")
        return None
    log.line("", f"{text}; its end is waited for", level=1)
    waits()
    return locks.wait_for(path, stop, math.inf)


def _load_for_children(options: Options, slots: Slots) -> None:
    """Import once, here, what each child would else import for itself: a fork shares it."""
    import hashlib  # noqa: F401, for Slots.place_at

    import minimta.maps.cdb
    import minimta.maps.text_table
    import minimta.runner.send_reports  # noqa: F401

    tls.load()
    mailers = Mailers(options, Users(options.passwd_file), slots)
    for name in MAILERS:
        mailers[name]  # made, and so imported


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
    ) -> None:
        """*directories* are mqueue and clientmqueue, *names* lists the first.

        *slots* are for children whose deliveries are slow; *interval* is seconds between full runs,
        None for none.
        """
        self._work = work
        self._queue, self._client = (Watch(path) for path in directories)
        self._names = names
        self._slots = slots
        self._interval = interval
        self._next_run = 0.0
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
        self._children: dict[int, Child] = {}
        self._must_adopt = False
        #: until then (monotonic seconds) trouble is not told again
        self._silent_until = 0.0

    def stay(self, stop: Callable[[], bool]) -> None:
        """Until stop(). Then end() is due.

        What is in the queue at the start is left to the first full run, which begins at once; if
        there are none, it is tried like new messages.
        """
        self._queue.has_changed()
        try:
            self._known = set(self._names())
        except OSError:
            self._look_again()  # what is found then counts as new
        if self._interval is None:
            self._new = sorted(self._known)
        while not stop():
            self.step(time.monotonic())
            self._wait(POLL)

    def renew(self, work: Work) -> None:
        """From now on children do *work*."""
        self._work = work

    def step(self, now: float) -> None:
        """One look at everything. *now* is monotonic seconds.

        Raises nothing: whatever fails here is logged and tried again, for nobody else would run the
        queue, and the listener ends with its runner.
        """
        try:
            self._step(now)
        except Exception as error:
            self._look_again()
            if now >= self._silent_until:
                self._silent_until = now + _SILENCE
                self._tell(error)

    def _look_again(self) -> None:
        """The last look failed, or was not finished: the next one is not to count on it."""
        self._queue.forget()
        self._client.forget()

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
        self._look()
        if self._interval is not None and now >= self._next_run and not self._count("full"):
            self._fork("full", [])
            self._next_run = now + self._interval
        if self._must_adopt and not self._count("adopt"):
            self._fork("adopt", [])
            self._must_adopt = False
        self._try_held(now)
        self._start_attempts(now)

    def _try_held(self, now: float) -> None:
        """A delivery has ended: those that found no place are tried again, but not all the time."""
        self._half += self._turns.come(now)
        if self._held and self._has_place and now >= self._next_held:
            self._half += self._held
            self._held.clear()
            self._has_place = False
            self._next_held = now + HELD_PAUSE

    def _look(self) -> None:
        # A rewritten qf changes the directory, too, but not the set of names: it is not new.
        if self._client.has_changed():
            self._must_adopt = True
        if self._queue.has_changed():
            names = set(self._names())
            self._new += sorted(names - self._known)
            self._known = names

    def _start_attempts(self, now: float) -> None:
        # One local phase at a time: two children would lock each other out of the same mailboxes, and
        # messages that come together are delivered together.
        if self._is_at_mailboxes(now) or not (self._new or self._half):
            return
        # Those that wait come first, or new ones could keep them waiting for ever.
        if self._half and self._slots.enter(waits=True):
            try:
                self._fork("local", self._half[:MOST_MESSAGES])
            finally:
                self._slots.leave()  # the child has it
            self._half = self._half[MOST_MESSAGES:]
        elif self._new and self._work.wants_new():
            self._fork("local", self._new[:MOST_MESSAGES])
            self._new = self._new[MOST_MESSAGES:]
        elif self._new and self._interval is not None:
            self._new.clear()  # the next full run has them

    def _is_at_mailboxes(self, now: float) -> bool:
        """Is a child there that will soon be done, or are too many stuck?"""
        there = [child for child in self._children.values() if child.what in ("local", "half")]
        stuck = [child for child in there if now - child.begun > STUCK]
        return len(stuck) < len(there) or len(stuck) >= MOST_STUCK

    def _count(self, *what: str) -> int:
        return sum(child.what in what for child in self._children.values())

    # --- children ---------------------------------------------------------------------------------

    def _fork(self, what: str, qids: list[str]) -> None:
        """Start a child. Raise OSError; what it was to do is then taken off no list."""
        # Not blocking: a grandchild that outlives its parent may still have the other end.
        ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            pid = processes.fork("queue child", lambda: self._be_child(what, qids, ours, theirs))
        except OSError as error:
            os.close(ours)
            os.close(theirs)
            raise OSError(error.errno, f"cannot fork: {error.strerror}") from error
        os.close(theirs)
        self._children[pid] = Child(pid, ours, what, qids, time.monotonic())

    def _be_child(self, what: str, qids: list[str], unused: int, pipe: int) -> int:
        """Do what is to do; *pipe* is told when only slow deliveries are left. The exit code."""
        os.close(unused)
        ended = processes.signal_flag(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        self._work.begin()
        self._slots.forget_waiting()
        found_no_place: dict[str, float] = {}
        if what == "full":
            found_no_place = self._work.full_run(ended)
        elif what == "adopt":
            self._work.take_in()
        else:
            found_no_place = self._work.attempt(qids, lambda: self._go_on(pipe), ended)
        self._say(pipe, held(found_no_place))
        return os.EX_OK

    @staticmethod
    def _say(pipe: int, octets: bytes) -> None:
        with contextlib.suppress(
            OSError
        ):  # nobody is there any more, or it is too much to be heard
            os.write(pipe, octets)

    def _go_on(self, pipe: int) -> bool:
        """In the child: all mailboxes are served. Is there a slot for the rest?"""
        has_slot = self._slots.enter()
        self._say(pipe, GOES_ON if has_slot else NO_SLOT)
        return has_slot

    def _wait(self, seconds: float) -> None:
        """Until a child has something to tell, at most *seconds*."""
        by_pipe = {child.pipe: child for child in self._children.values() if child.pipe >= 0}
        poll = select.poll()
        for pipe in by_pipe:
            poll.register(pipe, select.POLLIN)
        for pipe, _ in poll.poll(seconds * 1000):
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
            if code:
                how = f"signal {-code}" if code < 0 else f"status {code}"
                log.line("", f"queue child {pid} ended with {how}", level=1, error=True)

    def _ended(self, child: Child) -> None:
        del self._children[child.pid]
        # What it said last may not have been heard yet: it has ended since the last look.
        child.listen()
        child.hang_up()
        found_no_place = child.held
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
        self._has_place = self._has_place or child.what == "full"

    def end(self) -> None:
        """The children get PATIENCE seconds to come to a safe point."""
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while self._children and time.monotonic() < deadline:
            self._wait(POLL)
            self._reap()
        # A child that waits for a slow host ends by itself when it has the answer: it must not be
        # killed between the answer and its record.
        for child in self._children.values():
            log.line("", f"queue child {child.pid} still has a delivery to end")
