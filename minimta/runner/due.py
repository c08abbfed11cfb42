"""Which messages a queue run tries, and in which order (MinQueueAge, MaxQueueAge, QueueSortOrder)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from minimta.queue.control import DELIVERY_MODE, Control
from minimta.queue.listing import Listed
from minimta.runner.checkpoint import BACK_OFF
from minimta.system.external_sort import ExternalSort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.system.external_sort import Key


def is_due(mtime: float, now: float, longest: int) -> bool:
    """May a message be tried whose qf has the time *mtime*? Epoch seconds.

    A time further ahead than any attempt puts it (*longest* seconds) was written while the clock was wrong. It must not
    keep the message for years.
    """
    return mtime <= now or mtime > now + max(longest, BACK_OFF)


class RunOrder:
    """Messages come in, and their names go out as a run tries them; of very many few are in memory."""

    def __init__(self, order: str) -> None:
        """The *order* is one of QueueSortOrder."""
        self._key = _KEYS[order]
        self._names = ExternalSort()

    def __len__(self) -> int:
        return len(self._names)

    def add(self, one: Listed, mtime: float) -> None:
        """A message, and the *mtime* of its qf (epoch seconds)."""
        # Two directories may have the same id.
        key = self._key(one, mtime) or (len(self._names),)
        self._names.add((0, *key, one.name), one.name)

    def add_last(self, name: str) -> None:
        """One of which nothing is known but its *name*, behind all others."""
        self._names.add((1, name), name)

    def __iter__(self) -> Iterator[str]:
        """All names in order, once. Raise OSError if what was put aside cannot be read back."""
        return iter(self._names)


#: order -> by what a message, with the mtime of its qf, is sorted; nothing: as they come
_KEYS: dict[str, Callable[[Listed, float], Key]] = {
    "none": lambda one, mtime: (),
    "priority": lambda one, mtime: (one.priority, one.created, one.qid),
    "host": lambda one, mtime: (_first_host(one), one.priority, one.qid),
    "time": lambda one, mtime: (one.created, one.qid),
    "filename": lambda one, mtime: (one.qid,),
    "modification": lambda one, mtime: (mtime, one.qid),
}


def _first_host(one: Listed) -> bytes:
    """Domain of the first recipient, last label first: hosts of a domain come together."""
    if not one.recipients:
        return b""
    domain = one.recipients[0][0].rpartition(b"@")[2].strip(b"<>").lower()
    return b".".join(reversed(domain.split(b".")))


def waits_for_full_run(control: Control) -> bool:
    """Was it queued for a full run (-odq, -odd)?"""
    return DELIVERY_MODE in control.macros and not control.attempts
