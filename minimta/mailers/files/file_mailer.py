"""The mailer *file*: appends to a file, as the user in whose name the address was written.

    From emma@lab1.campus Sun Nov 22 09:25:49 2026      one blank, unlike a mailbox; see ``append``

Never as root: without a controlling user, or with root as one, the mail waits. What may be written to:

    the way to it       walked from / by descriptors: every directory is root's or the user's, and
                        closed to others' writing (a sticky one is safe)
    the file            regular, of the user or root, has one name, and nobody may execute it

What Sendmail would refuse too (links, devices, programs, others' property) is "Can't create output"
and comes back to the sender; whatever else is wrong waits, with a line in the log.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from minimta.config.options import Options
from minimta.mailers.files import grouping, locked_file
from minimta.mailers.files.locked_file import Busy, LockedFile, UnusableFile
from minimta.mailers.files.mbox_format import MboxText
from minimta.mailers.job import Job
from minimta.message.outcome import Outcome, deferred, from_exit_code
from minimta.system import log, privileges
from minimta.system.files import sync_directory
from minimta.system.safedirpath import walk
from minimta.system.safefile import Untrusted
from minimta.system.users import User

#: what is written here is gone; it is not even opened
_NOWHERE = b"/dev/null"
_BUSY, _REFUSED = b"busy", b"refused "
_EXECUTABLE = 0o111
_SET_ID = stat.S_ISUID | stat.S_ISGID
#: open(2) says so of what is there and no file to append to
_NO_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENOTDIR, errno.ENAMETOOLONG)


class FileMailer:
    """Mailer ``*file*``: user.name is a path, job.controlling as whom it is written."""

    name = "*file*"

    def __init__(
        self,
        options: Options,
        *,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
        pauses: tuple[float, ...] = locked_file.PAUSES,
    ) -> None:
        """*clock* dates "From " lines, *pause* waits for a lock, *pauses* says how long."""
        self._options = options
        self._blames = options.dont_blame
        self._clock = clock
        self._pause = pause
        self._pauses = pauses

    def deliver(self, jobs: Sequence[Job]) -> Iterator[grouping.Settled]:
        """See Mailer.deliver; jobs come file by file."""
        return grouping.by_place(jobs, _place, self._to_file)

    def _to_file(self, name: bytes, jobs: list[Job]) -> dict[Job, Outcome]:
        if name == _NOWHERE:
            return dict.fromkeys(jobs, grouping.SENT)
        path, user = os.fsdecode(name), jobs[0].controlling
        shown = log.clean(path)
        if user is None or user.uid == 0:
            return _wait(jobs, f"{shown}: no user to write it as")
        if why_not := privileges.why_not_as(user, self._options):
            return dict.fromkeys(jobs, deferred("4.3.5", f"{shown}: {why_not}"))
        try:
            append = partial(self._append_all, path, user, jobs)
            answer = grouping.as_owner(user, jobs, append, os.path.dirname(path))
            if answer == _BUSY:
                return dict.fromkeys(jobs, deferred("4.2.0", f"{shown} is locked", is_busy=True))
            if answer.startswith(_REFUSED):
                return _refuse(jobs, f"{shown}: {log.clean(answer.removeprefix(_REFUSED))}")
            torn, _, codes = answer.partition(b" ")
            outcomes = grouping.decode(codes, jobs, shown)
            if torn != b"0":
                log.line("", f"file {shown}: cut off {log.clean(torn)} octets of a killed delivery")
            return outcomes
        except Untrusted as error:
            return _wait(jobs, f"{shown}: {error}")
        except OSError as error:
            return dict.fromkeys(jobs, grouping.not_now(error, shown))

    def _append_all(self, path: str, user: User, jobs: Sequence[Job]) -> bytes:
        """In the child: octets of a killed delivery that were cut off, and what became of each job."""
        # Only octets come back from the child, which has the user's rights. What they say concerns the
        # mail for this file alone, and is checked.
        texts = [MboxText(job, b" ") for job in jobs]
        try:
            with LockedFile(
                PlainFile(path, user, self._blames), pause=self._pause, pauses=self._pauses
            ) as tail:
                torn = tail.mend(texts)
                errors = tail.append_all(texts, self._clock)
        except Busy:
            return _BUSY
        except UnusableFile as error:
            return _REFUSED + os.fsencode(str(error))
        return b"%d %b" % (torn, grouping.encode(errors))


def _place(job: Job, name: bytes) -> Hashable:
    user = job.controlling
    return name, user and (user.name, user.uid, user.gid)


def _wait(jobs: Sequence[Job], reason: str) -> dict[Job, Outcome]:
    log.line(jobs[0].qid, f"file {reason}", error=True)
    return dict.fromkeys(jobs, deferred("4.3.0", reason))


def _refuse(jobs: Sequence[Job], reason: str) -> dict[Job, Outcome]:
    # The sender learns no more than Sendmail told; why is for the log.
    log.line(jobs[0].qid, f"file {reason}", error=True)
    return dict.fromkeys(jobs, from_exit_code(os.EX_CANTCREAT))


class PlainFile:
    """A file that a user named, as LockedFile opens it; see UserFile. Use it as that user.

    A refusal is final only if the modes themselves forbid it: a server that says "permission denied"
    although they allow it means "not now" (no ticket, or a read-only export).
    """

    has_dot_lock = False

    def __init__(self, path: str, user: User, blames: frozenset[str] = frozenset()) -> None:
        """*path* is absolute; *blames* are names of DontBlameSendmail in small letters."""
        self.path = os.path.realpath(path) if "filedeliverytosymlink" in blames else path
        self._parent, self.name = os.path.split(self.path)
        self._owners = (0, user.uid, os.geteuid())
        self._hard_links = "filedeliverytohardlink" in blames

    def find(self) -> int:
        """See UserFile. Raise UnusableFile, Untrusted or OSError."""
        if self.name in ("", ".", ".."):
            raise UnusableFile("not a file")
        try:
            return walk(self._parent, self._owners)
        except Untrusted as error:
            if _is_shut(self.path, self._parent):
                raise UnusableFile(f"{error}, and closed to the user") from error
            raise
        except PermissionError as error:
            if _is_closed(self._parent):
                raise UnusableFile(f"{error.strerror} (directory)") from error
            raise
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UnusableFile(f"{error.strerror} (directory)") from error

    def open(self, directory: int) -> int:
        """See UserFile. Raise UnusableFile, Untrusted or OSError."""
        try:
            found = os.stat(self.name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return self._create(directory)
        except PermissionError as error:
            raise _refusal(error, directory, 1) from error
        except OSError as error:
            raise _judged(error) from error
        self.check(found)  # before it is opened: to open a device may do something
        if not found.st_size:  # who made it may have been killed before its name was durable
            _sync_name(directory)
        try:
            return self._open(directory, found)
        except OSError as error:
            raise _judged(error) from error

    def _open(self, directory: int, found: os.stat_result) -> int:
        try:
            return os.open(self.name, os.O_RDWR | locked_file.FLAGS, dir_fd=directory)
        except PermissionError as error:
            if _forbids(found, 2):
                mode = stat.S_IMODE(found.st_mode)
                raise UnusableFile(f"{error.strerror}, mode {mode:o}") from error
            if not _forbids(found, 4):
                raise
        # A slot: we may write to it, not read it.
        return os.open(self.name, os.O_WRONLY | locked_file.FLAGS, dir_fd=directory)

    def _create(self, directory: int) -> int:
        try:
            return locked_file.create(self.name, directory, lambda _, made: _sync_name(made))
        except PermissionError as error:
            raise _refusal(error, directory, 3) from error

    def check(self, found: os.stat_result) -> None:
        """See UserFile. Raise UnusableFile for what Sendmail refuses too, else Untrusted."""
        if not stat.S_ISREG(found.st_mode):
            raise UnusableFile("not a regular file")
        if found.st_nlink > 1 and not self._hard_links:  # 0: removed a moment ago
            raise UnusableFile(f"{found.st_nlink} names")
        # DIFFERS: a set-id file makes Sendmail act as its owner. Here the mode of a file gives nobody
        # rights; the mail waits, so that nothing is lost while the administrator looks.
        if found.st_mode & _SET_ID:
            raise Untrusted("Set-id file")
        if found.st_mode & _EXECUTABLE:
            raise UnusableFile(f"executable, mode {stat.S_IMODE(found.st_mode):o}")
        if found.st_uid not in self._owners:
            if _forbids(found, 2):
                raise UnusableFile(f"belongs to uid {found.st_uid}")
            raise Untrusted("Wrong owner")
        # DIFFERS: Sendmail writes to a file that all may write to; its owner would take for mail
        # what anybody has put there.
        if found.st_mode & stat.S_IWOTH:
            raise Untrusted("World writable file")


def _sync_name(directory: int) -> None:
    try:
        sync_directory(".", directory)
    except PermissionError:
        os.sync()  # a directory that we may write to but not read; rare, and slow


def _judged(error: OSError) -> Exception:
    return UnusableFile(error.strerror) if error.errno in _NO_FILE else error


def _refusal(error: OSError, directory: int, wanted: int) -> Exception:
    """What a PermissionError in *directory* means: its mode forbids what was *wanted*, or not now."""
    if _forbids(os.fstat(directory), wanted):
        return UnusableFile(f"{error.strerror} (directory)")
    return error


def _forbids(found: os.stat_result, wanted: int) -> bool:
    """Does the mode itself deny us *wanted* (4 read, 2 write, 1 search)?

    access(2) would say what the server says, and cannot tell "never" from "not now".
    """
    if found.st_uid == os.geteuid():
        bits = found.st_mode >> 6
    elif found.st_gid in (os.getegid(), *os.getgroups()):
        bits = found.st_mode >> 3
    else:
        bits = found.st_mode
    return bits & wanted != wanted


def _is_shut(path: str, directory: str) -> bool:
    """Could we not write to *path* in any case? Then it is not for the administrator to judge."""
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
