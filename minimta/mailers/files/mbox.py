"""The mailer of mailboxes: MailboxDirectory/USER for each user of this host, in mbox format (``append``).

A mailbox belongs to its user and has one name; nobody may execute it or all write it. Anything else
is unusable, and the mail waits. A new one is made user:mail 0660 where the directory is group mail's,
else 0600.

All messages of one run that go to the same mailbox share one opening, one set of locks and one
fsync. What a killed delivery left is cut off before.
"""

from __future__ import annotations

import errno
import grp
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence

from minimta.config.options import Options
from minimta.mailers.files import grouping, locked_file
from minimta.mailers.files.append import CannotCut
from minimta.mailers.files.locked_file import Busy, LockedFile, UnusableFile
from minimta.mailers.files.mbox_format import MboxText
from minimta.mailers.job import Job
from minimta.message.outcome import Outcome, deferred, from_exit_code
from minimta.system import log
from minimta.system.users import User, Users, require_groups

#: set-id, executable, writable by all
_FORBIDDEN_MODE = 0o6113


class MboxMailer:
    """Mailer ``local``: user.name is a login name."""

    name = "local"

    def __init__(
        self,
        options: Options,
        users: Users,
        *,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
        pauses: tuple[float, ...] = locked_file.PAUSES,
    ) -> None:
        """*users* own the mailboxes; *clock* dates "From " lines, *pause* waits for a lock, *pauses* says how long."""
        self.directory = options.mailbox_directory
        self._users = users
        self._clock = clock
        self._pause = pause
        self._pauses = pauses

    def deliver(self, jobs: Sequence[Job]) -> Iterator[grouping.Settled]:
        """See Mailer.deliver; jobs come mailbox by mailbox."""
        return grouping.by_place(jobs, lambda _, name: name, self._to_mailbox)

    def _to_mailbox(self, name: bytes, jobs: list[Job]) -> dict[Job, Outcome]:
        what = f"mailbox {log.clean(os.path.join(self.directory, os.fsdecode(name)))}"
        try:
            user = self._users.find(name)
            if user is None:
                return dict.fromkeys(jobs, from_exit_code(os.EX_NOUSER))
            errors = self._append_all(user, jobs)
        except Busy as error:
            return dict.fromkeys(jobs, deferred("4.2.0", f"mailbox {error}", is_busy=True))
        except UnusableFile as error:
            log.line(jobs[0].qid, f"mailbox {error}", error=True)
            return dict.fromkeys(jobs, deferred("4.2.0", f"mailbox {error}"))
        except OSError as error:
            if isinstance(error, CannotCut):
                log.line("", f"{what}: cannot cut it back to {error.size}: {error}", error=True)
            return dict.fromkeys(jobs, grouping.not_now(error, what))
        return {
            job: grouping.not_now(error, what) if error else grouping.SENT
            for job, error in zip(jobs, errors, strict=True)
        }

    def _append_all(self, user: User, jobs: list[Job]) -> list[OSError | None]:
        mailbox = Mailbox(self.directory, user)
        texts = [MboxText(job) for job in jobs]
        with LockedFile(mailbox, pause=self._pause, pauses=self._pauses) as tail:
            # First: what is appended behind a torn piece makes it part of a whole message.
            if torn := tail.mend(texts):
                log.line("", f"mailbox {mailbox.path}: cut off {torn} octets of a killed delivery")
            return tail.append_all(texts, self._clock)


class Mailbox:
    """A user's mailbox, as LockedFile opens it; see UserFile."""

    has_dot_lock = True

    def __init__(self, directory: str, user: User) -> None:
        self.path = os.path.join(directory, user.name)
        self.name = user.name
        self._spool = directory
        self._user = user

    def find(self) -> int:
        """See UserFile. The way to it is the administrator's: no user chose it. Raise OSError."""
        return os.open(self._spool, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def open(self, directory: int) -> int:
        """See UserFile. Raise UnusableFile or OSError."""
        try:
            found = os.stat(self.name, dir_fd=directory, follow_symlinks=False)
            self.check(found)
            if not found.st_size:
                # Who made it may have been killed, or not have come so far as to make its name durable.
                os.fsync(directory)
            return os.open(self.name, os.O_RDWR | locked_file.FLAGS, dir_fd=directory)
        except FileNotFoundError:
            return locked_file.create(self.name, directory, self._finish)
        except OSError as error:  # it has changed since
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise UnusableFile(f"{self.path} is no regular file") from error
            raise

    def _finish(self, file: int, directory: int) -> None:
        """Give a new mailbox to its user, and make its name durable."""
        if os.geteuid() == 0:
            shared = os.fstat(directory).st_gid == _mail_group()
            os.fchown(file, self._user.uid, _mail_group() if shared else self._user.gid)
            os.fchmod(file, 0o660 if shared and self._user.uid else 0o600)  # root's is root's alone
        os.fsync(directory)

    def check(self, found: os.stat_result) -> None:
        """See UserFile. Raise UnusableFile."""
        owner = self._user.uid if os.geteuid() == 0 else os.geteuid()
        if not stat.S_ISREG(found.st_mode):
            raise UnusableFile(f"{self.path} is no regular file")
        if found.st_nlink > 1:  # 0: removed a moment ago, LockedFile sees it
            raise UnusableFile(f"{self.path} has {found.st_nlink} names")
        if found.st_uid != owner:
            raise UnusableFile(f"{self.path} belongs to uid {found.st_uid}")
        if found.st_mode & _FORBIDDEN_MODE:
            raise UnusableFile(f"{self.path} has mode {stat.S_IMODE(found.st_mode):o}")


def _mail_group() -> int:
    """The number of group mail, -1 if there is none. Raise OSError if that cannot be known now."""
    try:
        return grp.getgrnam("mail").gr_gid
    except KeyError:
        require_groups()
        return -1
