"""Who runs this command, and what the mail system lets them do.

Nothing here is set-user-id: whoever calls has their own rights in the file system and no others.
That decides which queue they can write; being trusted only decides what is believed of them.
"""

from __future__ import annotations

import os

from minimta.message import fullname
from minimta.queue.permission import lets_others_remove, may_administer
from minimta.queue.spool import Spool
from minimta.system import users as system_users
from minimta.system.users import Users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options
    from minimta.queue.directories import Queue
    from minimta.system.users import User


class Caller:
    """The user behind the real user id."""

    __slots__ = ("_options", "name", "uid", "user")

    def __init__(self, options: Options, users: Users | None = None) -> None:
        """*users* are those of *options*, if they are open already. Raise OSError as they do."""
        self._options = options
        self.uid = os.getuid()
        users = users or Users(options.passwd_file)
        # A PasswdFile need not list the system's own accounts, as which cron and others call us.
        self.user: User | None = users.by_uid(self.uid)
        if self.user is None and options.passwd_file:
            self.user = Users().by_uid(self.uid)
        #: login name, or the uid in digits if it has none
        self.name = self.user.name if self.user else str(self.uid)

    def has_address(self) -> bool:
        """Can mail be sent to them? Not to a number without a name, nor to a name beyond ASCII."""
        return self.user is not None and self.name.isascii()

    def full_name(self) -> bytes:
        """From the passwd entry, b"" if it has none."""
        return fullname.from_gecos(self.user.gecos, self.name) if self.user else b""

    def home(self) -> str:
        """Their home directory, "" if there is none."""
        return self.user.home if self.user else ""

    def is_trusted(self) -> bool:
        """May they give any sender with -f and rebuild aliases? (root, the queue's owner, class t)

        Raise OSError if that cannot be known now.
        """
        if may_administer(self._options):
            return True
        return os.fsencode(self.name) in system_users.trusted(self._options.trusted_users)


class UnusableSpool(Spool):
    """Stands for a queue that cannot be opened: the message is read all the same, to be saved."""

    def __init__(self, error: OSError) -> None:
        """*error* is what every use of it raises."""
        self._error = error

    def free_blocks(self) -> int:
        """Raise OSError."""
        raise self._error

    def create(self, qid: str) -> int:
        """Raise OSError."""
        raise self._error


def _may_write(options: Options) -> bool:
    try:
        return may_administer(options)
    except OSError:
        return False  # the client queue takes the letters of all


def choose_spool(options: Options, queue: str) -> tuple[Queue, bool]:
    """The queue to write, open if that can be, and whether it is the MTA's.

    *queue* is what -A asked for: "m", "c", or "" for what the caller's rights allow.
    """
    # What filters shall see is adopted, whoever it is from.
    is_direct = queue != "c" and not options.input_mail_filters and _may_write(options)
    is_mta = queue == "m" or is_direct
    path = options.queue_pattern if is_mta else options.client_queue_directory
    try:
        if is_mta and options.has_queue_group:
            from minimta.queue.queue_group import QueueGroup  # few hosts have it

            return QueueGroup(options), is_mta
        spool = Spool(path, is_client=not is_mta)
    except OSError as error:
        error.filename = error.filename or path
        return UnusableSpool(error), is_mta
    if not is_mta and lets_others_remove(os.fstat(spool.descriptor)):
        # The next queue run sets the bit.
        spool.close()
        return UnusableSpool(OSError(f"others could remove it: chmod +t {path}")), False
    return spool, is_mta
