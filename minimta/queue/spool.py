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

from minimta.queue import qid as queue_id
from minimta.queue.commit import KeepingCommitter, PlainCommitter
from minimta.queue.control import Control, encode
from minimta.queue.directory import READING, QueueDirectory, close, is_still
from minimta.queue.qid import valid
from minimta.system import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.queue.commit import Committer
    from minimta.queue.leftovers import Leftovers
    from minimta.queue.locked import LockedMessage

#: seconds after which what a dead process left is swept away
ORPHAN_AGE = 3600
_KINDS = ("df", "qf", "tf", "xf", "af", "hf", "Qf")


class Spool(QueueDirectory):
    """A queue directory, open, with the ways of a message into it and out of it."""

    def __init__(
        self,
        directory: str,
        *,
        commit: Committer | None = None,
        listener_uid: int | None = None,
        is_client: bool = False,
    ) -> None:
        """*commit* makes messages durable, if not the plain way; *listener_uid* is RunAsUser's, whose
        files hold plain addresses; *is_client* says that a runner will adopt from here what we put
        in. Raise OSError.
        """
        super().__init__(directory, listener_uid=listener_uid)
        #: must what is put in keep the limits of ``client_limits``?
        self.is_client = is_client
        self._committer = commit or PlainCommitter()
        #: locks that accept() kept, by queue id; lock() takes them up
        self._kept: dict[str, int] = {}
        #: what is known of new ids; None: every file of each is looked for
        self._leftovers: Leftovers | None = None

    def learn_leftovers(self) -> None:
        """For a process that will put in many messages, while it may list the directory. Raise OSError."""
        from minimta.queue.leftovers import Leftovers  # not for who puts in one

        self._leftovers = Leftovers(self.descriptor)

    # --- in ---------------------------------------------------------------------------------------

    @property
    def spools(self) -> list[Spool]:
        """Itself: what a QueueGroup has several of."""
        return [self]

    def begin(self, qid: str, now: float) -> tuple[Spool, str, int]:
        """Begin a message: (where it lies, its id, its df as create() makes it).

        The id is *qid*, or if that is taken another one of *now* (epoch seconds). Raise OSError.
        """
        while True:
            try:
                return self, qid, self.create(qid)
            except FileExistsError:
                qid = queue_id.new(now)

    def create(self, qid: str) -> int:
        """Begin a message: an empty df, open for reading and writing, safe from sweep().

        Raise FileExistsError if any file of this id is there: take another id.
        """
        data = self.create_file("df" + qid)
        try:
            fcntl.flock(data, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_taken(qid):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), qid)
        except BaseException:
            self.discard(qid, data)
            raise
        return data

    def _is_taken(self, qid: str) -> bool:
        """Is any file of this id there but the df? Raise OSError."""
        if self._leftovers is not None and self._leftovers.know(qid):
            return qid in self._leftovers
        return any(self.find(kind + qid) for kind in _KINDS[1:])

    def has(self, qid: str) -> bool:
        """Is there a message of this id? Nothing is looked for if ``learn_leftovers`` knows. Raise OSError."""
        if self._leftovers is not None and self._leftovers.know(qid):
            return qid in self._leftovers
        return bool(self.find("df" + qid) or self.find("qf" + qid))

    def accept(self, qid: str, data: int, control: Control, *, keep_lock: bool = False) -> None:
        """End a message whose df is written: durable on return, and *data* is closed.

        With *keep_lock* nobody else can have it before our lock() takes it up, or we exit.
        Raise OSError (ENOSPC, EIO, ESTALE: what comes into a directory that was moved away since it was begun
        would be looked for by nobody), or ValueError if a field would forge a line. Then it was not
        accepted and its names are gone again, as far as the disk obeys; *data* is still open, for
        who wants to save the text elsewhere.
        """
        try:
            if not self.is_in_place():
                raise OSError(errno.ESTALE, "the queue directory was moved", self.directory)
            control.size = os.fstat(data).st_size
            text = encode(control)
            committer = KeepingCommitter(self._kept) if keep_lock else self._committer
            committer.commit(self, qid, data, text, "hf" if control.quarantine else "qf")
        except BaseException:
            self.withdraw(qid)
            raise
        close(data)

    def note_own(self, ids: list[str]) -> None:
        """Have mailq know of these letters of the caller's, in a directory that they cannot list."""
        if self.may_list:
            return
        from minimta.queue import own_letters  # not for the MTA queue

        for qid in ids:
            own_letters.note(self.descriptor, qid)

    def discard(self, qid: str, data: int) -> None:
        """End a message that is not wanted, before accept()."""
        try:
            self.unlink("df" + qid)
        finally:
            close(data)

    def withdraw(self, qid: str) -> None:
        """Undo an accept() that failed: remove tf, then qf for good, then df.

        Where the disk refuses we stop: a whole message, delivered twice, is better than a torn one.
        """
        try:
            self.unlink("tf" + qid)
            if (self.unlink("qf" + qid) or self.unlink("hf" + qid)) and self.may_list:
                self.flush()
            self.unlink("df" + qid)
        except OSError as error:
            log.line(qid, f"SYSERR: cannot remove queue files: {error.strerror}", error=True)

    # --- out --------------------------------------------------------------------------------------

    def lock(self, qid: str, *, trusted: bool = True, kind: str = "qf") -> LockedMessage | None:
        """Take a message; None if another has it, or it is gone, or it had to be put aside (Qf).

        If it is not *trusted*, programs, files and controlling users in it are refused, even if the
        file is ours. *kind* "hf" is one in quarantine. Raise OSError: this one cannot be read now (EIO), or none can (EMFILE).
        """
        kept = self._kept.pop(qid, -1)
        if kept < 0 and not valid(qid):
            return None
        from minimta.queue import locked  # not for who only puts messages in

        return locked.take(self, qid, kept, trusted=trusted, kind=kind)

    # --- housekeeping -----------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Remove what dead processes left an hour ago: df, tf, xf and af without message.

        A complete tf without qf was never acknowledged and goes too; one beside a qf goes with the
        next rewrite, which makes another of that name. An empty qf (Sendmail writes its qf in place)
        is put aside. Raise OSError.
        """
        from itertools import groupby  # not for who only puts messages in

        from minimta.system.external_sort import ExternalSort

        names = ExternalSort()  # of very many few are in memory
        for name in self.each_file():
            if name[:2] in _KINDS and valid(name[2:]):
                names.add((name[2:], name), name)
        swept = False
        for qid, of_one in groupby(names, lambda name: name[2:]):
            kinds = {name[:2] for name in of_one}
            if "qf" in kinds:
                self._sweep_empty(qid, now)
            elif kinds.isdisjoint(("hf", "Qf")):
                for kind in sorted(kinds):
                    swept = self._sweep_one(kind + qid, now, is_first=not swept) or swept

    def _sweep_one(self, name: str, now: float, *, is_first: bool) -> bool:
        """Is it gone? Before the *first* goes, that the qf of a df is gone becomes durable."""
        file = self._open_old(name, now)
        if file < 0:
            return False
        try:
            # A process that still writes it holds a lock on it.
            if not _try_lock(file) or self._is_message(name):
                return False
            if is_first:
                # Its runner was killed, or has not flushed yet: a qf that a power cut brings back
                # must find its df. What was listed without qf before this stays without.
                os.fsync(self.descriptor)
            self.unlink(name)
            log.line(name[2:], f"removed {name}, left by a process that died")
            return True
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
            is_empty = not opened.st_size and is_still(self.descriptor, name, opened)
            if is_empty and _try_lock(file):
                self.lose(qid, f"readqf: ./{name}: incomplete queue file read", "empty queue file")
        finally:
            os.close(file)

    def _open_old(self, name: str, now: float) -> int:
        """A file that has not changed for an hour; -1 if it is no such file, or we may not."""
        try:
            file = os.open(name, READING, dir_fd=self.descriptor)
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
        return any(self.find(kind + name[2:]) for kind in ("qf", "hf", "Qf"))


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
