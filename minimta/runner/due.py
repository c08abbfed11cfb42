"""Which messages a queue run tries, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from minimta.queue.listing import Listed
from minimta.runner.checkpoint import BACK_OFF


def is_due(mtime: float, now: float, min_queue_age: int) -> bool:
    """May a message be tried whose qf has this time? One too far ahead was written by a wrong clock."""
    return mtime <= now or mtime > now + max(min_queue_age, BACK_OFF)


def ordered(found: Iterable[Listed], order: str, times: dict[str, float]) -> list[Listed]:
    """Option QueueSortOrder; *times* are the mtimes."""
    if order == "none":
        return list(found)
    keys: dict[str, Callable[[Listed], object]] = {
        "priority": lambda one: (one.priority, one.created, one.qid),
        "host": lambda one: (_first_host(one), one.priority, one.qid),
        "time": lambda one: (one.created, one.qid),
        "filename": lambda one: one.qid,
        "modification": lambda one: (times.get(one.qid, 0.0), one.qid),
    }
    return sorted(found, key=keys[order])  # type: ignore[arg-type]


def _first_host(one: Listed) -> bytes:
    """Domain of the first recipient, last label first: hosts of a domain come together."""
    if not one.recipients:
        return b""
    domain = one.recipients[0][0].rpartition(b"@")[2].strip(b"<>").lower()
    return b".".join(reversed(domain.split(b".")))
