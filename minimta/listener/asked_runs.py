"""Queue runs that a client has asked for (ETRN), in the parent of the listener.

What the listener says is not believed: it talks to the network, and who took it over would say
anything. An order is one short line of a known form, the same one is obeyed once in a while, and
only so many runs go on at a time; all others are forgotten, for the client was promised nothing else
than what the next run of the queue does anyway.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

from minimta.config.options import Options
from minimta.listener.etrn import MAX_ORDER, ORDER
from minimta.queue.selectors import Selection
from minimta.system import locks, log, processes, slots

#: seconds until the same order is obeyed again, orders that are remembered, runs at the same time
_PAUSE, _MOST_REMEMBERED, _MOST_RUNS = 60.0, 1000, 3


def orders(said: bytes) -> tuple[Iterator[bytes], bytes]:
    """(the orders in what a listener has *said*, the beginning of another); all else is dropped."""
    *lines, rest = said.split(b"\n")
    found = (match[1] for line in lines if (match := ORDER.fullmatch(line + b"\n")))
    return found, rest[-MAX_ORDER:]


def selections(order: bytes) -> list[Selection]:
    """Which messages an order is about: b"@lab3.campus", b".lab3.campus", b"#" for all."""
    node = order[1:].decode("ascii")
    if order == b"#":
        return []
    found = [Selection("R", f"@{node}")]
    return [*found, Selection("R", f".{node}")] if order[:1] == b"." else found


class AskedRuns:
    """The runs that go on, and those that were."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        run: Callable[[Options, list[Selection]], int] | None = None,
    ) -> None:
        """*run* is what a child does."""
        self._clock = clock
        self._run = run or _run
        self._begun: dict[bytes, float] = {}
        self._children: set[int] = set()

    def begin(self, order: bytes, options: Options) -> bool:
        """Start a run in a child, unless there was one for it just now, or there are too many."""
        now = self._clock()
        self.look()
        if now - self._begun.get(order, -_PAUSE) < _PAUSE or len(self._children) >= _MOST_RUNS:
            return False
        if len(self._begun) >= _MOST_REMEMBERED:
            self._begun.clear()
        self._begun[order] = now
        try:
            self._children.add(processes.fork("queue run", lambda: self._child(order, options)))
        except OSError as error:
            log.line("", f"ETRN: cannot fork: {error.strerror}", level=1, error=True)
            return False
        return True

    def _child(self, order: bytes, options: Options) -> int:
        # What the runner has locked must not outlive it in us.
        queue = options.queue_directory
        for path in (locks.beside(queue), locks.of_daemon(queue), slots.beside(queue)):
            locks.forget(path)
        return self._run(options, selections(order))

    def look(self) -> None:
        """Wait for the runs that are over."""
        for pid in list(self._children):
            try:
                ended = os.waitpid(pid, os.WNOHANG)[0]
            except ChildProcessError:
                ended = pid  # somebody else has waited for it
            if ended:
                self._children.discard(pid)


def _run(options: Options, wanted: list[Selection]) -> int:
    from minimta.runner import queue_run  # in a child of who only listens

    return queue_run.run(options, wanted, stop=processes.signal_flag(signal.SIGTERM, signal.SIGINT))
