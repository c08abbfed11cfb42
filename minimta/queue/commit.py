"""The one place that decides how messages become durable, alone or several together.

``Spool.accept`` hands over an open df, fully written, and the text of the qf. When commit() returns,
both are on disk under their names; only then may anyone say 250. When it raises OSError nobody knows
what is on disk, and the caller removes qf, then df.

    alone       write tf, begin its write-back; fsync df, fsync tf; rename tf -> qf; fsync directory
    together    each session writes df and tf; one of them, for all: syncfs; rename every tf -> qf;
                fsync directory

The content comes before the name: a qf that survives a power cut is whole, and so is its df. The
fsync of the directory comes last, because the rename is in no file's journal entry: without it a
message of which we said 250 could be gone. After a failing fsync the descriptor is never asked
again: Linux reports the error once and calls the pages clean.

A file system with a journal gives a new file its blocks when it is written back, and each fsync of a
file that has got some waits for a commit of the journal. Begun early, the tf has its blocks by the
time the df is fsynced, and one commit serves both: two for a message instead of three.
"""

from __future__ import annotations

import errno
import fcntl
import os
from _thread import allocate_lock

from minimta.queue.directory import close
from minimta.system import files, log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from minimta.queue.directory import QueueDirectory

    class Committer(Protocol):
        """A way to make messages durable."""

        def commit(
            self, directory: QueueDirectory, qid: str, data: int, text: bytes, kind: str = "qf"
        ) -> None:
            """Put the df *data* and the qf *text* on disk under their names; durable on return.

            *kind* "hf" is the name of a qf that begins in quarantine, and so on below.
            Raise OSError: nobody knows what is on disk, and the caller removes qf, then df.
            """


#: from here on syncfs(2) reports what could not be written (man page, "BUGS")
_SYNCFS_REPORTS = (5, 8)
#: f_type of statfs(2): another program or machine has the disk, and syncfs(2) does not ask it to sync
_OTHERS_DISKS = {
    0x65735546: "fuse",
    0x01021997: "9p",
    0x6969: "nfs",
    0xFF534D42: "cifs",
    0xFE534D42: "smb2",
}


def rename(directory: QueueDirectory, qid: str, kind: str = "qf") -> None:
    """The commit: the whole tf becomes the qf, at once. Raise OSError."""
    directory.rename("tf" + qid, kind + qid)


class PlainCommitter:
    """Each message by itself: three fsyncs."""

    def commit(
        self, directory: QueueDirectory, qid: str, data: int, text: bytes, kind: str = "qf"
    ) -> None:
        """Durable on return. Raise OSError: the caller removes what is there."""
        control = directory.create_file("tf" + qid)
        try:
            files.write_all(control, text)
            _finish(directory, qid, data, control, kind)
        finally:
            close(control)


class KeepingCommitter:
    """Like the plain one, for a process that delivers what it has just queued: the qf stays locked.

    It is locked before it gets its name, so that no runner comes between. Our exit frees it.
    """

    def __init__(self, kept: dict[str, int]) -> None:
        """*kept* gets the lock of each message, a descriptor, by queue id."""
        self._kept = kept

    def commit(
        self, directory: QueueDirectory, qid: str, data: int, text: bytes, kind: str = "qf"
    ) -> None:
        """Durable and locked on return. Raise OSError: the caller removes what is there."""
        control = directory.create_file("tf" + qid)
        try:
            fcntl.flock(control, fcntl.LOCK_EX | fcntl.LOCK_NB)
            files.write_all(control, text)
            _finish(directory, qid, data, control, kind)
        except BaseException:
            close(control)
            raise
        self._kept[qid] = control


def _finish(directory: QueueDirectory, qid: str, data: int, control: int, kind: str) -> None:
    """Both files are written: make them durable, then the name."""
    try:
        os.posix_fadvise(control, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError:
        pass  # it is only faster
    os.fsync(data)
    os.fsync(control)
    rename(directory, qid, kind)
    directory.sync_names(control)


class _Waiting:
    """A session that waits until its message is durable."""

    __slots__ = ("control", "data", "error", "gate", "kind", "leads", "qid")

    def __init__(self, qid: str, data: int, control: int, kind: str) -> None:
        self.qid = qid
        self.kind = kind
        self.data = data
        self.control = control
        self.error = 0
        self.leads = False
        #: closed until the message is durable, or this session has to lead
        self.gate = allocate_lock()
        self.gate.acquire()


class GroupCommitter:
    """Messages that arrive together become durable together; for the threads of one process.

    There is no thread of its own to wake: the first session leads. It commits all that wait, opens
    their gates, and hands the lead to one of those that came meanwhile. A session that is alone
    pays no more than with PlainCommitter. Not for use in a child forked while others commit.
    """

    def __init__(self, sync: Callable[[int], None] | None = None) -> None:
        self._sync = sync or syncfs
        self._mutex = allocate_lock()
        self._waiting: list[_Waiting] = []
        self._led = False
        #: has syncfs(2) failed? An error is reported once: those who were still writing then, and come
        #: later, would not hear that it was about their files. So each file is asked from then on.
        self._has_failed = False

    def commit(
        self, directory: QueueDirectory, qid: str, data: int, text: bytes, kind: str = "qf"
    ) -> None:
        """Durable on return. Raise OSError: the caller removes what is there."""
        control = directory.create_file("tf" + qid)
        try:
            files.write_all(control, text)
            error = self._wait(directory, _Waiting(qid, data, control, kind))
        finally:
            close(control)
        if error:
            raise OSError(error, os.strerror(error))

    def _wait(self, directory: QueueDirectory, waiting: _Waiting) -> int:
        with self._mutex:
            self._waiting.append(waiting)
            waiting.leads = not self._led
            self._led = True
        if not waiting.leads:
            waiting.gate.acquire()
        if waiting.leads:
            self._lead(directory)
        return waiting.error

    def _lead(self, directory: QueueDirectory) -> None:
        with self._mutex:
            batch, self._waiting = self._waiting, []
        error = errno.EIO  # if anything unforeseen happens, nobody may say 250
        try:
            error = self._make_durable(directory, batch)
        finally:
            with self._mutex:
                following = self._waiting[0] if self._waiting else None
                self._led = following is not None
            for waiting in batch:
                waiting.error = error
                if not waiting.leads:
                    waiting.gate.release()
            if following:
                following.leads = True
                following.gate.release()

    def _make_durable(self, directory: QueueDirectory, batch: list[_Waiting]) -> int:
        """One failure is everybody's: what is on disk is not known. Returns an errno, 0 if well."""
        try:
            if len(batch) == 1 or self._has_failed or not directory.may_list:
                for one in batch:
                    _finish(directory, one.qid, one.data, one.control, one.kind)
                return 0
            self._sync_all(directory)
            for one in batch:
                rename(directory, one.qid, one.kind)
            directory.sync_names(batch[-1].control)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def _sync_all(self, directory: QueueDirectory) -> None:
        try:
            # Of the directory, open since the start: it is told of all errors since then.
            self._sync(directory.descriptor)
        except OSError as error:
            self._has_failed = True
            why = f"syncfs: {error.strerror}; each message is made durable by itself from now on"
            log.line("", f"{log.clean(directory.directory)}: {why}", level=1, error=True)
            raise


def committer(group: bool, directory: str) -> Committer:
    """What option GroupCommit asks for; the plain one where syncfs(2) cannot be relied upon.

    *directory* is that of the queue.
    """
    return GroupCommitter() if may_sync_all(group, directory) else PlainCommitter()


def may_sync_all(group: bool, directory: str) -> bool:
    """May files in the queue *directory* be made durable by one syncfs(2)? (option GroupCommit)"""
    return group and _reports_errors(os.uname().release) and not _is_others(directory)


def sync_all(directory: QueueDirectory, group: bool) -> bool:
    """Make all durable that the disk of *directory* holds; False if it may not be. Raise OSError."""
    if not may_sync_all(group, directory.directory):
        return False
    syncfs(directory.descriptor)
    return True


def _reports_errors(release: str) -> bool:
    numbers = [int(part) for part in release.split(".")[:2] if part.isdigit()]
    return tuple(numbers) >= _SYNCFS_REPORTS


def _is_others(directory: str) -> bool:
    """Has another program or machine the disk of *directory*, or is that not known?"""
    import ctypes

    words = (ctypes.c_uint32 * 64)()  # struct statfs: f_type comes first, a long in most places
    if ctypes.CDLL(None).statfs(os.fsencode(directory), words):
        return True
    return not _OTHERS_DISKS.keys().isdisjoint(words[:2])


def syncfs(directory: int) -> None:
    """Make everything durable that the file system of *directory* holds. Raise OSError."""
    import ctypes  # 10 ms, and only a listener comes here

    library = ctypes.CDLL(None, use_errno=True)
    if library.syncfs(directory):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
