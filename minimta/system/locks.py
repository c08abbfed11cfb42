"""Locks that are no part of a message: one resident runner, one rebuilding of the aliases.

The lock file is empty, is used for nothing else, and stays: filelock before 3.29 empties what it
locks, and whoever unlinks a lock file lets two in. Never given to filelock: a qf or a mailbox. Only
``timeout=0``; under a frozen clock a waiting FileLock never ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filelock import BaseFileLock

#: somebody may just be asking whether the lock is held, for which he holds it a microsecond
_ATTEMPTS = 3
_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Lock:
    """A lock that we hold until release(), or until the process ends."""

    def __init__(self, lock: BaseFileLock) -> None:
        self._lock = lock

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *unused: object) -> None:
        self.release()

    def release(self) -> None:
        """Let others have it; may be called twice."""
        self._lock.release()


def beside(queue_directory: str) -> str:
    """The lock file of the resident runner of a queue.

    Not in the queue directory: there real Sendmail and whoever counts files would meet it.
    """
    return queue_directory.rstrip("/") + ".runner"


def resident(path: str) -> Lock | None:
    """Become the resident queue runner of a queue; None if there is one. Raise OSError."""
    return _take(path)


def rebuild(path: str) -> Lock | None:
    """Be the only one who rebuilds an alias database; None if another does. Raise OSError."""
    return _take(path)


def forget(path: str) -> None:
    """In a forked child: close the lock file, which does not unlock it for the parent.

    Else a child that outlives the runner would pass for it.
    """
    try:
        lock = os.stat(path)
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return
    for number in numbers:
        try:
            if os.path.samestat(os.fstat(number), lock):
                os.close(number)
        except OSError:
            continue  # the descriptor of the listing


def is_resident(path: str) -> bool:
    """Does a resident runner hold *path*? False also if we may not know (submission by a user)."""
    try:
        file = os.open(path, os.O_RDONLY | _FLAGS)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _take(path: str) -> Lock | None:
    """Without waiting. Raise OSError if *path* is no lock file, or cannot be locked at all."""
    from minimta.system import sitepackages

    sitepackages.provide()
    from filelock import FileLock, Timeout  # 30 ms, and not for submission

    _prepare(path)
    lock = FileLock(path, timeout=0)
    for _ in range(_ATTEMPTS):
        try:
            lock.acquire()
        except Timeout:
            continue
        return Lock(lock)
    return None


def _prepare(path: str) -> None:
    """See to it that *path* is an empty plain file of its own: filelock 3.9 follows links, and
    empties what it finds (CVE-2025-68146). Without flock(2) newer versions would go over to a file
    that stays when its maker is killed, so ask for it here."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_size:
            raise OSError(errno.EINVAL, "not an empty file, and so no lock file", path)
        fcntl.flock(file, fcntl.LOCK_UN)
    finally:
        os.close(file)
