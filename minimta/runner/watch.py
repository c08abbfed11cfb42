"""A directory in which new names are waited for: it tells of them, or is looked at again and again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

from minimta.system.dirwatch import DirectoryWatch

#: nanoseconds within which two changes may have the same time: two ticks of the slowest kernel's clock
_TICK = 20_000_000


class Watch:
    """Has a directory changed since the last look?

    A change within the same tick of the clock leaves the mtime as it was when we looked; so after
    a change in this tick the next look finds one again.
    """

    def __init__(self, path: str, clock: Callable[[], int] = time.time_ns) -> None:
        """*clock* gives nanoseconds since the epoch."""
        self._path = path
        self._clock = clock
        self._told: DirectoryWatch | None = None
        #: does the next new name end the wait of the ``WakeUp``? As of the last look
        self.tells = False
        self._seen = -1
        self._again = False

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Within this a ``WakeUp`` hears of new names, if the system tells of them."""
        self._told = DirectoryWatch(self._path)
        try:
            yield
        finally:
            self._told.close()
            self._told, self.tells = None, False

    def forget(self) -> None:
        """Let the next look find a change."""
        self._seen = -1

    def has_changed(self) -> bool:
        """Was anything made, renamed or removed in it? A directory that is not there did not."""
        # First: what comes after the look is told of.
        self.tells = self._told is not None and self._told.arm()
        try:
            mtime = os.stat(self._path).st_mtime_ns
        except OSError:
            return False
        now = self._clock()  # behind it: whatever is not seen now comes later than this
        changed = mtime != self._seen
        look = changed or self._again
        # The clock of another machine's files is another.
        self._again = abs(now - mtime) < _TICK if self.tells else changed
        self._seen = mtime
        return look


def no_more() -> Iterable[str]:
    """One directory is all."""
    return ()


class Watches:
    """A directory and those that hang on it: which they are is asked again when it has changed."""

    def __init__(self, path: str, more: Callable[[], Iterable[str]] = no_more) -> None:
        """*more* gives the paths of the others, and raises nothing."""
        self._first = Watch(path)
        self._more = more
        self._others: dict[str, Watch] = {}
        #: do all of them? See Watch
        self.tells = False
        self._is_telling = False
        #: what ends their telling, by path
        self._ends: dict[str, ExitStack] = {}

    @contextmanager
    def telling(self) -> Iterator[None]:
        """See Watch; of all."""
        self._is_telling = True
        try:
            with self._first.telling():
                yield
        finally:
            self._is_telling = self.tells = False
            self._drop(list(self._others))

    def forget(self) -> None:
        """Let the next look find a change."""
        self._first.forget()

    def has_changed(self) -> bool:
        """Has any of them changed since the last look?"""
        has_changed = self._first.has_changed()
        if has_changed:
            wanted = list(self._more())
            self._drop([path for path in self._others if path not in wanted])
            for path in wanted:
                self._others.setdefault(path, Watch(path))
                if self._is_telling and path not in self._ends:
                    self._ends[path] = ExitStack()
                    self._ends[path].enter_context(self._others[path].telling())
        # All are looked at, and so are told of from now on.
        for watch in self._others.values():
            has_changed = watch.has_changed() or has_changed
        self.tells = all(watch.tells for watch in (self._first, *self._others.values()))
        return has_changed

    def _drop(self, paths: Iterable[str]) -> None:
        for path in paths:
            del self._others[path]
            self._ends.pop(path, ExitStack()).close()
