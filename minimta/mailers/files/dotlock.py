"""The dot lock of a mailbox: a file ``USER.lock`` beside it, made by link(2) (Debian Policy 11.6).

    host:pid:boot id:start      of the process that holds it; its start in ticks since the boot

Of a process of this host that has ended, or that ran before the last boot, it is stale at once. Any
other is stale when it is older than STALE_AGE and nobody touches it while we watch. In doubt it is
respected. Users may write in the directory: nothing here follows a link or trusts what it finds.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os

from minimta.system import log

#: age in seconds at which a lock whose owner cannot be judged is stale, if it is not touched
STALE_AGE = 300
#: attempts that it is watched before that
WATCHED = 4


class DotLock:
    """The lock file beside one mailbox, and the judgement of one that is already there."""

    def __init__(self, spool: int, name: str) -> None:
        """*spool* is the open directory of the mailbox, *name* its name there."""
        self._spool = spool
        self._name = f"{name}.lock"
        self._taken = False
        self._seen: tuple[int, int] = (0, 0)
        self._times = 0

    def take(self) -> bool:
        """Try once. True also where we may not write to the directory: then the user's mail readers,
        with no more rights than we, cannot have locked it so. Raise OSError.
        """
        temporary = f".{self._name}.{os.getpid()}"
        try:
            file = self._make(temporary)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                return True
            raise
        try:
            self._taken = self._made(file, temporary) or (
                self._is_stale(os.fstat(file).st_mtime) and self._made(file, temporary)
            )
        finally:
            os.close(file)
            os.unlink(temporary, dir_fd=self._spool)
        return self._taken

    def release(self) -> None:
        """Let others have it, if we have it. Raise OSError."""
        if self._taken:
            self._taken = False
            try:
                os.unlink(self._name, dir_fd=self._spool)
            except FileNotFoundError:
                log.line("", f"somebody removed the lock file {log.clean(self._name)}")

    def _make(self, temporary: str) -> int:
        """The file that becomes the lock: open(2) with O_EXCL alone is not atomic on old NFS, link(2) is."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            file = os.open(temporary, flags, 0o644, dir_fd=self._spool)
        except FileExistsError:  # of a dead process that had our number
            os.unlink(temporary, dir_fd=self._spool)
            file = os.open(temporary, flags, 0o644, dir_fd=self._spool)
        # On a full disk there is no text, and the lock is judged by its age.
        with contextlib.suppress(OSError):
            pid = os.getpid()
            os.write(file, f"{_host()}:{pid}:{_boot()}:{_start(pid)}\n".encode())
        return file

    def _made(self, file: int, temporary: str) -> bool:
        if self._link(temporary):
            return True
        # NFS may do it and lose the answer; asked again, the server says that there is one already.
        try:
            found = os.stat(self._name, dir_fd=self._spool, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(file))

    def _link(self, temporary: str) -> bool:
        try:
            os.link(temporary, self._name, src_dir_fd=self._spool, dst_dir_fd=self._spool)
        except FileExistsError:
            return False
        return True

    def _is_stale(self, now: float) -> bool:
        """Judge the lock file that is there, remove it if its owner is gone.

        *now* is the mtime of a fresh file: the clock of the file system, not ours.
        """
        try:
            found = os.stat(self._name, dir_fd=self._spool, follow_symlinks=False)
        except FileNotFoundError:
            return True
        # Age is not enough: a program that holds the lock for long touches it, and a lock that was
        # made anew has another inode. Either begins the watch again.
        seen = (found.st_ino, found.st_mtime_ns)
        self._times = self._times + 1 if seen == self._seen else 0
        self._seen = seen
        old = now - found.st_mtime > STALE_AGE and self._times >= WATCHED
        if not (old or _owner_is_gone(self._text())):
            return False
        return self._remove(seen)

    def _text(self) -> str:
        try:
            return _first_octets(self._name, self._spool).decode("ascii", "replace")
        except OSError:
            return ""

    def _remove(self, judged: tuple[int, int]) -> bool:
        """Take a stale lock away, but put it back if another one took its place meanwhile.

        Two deliveries may judge the same lock stale: the slower must not remove the new lock of the
        faster. unlink(2) cannot tell the two apart; after rename(2) we can look at what we got.
        """
        aside = f".{self._name}.stale.{os.getpid()}"
        try:
            os.rename(self._name, aside, src_dir_fd=self._spool, dst_dir_fd=self._spool)
        except OSError:
            return False
        found = os.stat(aside, dir_fd=self._spool, follow_symlinks=False)
        stale = (found.st_ino, found.st_mtime_ns) == judged
        if not stale:
            self._link(aside)
        os.unlink(aside, dir_fd=self._spool)
        if stale:
            log.line("", f"removed the stale lock file {log.clean(self._name)}")
        return stale


def _first_octets(path: str, directory: int | None = None) -> bytes:
    """What one read(2) gives: a lock file is short, and /proc gives whole what is less than a page."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(path, flags, dir_fd=directory)
    try:
        return os.read(file, 4096)
    finally:
        os.close(file)


def _host() -> str:
    return os.uname().nodename


@functools.cache
def _boot() -> str:
    """An id of this boot of the machine, "" where the system has none."""
    try:
        return _first_octets("/proc/sys/kernel/random/boot_id").decode("ascii").strip()
    except OSError:
        return ""


def _start(pid: int) -> str:
    """When the process started, in ticks since the boot; "" where the system does not tell."""
    try:
        text = _first_octets(f"/proc/{pid}/stat")
        # After the name in parentheses, which may have anything in it: field 22 of proc(5).
        return text.rpartition(b")")[2].split()[19].decode("ascii")
    except (OSError, IndexError):
        return ""


def _owner_is_gone(text: str) -> bool:
    """Is it a lock of this host, whose process has ended or ran before the last boot?"""
    host, pid, boot, start, *_ = (*text.strip().split(":"), "", "", "", "")
    if host != _host() or not (pid.isascii() and pid.isdigit() and boot):
        return False
    if boot != _boot():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    except (OSError, OverflowError):
        return False
    # Another process may have the number by now: in a container that starts again, at once.
    now = _start(int(pid))
    return bool(start and now) and now != start
