"""Locks that are not of a message: one resident runner, one rebuild of the aliases (only importer of
filelock).

    QueueDirectory.runner    held by the resident queue runner while it lives
    QueueDirectory.daemon    held by the daemon (-bd -q15m) that is its runner, or waits to be
    AliasFile.cdb.lock       held while the database of an alias file is rebuilt

A lock file is empty and used for nothing else, because filelock before 3.29 truncates what it locks;
so neither a qf nor a mailbox is ever given to it. It is never removed: a process that had opened it
would lock the removed file, the next one a new file of that name, and both would be in. Only
``timeout=0``: under a frozen clock a FileLock that waits waits for ever.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import stat
import time
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filelock import BaseFileLock

    from minimta.system.waiting import Wait

#: is_resident() takes the lock for an instant; retry
_ATTEMPTS = 3
#: seconds between two looks at a lock for which a child could not wait
_PAUSE = 1.0
_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Lock:
    """A lock that this process holds until release() or its end."""

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

    Not in the queue directory: real Sendmail, and monitoring that counts files, would meet it there.
    """
    return queue_directory.rstrip("/") + ".runner"


def of_daemon(queue_directory: str) -> str:
    """The lock file of the daemon that is the runner of a queue, or is to be."""
    return queue_directory.rstrip("/") + ".daemon"


def wait_for(path: str, stop: Callable[[], bool], seconds: float) -> Lock | None:
    """Hold *path*, within *seconds* and before stop(); else None. Raise OSError."""
    end = time.monotonic() + seconds
    while (lock := _take(path)) is None and time.monotonic() < end and not stop():
        time.sleep(0.1)
    return lock


def wait_long_for(path: str, stop: Callable[[], bool], also: Callable[[], Wait]) -> Lock | None:
    """Hold *path* as soon as nobody else does; None if stop() came first. Raise OSError.

    stop() is asked after a signal and when what also() waits for has come. Nobody tells of a lock that
    is free, but flock(2) may wait for it: a child does, and its end is told.
    """
    from minimta.system import processes
    from minimta.system.wakeup import WakeUp

    with WakeUp() as wake:
        waiter, pause = 0, math.inf
        try:
            while not stop():
                if (lock := _take(path)) is not None:
                    return lock
                if waiter and processes.has_ended(waiter, 0.0):
                    # Somebody was faster, or the lock cannot be waited for.
                    waiter, pause = 0, _PAUSE
                waiter = waiter or processes.fork("wait for a lock", partial(_wait_in_child, path))
                wake.wait([also()], pause)
        finally:
            if waiter:
                processes.kill_session(waiter)
                processes.has_ended(waiter, math.inf)
    return None


def _wait_in_child(path: str) -> int:
    """Until nobody holds *path*. The exit code."""
    from minimta.system import processes

    processes.isolate(())  # a lock or a port of ours must not outlive us in it
    fcntl.flock(os.open(path, os.O_RDONLY | _FLAGS), fcntl.LOCK_SH)
    return os.EX_OK


def resident(path: str) -> Lock | None:
    """Become the resident queue runner of a queue; None if there is one. Raise OSError."""
    return _take(path)


def rebuild(path: str) -> Lock | None:
    """Be the only process that rebuilds an alias database; None if another does. Raise OSError."""
    return _take(path)


def forget(path: str) -> None:
    """In a forked child: close the lock file, which does not unlock it for the parent.

    flock(2) belongs to the open file, which the fork shares: a child that outlives the runner would
    keep its lock, and be taken for it.
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
    """Does a resident runner hold *path*? False also if we may not open it (submission by a user)."""
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
    from filelock import FileLock, Timeout, __version__  # 30 ms, and not for submission

    _prepare(path)
    # Whoever can open a lock file can hold its lock. Versions from 3.10 give it a mode of their own
    # (0644) unless they are told one; those before take none, and leave it as _prepare() made it.
    takes_mode = tuple(map(int, __version__.split(".")[:2])) >= (3, 10)
    lock = FileLock(path, timeout=0, mode=0o600) if takes_mode else FileLock(path, timeout=0)
    for _ in range(_ATTEMPTS):
        try:
            lock.acquire()
        except Timeout:
            continue
        return Lock(lock)
    return None


def _prepare(path: str) -> None:
    """Make sure that *path* is an empty regular file with one name. Raise OSError if it cannot be.

    filelock 3.9 follows links and truncates what it finds (CVE-2025-68146). Where flock(2) does not
    work, newer versions use the existence of the file as the lock, which a killed process would
    leave behind; so flock(2) is tried here.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_size:
            raise OSError(errno.EINVAL, "not an empty file, and so no lock file", path)
        fcntl.flock(file, fcntl.LOCK_UN)
    finally:
        os.close(file)
