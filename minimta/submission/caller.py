"""Who runs this command, and what he may do.

Nothing here is set-user-id: whoever calls has his own rights and no others. What is asked here is
what the mail system believes of him.
"""

from __future__ import annotations

import os

from minimta.message import fullname
from minimta.queue.permission import may_administer
from minimta.queue.spool import Spool
from minimta.system import users
from minimta.system.users import Users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options
    from minimta.system.users import User


class Caller:
    """The user behind the real user id."""

    __slots__ = ("name", "uid", "user")

    def __init__(self, options: Options) -> None:
        self.uid = os.getuid()
        # With a PasswdFile of its own the caller may be known to the system only.
        self.user: User | None = Users(options.passwd_file).by_uid(self.uid)
        if self.user is None and options.passwd_file:
            self.user = Users().by_uid(self.uid)
        self.name = self.user.name if self.user else str(self.uid)

    def full_name(self) -> bytes:
        """From the passwd entry, b"" if it has none."""
        return fullname.from_gecos(self.user.gecos, self.name) if self.user else b""

    def home(self) -> str:
        """His home directory, "" if he has none."""
        return self.user.home if self.user else ""

    def is_trusted(self, options: Options) -> bool:
        """May he give any sender with -f and rebuild aliases? (root, the queue's owner, class t)"""
        return may_administer(options) or os.fsencode(self.name) in users.trusted(
            options.trusted_users
        )


def choose_spool(options: Options, queue: str) -> tuple[Spool, bool]:
    """The queue to write, and whether it is the MTA's.

    *queue* is what -A asked for: "m", "c", or "" for what the caller's rights allow.
    """
    if queue == "m":
        return Spool(options.queue_directory), True
    if queue == "c" or not may_administer(options):
        return Spool(options.client_queue_directory), False
    return Spool(options.queue_directory), True
