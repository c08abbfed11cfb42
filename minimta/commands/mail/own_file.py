"""A folder of the user's own, as LockedFile opens it: with the user's rights, like any program of theirs.

The careful walk of the mailer ``*file*`` is for root, who writes where others say; here the user says.
"""

from __future__ import annotations

import errno
import os
import stat

from minimta.mailers.files import locked_file
from minimta.mailers.files.locked_file import UnusableFile
from minimta.system.files import sync_directory


class OwnFile:
    """A file that is no mailbox of the MTA; see UserFile."""

    has_dot_lock = False

    def __init__(self, path: str) -> None:
        """*path* is absolute."""
        self.path = path
        self._parent, self.name = os.path.split(path)

    def find(self) -> int:
        """See UserFile. Raise OSError."""
        return os.open(self._parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def open(self, directory: int) -> int:
        """See UserFile. Raise UnusableFile or OSError."""
        try:
            self.check(os.stat(self.name, dir_fd=directory, follow_symlinks=False))
            return os.open(self.name, os.O_RDWR | locked_file.FLAGS, dir_fd=directory)
        except FileNotFoundError:
            return locked_file.create(self.name, directory, _sync_name)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UnusableFile(f"{self.path} is a link") from error
            raise

    def check(self, found: os.stat_result) -> None:
        """See UserFile. Raise UnusableFile."""
        if not stat.S_ISREG(found.st_mode):
            raise UnusableFile(f"{self.path} is no regular file")


def _sync_name(_: int, directory: int) -> None:
    sync_directory(".", directory)
