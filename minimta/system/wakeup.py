"""What ends the wait of a process with one thread: a signal that it handles, the end of a child.

A handler only sets a flag (``processes.signal_flag``), and a signal that comes between the look at the
flag and the wait would be obeyed when that is over. So the kernel's handler also writes into a pipe
(signal.set_wakeup_fd), and who waits waits for the pipe, too.

Not sigtimedwait(2): that of CPython before 3.12 returns garbage when a stop (SIGSTOP, docker pause, a
debugger) outlasts its time.
"""

from __future__ import annotations

import os
import signal

from minimta.system.waiting import Wait, together

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: octets of the pipe, one a signal, that are read at a time
_READ = 4096


def _note(*unused: object) -> None:
    """The pipe has it."""


class WakeUp:
    """There is one in a process at a time; a forked child has none. Leave the ``with``, or close it."""

    def __init__(self) -> None:
        """From now on signals that have a handler end wait(): the others', and SIGCHLD and SIGIO."""
        self._woken, self._wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        ours = (signal.SIGCHLD, signal.SIGIO)
        self._before = {number: signal.signal(number, _note) for number in ours}
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ours)
        # What a child is told is not for us.
        os.register_at_fork(after_in_child=self.close)

    def __enter__(self) -> WakeUp:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def wait(self, waits: Iterable[Wait], seconds: float) -> list[int]:
        """Until a signal has come since the last wait, one of *waits* is over, or *seconds* are.

        Returns the descriptors of *waits* that are ready.
        """
        ready = together([*waits, Wait([self._woken], seconds)], seconds)
        if self._woken in ready:
            ready.remove(self._woken)
            try:
                while len(os.read(self._woken, _READ)) == _READ:
                    pass
            except BlockingIOError:
                pass
        return ready

    def close(self) -> None:
        """Let signals do what they did before; may be called twice."""
        if self._woken < 0:
            return
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        for end in (self._woken, self._wakes):
            os.close(end)
        self._woken = -1
