"""The queue directory. No module outside this package opens, renames or removes a file in it.

All is relative to one descriptor of the directory. Ids that are no ids are nobody's messages. What
cannot be acted on becomes Qf, is logged, and noted in ``lost``; it is never deleted.

A listener builds its Spool before it gives up root: afterwards it may create and rename in the
directory (mode 1730), but not open it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from minimta.queue import commit as _commit
from minimta.queue import locked
from minimta.queue.control import Control, encode
from minimta.queue.locked import LockedMessage
from minimta.queue.qid import valid
from minimta.system import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.queue.commit import Committer

#: seconds after which what a dead process left is swept away
ORPHAN_AGE = 3600
_KINDS = ("df", "qf", "tf", "xf", "hf", "Qf")


class QueueEntry:
    """One queued message, as a run sorts it."""

    __slots__ = ("mtime", "qid")

    def __init__(self, qid: str, mtime: float) -> None:
        self.qid = qid
        #: when it came, or, once deferred, when it is due (epoch seconds); the qf's mtime. One far
        #: in the future means that the clock was set back, not that the message has to wait.
        self.mtime = mtime


class Spool:
    """A queue directory, open. Threads may share it."""

    def __init__(
        self, directory: str, *, commit: Committer | None = None, listener_uid: int | None = None
    ) -> None:
        """*listener_uid* is RunAsUser's, whose files hold plain addresses. Raise OSError."""
        self.directory = directory
        self.listener_uid = listener_uid
        #: (qid, reason) of what lock() and sweep() put aside; postmaster is told, then it is emptied
        self.lost: list[tuple[str, str]] = []
        #: ids whose qf is gone; flush() removes their df
        self.retired: list[str] = []
        #: the same in the words that Sendmail prints (-v)
        self.complaints: list[str] = []
        self._committer = commit or _commit.PlainCommitter()
        #: locks that the committer kept for us, by queue id; lock() takes them up
        self.kept: dict[str, int] = {}
        #: may we read, and so fsync, the directory?
        self.may_list = True
        flags = os.O_DIRECTORY | os.O_CLOEXEC
        try:
            self.descriptor = os.open(directory, os.O_RDONLY | flags)
        except PermissionError:
            self.descriptor = os.open(directory, os.O_PATH | flags)
            self.may_list = False

    def use(self, committer: Committer) -> None:
        """Make messages durable in another way from now on."""
        self._committer = committer

    def close(self) -> None:
        """Close the directory; messages that are held stay so."""
        os.close(self.descriptor)

    def free_blocks(self) -> int:
        """Blocks of the file system that are free for us (option MinFreeBlocks)."""
        return os.fstatvfs(self.descriptor).f_bavail

    # --- in ---------------------------------------------------------------------------------------

    def create(self, qid: str) -> int:
        """Begin a message: an empty df, open for reading and writing, safe from sweep().

        Raise FileExistsError if any file of this id is there: take another id.
        """
        data = _commit.create(self.descriptor, "df" + qid)
        try:
            fcntl.flock(data, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for kind in _KINDS[1:]:
                if self.find(kind + qid):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), kind + qid)
        except BaseException:
            self.discard(qid, data)
            raise
        return data

    def accept(self, qid: str, data: int, control: Control) -> None:
        """End a message whose df is written: durable on return, and *data* is closed.

        Raise OSError (ENOSPC, EIO ...), or ValueError if a field would forge a line. Then it was not
        accepted and its names are gone again, as far as the disk obeys; *data* is still open, for
        who wants to save the text elsewhere.
        """
        try:
            control.size = os.fstat(data).st_size
            self._committer.commit(self, qid, data, encode(control))
        except BaseException:
            self._withdraw(qid)
            raise
        _commit.close(data)

    def discard(self, qid: str, data: int) -> None:
        """End a message that is not wanted, before accept()."""
        try:
            self.unlink("df" + qid)
        finally:
            _commit.close(data)

    def _withdraw(self, qid: str) -> None:
        """Remove tf, then qf for good, then df.

        Where the disk refuses we stop: a whole message, delivered twice, is better than a torn one.
        """
        try:
            self.unlink("tf" + qid)
            if self.unlink("qf" + qid) and self.may_list:
                self.flush()
            self.unlink("df" + qid)
        except OSError as error:
            log.line(qid, f"SYSERR: cannot remove queue files: {error.strerror}", error=True)

    # --- what is there ----------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Queue ids of all that is queued, in no order. Raise OSError."""
        return [name[2:] for name in self._list() if name.startswith("qf") and valid(name[2:])]

    def entries(self) -> list[QueueEntry]:
        """The same with their times; a stat for each. What vanishes meanwhile is left out."""
        found = []
        for qid in self.names():
            there = self.find("qf" + qid)
            if there:
                found.append(QueueEntry(qid, there.st_mtime))
        return found

    def lock(self, qid: str, *, trusted: bool = True) -> LockedMessage | None:
        """Take a message; None if another has it, or it is gone, or it had to be put aside (Qf).

        Not *trusted*: programs, files and controlling users are refused whoever owns the file.
        OSError: this one cannot be read now (EIO), or nothing can (EMFILE).
        """
        return locked.take(self, qid, trusted) if valid(qid) else None

    # --- housekeeping -----------------------------------------------------------------------------

    def flush(self) -> None:
        """Make removals and renames so far durable, once after a batch; then drop the df of what is
        retired. Raise OSError."""
        os.fsync(self.descriptor)
        while self.retired:
            self.unlink("df" + self.retired.pop())

    def sync_names(self, renamed: int) -> None:
        """Make the new name of the open file *renamed* durable. Raise OSError.

        In clientmqueue (1733) a user cannot open the directory to fsync it. There the file is
        fsynced once more: rename changes its inode, and the journals of ext4, xfs and btrfs put the
        names on disk with it.
        """
        os.fsync(self.descriptor if self.may_list else renamed)

    def unlink(self, name: str) -> bool:
        """Remove a file; False if there was none."""
        try:
            os.unlink(name, dir_fd=self.descriptor)
        except FileNotFoundError:
            return False
        return True

    def lose(self, qid: str, text: str, reason: str) -> None:
        """Put a message aside: qf becomes Qf, which nobody acts on. The caller holds its lock."""
        prefix = "" if text.startswith("bogus") else "SYSERR(root): "
        log.line(qid, prefix + log.clean(text), error=True)
        self.complaints.append(text)
        if self.find("Qf" + qid):
            return  # not over another that was lost
        directory = self.descriptor
        os.rename("qf" + qid, "Qf" + qid, src_dir_fd=directory, dst_dir_fd=directory)
        log.line(qid, f"Losing ./qf{qid}: {reason}", error=True)
        self.lost.append((qid, reason))

    def sweep(self, now: float) -> None:
        """Remove what dead processes left an hour ago: df and xf without message, and every tf.

        A complete tf without qf was never acknowledged and goes too. An empty qf (Sendmail writes
        its qf in place) is put aside.
        """
        names = set(self._list())
        for name in names:
            kind, qid = name[:2], name[2:]
            if not valid(qid) or kind not in _KINDS:
                continue
            if kind == "qf":
                self._sweep_empty(qid, now)
            elif kind == "tf" or (kind in ("df", "xf") and not _has_owner(names, qid)):
                self._sweep_one(name, now)

    def _sweep_one(self, name: str, now: float) -> None:
        file = self._open_old(name, now)
        if file < 0:
            return
        try:
            # Whoever still writes it holds a lock on it.
            if _try_lock(file) and not self._is_message(name):
                self.unlink(name)
                log.line(name[2:], f"removed {name}, left by a process that died")
        finally:
            os.close(file)

    def _sweep_empty(self, qid: str, now: float) -> None:
        name = "qf" + qid
        found = self.find(name)
        file = self._open_old(name, now) if found and not found.st_size else -1
        if file < 0:
            return
        try:
            opened = os.fstat(file)
            is_empty = not opened.st_size and locked.is_still(self.descriptor, name, opened)
            if is_empty and _try_lock(file):
                self.lose(qid, f"readqf: ./{name}: incomplete queue file read", "empty queue file")
        finally:
            os.close(file)

    def _open_old(self, name: str, now: float) -> int:
        """A file that has not changed for an hour; -1 if it is no such file, or we may not."""
        try:
            file = os.open(name, locked.READING, dir_fd=self.descriptor)
        except OSError:
            return -1
        found = os.fstat(file)
        # The inode's own time: mtime is what utime(2) says.
        if stat.S_ISREG(found.st_mode) and now - found.st_ctime > ORPHAN_AGE:
            return file
        os.close(file)
        return -1

    def _is_message(self, name: str) -> bool:
        """Now that nobody writes it: has it become part of a message meanwhile?"""
        kinds = () if name.startswith("tf") else ("qf", "hf", "Qf")
        return any(self.find(kind + name[2:]) for kind in kinds)

    def _list(self) -> list[str]:
        # A descriptor of its own: threads that share one would share the position in it.
        directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.descriptor)
        try:
            return os.listdir(directory)
        finally:
            os.close(directory)

    def find(self, name: str) -> os.stat_result | None:
        """What *name* is in this directory, links not followed; None if it is not there."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None


def _has_owner(names: set[str], qid: str) -> bool:
    return "qf" + qid in names or "hf" + qid in names or "Qf" + qid in names


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
