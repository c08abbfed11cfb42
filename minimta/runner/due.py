"""Which messages a queue run tries, and in which order (MinQueueAge, MaxQueueAge, QueueSortOrder)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from minimta.queue.control import DELIVERY_MODE, Control
from minimta.queue.listing import Listed
from minimta.runner.checkpoint import BACK_OFF


def is_due(mtime: float, now: float, longest: int) -> bool:
    """May a message be tried whose qf has the time *mtime*? Epoch seconds.

    A time further ahead than any attempt puts it (*longest* seconds) was written while the clock was wrong. It must not
    keep the message for years.
    """
    return mtime <= now or mtime > now + max(longest, BACK_OFF)


def ordered(found: Iterable[Listed], order: str, times: dict[str, float]) -> list[Listed]:
    """The messages in the *order* of QueueSortOrder; *times* are the mtimes of their qf, by name."""
    if order == "none":
        return list(found)
    keys: dict[str, Callable[[Listed], object]] = {
        "priority": lambda one: (one.priority, one.created, one.qid),
        "host": lambda one: (_first_host(one), one.priority, one.qid),
        "time": lambda one: (one.created, one.qid),
        "filename": lambda one: one.qid,
        "modification": lambda one: (times.get(one.name, 0.0), one.qid),
    }
    return sorted(found, key=keys[order])  # type: ignore[arg-type]


def _first_host(one: Listed) -> bytes:
    """Domain of the first recipient, last label first: hosts of a domain come together."""
    if not one.recipients:
        return b""
    domain = one.recipients[0][0].rpartition(b"@")[2].strip(b"<>").lower()
    return b".".join(reversed(domain.split(b".")))


def waits_for_full_run(control: Control) -> bool:
    """Was it queued for a full run (-odq, -odd)?"""
    return DELIVERY_MODE in control.macros and not control.attempts
