"""How far long work has come, on a terminal and nowhere else.

    delivering  120 of 400 (30 %), 12 s left

One line on standard error, written over and over, from the second second on; gone when the work is
done. In a pipe, a file or cron's mail nothing of it appears. Nothing here raises: work that nobody
watches goes on.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    _T = TypeVar("_T")

#: seconds that work takes before anything is shown, and between two lines
_SOON, _BETWEEN = 1.0, 0.2
_BACK, _CLEAR = "\r", "\r\033[K"


class ProgressLine:
    """The progress of one piece of work."""

    def __init__(
        self,
        what: str,
        total: int = 0,
        *,
        descriptor: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*what* is done, "delivering"; *total* is how often, 0 if nobody knows. *clock* gives seconds."""
        self._what, self._total = what, total
        self._descriptor, self._clock = descriptor, clock
        self._is_shown = _is_terminal(descriptor)
        self._begun = clock()
        self._last = self._begun + _SOON - _BETWEEN
        self._is_written = False
        self._done = 0

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *unused: object) -> None:
        self.end()

    def at(self, done: int) -> None:
        """So much of it is *done*."""
        if not self._is_shown:
            return
        now = self._clock()
        if now - self._last < _BETWEEN:
            return
        self._last = now
        self._write(_CLEAR + self._line(done, now))
        self._is_written = True

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        self.at(self._done)

    def pause(self) -> None:
        """Make room for a line of somebody else's."""
        if self._is_written:
            self._write(_CLEAR)
            self._is_written = False

    def end(self) -> None:
        """It is over; may be called twice."""
        self.pause()
        self._is_shown = False

    def _line(self, done: int, now: float) -> str:
        if not self._total:
            return f"{self._what}  {done}"
        left = (now - self._begun) * (self._total - done) / done if done else 0.0
        share = 100 * done // self._total
        time_left = f", {left:.0f} s left" if done else ""
        return f"{self._what}  {done} of {self._total} ({share} %){time_left}"

    def _write(self, text: str) -> None:
        try:
            os.write(self._descriptor, text.encode("ascii", "replace"))
        except OSError:
            self._is_shown = False  # the terminal is gone


def counted(what: str, things: Iterable[_T], total: int) -> Iterator[_T]:
    """*things*, one after the other, and how far they are on the terminal."""
    with ProgressLine(what, total) as progress:
        for number, thing in enumerate(things):
            progress.at(number)
            yield thing


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor) and os.environ.get("TERM", "dumb") != "dumb"
    except OSError:
        return False
