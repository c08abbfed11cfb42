"""A locked message: what its holder may read, rewrite and remove.

The lock is flock(2) on the inode of the qf, as Sendmail's: it dies with its holder, so that a killed
runner leaves nothing to clean up. Lock first, then look: a qf that was replaced or removed between
opening and locking is not the message any more. Rewriting makes a new inode, so the new file is
locked before it takes the name, and the old lock is held until then.

Who wrote a file says its inode, and that decides what the file may ask for:

    owner of the qf         it may name
    root (without: we)      controlling users, programs and files: a queue runner wrote it
    the listener's user     plain addresses, for its writer talks to the network
    anybody else            nothing: it is Unusable, as one that others may write

A qf has one name. A df of root's may have several, if all are df in this directory: when Sendmail
splits a message for the owner of a list, it links the df of one part to that of the other.

Unusable becomes Qf. What cannot be read now is an OSError, and the message waits.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat

from minimta.queue.control import Control, CorruptControlFile, decode, encode, is_plain
from minimta.queue.directory import READING, UNKNOWN_UID, close, is_still
from minimta.system import files, log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minimta.queue.directory import QueueDirectory
    from minimta.queue.failed_attempts import FailedAttempt

#: a qf of a thousand recipients and the longest header is a fifth of this
MAX_CONTROL = 16 << 20
#: octets of a recipient and what belongs to it, nearly always
_RECIPIENT = 256


class Unusable(Exception):
    """The files of a message cannot be acted on: qf becomes Qf. ``str()`` is the long reason."""

    def __init__(self, text: str, reason: str) -> None:
        """*text* says what is wrong, *reason* the same in Sendmail's few words."""
        super().__init__(text)
        #: what follows "Losing ./qfID: "
        self.reason = reason


class LockedMessage:
    """One locked message. ``control`` is edited by the holder and written back by rewrite()."""

    __slots__ = (
        *("_directory", "_lock", "_new", "control", "data"),
        *("kind", "name", "owner", "qid", "size"),
    )

    def __init__(
        self,
        directory: QueueDirectory,
        qid: str,
        lock: int,
        control: Control,
        data: int,
        kind: str = "qf",
        *,
        size: int,
        owner: int,
    ) -> None:
        """*lock* is the locked qf (or *kind*), of the uid *owner*, and *data* the df, of *size* octets:
        descriptors, which release() closes.
        """
        #: how the name of its control file begins: "qf", or "hf" in quarantine
        self.kind = kind
        self._directory = directory
        self._lock = lock
        #: what is to be the qf, locked, -1 if nothing is
        self._new = -1
        self.qid = qid
        #: what a run calls it: see ``directories``
        self.name = qid
        self.control = control
        #: the df, opened read-only
        self.data = data
        #: octets of the df
        self.size = size
        #: uid of the qf
        self.owner = owner

    def __enter__(self) -> LockedMessage:
        return self

    def __exit__(self, *unused: object) -> None:
        self.release()

    def rewrite(self, due: float, *, lasting: bool = True) -> None:
        """Write ``control`` back, to be tried again at *due* (epoch seconds, kept as mtime).

        Durable on return; if it is not *lasting* a power cut may bring back the qf before it.
        Raise OSError, or ValueError if a field would forge a line: then the old or the new qf
        stands, whole, and is still locked.
        """
        self._write(due)
        self.end_rewrite()
        if lasting:
            self._directory.sync_names(self._lock)

    def begin_rewrite(self, due: float) -> None:
        """The first half of a rewrite() that need not be lasting. Raises what that does, as end_rewrite()."""
        self._write(due)

    def write_back(self) -> None:
        """Have the disk begin with what begin_rewrite() wrote.

        Who has many, and no syncfs(2) for them all, begins with all before the first is ended: the disk
        writes them together.
        """
        with contextlib.suppress(OSError):  # it is only asked to begin: the fsync counts
            os.posix_fadvise(self._new, 0, 0, os.POSIX_FADV_DONTNEED)

    def end_rewrite(self, *, is_synced: bool = False) -> None:
        """The second half: the new qf has the name on return, its content first.

        *is_synced*: since begin_rewrite() a syncfs(2) has made all durable.
        """
        new, self._new = self._new, -1
        try:
            if not is_synced:
                os.fsync(new)
            self._directory.rename("tf" + self.qid, self.kind + self.qid)
        except BaseException:
            self._discard(new)
            raise
        old, self._lock = self._lock, new
        close(old)

    def _write(self, due: float) -> None:
        self.control.size = self.size
        text = encode(self.control)
        new = self._create("tf" + self.qid)
        try:
            # Before it has the name: else another runner could lock it in the instant after.
            fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
            files.write_all(new, text)
            os.utime(new, (due, due))
        except BaseException:
            self._discard(new)
            raise
        self._new = new

    def _discard(self, new: int) -> None:
        close(new)
        self._directory.unlink("tf" + self.qid)

    def _create(self, name: str) -> int:
        try:
            return self._directory.create_file(name)
        except FileExistsError:
            # Left by a writer that died: a living one would have the lock that we have.
            self._directory.unlink(name)
            return self._directory.create_file(name)

    def hold(self, reason: str) -> None:
        """Put it into quarantine: no run takes it any more. Durable; raise OSError."""
        self.control.quarantine = reason
        self.rewrite(os.fstat(self._lock).st_mtime)  # from here on runs leave it
        self._move("hf")

    def let_go(self, due: float) -> None:
        """Take it out of quarantine, to be tried at *due*. Durable; raise OSError."""
        self._move("qf")  # runs still leave it
        self.control.quarantine = ""
        self.rewrite(due)

    def _move(self, kind: str) -> None:
        if kind != self.kind:
            self._directory.rename(self.kind + self.qid, kind + self.qid)
            self.kind = kind
            self._directory.sync_names(self._lock)

    def note_failures(self, found: Iterable[FailedAttempt]) -> None:
        """Keep what went wrong, for people. Nothing depends on it: what fails is left, nothing is synced."""
        from minimta.queue import failed_attempts  # few messages have to wait

        try:
            failed_attempts.note(self._directory, self.qid, found)
        except OSError as error:
            log.line(self.qid, f"af{self.qid}: {error.strerror}", error=True)

    def postpone(self, due: float) -> None:
        """Let it rest until *due* although nothing can be written: only the time of the qf."""
        os.utime(self._lock, (due, due))

    def has_room(self, recipients: int) -> bool:
        """Is there room for a rewrite() with so many? Raise OSError."""
        octets = os.fstat(self._lock).st_size + recipients * _RECIPIENT
        return self._directory.has_room(octets) and (not os.geteuid() or self._may_use(octets))

    def _may_use(self, octets: int) -> bool:
        """Does a quota leave us so many? Nobody tells of those but who makes a file; root has none."""
        try:
            new = self._create("tf" + self.qid)
            try:
                os.posix_fallocate(new, 0, octets)
            finally:
                self._discard(new)
        except OSError as error:
            return error.errno not in (errno.EDQUOT, errno.ENOSPC)
        return True

    def retire(self) -> None:
        """The message is done: its qf goes now, its df with the next ``QueueDirectory.flush``.

        In between the removal of the qf becomes durable, so that no crash and no file system that
        reorders names leaves a qf without its df: a body that is gone would be delivered as empty.
        Before that a power cut may bring the message back. Raise OSError.
        """
        self._directory.unlink(self.kind + self.qid)
        self._directory.retired.append(self.qid)
        self.release()

    def put_aside(self, text: str, reason: str) -> None:
        """See QueueDirectory.lose, but nobody is told. Raise OSError."""
        lost = self._directory.lost
        noted = len(lost)
        self._directory.lose(self.qid, text, reason, self.kind)
        del lost[noted:]

    def is_gone(self) -> bool:
        """Is it not in the queue any more? Raise OSError."""
        return self._directory.find(self.kind + self.qid) is None

    def release(self) -> None:
        """Let go of the message; may be called twice."""
        if self._lock < 0:
            return
        if self._new >= 0:  # begun, and not ended: the old one stands
            new, self._new = self._new, -1
            self._discard(new)
        lock, data, self._lock, self.data = self._lock, self.data, -1, -1
        try:
            # Explicitly: a child that we forked may still have this descriptor.
            fcntl.flock(lock, fcntl.LOCK_UN)
        finally:
            close(lock)
            close(data)


def take(
    directory: QueueDirectory,
    qid: str,
    lock: int = -1,
    *,
    trusted: bool = True,
    kind: str = "qf",
) -> LockedMessage | None:
    """Lock and look; see ``Spool.lock``. *lock* is a lock on it that we have already, -1 if none."""
    message = None
    try:
        if lock < 0:
            lock = _lock(directory, kind + qid)
        if lock >= 0:
            message = _look(directory, qid, lock, trusted, kind)
    except Unusable as error:
        directory.lose(qid, str(error), error.reason, kind)  # while it is still locked
    finally:
        if message is None and lock >= 0:
            os.close(lock)
    return message


def _lock(directory: QueueDirectory, name: str) -> int:
    """A locked descriptor of a control file; -1 if it is another's, or gone."""
    try:
        lock = open_file(directory, name, READING | os.O_RDWR)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_still(directory.descriptor, name, os.fstat(lock)):
            return lock
    except BlockingIOError:
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return -1


def open_file(directory: QueueDirectory, name: str, flags: int = READING) -> int:
    """Open a queue file. Raise Unusable for a link, a directory, a socket; OSError."""
    try:
        return os.open(name, flags, dir_fd=directory.descriptor)
    except OSError as error:
        found = directory.find(name)
        if found is None or stat.S_ISREG(found.st_mode):
            raise
        raise Unusable(f"{name}: {error.strerror}", "not a regular file") from error


def _look(
    directory: QueueDirectory, qid: str, lock: int, trusted: bool, kind: str
) -> LockedMessage | None:
    """Check and read a locked message. None: Sendmail has made the file and not yet written it."""
    found = os.fstat(lock)
    may_command = _may_command(directory, found) and trusted
    if not found.st_size:
        return None  # an old one is the business of sweep()
    control = _read(qid, lock)
    if not may_command and not all(map(is_plain, control.recipients)):
        raise Unusable(
            f"bogus queue file, uid={found.st_uid} names a program, a file or a controlling user",
            "bogus file uid/gid in mqueue",
        )
    owners = _owners(directory) if may_command else {found.st_uid}
    data, size = _open_data(directory, qid, control, owners)
    return LockedMessage(directory, qid, lock, control, data, kind, size=size, owner=found.st_uid)


def _owners(directory: QueueDirectory) -> set[int]:
    known = {0, os.geteuid()}
    return known if directory.listener_uid is None else known | {directory.listener_uid}


def _may_command(directory: QueueDirectory, found: os.stat_result) -> bool:
    """Do we obey more than addresses in this file? Raise Unusable if it is not ours at all, and
    OSError if that cannot be known.
    """
    why_not = improper(found)
    if why_not:
        raise Unusable(why_not, "bogus file uid/gid in mqueue")
    if found.st_uid in (0, os.geteuid()):
        return True
    if directory.listener_uid == UNKNOWN_UID:
        text = f"of uid {found.st_uid}, and RunAsUser is not found: it may be the listener's"
        raise OSError(errno.ENOENT, text)
    # DIFFERS: Sendmail run by root takes a qf of any user.
    if found.st_uid != directory.listener_uid:
        raise Unusable(_bogus(found), "bogus file uid/gid in mqueue")
    return False


def improper(found: os.stat_result, *, several: bool = False) -> str:
    """Why a file in a queue directory cannot be a queue file of any owner; "" if it can.

    It has one name, else it may be somebody else's file; or *several*, all known to be queue files'.
    """
    is_alone = found.st_nlink == 1 or several
    if not stat.S_ISREG(found.st_mode) or not is_alone or found.st_mode & 0o022:
        return _bogus(found)
    return ""


def _bogus(found: os.stat_result) -> str:
    links = f", links={found.st_nlink}" if found.st_nlink != 1 else ""
    return (
        f"bogus queue file, uid={found.st_uid}, gid={found.st_gid}, mode={found.st_mode:o}{links}"
    )


def _read(qid: str, file: int) -> Control:
    text = files.read_to_limit(file, MAX_CONTROL)
    try:
        return decode(text)
    except CorruptControlFile as error:
        where = f"readqf: ./qf{qid}: " if str(error).startswith(("line ", "incomplete ")) else ""
        raise Unusable(f"{where}{error}", error.reason) from error


def _open_data(
    directory: QueueDirectory, qid: str, control: Control, owners: set[int]
) -> tuple[int, int]:
    """The df, and its octets. Raise Unusable if it is missing, another's, or not as long as was recorded."""
    name = "df" + qid
    try:
        data = open_file(directory, name)
    except FileNotFoundError as error:
        # DIFFERS: Sendmail delivers "<<< No Message Collected >>>".
        # Of several directories Sendmail may have had it in another one.
        had = b"".join(line[1:] for line in control.carried if line[:1] == b"d")
        where = f"; Sendmail had it in {log.clean(had)}" if had else ""
        text = f"readqf: cannot open ./{name}: {error.strerror}{where}"
        raise Unusable(text, "no data file") from error
    try:
        found, several = os.fstat(data), False
        if found.st_nlink > 1 and found.st_uid in (0, os.geteuid()):
            several = directory.has_all_names(data)
            found = os.fstat(data)  # now: the other message may be done meanwhile
        if improper(found, several=several) or found.st_uid not in owners:
            raise Unusable(_bogus(found).replace("queue file", "data file"), "bogus data file")
        if control.size not in (-1, found.st_size):
            # A longer one is refused too: it is not what was accepted.
            text = f"readqf: ./{name}: {found.st_size} octets, {control.size} recorded"
            raise Unusable(text, "data file torn")
    except BaseException:
        os.close(data)
        raise
    return data, found.st_size
