"""A directory beside the queue, written by the process that records outcomes, and by nobody else."""

from __future__ import annotations

import os
from contextlib import suppress

from minimta.system import log

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class OwnDirectory:
    """Made when it is needed, and believed only if it is ours."""

    def __init__(self, path: str, what: str) -> None:
        """*what* is kept there, for people."""
        self._path = path
        self._what = what
        #: the open directory, -1 if there is none; workers inherit it
        self.file = -1

    def open(self) -> None:
        """Open it, for this process and those that are forked now; logs what fails."""
        if self.file >= 0:
            return
        try:
            with suppress(FileExistsError):
                os.mkdir(self._path)
                os.chmod(self._path, 0o755)
            self.file = os.open(self._path, _DIRECTORY)
            if os.fstat(self.file).st_uid != os.geteuid():
                self.close()  # whoever made it could have made anything below it
                self._complain("belongs to somebody else")
        except OSError as error:
            self._complain(str(error.strerror))

    def _complain(self, reason: str) -> None:
        text = f"cannot keep {self._what}: {log.clean(self._path)}: {reason}"
        log.line("", f"SYSERR(root): {text}", level=1, error=True)

    def close(self) -> None:
        """Let go of it; may be called twice."""
        if self.file >= 0:
            file, self.file = self.file, -1
            os.close(file)
