"""A directory that tells of a new name in it: F_NOTIFY (fcntl(2)), by SIGIO, which ends a ``wakeup.WakeUp``'s wait.

Not inotify(7): that has no door in the standard library (ctypes costs a megabyte and its import), each
user has 128 of it for all programs (root's containers use them up), and it queues an event for each
file of a flood. This is a mark on an open directory; it is asked for before each wait and tells once.

Nobody tells of what another machine does on a network file system, or a kernel that has no F_NOTIFY
(gVisor): there the directory is to be looked at.
"""

from __future__ import annotations

import fcntl
import os

from minimta.system.mounts import Mounts

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class DirectoryWatch:
    """The directory that has a name now, whichever that is."""

    def __init__(self, path: str, mounts: Mounts | None = None) -> None:
        """*path* is absolute. Nothing is opened yet."""
        self._path = path
        self._mounts = mounts or Mounts()
        self._file = -1
        self._opened = (0, 0)

    def arm(self) -> bool:
        """Let the next name that is made in it, or moved into it, send SIGIO, once. Raises nothing.

        False: it is not told of. A directory that is not there is as one in which nothing happens.
        """
        try:
            found = os.stat(self._path)
            if (found.st_dev, found.st_ino) != self._opened:
                self._reopen(found)
            if self._file < 0:
                return False
            fcntl.fcntl(self._file, fcntl.F_NOTIFY, fcntl.DN_CREATE | fcntl.DN_RENAME)
        except FileNotFoundError:
            self.close()
        except OSError:
            self.close()
            return False
        return True

    def _reopen(self, found: os.stat_result) -> None:
        """Raise OSError."""
        self.close()
        if not self._mounts.may_hang(self._path):  # else it is another machine's, or a program's
            self._file = os.open(self._path, _FLAGS)
        self._opened = found.st_dev, found.st_ino

    def close(self) -> None:
        """Be told no more; may be called twice."""
        if self._file >= 0:
            os.close(self._file)
        self._file, self._opened = -1, (0, 0)
