"""What the children of the resident runner do."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from typing import Protocol

from minimta.config.options import Options
from minimta.mailers.remote.kept_workers import KeptWorkers
from minimta.queue.control import QUEUE_ONLY
from minimta.routing.local_host import LocalHost
from minimta.runner import deliver, queue_run, take_in
from minimta.system import load, locks
from minimta.system.slots import Slots


class Work(Protocol):
    """What is done in children; only wants_new() is asked in the runner itself."""

    def wants_new(self) -> bool:
        """Are messages tried when they come? False leaves them to the next full run."""

    def begin(self) -> None:
        """Called first in every child: let go of what is the runner's alone."""

    def kept(self, lately: dict[str, float]) -> KeptWorkers:
        """Where a child keeps connections; *lately* is next hop -> when a message went there."""

    def attempt(
        self,
        qids: Sequence[str],
        go_on: Callable[[], bool],
        stop: Callable[[], bool],
        kept: KeptWorkers,
    ) -> dict[str, float]:
        """Try these new messages. go_on() is asked before what may take long, stop() between acts.

        Connections are *kept* there. Returns ids of those that found no place at a next hop, with 0.0 or when they have their turn.
        """

    def take_in(self) -> None:
        """Adopt what waits in clientmqueue."""

    def full_run(self, stop: Callable[[], bool]) -> dict[str, float]:
        """Run the whole queue, until stop(). Returns what attempt() does."""

    def has_alerts(self) -> bool:
        """Does somebody want to hear of outages? (AlertCommand) Asked in the runner itself."""

    def alert(self, names: Collection[str]) -> bool:
        """Tell of an outage, if there is news; *names* are the ids in the queue. False: see ``alert.look``."""


class QueueWork:
    """The Work on a real queue."""

    def __init__(self, options: Options, slots: Slots) -> None:
        self._options = options
        self._slots = slots

    def wants_new(self) -> bool:
        """Are messages tried when they come? (DeliveryMode, also of a single port, and QueueLA)

        Each message that is to wait says so itself, for its port may have a mode of its own.
        """
        modes = [self._options.delivery_mode]
        if modes[0] in QUEUE_ONLY:
            modes += [port.delivery_mode for port in self._options.daemon_ports]
        if not {"background", "interactive"}.intersection(modes):
            return False
        return load.average() < self._options.queue_la

    def begin(self) -> None:
        """Be nobody's resident runner, whose lock a child that outlives it would keep."""
        locks.forget(locks.beside(self._options.queue_directory))
        locks.forget(locks.of_daemon(self._options.queue_directory))

    def kept(self, lately: dict[str, float]) -> KeptWorkers:
        """See Work."""
        return KeptWorkers(self._options, self._slots, lately)

    def attempt(
        self,
        qids: Sequence[str],
        go_on: Callable[[], bool],
        stop: Callable[[], bool],
        kept: KeptWorkers,
    ) -> dict[str, float]:
        """See Work."""
        here = LocalHost(self._options)
        # Closed: a child that keeps connections gets one batch after the other, for days.
        with closing(deliver.open_spool(self._options)) as spool:
            deliverer = deliver.Deliverer(
                here, spool, slots=self._slots, is_run=False, stop=stop, kept=kept
            )
            deliverer.attempt(qids, go_on=go_on, fresh=True)
            return deliverer.held

    def take_in(self) -> None:
        """See Work."""
        take_in.take_in(self._options, deliver.open_spool(self._options), time.time())

    def full_run(self, stop: Callable[[], bool]) -> dict[str, float]:
        """See Work."""
        no_place: dict[str, float] = {}
        queue_run.run(self._options, stop=stop, slots=self._slots, held=no_place)
        return no_place

    def has_alerts(self) -> bool:
        """See Work."""
        return bool(self._options.alert_command)

    def alert(self, names: Collection[str]) -> bool:
        """See Work."""
        from minimta.runner import alert  # few have it

        return alert.look(self._options, names)
