"""clientmqueue -> mqueue: the runner takes over what users left, believing nothing in it.

A user who may not write mqueue leaves a message in a directory where everybody may create files and
nobody may list or read those of others (mode 1733). The runner, which is root, reads files there
that anybody may have made:

    a link, a fifo, a device        not opened, or seen by fstat: refused
    a hard link to another's file   refused: a queue file has one name
    thousands of messages at once   MaxMessagesPerUser of them, then those of others
    replaced while we read          all is asked of one descriptor; the name must still lead to it
    the owner                       the kernel says it, and it is the sender; ``sanitize`` says what
                                    else of the text is believed
    written to afterwards           the content is copied, the user's inode never enters mqueue

The copy is durable before the user's qf is unlinked, and that is durable before the df is; a crash
in between delivers the message twice, never not at all. What is refused stays, is logged once, and
after BAD_AGE becomes Qf. Raises OSError only if the disk or the process can take nothing more.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from minimta.queue import locked, message_log, own_letters, permission, qid
from minimta.queue.client_limits import MAX_CONTROL, Unacceptable
from minimta.queue.control import Control, CorruptControlFile, decode
from minimta.queue.directory import close, is_still
from minimta.queue.letter_judge import JudgedLetter, NotNow
from minimta.queue.sanitize import add_trace, sanitized
from minimta.queue.spool import Spool
from minimta.system import files, log
from minimta.system.progress import counted
from minimta.system.users import User, Users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from minimta.config.options import Options
    from minimta.queue.directories import Queue
    from minimta.queue.letter_judge import Judge

#: seconds after which a file that cannot be adopted is put aside
BAD_AGE = 5 * 86400
#: messages after which the removals in clientmqueue are made durable
_BATCH = 32
_BLOCK = 1 << 18
_MOST_SAID = 10_000
# These will not be better for the next message.
_ENDS_RUN = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EROFS)

#: what was already said in this process: (directory, name, inode) or (directory,)
_said: set[tuple[str, ...]] = set()
#: copied, but the disk did not let us remove the original: never again by this process. A resident
#: runner on a broken disk would make thousands of copies
_copied: set[tuple[str, ...]] = set()


def adopt(
    client_directory: str,
    spool: Queue,
    options: Options,
    users: Users,
    *,
    now: float,
    only: Collection[str] = (),
    judge: Judge | None = None,
) -> list[str]:
    """Take over all messages in *client_directory*, or *only* some; returns their new queue ids.

    *judge* is asked before one is taken.

    *spool* is mqueue, *now* epoch seconds. What is refused stays, and after BAD_AGE is put aside and
    noted in ``spool.lost``. Files without a message are swept. Raise OSError if the disk is full or
    broken, or too many files are open.
    """
    try:
        client = _open(client_directory)
    except FileNotFoundError:
        return []
    if client is None:
        return []
    try:
        adopted = _Adoption(client, spool, options, users, now, judge).run(only)
        if not only:
            _sweep(client, now)
    finally:
        client.close()
    return adopted


def why_not(
    client_directory: str, names: list[str], options: Options, users: Users, *, now: float
) -> dict[str, str]:
    """Of these messages those that are not adopted, with the reason. Raise OSError."""
    client = Spool(client_directory)
    try:
        asked = _Adoption(client, client, options, users, now)
        return {name: reason for name in names if (reason := asked.why_not(name))}
    finally:
        client.close()


def _open(directory: str) -> Spool | None:
    """The directory, if nobody but its owner and the files' owners can rename what is in it.

    The sticky bit does that; where others may write and it is missing we set it. Without it somebody
    could swap files under our eyes, or be anybody's sender by moving their files here.
    """
    client = Spool(directory)
    found = os.fstat(client.descriptor)
    link = stat.S_ISLNK(os.lstat(directory).st_mode)
    if found.st_uid in (0, os.geteuid()) and not link and _is_safe(client, found):
        return client
    client.close()
    if (directory,) not in _said:
        _said.add((directory,))
        text = f"uid={found.st_uid}, mode={found.st_mode:o}, not root's and 1733"
        log.line("", f"SYSERR: {log.clean(directory)}: {text}: nothing is adopted", error=True)
    return None


def _is_safe(client: Spool, found: os.stat_result) -> bool:
    """Has it the sticky bit, if it needs one, now at the latest?"""
    if not permission.lets_others_remove(found):
        return True
    mode = stat.S_IMODE(found.st_mode)
    try:
        os.fchmod(client.descriptor, mode | stat.S_ISVTX)
    except OSError as error:
        log.line("", f"chmod +t {log.clean(client.directory)}: {error.strerror}", error=True)
        return False
    text = f"mode {mode:o} let everybody remove others' mail, made {mode | stat.S_ISVTX:o}"
    log.line("", f"SYSERR: {log.clean(client.directory)}: {text}", error=True)
    return True


def _sweep(client: Spool, now: float) -> None:
    """Remove files without a message. What a user arranges there must not hide what was adopted."""
    try:
        client.sweep(now)
        own_letters.sweep(client)
    except OSError as error:
        log.line("", f"{log.clean(client.directory)}: {error.strerror}", error=True)


class _Adoption:
    """One pass over the directory."""

    def __init__(
        self,
        client: Spool,
        spool: Queue,
        options: Options,
        users: Users,
        now: float,
        judge: Judge | None = None,
    ) -> None:
        """Of the letters in *client* into *spool*; *now* epoch seconds, *judge* is asked before."""
        self.client = client
        self.spool = spool
        self.options = options
        self.users = users
        self.now = now
        self._judge = judge
        self._leaving: list[tuple[str, os.stat_result]] = []
        #: uid -> messages taken in this pass
        self._taken: dict[int, int] = {}

    def run(self, only: Collection[str] = ()) -> list[str]:
        adopted: list[str] = []
        if self.spool.free_blocks() < self.options.min_free_blocks:
            self._say("", "too little space in the queue (MinFreeBlocks)")
            return adopted
        if not self.client.may_be_filled():
            # What was copied would stay, and each run is a new process, which would copy it again.
            self._say("", f"{self.client.directory}: what was taken could not be removed")
            return adopted
        try:
            names = sorted(only or self.client.names())
            for name in counted("taking over", names, len(names)):
                new = self._adopt(name)
                if new:
                    adopted.append(new)
                if len(self._leaving) >= _BATCH:
                    self._remove_data()
        finally:
            self._remove_data()
        return adopted

    def _adopt(self, name: str) -> str:
        """One message; "" if it stays."""
        opened: list[int] = []
        try:
            return self._take(name, opened)
        except (Unacceptable, locked.Unusable, CorruptControlFile, ValueError) as error:
            self._refuse(name, str(error))
            return ""
        except NotNow as reason:
            self._say(name, str(reason))
            return ""
        except OSError as error:
            if error.errno in _ENDS_RUN:
                raise
            # What its owner took away meanwhile is nobody's fault; a PasswdFile that is gone is.
            if not isinstance(error, FileNotFoundError) or self.client.find("qf" + name):
                self._say(name, _trouble(error))
            return ""
        finally:
            for file in opened:
                os.close(file)

    def _take(self, name: str, opened: list[int]) -> str:
        control_file, found = self._open_file("qf" + name, MAX_CONTROL, opened)
        try:
            fcntl.flock(control_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return ""
        if not is_still(self.client.descriptor, "qf" + name, found):
            return ""
        if _key(self.client, name, found) in _copied:
            self._remove(name, found, self.client.find("df" + name))
            return ""
        if self._has_enough(found.st_uid):
            return ""
        owner = self._owner(found)
        data_file, data = self._open_file("df" + name, self.options.max_message_size, opened)
        control = self._judged(control_file, data, owner)
        new = self._copy(data_file, data.st_size, control, owner)
        _copied.add(_key(self.client, name, found))
        self._taken[found.st_uid] = self._taken.get(found.st_uid, 0) + 1
        # Before it goes: after a crash in between the letter is still there, and taken once more.
        message_log.adopted(name, new, control, owner, size=data.st_size, now=self.now)
        self._remove(name, found, data)
        return new

    def _has_enough(self, uid: int) -> bool:
        """Were so many messages of this user taken that the others' come first?"""
        most = self.options.max_messages_per_user
        if not most or self._taken.get(uid, 0) < most:
            return False
        self._say(
            "", f"more than {most} messages of uid {uid} (MaxMessagesPerUser), the others later"
        )
        return True

    def why_not(self, name: str) -> str:
        """Why this message is not taken, as far as can be seen without taking it; "" if it will be."""
        opened: list[int] = []
        try:
            control_file, found = self._open_file("qf" + name, MAX_CONTROL, opened)
            _, data = self._open_file("df" + name, self.options.max_message_size, opened)
            self._judged(control_file, data, self._owner(found))
        except (Unacceptable, locked.Unusable, CorruptControlFile, ValueError) as error:
            return str(error)
        except OSError as error:
            return _trouble(error)
        finally:
            for file in opened:
                os.close(file)
        return ""

    def _judged(self, control_file: int, data: os.stat_result, owner: User) -> Control:
        """What is believed of a control file. Raise Unacceptable, CorruptControlFile or OSError."""
        if data.st_uid != os.fstat(control_file).st_uid:
            raise Unacceptable("qf and df have different owners")
        text = files.read_to_limit(control_file, MAX_CONTROL)
        if b"\r" in text or b"\0" in text or len(text) > MAX_CONTROL:
            raise Unacceptable("bare carriage return or NUL in the control file, or too long")
        written = decode(text)
        if written.size not in (-1, data.st_size):
            raise Unacceptable(f"data file has {data.st_size} octets, {written.size} recorded")
        return sanitized(written, owner, self.options, self.now)

    def _owner(self, found: os.stat_result) -> User:
        """Whose file it is. Raise OSError if that cannot be known now.

        A number that certainly has no name may send, too: a container's, or a service's.
        """
        # A PasswdFile need not list the system's own accounts, as which cron and others call us.
        for users in (self.users, Users()) if self.options.passwd_file else (self.users,):
            if owner := users.by_uid(found.st_uid):
                return owner
        return User(str(found.st_uid), found.st_uid, found.st_gid)

    def _open_file(self, name: str, limit: int, opened: list[int]) -> tuple[int, os.stat_result]:
        """Open and judge; 0 is no limit."""
        try:
            file = locked.open_file(self.client, name)
        except FileNotFoundError:
            if name.startswith("df"):
                raise Unacceptable("no data file") from None
            raise
        opened.append(file)
        found = os.fstat(file)
        why_not = locked.improper(found)
        if why_not:
            raise Unacceptable(why_not)
        if limit and found.st_size > limit:
            raise Unacceptable(f"{name[:2]} of {found.st_size} octets, {limit} max")
        return file, found

    def _copy(self, source: int, size: int, control: Control, owner: User) -> str:
        """Make it a message of ours, with a Received field of this hop; durable on return."""
        spool, new, data = self.spool.begin(qid.new(self.now), self.now)
        try:
            _copy_body(source, data, size)
            judged = self._judge.judge(new, data, control) if self._judge else JudgedLetter()
            add_trace(control, owner, self.options, qid=new, now=self.now)
        except BaseException:
            spool.discard(new, data)
            raise
        if judged.is_discarded:
            spool.discard(new, data)
            log.line(new, "discarded")
            return new
        control.headers[1:1] = [(b"", field) for field in judged.above]
        try:
            spool.accept(new, data, control)
        except BaseException:
            close(data)
            raise
        if self._judge and judged.refused:
            self._judge.give_back(new)
        return new

    def _remove(self, name: str, found: os.stat_result, data: os.stat_result | None) -> None:
        """The user's qf now, the df when that is durable; both only if they are what we copied."""
        if is_still(self.client.descriptor, "qf" + name, found):
            self.client.unlink("qf" + name)
        _copied.discard(_key(self.client, name, found))
        if data:
            self._leaving.append(("df" + name, data))

    def _remove_data(self) -> None:
        if not self._leaving:
            return
        self.client.flush()
        for name, data in self._leaving:
            if is_still(self.client.descriptor, name, data):
                self.client.unlink(name)
        self._leaving.clear()

    def _refuse(self, name: str, text: str) -> None:
        found = self.client.find("qf" + name)
        if found is None:
            return
        self._say(name, text)
        # The inode's own time: mtime is what its owner says it is.
        if self.now - found.st_ctime > BAD_AGE:
            try:
                self.client.lose(name, text, "cannot be adopted")
            except OSError as error:  # its owner may have removed it
                self._say(name, f"{error.strerror}")
            self._tell(found, text)

    def _tell(self, found: os.stat_result, text: str) -> None:
        """Have the owner told of what was put aside; of a file of nobody's only postmaster hears."""
        self.spool.lost += self.client.lost
        try:
            # A PasswdFile need not list the system's own accounts.
            owner = self.users.by_uid(found.st_uid) or Users().by_uid(found.st_uid)
        except OSError:
            owner = None
        if owner:
            self.spool.refused += [(owner.name, name, text) for name, _ in self.client.lost]
        self.client.lost.clear()

    def _say(self, name: str, text: str) -> None:
        """Once for each file and process: a resident runner looks here every few seconds."""
        key = (self.client.directory, name, text)
        if len(_said) > _MOST_SAID:
            _said.clear()
        if key not in _said:
            _said.add(key)
            log.line(name, f"not adopted: {log.clean(text)}", error=True)


def _key(client: Spool, name: str, found: os.stat_result) -> tuple[str, ...]:
    return client.directory, name, str(found.st_ino), str(found.st_ctime_ns)


def _trouble(error: OSError) -> str:
    """What failed, with the file that it names."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _copy_body(source: int, target: int, size: int) -> None:
    """Copy *size* octets of canonical text. Raise Unacceptable if it is no such text, or changed."""
    position, last = 0, b"\n"
    while position <= size:
        piece = os.pread(source, _BLOCK, position)
        if not piece:
            break
        if b"\r" in piece or b"\0" in piece:
            raise Unacceptable("bare carriage return or NUL in the data file")
        files.write_all(target, piece)
        position += len(piece)
        last = piece[-1:]
    if position != size:
        raise Unacceptable("data file changed while it was read")
    if last != b"\n":
        files.write_all(target, b"\n")
