"""Acts that wait beside each other, in a process with one thread: a mute host and a program that hangs.

Such an act is a generator. It yields its results, and a Wait where it would else block; who drives
it calls it again when something may have come, or earlier: it looks for itself. ``alone`` and
``returned`` drive one, and ``together`` waits for several.
"""

from __future__ import annotations

import math
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Iterator
    from typing import TypeVar

    Result = TypeVar("Result")


class Wait:
    """For something to read from one of some descriptors, or for the end of some time."""

    __slots__ = ("_descriptors", "_until")

    def __init__(self, descriptors: Collection[int], seconds: float) -> None:
        self._descriptors = tuple(descriptors)
        self._until = time.monotonic() + max(0.0, seconds)

    def is_over(self, ready: Collection[int]) -> bool:
        """Has its time come, or is one of its descriptors among those that are *ready*?"""
        return time.monotonic() >= self._until or not set(ready).isdisjoint(self._descriptors)


def readable(descriptors: Iterable[int], seconds: float) -> list[int]:
    """Those of *descriptors* that have something to read; one has, or *seconds* (inf: any time) are over.

    Not select(2), which knows no descriptor above 1023, nor is it asked: it raises ValueError.
    """
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    # Rounded up: with a fraction of a millisecond left a caller would else turn and turn.
    timeout = None if seconds == math.inf else math.ceil(seconds * 1000)
    return [descriptor for descriptor, _ in poll.poll(timeout)]


def together(waits: Iterable[Wait], seconds: float) -> list[int]:
    """Wait until one of *waits* is over, at most *seconds*; the descriptors that are ready."""
    until = time.monotonic() + seconds
    descriptors: list[int] = []
    for wait in waits:
        until = min(until, wait._until)
        descriptors += wait._descriptors
    return readable(descriptors, max(0.0, until - time.monotonic()))


def alone(steps: Iterable[Result | Wait]) -> Iterator[Result]:
    """The results of *steps*; what it waits for is waited for here."""
    for made in steps:
        if isinstance(made, Wait):
            together([made], math.inf)
        else:
            yield made


def returned(steps: Generator[Wait, None, Result]) -> Result:
    """What *steps* return in the end; what they wait for is waited for here. Raise what they raise."""
    while True:
        try:
            wait = next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        together([wait], math.inf)
