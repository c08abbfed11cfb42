"""A message whose queue directory has failed goes into another one: all that was written of it is copied.

Loaded only when that happens, with several directories.
"""

from __future__ import annotations

from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minimta.queue.queue_group import QueueGroup
    from minimta.queue.spool import Spool


def begin(
    queue: QueueGroup, failed: list[Spool], qid: str, now: float, copy: Callable[[int], None]
) -> tuple[Spool, str, int] | None:
    """The message begun anew, as QueueGroup.begin() gives it: in a directory that has not *failed*, with what
    *copy* writes into its df. None if there is none.

    The last that has *failed* did so now; those that fail here are added. *copy* may raise OSError.
    """
    queue.leave_out(failed[-1])
    while True:
        try:
            spool, qid, data = queue.begin(qid, now)
        except OSError:
            return None
        if spool in failed:  # it is tried again only because the others are no better
            _discard(spool, qid, data)
            return None
        try:
            copy(data)
        except OSError:
            _discard(spool, qid, data)
            failed.append(spool)
            queue.leave_out(spool)
        else:
            return spool, qid, data


def _discard(spool: Spool, qid: str, data: int) -> None:
    with suppress(OSError):  # a df of nobody's is swept
        spool.discard(qid, data)
