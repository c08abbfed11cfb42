"""The local mailer for Maildirs: ~/Maildir of the recipient, filled by a child that is the recipient.

Bernstein's rules (cr.yp.to/proto/maildir.html): no locks; a file with a name that nobody else uses is
written to tmp, made durable, and only then linked to new. Readers never look into tmp, so nobody sees
half a message, whatever is killed when. What has lain in tmp for 36 hours belongs to a dead process.

    Maildir/tmp/1574107394.M123456P321Q1.lab1.campus,S=412      ",S=" the size, for quotas (Maildir++)

Home, Maildir, tmp and new must be the recipient's own directories, no links; those below home are
made, 0700, if they are not there. The message is stored as it is: "From " lines are not quoted.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import count, islice

from minimta.config.options import Options
from minimta.mailers.files import grouping
from minimta.mailers.job import Job
from minimta.message.outcome import Outcome, deferred, from_exit_code
from minimta.system import log
from minimta.system.files import sync_directory, write_all
from minimta.system.safedirpath import walk
from minimta.system.safefile import Untrusted
from minimta.system.users import User, Users

#: seconds after which a file in tmp is abandoned
ABANDONED = 36 * 3600
#: files of tmp that are looked at on one visit
_SWEPT = 100
#: octets of a message that are in memory at a time
_BLOCK = 1 << 18
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: link(2) on file systems without hard links
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class MaildirMailer:
    """Mailer ``local``: user.name is a login name."""

    name = "local"

    def __init__(
        self, options: Options, users: Users, *, clock: Callable[[], float] = time.time
    ) -> None:
        """*options* as every local mailer has it: a Maildir is in its user's home. *users* are those of
        this host, *clock* gives the time in names.
        """
        self._users = users
        self._clock = clock

    def deliver(self, jobs: Sequence[Job]) -> Iterator[grouping.Settled]:
        """See Mailer.deliver; jobs come Maildir by Maildir."""
        return grouping.by_place(jobs, lambda _, name: name, self._to_maildir)

    def _to_maildir(self, name: bytes, jobs: list[Job]) -> dict[Job, Outcome]:
        shown = f"Maildir of {log.clean(name)}"
        try:
            user = self._users.find(name)
            if user is None:
                return dict.fromkeys(jobs, from_exit_code(os.EX_NOUSER))
            fill = partial(_fill, user, jobs, self._clock)
            answer = grouping.as_owner(user, jobs, fill, user.home)
            return grouping.decode(answer, jobs, shown)
        except Untrusted as error:
            log.line(jobs[0].qid, f"{shown}: {error}", error=True)
            return dict.fromkeys(jobs, deferred("4.2.0", f"{shown}: {error}"))
        except OSError as error:
            return dict.fromkeys(jobs, grouping.not_now(error, shown))


def _fill(user: User, jobs: Sequence[Job], clock: Callable[[], float]) -> bytes:
    """In the child: put all *jobs* into the Maildir, and say what became of each."""
    with Maildir(user, clock) as maildir:
        errors: list[OSError | None] = []
        for job in jobs:
            try:
                maildir.add(job)
                errors.append(None)
            except OSError as error:
                errors.append(error)
        maildir.sync()
        maildir.sweep()
        return grouping.encode(errors)


class Maildir:
    """~/Maildir of a user, made if need be, open between ``with`` and its end."""

    #: deliveries of this process, the Q of a name
    _deliveries = count(1)

    def __init__(self, user: User, clock: Callable[[], float]) -> None:
        """Use it as *user*; *clock* gives the time in names."""
        self._user = user
        self._clock = clock
        self._open: list[int] = []
        self._tmp = self._new = -1
        #: names in new that are not durable yet
        self._linked: list[str] = []

    def __enter__(self) -> Maildir:
        """Raise Untrusted if something on the way is not the user's own, or OSError."""
        try:
            maildir = self._below(self._home(), "Maildir")
            self._tmp, self._new, _ = (self._below(maildir, name) for name in ("tmp", "new", "cur"))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            # Nothing was written through them; what was delivered is durable, and would come twice.
            with suppress(OSError):
                os.close(self._open.pop())

    def _home(self) -> int:
        if self._user.uid == 0:
            # For root there is no child with fewer rights: nobody else may be able to change the way.
            self._open.append(walk(self._user.home, (0,)))
        else:
            flags = _DIRECTORY & ~os.O_NOFOLLOW  # the administrator may have linked homes
            self._open.append(os.open(self._user.home, flags | os.O_PATH))
        return self._owned("home")

    def _below(self, directory: int, name: str) -> int:
        """Open *name*, made if it is not there."""
        try:
            self._open.append(os.open(name, _DIRECTORY, dir_fd=directory))
        except FileNotFoundError:
            with suppress(FileExistsError):  # by another delivery, a moment ago
                os.mkdir(name, 0o700, dir_fd=directory)
            sync_directory(".", directory)
            self._open.append(os.open(name, _DIRECTORY, dir_fd=directory))
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise Untrusted(f"{name} is not a directory") from error
            raise
        return self._owned(name)

    def _owned(self, name: str) -> int:
        """The directory opened last, if it is the user's."""
        owner = os.fstat(self._open[-1]).st_uid
        if owner not in (self._user.uid, os.geteuid()):
            raise Untrusted(f"{name} belongs to uid {owner}")
        return self._open[-1]

    def add(self, job: Job) -> None:
        """Put a message into new; durable after sync(). Raise OSError: then it is not there."""
        name = self._unique_name(len(job.header) + 1 + job.size)
        file = os.open(name, _NEW_FILE, 0o600, dir_fd=self._tmp)
        try:
            try:
                _write(file, job)
                os.fsync(
                    file
                )  # before it has a name in new: after a crash it is whole or not there
            finally:
                os.close(file)
            self._publish(name)
        finally:
            with suppress(OSError):  # renamed; or it stays until it is swept
                os.unlink(name, dir_fd=self._tmp)

    def _publish(self, name: str) -> None:
        # link(2) replaces nothing that has the name already, rename(2) would.
        try:
            os.link(name, name, src_dir_fd=self._tmp, dst_dir_fd=self._new)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            os.rename(name, name, src_dir_fd=self._tmp, dst_dir_fd=self._new)
        self._linked.append(name)

    def _unique_name(self, size: int) -> str:
        now = self._clock()
        host = os.uname().nodename.replace("/", "\\057").replace(":", "\\072")
        identity = f"M{int(now % 1 * 1_000_000)}P{os.getpid()}Q{next(self._deliveries)}"
        return f"{int(now)}.{identity}.{host},S={size}"

    def sync(self) -> None:
        """Make durable what was added. Raise OSError: all of it is taken back, as far as we can."""
        try:
            os.fsync(self._new)
        except OSError:
            for name in self._linked:
                with suppress(OSError):
                    os.unlink(name, dir_fd=self._new)
            raise
        self._linked.clear()

    def sweep(self) -> None:
        """Remove from tmp what dead processes left; what goes wrong now does not matter."""
        # A few at each delivery: a directory that somebody filled must not hold up the queue.
        with suppress(OSError), os.scandir(self._tmp) as entries:
            for entry in islice(entries, _SWEPT):
                found = entry.stat(follow_symlinks=False)
                if self._clock() - max(found.st_mtime, found.st_atime) > ABANDONED:
                    with suppress(OSError):
                        os.unlink(entry.name, dir_fd=self._tmp)


def _write(file: int, job: Job) -> None:
    """Header, empty line, body, octet for octet."""
    write_all(file, job.header + b"\n")
    for block in job.blocks(_BLOCK):
        write_all(file, block)
