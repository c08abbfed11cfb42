"""Mailbox files: opened with suspicion, and locked against everybody.

Users can plant things in a mail spool; root appends there. So a mailbox is opened without following
links, must be a plain file with one name that belongs to the user, and must still be the one in the
directory after it was locked. Anything else is Refused, and the mail waits (threats 6.3).

Locks, in this order (Debian Policy 11.6): fcntl on the whole file, flock, then the dot lock
``USER.lock``. The kernel's locks end with us, and signals wait until the dot lock is gone. fcntl locks
exclude processes, not threads, and closing any descriptor of the file drops them: only one thread of
a process may deliver.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import signal
import stat
import time

from minimta.mailers.files.append import Tail
from minimta.mailers.files.dotlock import DotLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minimta.system.users import User

#: pauses between attempts at a lock, in seconds; counted, not timed, so that no clock can stop us;
#: short ones, for others stand in the kernel's line, where nobody can wait for a limited time
PAUSES = (0.05, 0.1, 0.2, *(0.25,) * 120)
#: set-id, executable, writable by all
_FORBIDDEN_MODE = 0o6113
_DEADLY = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM)


class UnusableMailbox(Exception):
    """This is no mailbox to write to; the text says why."""


class Busy(Exception):
    """Somebody else holds a lock all the time."""


class Mailbox:
    """A user's mailbox, open and locked between ``with`` and its end."""

    def __init__(
        self, directory: str, user: User, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.path = os.path.join(directory, user.name)
        self._directory = directory
        self._user = user
        self._pause = pause
        self._spool = self._file = -1
        self._tail: Tail | None = None
        self._dot_lock: DotLock | None = None
        self._old_mask: set[int | signal.Signals] | None = None

    def __enter__(self) -> Mailbox:
        """Open and lock; raise Refused, Busy or OSError. Signals wait until the end of ``with``."""
        try:
            self._spool = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._dot_lock = DotLock(self._spool, self._user.name)
            for seconds in (*PAUSES, None):
                if self._attempt():
                    return self
                if seconds is not None:
                    self._pause(seconds)
            raise Busy(f"mailbox {self.path} is locked")
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if self._tail:
            self._tail.forget()
            self._tail = None
        self._let_go()
        if self._spool >= 0:
            os.close(self._spool)
            self._spool = -1

    @property
    def tail(self) -> Tail:
        """Its end, to append to; while it is locked."""
        if self._tail is None:
            self._tail = Tail(self._file)
        return self._tail

    def _attempt(self) -> bool:
        """Open, lock, then look whether it is still the one; take all locks or none."""
        try:
            self._file = self._opened()
        except FileExistsError:
            return False  # somebody made it a moment ago
        # A signal now would leave the dot lock behind.
        self._old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _DEADLY)
        try:
            dot_lock = self._dot_lock
            if self._kernel_locks() and dot_lock and dot_lock.take() and self._is_current():
                return True
        except BaseException:
            self._let_go()
            raise
        self._let_go()
        return False

    def _let_go(self) -> None:
        if self._dot_lock:
            self._dot_lock.release()
        if self._file >= 0:
            os.close(self._file)  # and with it both kernel locks
            self._file = -1
        if self._old_mask is not None:
            mask, self._old_mask = self._old_mask, None
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _opened(self) -> int:
        # Nonblocking: a fifo must not make us wait.
        flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            file = os.open(self._user.name, flags, dir_fd=self._spool)
        except FileNotFoundError:
            file = self._created(flags)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise UnusableMailbox(f"{self.path} is no regular file") from error
            raise
        try:
            self._check(os.fstat(file))
        except BaseException:
            os.close(file)
            raise
        return file

    def _created(self, flags: int) -> int:
        """Make an empty mailbox: user:mail 0660 where the directory is mail's, else 0600."""
        file = os.open(self._user.name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._spool)
        try:
            if os.geteuid() == 0:
                self._give_away(file)
            os.fsync(self._spool)
        except BaseException:
            os.unlink(self._user.name, dir_fd=self._spool)
            os.close(file)
            raise
        return file

    def _give_away(self, file: int) -> None:
        shared = os.fstat(self._spool).st_gid == _mail_group()
        os.fchown(file, self._user.uid, _mail_group() if shared else self._user.gid)
        os.fchmod(file, 0o660 if shared and self._user.uid else 0o600)  # root's is for root alone

    def _check(self, found: os.stat_result) -> None:
        owner = self._user.uid if os.geteuid() == 0 else os.geteuid()
        if not stat.S_ISREG(found.st_mode):
            raise UnusableMailbox(f"{self.path} is no regular file")
        if found.st_nlink > 1:  # 0: removed a moment ago, _is_current() sees it
            raise UnusableMailbox(f"{self.path} has {found.st_nlink} names")
        if found.st_uid != owner:
            raise UnusableMailbox(f"{self.path} belongs to uid {found.st_uid}")
        if found.st_mode & _FORBIDDEN_MODE:
            raise UnusableMailbox(f"{self.path} has mode {stat.S_IMODE(found.st_mode):o}")

    def _kernel_locks(self) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def _is_current(self) -> bool:
        """Is what we locked still what the name means? Mail readers rename and remove."""
        locked = os.fstat(self._file)
        try:
            named = os.stat(self._user.name, dir_fd=self._spool, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if not os.path.samestat(locked, named):
            return False
        self._check(locked)
        return True


def _mail_group() -> int:
    """The number of group mail, -1 if there is none."""
    try:
        return grp.getgrnam("mail").gr_gid
    except KeyError:
        return -1
