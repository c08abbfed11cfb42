"""When a listener that has died is replaced.

    1st death within a minute    at once
    2nd, 3rd, 4th                after 1, 5, 15 seconds: memory, or a table, may be there again by then
    5th                          never: what ails it does not pass

As of Postfix' master(8), which throttles a service that dies soon after its start, and never gives it up;
we end then, with an exit code that a service manager acts on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

#: seconds after which a death does not count any more
WHILE = 60.0
_PAUSES = (0.0, 1.0, 5.0, 15.0)
#: seconds until a fork that failed is tried again
_AGAIN = 5.0


class Restarts:
    """Counts the deaths."""

    def __init__(self, ticks: Callable[[], float] = time.monotonic) -> None:
        """*ticks* gives seconds that no setting of the clock changes."""
        self._ticks = ticks
        self._deaths: list[float] = []
        #: when another is to be started, of *ticks*; inf: none is wanted
        self.due = math.inf

    def note_death(self) -> float:
        """Seconds until another is to be started: ``due`` is then; inf if none is."""
        now = self._ticks()
        self._deaths = [one for one in self._deaths if now - one < WHILE]
        count = len(self._deaths)
        self._deaths.append(now)
        pause = _PAUSES[count] if count < len(_PAUSES) else math.inf
        self.due = now + pause
        return pause

    @property
    def is_wanted(self) -> bool:
        """Is another one to be started, now or later?"""
        return self.due < math.inf

    def is_due(self) -> bool:
        """Is another to be started now?"""
        return self._ticks() >= self.due

    def put_off(self) -> None:
        """There can be no other one now, which is no fault of a listener's."""
        self.due = self._ticks() + _AGAIN

    def note_start(self) -> None:
        """There is another one."""
        self.due = math.inf
