"""A pool of threads: to start one for each connection would cost more than the session.

A thread is idle (in ``_idle``, waiting at its gate) or taken out by start(), which gives it a job and
opens the gate. After a minute of idleness it ends.
"""

from __future__ import annotations

import threading
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable

#: octets of stack; the deepest call of a session, a name lookup, takes a fraction of it
STACK = 256 * 1024
#: seconds after which an idle thread ends
_IDLE = 60.0


class _Thread:
    """One thread and what it has to do next."""

    __slots__ = ("gate", "job")

    def __init__(self, job: Callable[[], None]) -> None:
        self.job: Callable[[], None] | None = job
        #: closed while there is nothing to do
        self.gate = allocate_lock()
        self.gate.acquire()


class ThreadPool:
    """As many threads as there are jobs at the same time; to limit the jobs is for others."""

    def __init__(self) -> None:
        threading.stack_size(STACK)
        self._mutex = allocate_lock()
        self._idle: list[_Thread] = []

    def start(self, job: Callable[[], None]) -> None:
        """Do *job*, which raises nothing, in a thread. Raise RuntimeError if there can be none."""
        with self._mutex:
            thread = self._idle.pop() if self._idle else None
        if thread is None:
            start_new_thread(self._work, (_Thread(job),))
        else:
            thread.job = job
            thread.gate.release()

    def _work(self, thread: _Thread) -> None:
        while thread.job is not None:
            thread.job()
            thread.job = None
            with self._mutex:
                self._idle.append(thread)
            if thread.gate.acquire(timeout=_IDLE):
                continue
            with self._mutex:
                if thread in self._idle:
                    self._idle.remove(thread)
                    return
            # start() has taken it out just as its minute was over: a job is coming.
            thread.gate.acquire()
