"""The MTA queue as a whole: one directory, or all that a QueueDirectory with "*" at its end means.

    /var/spool/mqueue       that directory: nothing is looked for
    /var/spool/mqueue/q*    every directory, or link to one, in /var/spool/mqueue whose name begins with "q"

A message lies in one of them, qf and df together; see ``pattern`` for what it is called there. No
directory at all is an OSError that says what to do. Nothing here is asked for each message.
"""

from __future__ import annotations

import os

from minimta.queue import listing, pattern, permission
from minimta.queue.pattern import of_message, paths
from minimta.queue.spool import Spool
from minimta.system import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeAlias

    from minimta.config.options import Options
    from minimta.queue.commit import Committer
    from minimta.queue.listing import Listed
    from minimta.queue.queue_group import QueueGroup

    #: what messages are put into and taken from
    Queue: TypeAlias = Spool | QueueGroup


def open_queue(
    options: Options,
    *,
    commit: Callable[[str], Committer] | None = None,
    listener_uid: int | None = None,
) -> Queue:
    """Open it; *commit* gives what makes messages of the directory of that path durable, the rest is as
    for Spool.

    Raise OSError if no directory can be used.
    """
    if not options.has_queue_group:
        path = options.queue_directory
        committer = commit(path) if commit else None
        return Spool(path, commit=committer, listener_uid=listener_uid)
    from minimta.queue.queue_group import QueueGroup  # few hosts have several directories

    return QueueGroup(options, commit=commit, listener_uid=listener_uid)


def why_not_queue(options: Options) -> str:
    """What keeps this process out of the queue, in Sendmail's words; "" if nothing does."""
    reason = permission.why_not_queue(options.queue_directory)
    if reason or not options.has_queue_group:
        return reason
    try:
        reasons = [permission.why_not_queue(path) for path in paths(options)]
    except OSError as error:
        return f"{error.filename or options.queue_pattern}: {error.strerror}"
    return min(reasons)  # one that can be used is enough


# --- what is there --------------------------------------------------------------------------------


def names(options: Options, kind: str = "qf") -> list[str]:
    """The names of all messages, in no order. Raise OSError."""
    queue = open_queue(options)
    try:
        return queue.names(kind)
    finally:
        queue.close()


def listed(
    options: Options, kind: str = "qf", *, only: Iterable[str] | None = None
) -> Iterator[Listed]:
    """All messages as ``listing.scan`` gives them, or *only* those of these names, or ids.

    One of several directories that cannot be read is logged, and passed over. Raise OSError if none can be read.
    """
    if not options.has_queue_group:
        yield from listing.scan(options.queue_directory, kind, only=only)
        return
    chosen = None if only is None else [of_message(name) for name in only]
    trouble, is_read = None, False
    for path in paths(options):
        directory = os.path.basename(path)
        here = None
        if chosen is not None:
            here = [qid for where, qid in chosen if where in ("", directory)]
            if not here:
                continue  # nor does it matter whether it can be read
        try:
            for one in listing.scan(path, kind, only=here):
                one.name = f"{directory}/{one.qid}"
                yield one
            is_read = True
        except OSError as error:
            trouble = error
            log.line("", pattern.broken(path, error), level=1, error=True)
    if trouble and not is_read:
        raise trouble


def oldest(some: Iterable[str], number: int) -> list[str]:
    """The names of so many of *some* messages: an id begins with the time of its message."""
    import heapq  # only to tell of what waits for long

    return heapq.nsmallest(number, some, key=lambda name: of_message(name)[1])
