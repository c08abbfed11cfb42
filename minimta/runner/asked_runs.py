"""Queue runs that a client has asked for (ETRN): begun by the parent of the listener, or handed on.

What the listener says is not believed: it talks to the network, and who took it over would say
anything. An order is one short line of a known form, the same one is obeyed once in a while, and
only so many runs go on at a time; all others are forgotten, for the client was promised nothing else
than what the next run of the queue does anyway.

A listener that is a service of its own may not deliver: its parent is confined, or no root either. It
leaves the order as the name of an empty file in the queue directory, where the resident runner looks
for new messages anyway, and is not heard by a runner that is not there:

    ask@lab3.campus    what waits for that domain
    ask.lab3.campus    and for all below it
    ask#               all
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator

from minimta.config.options import Options
from minimta.queue.directory import QueueDirectory
from minimta.queue.qid import valid
from minimta.system import locks, log, processes, slots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.queue.queue_group import QueueGroup
    from minimta.queue.selectors import Selection

#: as the listener says it to its parent: b"e@lab3.campus\n", b"e.lab3.campus\n" with those below, b"e#\n"
ORDER = re.compile(rb"e(#|[@.][a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\n")
#: octets of an order at most; handed on it is the name of a file, which has 255
MAX_ORDER = 240
_HANDED = "ask"
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
    from minimta.queue.selectors import Selection  # not before somebody asks

    found = [Selection("R", f"@{node}")]
    return [*found, Selection("R", f".{node}")] if order[:1] == b"." else found


def hand_over(queue_directory: str, order: bytes) -> bool:
    """Leave *order* for the resident runner; False if that cannot be done, which is logged."""
    path = os.path.join(queue_directory, _HANDED + order.decode("ascii"))
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return True  # it is asked for already
    except OSError as error:
        text = f"ETRN: cannot be handed to the queue runner: {error.strerror}"
        log.line("", text, level=1, error=True)
        return False
    return True


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


class HandedRuns:
    """What listeners have left in the queue directory, for the resident runner."""

    def __init__(
        self,
        directory: QueueDirectory,
        runs: AskedRuns | None = None,
        group: QueueGroup | None = None,
    ) -> None:
        """*directory* is looked at, for messages too if they are not in the directories of a *group*."""
        self._directory = directory
        self._group = group
        self._runs = runs or AskedRuns()
        self._found: list[bytes] = []

    def names(self) -> list[str]:
        """The names of all messages, in no order; what else is looked for is noted. Raise OSError."""
        if not self._directory.is_in_place():
            before, self._directory = self._directory, QueueDirectory(self._directory.directory)
            before.close()
        files = self._directory.files()
        asked = (os.fsencode(name.removeprefix(_HANDED)) for name in files if name[:3] == _HANDED)
        self._found += [order for order in asked if ORDER.fullmatch(b"e%b\n" % order)]
        if self._group:
            self._group.look()
            return self._group.names()
        return [name[2:] for name in files if name.startswith("qf") and valid(name[2:])]

    def begin(self, options: Options) -> None:
        """Obey what was found. Raises nothing."""
        self._runs.look()
        found, self._found = self._found, []
        for order in dict.fromkeys(found):
            with contextlib.suppress(OSError):  # it comes again, and is too soon then
                self._directory.unlink(_HANDED + order.decode("ascii"))
            self._runs.begin(order, options)


def _run(options: Options, wanted: list[Selection]) -> int:
    from minimta.runner import queue_run  # in a child of who only listens

    return queue_run.run(options, wanted, stop=processes.signal_flag(signal.SIGTERM, signal.SIGINT))
