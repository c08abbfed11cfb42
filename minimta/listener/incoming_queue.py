"""The queue that a listener fills, opened while the process is still root."""

from __future__ import annotations

import os
from functools import partial

from minimta.config.options import Options
from minimta.queue import commit
from minimta.queue.directories import open_queue
from minimta.system import users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.queue.directories import Queue


def open_spool(options: Options) -> Queue:
    """The MTA queue, for many threads. Raise OSError, also if RunAsUser cannot be used."""
    if os.geteuid() == 0 and options.run_as_user:
        user = users.Users("").find(options.run_as_user.encode())
        if user is None or not user.uid:
            why = "is root; leave the option empty to keep root" if user else "no such user"
            raise OSError(0, why, f"RunAsUser {options.run_as_user}")
    return open_queue(options, commit=partial(commit.committer, options.group_commit))
