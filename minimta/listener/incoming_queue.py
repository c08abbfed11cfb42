"""The queue that a listener fills, opened while the process is still root."""

from __future__ import annotations

from functools import partial

from minimta.config.options import Options
from minimta.queue import commit
from minimta.queue.directories import open_queue
from minimta.system import privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.queue.directories import Queue


def open_spool(options: Options) -> Queue:
    """The MTA queue, for many threads. Raise OSError, also if RunAsUser cannot be used."""
    if why_not := privileges.why_not_become(options.run_as_user):
        raise OSError(0, why_not, f"RunAsUser {options.run_as_user}")
    return open_queue(options, commit=partial(commit.committer, options.group_commit))
