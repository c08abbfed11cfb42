"""Has anything been asked of this process lately? So that nothing in it need wake up while nothing is.

Sessions note(); one thread, which has things to look after while they are at work, asks and rests:

    while ...:
        wait(often if activity.is_new() else seldom)     # and activity.rest(wake) before it
"""

from __future__ import annotations

from collections.abc import Callable


class Activity:
    """Noted by many threads, without a lock: at worst somebody is woken twice."""

    def __init__(self) -> None:
        self._is_new = False
        #: wakes the one who rests; None while nobody does
        self._wake: Callable[[], None] | None = None

    def note(self) -> None:
        """Something is asked for."""
        self._is_new = True
        wake = self._wake
        if wake is not None:
            self._wake = None
            wake()

    def is_new(self) -> bool:
        """Was anything noted since this was asked last?"""
        if not self._is_new:
            return False  # and what comes in this instant is left for rest()
        self._is_new = False
        return True

    def rest(self, wake: Callable[[], None]) -> None:
        """Call wake() at the next note(), which may have come already."""
        self._wake = wake
        # note() first says that it is new, and then looks who rests: one of us sees the other.
        if self._is_new:
            self._wake = None
            wake()
