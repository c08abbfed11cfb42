"""A directory that is looked at again and again."""

from __future__ import annotations

import os


class Watch:
    """Has a directory changed since the last look?

    A change within the same tick of the clock leaves the mtime as it was when we looked; so after
    a change we look once more.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen = -1
        self._again = False

    def forget(self) -> None:
        """Let the next look find a change."""
        self._seen = -1

    def has_changed(self) -> bool:
        """Was anything made, renamed or removed in it? A directory that is not there did not."""
        try:
            mtime = os.stat(self._path).st_mtime_ns
        except OSError:
            return False
        changed = mtime != self._seen
        look = changed or self._again
        self._seen, self._again = mtime, changed
        return look
