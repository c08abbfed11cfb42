"""Workers that keep their connection when all is settled, for more mail to a busy next hop.

A child of the resident runner has them from one batch of messages to the next. Only mail that would
be sent in the same way is handed to one: the same next hop, logins, rows of TLSPolicy.

    a hop is busy       a message went there in the last ConnectionCacheTimeout seconds, or several go
                        there now
    a kept worker       has its place at the hop, for the peer counts its connection, and no slot; it
                        ends itself after ConnectionCacheTimeout, or as soon as the peer closes
    ConnectionCacheSize so many, of all processes, may become kept workers: each has one of so many
                        places (``slots``) from its beginning to its end
"""

from __future__ import annotations

import socket
import time
from collections.abc import Collection
from contextlib import suppress

from minimta.config.options import Options
from minimta.mailers.remote.channel import WorkerProcess
from minimta.system.slots import Place, Slots
from minimta.system.waiting import readable

#: seconds for QUIT of a worker that is sent away
_FAREWELL = 5.0
#: seconds before its end in which a worker is not used: it may just be closing its connection
_MARGIN = 0.1


class KeptWorkers:
    """Those of one process; ``True`` if there are any."""

    def __init__(
        self, options: Options, slots: Slots, lately: dict[str, float] | None = None
    ) -> None:
        """*slots* are those of the queue. *lately* is by next hop when a message went there (monotonic
        seconds); it is added to.
        """
        self._slots = slots
        self._most = options.connection_cache_size
        self._seconds = float(options.connection_cache_timeout)
        self.lately: dict[str, float] = {} if lately is None else lately
        #: next hops of this batch, in ASCII without control characters
        self.served: set[str] = set()
        #: the oldest first
        self._idle: list[WorkerProcess] = []

    def __len__(self) -> int:
        return len(self._idle)

    def note(self, hop: str, messages: int) -> bool:
        """So many *messages* go to *hop* now. Is it busy?"""
        now, hop = time.monotonic(), ascii(hop)[1:-1]
        is_busy = messages > 1 or now - self.lately.get(hop, -self._seconds) < self._seconds
        self.lately[hop] = now
        self.served.add(hop)
        return is_busy

    def grant(self) -> Place | None:
        """What a worker needs that shall keep its connection, None if there is none.

        The caller closes it when the worker has it.
        """
        if not (self._most and self._seconds):
            return None
        return self._slots.place_at("kept connection", self._most)

    def keep(self, worker: WorkerProcess) -> None:
        """The *worker* is idle."""
        worker.place.counts_for_nobody()
        self._idle.append(worker)

    def take(self, way: object) -> WorkerProcess | None:
        """One whose connection leads there in this *way*, None if there is none. The caller has it."""
        self.listen()
        begun = time.monotonic() + _MARGIN - self._seconds
        for worker in reversed(self._idle):
            if worker.way == way and worker.idle_since > begun:
                self._idle.remove(worker)
                return worker
        return None

    def descriptors(self) -> Collection[int]:
        """Readable when listen() has something to do."""
        return [worker.connection.fileno() for worker in self._idle]

    def listen(self) -> None:
        """Forget those that have ended, as their time was over or the peer has closed."""
        # An honest one says nothing while it is idle, and another is not wanted.
        told = readable(self.descriptors(), 0)
        self._idle = [worker for worker in self._idle if not _has_ended(worker, told)]

    def close(self) -> None:
        """Send all away, and wait a moment for their QUIT."""
        for worker in self._idle:
            with suppress(OSError):
                worker.connection.shutdown(socket.SHUT_WR)
        until = time.monotonic() + _FAREWELL
        while self._idle and (left := until - time.monotonic()) > 0:
            readable(self.descriptors(), left)
            self.listen()
        while self._idle:
            self._idle.pop().end()


def _has_ended(worker: WorkerProcess, ready: Collection[int]) -> bool:
    """Has it closed its end? Then it is no more."""
    if worker.connection.fileno() not in ready:
        return False
    worker.end()
    return True
