"""The resident runner's loop: watches the queue directories and starts a child for what is new.

Ten times a second it looks at the mtimes of mqueue and clientmqueue, and lists mqueue only when
that has changed. It delivers nothing itself: it forks while it has one thread and nothing open.

    new messages     one child at a time in its local phase, so that what comes meanwhile is taken
                     together by the next; up to MaxQueueChildren in their remote phase. When all
                     of those wait for slow hosts, a child does the local part of new messages
    clientmqueue     a child adopts; what it adopted shows in mqueue
    each interval    a child runs the whole queue

A child that dies has lost nothing: its locks go with it, the next full run finds its messages.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Protocol

from minimta.system import log, processes

#: seconds between two looks, and what a child may take to end
POLL, PATIENCE = 0.1, 10.0
#: messages that one child takes; each is two open files
MOST_MESSAGES = 200


class Work(Protocol):
    """What is done in children."""

    def wants_new(self) -> bool: ...

    def begin(self) -> None: ...

    def attempt(
        self, qids: list[str], between: Callable[[], None], stop: Callable[[], bool], remote: bool
    ) -> None: ...

    def take_in(self) -> None: ...

    def full_run(self, stop: Callable[[], bool]) -> None: ...


class Child:
    """A forked process and the pipe that tells of its progress."""

    def __init__(self, pid: int, pipe: int, what: str, qids: list[str]) -> None:
        self.pid = pid
        self.pipe = pipe
        #: "local" until it has delivered locally, then "remote"; "half", "adopt", "full"
        self.what = what
        self.qids = qids


class Watch:
    """Has a directory changed since the last look?

    A change within the same tick of the clock leaves the mtime as it was when we looked; so after
    a change we look once more.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen = -1
        self._again = False

    def has_changed(self) -> bool:
        try:
            mtime = os.stat(self._path).st_mtime_ns
        except OSError:
            return False
        changed = mtime != self._seen
        look = changed or self._again
        self._seen, self._again = mtime, changed
        return look


class Loop:
    """Watches, forks, reaps."""

    def __init__(
        self,
        work: Work,
        directories: tuple[str, str],
        names: Callable[[], list[str]],
        *,
        most_children: int,
        interval: int | None,
    ) -> None:
        """*directories* are mqueue and clientmqueue, *names* lists the first."""
        self._work = work
        self._queue, self._client = (Watch(path) for path in directories)
        self._names = names
        self._most = max(1, most_children)
        self._interval = interval
        self._next_run = 0.0
        self._known: set[str] = set()
        self._new: list[str] = []
        #: delivered locally, their remote part waits for a child
        self._half: list[str] = []
        self._children: dict[int, Child] = {}
        self._must_adopt = False

    def stay(self, stop: Callable[[], bool]) -> None:
        """Until stop(); then the children get PATIENCE seconds to come to a safe point."""
        self._known = set(self._names())
        self._queue.has_changed()
        if self._interval is None:
            self._new = sorted(self._known)
        while not stop():
            self.step(time.monotonic())
            self._wait(POLL)
        self._end()

    def step(self, now: float) -> None:
        """One look at everything. *now* is monotonic seconds."""
        self._reap()
        self._look()
        if self._interval is not None and now >= self._next_run and not self._count("full"):
            self._next_run = now + self._interval
            self._fork("full", [])
        if self._must_adopt and not self._count("adopt"):
            self._must_adopt = False
            self._fork("adopt", [])
        self._start_attempts()

    def _look(self) -> None:
        if self._client.has_changed():
            self._must_adopt = True
        if self._queue.has_changed():
            names = set(self._names())
            self._new += sorted(names - self._known)
            self._known = names

    def _start_attempts(self) -> None:
        if self._count("local", "half") or not (self._new or self._half):
            return
        has_room = self._count("remote") < self._most
        if has_room and self._half:
            qids, self._half = self._half[:MOST_MESSAGES], self._half[MOST_MESSAGES:]
            self._fork("local", qids)
        elif self._new and self._work.wants_new():
            qids, self._new = self._new[:MOST_MESSAGES], self._new[MOST_MESSAGES:]
            self._fork("local" if has_room else "half", qids)
        elif self._new and self._interval is not None:
            self._new.clear()  # the next full run has them

    def _count(self, *what: str) -> int:
        return sum(child.what in what for child in self._children.values())

    # --- children ---------------------------------------------------------------------------------

    def _fork(self, what: str, qids: list[str]) -> None:
        ours, theirs = os.pipe()
        try:
            pid = processes.fork("queue child", lambda: self._be_child(what, qids, ours, theirs))
        except OSError as error:
            os.close(ours)
            os.close(theirs)
            log.line("", f"SYSERR(root): cannot fork: {error.strerror}", level=1, error=True)
            self._new = qids + self._new
            return
        os.close(theirs)
        self._children[pid] = Child(pid, ours, what, qids)

    def _be_child(self, what: str, qids: list[str], unused: int, pipe: int) -> int:
        """Do what is to do; *pipe* is told when only slow deliveries are left. The exit code."""
        os.close(unused)
        ended = processes.signal_flag(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        self._work.begin()
        if what == "full":
            self._work.full_run(ended)
        elif what == "adopt":
            self._work.take_in()
        else:
            self._work.attempt(qids, lambda: _tell(pipe), ended, what != "half")
        return os.EX_OK

    def _wait(self, seconds: float) -> None:
        """Until a child has something to tell, at most *seconds*."""
        by_pipe = {child.pipe: child for child in self._children.values() if child.pipe >= 0}
        poll = select.poll()
        for pipe in by_pipe:
            poll.register(pipe, select.POLLIN)
        for pipe, _ in poll.poll(seconds * 1000):
            child = by_pipe[pipe]
            if os.read(pipe, 1):
                child.what = "remote" if child.what == "local" else child.what
            else:
                os.close(pipe)  # it ends
                child.pipe = -1

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
        if child.pipe >= 0:
            os.close(child.pipe)
        if child.what == "half":
            self._half += child.qids

    def _end(self) -> None:
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while self._children and time.monotonic() < deadline:
            self._wait(POLL)
            self._reap()
        # Who waits for a slow host ends by himself when he has its answer; he is not killed
        # between the answer and its record.
        for child in self._children.values():
            log.line("", f"queue child {child.pid} still has a delivery to end")


def _tell(pipe: int) -> None:
    with contextlib.suppress(OSError):  # nobody is there any more
        os.write(pipe, b".")
