"""Keep the threads of the listener on one processor while several connections are at work.

Only one thread of a Python process runs at a time: who has the interpreter lock. A session gives it
up at each call that may block, about twenty times a message. If the next thread sleeps on another
processor, the kernel has to wake that processor, the thread finds its data in the wrong cache, and
the first one, back from its call, waits on a third. On two processors 10 connections with many
messages each cost 1.05 ms of processor time a message, two thirds of it in the kernel; with all
threads on one processor 0.45 ms, and twice as many messages a second. Nothing is lost by it: there
was never more than one thread at work.

    connections   the threads
    0 or 1        run anywhere: one session that waits for its client and its disk would only have
                  to share a processor with them
    2 or more     from the second look on are tied to the processor that does least
    the same, and others have a quarter of it, another does less: are tied to that
    the same, and others have half of it, as of all: run anywhere. Where programs wait in line for
                  every processor, who waits in one line only gets less

A machine or cpuset with one processor is left alone, and so is one whose /proc/stat does not tell of
the processors that we may use, and an interpreter without that lock. A thread that is started inherits
what its starter has; a forked process gets back what the listener began with.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

_STAT, _TASKS = "/proc/stat", "/proc/self/task"
#: the lines of the processors stand first in /proc/stat
_MOST = 1 << 18
#: columns of such a line in which a processor does nothing: idle, iowait (proc_stat(5))
_AT_REST = (3, 4)
#: columns that count; the others, guests, are part of those
_COLUMNS = 8
#: looks with several connections before anything is tied: a burst is over by then
_PATIENCE = 2
#: looks until it is tried again, once it was given up
_PAUSE = 20
#: part of our processor that others may have before we look for another, and before we give it up
_TOLERATED, _TOO_MUCH = 0.25, 0.5


class ProcessorLoad:
    """The work of each processor, for all programs."""

    def __init__(self, path: str = _STAT) -> None:
        """Opened now: a sandbox may forbid it later. Raise OSError."""
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._tick = 1.0 / os.sysconf("SC_CLK_TCK")
        self._before: dict[int, int] = {}
        self.since()

    def since(self) -> dict[int, float]:
        """Number of a processor -> seconds that it has worked since the last call. Raise OSError."""
        before, self._before = self._before, self._read()
        return {
            number: (ticks - before.get(number, ticks)) * self._tick
            for number, ticks in self._before.items()
        }

    def _read(self) -> dict[int, int]:
        found = {}
        for line in os.pread(self._file, _MOST, 0).split(b"\n"):
            name, *columns = line.split()[: _COLUMNS + 1] or [b""]
            if not name.startswith(b"cpu"):
                break  # interrupts follow, a number for each
            if name != b"cpu":
                work = [int(one) for n, one in enumerate(columns) if n not in _AT_REST]
                found[int(name[3:])] = sum(work)
        return found


class OneProcessor:
    """Ties all threads of this process to one processor, and lets them go again. For one thread."""

    def __init__(self, load: ProcessorLoad, own: Callable[[], float] = time.process_time) -> None:
        """own() gives the seconds that this process has worked."""
        self._load = load
        self._own = own
        self._worked = own()
        self._all = os.sched_getaffinity(0)
        self._held: int | None = None
        self._looks = 0
        os.register_at_fork(after_in_child=self._untie_child)

    def look(self, connections: int, seconds: float) -> None:
        """So many *connections* are open, and the last look was *seconds* ago. Raises nothing."""
        if connections < 2:
            self._looks = 0
            return self.let_go()
        self._looks += 1
        try:
            worked = self._load.since()
            before, self._worked = self._worked, self._own()
            # A container may number its processors in its own way: then nothing is known.
            if len(self._all) > 1 and self._all <= worked.keys():
                self._choose(worked, self._worked - before, seconds)
        except OSError:
            self._all = set()  # a filter of system calls does not allow it: never again
        return None

    def _choose(self, worked: dict[int, float], own: float, seconds: float) -> None:
        """Processors have *worked* so many seconds, for us *own*."""
        calmest = min(self._all, key=lambda one: (worked[one], one))
        if self._held is None:
            # Even if all that we did was done there, so much is what others did.
            if self._looks >= _PATIENCE and worked[calmest] - own <= _TOO_MUCH * seconds:
                self._tie(calmest)
            return
        others = worked[self._held] - own
        if others > _TOLERATED * seconds and worked[calmest] < others / 2:
            self._tie(calmest)
        elif others > _TOO_MUCH * seconds:
            self.let_go()
            self._looks = -_PAUSE

    def let_go(self) -> None:
        """All threads may run where the process might when it began. Raises nothing."""
        if self._held is not None:
            try:
                _allow(self._all)
            except OSError:
                self._all = set()
            self._held = None  # not before: a process that is forked meanwhile is untied

    def _tie(self, processor: int) -> None:
        self._held = processor
        _allow({processor})

    def _untie_child(self) -> None:
        if self._held is not None:
            self._held = None
            os.sched_setaffinity(0, self._all)


def _allow(processors: set[int]) -> None:
    """All threads of this process may run on these processors. Raise OSError."""
    # In the order in which they began: one that is just being started has what its starter had,
    # which is older. So nobody is forgotten.
    for thread in sorted(map(int, os.listdir(_TASKS))):
        try:
            os.sched_setaffinity(thread, processors)
        except ProcessLookupError:
            continue  # it has ended


def one_processor() -> OneProcessor | None:
    """For this process; None if nothing is to be gained or known. To be called before its sandbox."""
    has_lock: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    if not has_lock() or len(os.sched_getaffinity(0)) < 2:
        return None
    try:
        return OneProcessor(ProcessorLoad())
    except OSError:
        return None
