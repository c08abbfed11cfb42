"""A queue directory and the names in it: opened once, then listed, looked at, removed, put aside.

All is relative to one descriptor of the directory, so nobody can put another in its place. Names
are two letters of a kind and a queue id (see ``minimta.queue``); an id that is none is nobody's
message. What cannot be acted on becomes Qf, is logged, and noted in ``lost``; it is never deleted.

Everything here may raise OSError as the call below it does.
"""

from __future__ import annotations

import errno
import os

from minimta.queue.qid import valid
from minimta.system import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Nonblocking, no terminal, no link: a planted fifo, tty or symbolic link does no harm.
READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

#: for a listener_uid that cannot be known: what another than we wrote waits, and is not put aside
UNKNOWN_UID = -1


class QueueEntry:
    """One queued message, as a run sorts it."""

    __slots__ = ("mtime", "qid")

    def __init__(self, qid: str, mtime: float) -> None:
        #: or its name in a queue of several directories: see ``directories``
        self.qid = qid
        #: when it came, or, once deferred, when it is due (epoch seconds); the qf's mtime. One far
        #: in the future means that the clock was set back, not that the message has to wait.
        self.mtime = mtime


class QueueDirectory:
    """A queue directory, open. Threads may share it."""

    def __init__(self, directory: str, *, listener_uid: int | None = None) -> None:
        """*listener_uid* is RunAsUser's, whose files hold plain addresses; None: there is none, and
        UNKNOWN_UID: there is no such user now. Raise OSError.
        """
        self.directory = directory
        self.listener_uid = listener_uid
        #: (qid, reason) of what was put aside; postmaster is told, then it is emptied
        self.lost: list[tuple[str, str]] = []
        #: (login, qid, reason) of what its owner is to be told of, too; then it is emptied
        self.refused: list[tuple[str, str, str]] = []
        #: the same in the words that Sendmail prints (-v)
        self.complaints: list[str] = []
        #: ids whose qf is gone; flush() removes their df
        self.retired: list[str] = []
        #: are files that we make opened for reading, too? A sandbox may forbid that
        self.reads_back = True
        #: may we read, and so fsync, the directory?
        self.may_list = True
        self._itself: os.stat_result | None = None
        flags = os.O_DIRECTORY | os.O_CLOEXEC
        try:
            self.descriptor = os.open(directory, os.O_RDONLY | flags)
        except PermissionError:
            # clientmqueue to a user: names can be made in it (1733), not listed.
            self.descriptor = os.open(directory, os.O_PATH | flags)
            self.may_list = False

    def close(self) -> None:
        """Close the directory; messages that are locked stay so."""
        os.close(self.descriptor)

    def is_in_place(self) -> bool:
        """Is it still what its path leads to? As far as can be seen: one that was moved away may come back."""
        try:
            self._itself = self._itself or os.fstat(self.descriptor)
            return os.path.samestat(os.stat(self.directory), self._itself)
        except OSError:
            return True

    def may_be_filled(self) -> bool:
        """May this process, as the user that it is now, make files in it?"""
        return os.access(".", os.W_OK | os.X_OK, dir_fd=self.descriptor, effective_ids=True)

    def free_blocks(self) -> int:
        """Blocks of the file system that are free for us (option MinFreeBlocks)."""
        return os.fstatvfs(self.descriptor).f_bavail

    # --- what is there ----------------------------------------------------------------------------

    def has_room(self, octets: int) -> bool:
        """Can a file of so many octets be made now? True if the file system does not tell. Raise OSError."""
        found = os.fstatvfs(self.descriptor)
        is_root = os.geteuid() == 0  # for whom some of it may be reserved
        blocks, inodes = (
            (found.f_bfree, found.f_ffree) if is_root else (found.f_bavail, found.f_favail)
        )
        needed = octets // (found.f_frsize or 1) + 1
        return (blocks >= needed or not found.f_blocks) and (inodes > 0 or not found.f_files)

    def names(self, kind: str = "qf") -> list[str]:
        """Queue ids of all that is queued ("hf": in quarantine), in no order. Raise OSError."""
        return [name[2:] for name in self.files() if name.startswith(kind) and valid(name[2:])]

    def entries(self, kind: str = "qf") -> Iterator[QueueEntry]:
        """The same with their times, one after the other as they are read: there may be very many.

        What vanishes meanwhile is left out, what comes may be. Raise OSError.
        """
        for name in self.each_file():
            there = self.find(name) if name[:2] == kind and valid(name[2:]) else None
            if there:
                yield QueueEntry(name[2:], there.st_mtime)

    def files(self) -> list[str]:
        """All names in the directory, of any kind, in no order. Raise OSError."""
        directory = self._open_again()
        try:
            return os.listdir(directory)
        finally:
            os.close(directory)

    def each_file(self) -> Iterator[str]:
        """The same, one after the other as they are read. Raise OSError."""
        directory = self._open_again()
        try:
            with os.scandir(directory) as found:
                for one in found:
                    yield one.name
        finally:
            os.close(directory)

    def _open_again(self) -> int:
        """A descriptor of its own: threads that share one would share the position in it."""
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.descriptor)

    def find(self, name: str) -> os.stat_result | None:
        """What *name* is in this directory, links not followed; None if it is not there."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def has_all_names(self, data: int) -> bool:
        """Are all names of the open file *data*, of which it has several, df in this directory?

        Raise OSError, too if another process removes or links one all the time that we look.
        """
        for _ in range(3):
            opened = os.fstat(data)
            if opened.st_nlink < 2:
                return False
            names = [name for name in self.files() if name.startswith("df") and valid(name[2:])]
            count = sum(is_still(self.descriptor, name, opened) for name in names)
            if os.fstat(data).st_nlink == opened.st_nlink:
                return count == opened.st_nlink
        raise OSError(errno.EAGAIN, "names of a data file change while it is read")

    # --- one file ---------------------------------------------------------------------------------

    def create_file(self, name: str) -> int:
        """Create *name*, for us alone, open for writing and, unless not ``reads_back``, reading.

        Raise FileExistsError if there is one already, a link too.
        """
        flags = os.O_RDWR if self.reads_back else os.O_WRONLY
        flags |= os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, 0o600, dir_fd=self.descriptor)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name; what had it is gone, at the same instant. Raise OSError."""
        os.rename(old, new, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def unlink(self, name: str) -> bool:
        """Remove a file; False if there was none."""
        try:
            os.unlink(name, dir_fd=self.descriptor)
        except FileNotFoundError:
            return False
        return True

    def lose(self, qid: str, text: str, reason: str, kind: str = "qf") -> None:
        """Put a message aside: its qf, or *kind*, becomes Qf. The caller holds its lock.

        *text* says what is wrong with it, *reason* the same in Sendmail's few words for the log.
        """
        prefix = "" if text.startswith("bogus") else "SYSERR(root): "
        log.line(qid, prefix + log.clean(text), error=True)
        self.complaints.append(text)
        if self.find("Qf" + qid):
            return  # not over another that was lost
        self.rename(kind + qid, "Qf" + qid)
        log.line(qid, f"Losing ./{kind}{qid}: {reason}", error=True)
        self.lost.append((qid, reason))

    # --- made durable -----------------------------------------------------------------------------

    def sync_names(self, renamed: int) -> None:
        """Make the new name of the open file *renamed* durable. Raise OSError.

        In clientmqueue (1733) a user cannot open the directory to fsync it. There the file is
        fsynced once more: rename changes its inode, and the journals of ext4, xfs and btrfs put the
        names on disk with it.
        """
        os.fsync(self.descriptor if self.may_list else renamed)

    def flush(self) -> None:
        """Make removals and renames so far durable, once after a batch; then drop the df of what is
        retired. Raise OSError.

        In this order: a qf that a power cut brings back must find its df.
        """
        os.fsync(self.descriptor)
        while self.retired:
            qid = self.retired.pop()
            self.unlink("df" + qid)
            self.unlink("af" + qid)


def close(file: int) -> None:
    """Close what is fsynced, or was only read, or is not wanted: an error would be no news."""
    try:
        os.close(file)
    except OSError as error:
        log.line("", f"close: {error.strerror}", error=True)


def is_still(directory: int, name: str, opened: os.stat_result) -> bool:
    """Does *name* still lead to the file that was opened?"""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino)
