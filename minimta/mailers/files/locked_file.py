"""A file of a user, open and locked while mail is appended to it: a mailbox or a plain file.

Users can plant things where their mail is appended: links, devices, files of others. So the file is
looked at before it is opened, opened without following a link, and looked at again once it is locked:
it must still be what its name means. What it must be says a UserFile, a mailbox (``mbox``) or a plain
file (``file_mailer``); all else is the same for both.

Locks, in this order (Debian Policy 11.6): fcntl on the whole file, flock, then for a mailbox the dot
lock ``USER.lock``. A program that honours any one of these is kept out. fcntl locks exclude processes,
not threads, and closing any descriptor of the file drops them: only one thread of a process may deliver.

    UnusableFile    links, devices, somebody else's property: what no mail is appended to
    Untrusted       the administrator has to look at it
    Busy            another program held a lock all the time
    OSError         may pass
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from contextlib import suppress
from typing import Protocol

from minimta.mailers.files.append import Tail
from minimta.mailers.files.dotlock import DotLock
from minimta.system import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: pauses between attempts at a lock, in seconds: 31 in all, counted, so that no clock can stop us.
#: Short ones: programs that wait in the kernel for the lock get it before any that asks again
PAUSES = (0.05, 0.1, 0.2, *(0.25,) * 120)
#: for who comes back to it when all others are served: enough to judge a stale dot lock
BRIEF = (0.05, 0.1, 0.1, 0.1, 0.1)
#: with these, and O_RDWR or O_WRONLY, a UserFile is opened; nonblocking: a fifo must not make us wait
FLAGS = os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_DEADLY = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM)


class UnusableFile(Exception):
    """This is no file to append mail to; the text says why."""


class Busy(Exception):
    """Another program held a lock all the time that we waited."""


class UserFile(Protocol):
    """Which file it is and what it must be: all that a mailbox and a plain file differ in."""

    #: absolute
    path: str
    #: without its directory
    name: str
    #: do mail readers lock it with a dot lock?
    has_dot_lock: bool

    def find(self) -> int:
        """Its directory, as a new descriptor. Raise UnusableFile, Untrusted or OSError."""
        ...

    def open(self, directory: int) -> int:
        """The file, checked and then opened with FLAGS, or made; a new descriptor.

        Raise UnusableFile, Untrusted or OSError; FileExistsError or FileNotFoundError if somebody
        made or removed it in that moment.
        """
        ...

    def check(self, found: os.stat_result) -> None:
        """Raise UnusableFile or Untrusted if what was *found* under its name is not as it must be."""
        ...


class LockedFile:
    """A UserFile, open and locked between ``with`` and its end. ``with`` gives its Tail."""

    def __init__(
        self,
        file: UserFile,
        *,
        pause: Callable[[float], None] = time.sleep,
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        """*pause* gets the seconds between two attempts at a lock, each of *pauses* in turn."""
        self._which = file
        self._pauses = pauses
        self._pause = pause
        self._directory = self._file = -1
        self._tail: Tail | None = None
        self._dot_lock: DotLock | None = None
        self._old_mask: set[int | signal.Signals] | None = None

    def __enter__(self) -> Tail:
        """Raise UnusableFile, Untrusted, Busy or OSError. Signals wait until the end of ``with``."""
        try:
            self._directory = self._which.find()
            if self._which.has_dot_lock:
                self._dot_lock = DotLock(self._directory, self._which.name)
            for seconds in (*self._pauses, None):
                if self._attempt():
                    self._tail = Tail(self._file)
                    return self._tail
                if seconds is not None:
                    self._pause(seconds)
            raise Busy(f"{self._which.path} is locked")
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if self._tail:
            self._tail.forget()
            self._tail = None
        self._let_go()
        if self._directory >= 0:
            directory, self._directory = self._directory, -1
            self._give_back(lambda: os.close(directory))

    def _attempt(self) -> bool:
        """Open, lock, then look whether it is still the one; take all locks or none.

        False if somebody else has a lock, or if the name means another file by now.
        """
        try:
            self._file = self._which.open(self._directory)
        except (FileExistsError, FileNotFoundError):
            return False  # made or removed a moment ago
        # From now on a signal would leave the dot lock behind, or a torn message. Between two
        # attempts it may end us.
        self._old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _DEADLY)
        # The dot lock last: it is what a kill leaves behind. Then it is seen again whether we
        # locked the right file: what was checked under the name may have been replaced since.
        if self._kernel_locks() and self._dot_locked() and self._is_current():
            return True
        self._let_go()
        return False

    def _let_go(self) -> None:
        """Everything back, last things first: the dot lock, the file, the signals."""
        if self._dot_lock:
            self._give_back(self._dot_lock.release)
        if self._file >= 0:
            file, self._file = self._file, -1
            self._give_back(lambda: os.close(file))  # and with it both kernel locks
        if self._old_mask is not None:
            mask, self._old_mask = self._old_mask, None
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _give_back(self, act: Callable[[], None]) -> None:
        """Trouble is told and ends here: what was appended is durable, and would come twice."""
        try:
            act()
        except OSError as error:
            log.line("", f"SYSERR: letting go of {log.clean(self._which.path)}: {error.strerror}")

    def _kernel_locks(self) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def _dot_locked(self) -> bool:
        return self._dot_lock is None or self._dot_lock.take()

    def _is_current(self) -> bool:
        """Is what we locked still what the name means? Mail readers rename and remove, others swap."""
        locked = os.fstat(self._file)
        try:
            named = os.stat(self._which.name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if not os.path.samestat(locked, named):
            return False
        self._which.check(locked)
        return True


def create(name: str, directory: int, finish: Callable[[int, int], None]) -> int:
    """Make the file *name*, empty, 0600; *finish*, given file and directory, does the rest.

    Returns the descriptor. Raise FileExistsError if somebody was faster, OSError; then there is none.
    """
    file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | FLAGS, 0o600, dir_fd=directory)
    try:
        finish(file, directory)
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=directory)
        os.close(file)
        raise
    return file
