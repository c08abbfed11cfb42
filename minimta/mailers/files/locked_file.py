"""A file that mail is appended to, opened as its user with suspicion, and locked.

The way to it is walked from / by descriptors: every directory is root's or the user's, and closed to
others' writing (a sticky one is safe). The file itself is regular, of the user or root, has one name,
nobody may execute it, and it is still what its name means after it was locked (fcntl and flock).

    Refused     Sendmail would not write there either: links, devices, programs, others' property
    Untrusted   Sendmail would; the administrator has to look at it
    Busy        somebody holds a lock all the time
    OSError     may pass
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress

from minimta.mailers.files.append import Tail
from minimta.mailers.files.mailbox import PAUSES, Busy, UnusableMailbox
from minimta.system.files import sync_directory
from minimta.system.safefile import Untrusted, walk
from minimta.system.users import User

_FLAGS = os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_EXECUTABLE = 0o111
_SET_ID = stat.S_ISUID | stat.S_ISGID
#: open(2) says so of what is there and no file to append to
_NO_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENOTDIR, errno.ENAMETOOLONG)


class Archive:
    """The file, open and locked between ``with`` and its end. Call it as the user himself."""

    def __init__(
        self,
        path: str,
        user: User,
        *,
        blames: frozenset[str] = frozenset(),
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """*blames* are names of DontBlameSendmail in small letters."""
        self._path = path
        self._owners = (0, user.uid, os.geteuid())
        self._hard_links = "filedeliverytohardlink" in blames
        self._soft_links = "filedeliverytosymlink" in blames
        self._pause = pause
        self._directory = self._file = -1
        self._tail: Tail | None = None
        self._name = ""
        self._made = False

    def __enter__(self) -> Archive:
        try:
            self._find()
            for seconds in (*PAUSES, None):
                if self._attempt():
                    return self
                if seconds is not None:
                    self._pause(seconds)
            raise Busy("locked")
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if self._tail:
            self._tail.forget()
            self._tail = None
        self._let_go()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    @property
    def tail(self) -> Tail:
        """Its end, to append to; while it is locked."""
        if self._tail is None:
            self._tail = Tail(self._file)
        return self._tail

    # --- opening ----------------------------------------------------------------------------------

    def _find(self) -> None:
        """Walk to the directory."""
        if self._soft_links:
            self._path = os.path.realpath(self._path)
        directory, self._name = os.path.split(self._path)
        if self._name in ("", ".", ".."):
            raise UnusableMailbox("not a file")
        try:
            self._directory = walk(directory, self._owners)
        except Untrusted as error:
            if _shuts_out(self._path):
                raise UnusableMailbox(f"{error}, and closed to the user") from error
            raise
        except PermissionError as error:
            if _is_closed(directory):
                raise UnusableMailbox(f"{error.strerror} (directory)") from error
            raise
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UnusableMailbox(f"{error.strerror} (directory)") from error

    def _attempt(self) -> bool:
        """Open, lock, then look whether it is still the one."""
        try:
            self._file = self._opened()
        except (FileExistsError, FileNotFoundError):
            return False  # made or removed a moment ago
        if self._kernel_locks() and self._is_current():
            return True
        self._let_go()
        return False

    def _let_go(self) -> None:
        if self._file >= 0:
            os.close(self._file)  # and with it both locks
            self._file = -1

    def _opened(self) -> int:
        try:
            found = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return self._created()
        except PermissionError as error:
            raise self._closed(error, 1) from error
        except OSError as error:
            raise _judged(error) from error
        self._check(found)  # opening a device may do something
        try:
            return self._open(found)
        except OSError as error:
            raise _judged(error) from error

    def _open(self, found: os.stat_result) -> int:
        flags = os.O_RDWR
        try:
            return os.open(self._name, flags | _FLAGS, dir_fd=self._directory)
        except PermissionError as error:
            # Sendmail bounces; a server that says "permission denied" although the mode allows it
            # means "not now" (no ticket, or a read-only export).
            if _forbids(found, 2):
                raise UnusableMailbox(
                    f"{error.strerror}, mode {stat.S_IMODE(found.st_mode):o}"
                ) from error
            if not _forbids(found, 4):
                raise
        return os.open(self._name, os.O_WRONLY | _FLAGS, dir_fd=self._directory)

    def _created(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        try:
            file = os.open(self._name, flags | _FLAGS, 0o600, dir_fd=self._directory)
        except PermissionError as error:
            raise self._closed(error, 3) from error
        self._made = True
        return file

    def _closed(self, error: OSError, wanted: int) -> Exception:
        """What a refusal of the directory means: its mode says so, or it may pass."""
        if _forbids(os.fstat(self._directory), wanted):
            return UnusableMailbox(f"{error.strerror} (directory)")
        return error

    def _check(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise UnusableMailbox("not a regular file")
        if found.st_nlink > 1 and not self._hard_links:  # 0: removed a moment ago
            raise UnusableMailbox(f"{found.st_nlink} names")
        # DIFFERS: a set-id file makes Sendmail act as its owner. Nobody is made somebody by the mode
        # of a file here; the mail waits, so that nothing is lost while the administrator looks.
        if found.st_mode & _SET_ID:
            raise Untrusted("Set-id file")
        if found.st_mode & _EXECUTABLE:
            raise UnusableMailbox(f"executable, mode {stat.S_IMODE(found.st_mode):o}")
        if found.st_uid not in self._owners:
            if _forbids(found, 2):
                raise UnusableMailbox(f"belongs to uid {found.st_uid}")
            raise Untrusted("Wrong owner")
        # DIFFERS: Sendmail writes to a file that all may write to; whoever reads it then reads
        # what anybody has put there.
        if found.st_mode & stat.S_IWOTH:
            raise Untrusted("World writable file")

    # --- locks ------------------------------------------------------------------------------------

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
        """Is what we locked still what the name means, and as it should be?"""
        locked = os.fstat(self._file)
        try:
            named = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if not os.path.samestat(locked, named):
            return False
        self._check(locked)
        return True

    def sync(self) -> None:
        """Make the file durable, and its name if we made it."""
        self.tail.sync()
        if self._made:
            self._sync_directory()

    def _sync_directory(self) -> None:
        try:
            sync_directory(".", self._directory)
        except PermissionError:
            os.sync()  # a directory that we may write to but not read; rare, and slow


def _judged(error: OSError) -> Exception:
    return UnusableMailbox(error.strerror) if error.errno in _NO_FILE else error


def _forbids(found: os.stat_result, wanted: int) -> bool:
    """Does the mode itself deny us *wanted* (4 read, 2 write, 1 search)?"""
    if found.st_uid == os.geteuid():
        bits = found.st_mode >> 6
    elif found.st_gid in (os.getegid(), *os.getgroups()):
        bits = found.st_mode >> 3
    else:
        bits = found.st_mode
    return bits & wanted != wanted


def _shuts_out(path: str) -> bool:
    """Could we not write to *path* in any case? Then it is not for the administrator to judge."""
    directory = os.path.dirname(path)
    try:
        return _forbids(os.stat(path), 2)
    except FileNotFoundError:
        with suppress(OSError):
            return _forbids(os.stat(directory), 3)
    except OSError:
        pass
    return _is_closed(directory)


def _is_closed(directory: str) -> bool:
    """Does the mode of *directory*, or of one on the way to it, shut us out?"""
    names = directory.split("/")
    ways = ["/".join(names[:number]) or "/" for number in range(1, len(names) + 1)]
    try:
        return any(_forbids(os.stat(way), 1) for way in ways)
    except OSError:
        return False
