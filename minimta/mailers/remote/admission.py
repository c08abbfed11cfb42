"""What a worker must have before it begins: a place at its next hop, logins, and a slot.

place     one of those at the next hop, and one of those of the source of its jobs (``slots``)
logins    those of its next hops, where nobody else just tries them (``logins``)
slot      that of the attempt for the first worker, which rides; others need one of their own
kept      instead of a new worker one whose connection leads there already (``kept_workers``)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from minimta.mailers.job import Job
from minimta.mailers.remote.channel import MAX_HANDED, WorkerProcess
from minimta.mailers.remote.kept_workers import KeptWorkers
from minimta.mailers.remote.logins import LoginDesk, WorkersLogins
from minimta.mailers.remote.transport import Transport
from minimta.message.address import domain_key
from minimta.message.outcome import Outcome, crowded
from minimta.message.printable import printable
from minimta.system.slots import Place, Slots


class Means(NamedTuple):
    """What one worker has."""

    #: see Admission.way
    way: object
    place: Place
    logins: WorkersLogins
    #: a descriptor, or -1 if none is needed; None if there is none
    slot: int | None
    #: the one whose connection leads there
    kept: WorkerProcess | None

    def handed(self, jobs: Sequence[Job], *, rides: bool) -> WorkerProcess | None:
        """The kept worker, which gets the *jobs*; None if there is none, or it is gone."""
        if self.kept is None or self.slot is None:
            return None
        try:
            self.kept.hand(jobs, self.slot, rides=rides)
        except OSError:
            self.kept.leave_place()
            return None
        self.logins.close()  # it has its own, the same
        return self.kept


class Admission:
    """Of the workers of one run."""

    def __init__(
        self,
        slots: Slots,
        desk: LoginDesk,
        hop: Callable[[Job], str],
        *,
        most: int,
        kept: KeptWorkers | None,
    ) -> None:
        """*hop* says to which next hop a job goes, *most* how many may talk to one (0: as *slots* has it)."""
        self._slots = slots
        self._desk = desk
        self._hop = hop
        self._most = most
        self._kept = kept

    def group(self, job: Job, transport: Transport) -> tuple[object, ...]:
        """Equal for jobs that one worker can do: with the same logins and the same key (DKIM), and
        an address that somebody wrote is not one that was configured.
        """
        host = domain_key(job.host.encode("ascii", "replace"))
        key = transport.keys.of(job)
        return (host, job.option, self._desk.rows(job), key and key.identity)

    def means(
        self, jobs: Sequence[Job], transport: Transport, unused: ExitStack, *, has_rider: bool
    ) -> Means | None:
        """What a worker needs for the *jobs*, which are of one group; None if they must wait.

        *unused* gives all of it back. One worker at a time rides in the slot of the attempt, which
        does nothing meanwhile but wait for workers and a program. So every attempt gets on, however
        many hold all slots and wait for others.
        """
        way = self._way(jobs[0], transport)
        kept = self._kept.take(way) if self._kept and len(jobs) <= MAX_HANDED else None
        place = kept.place if kept else self._place_at(jobs[0])
        if place is None:
            return None
        if kept and self._kept is not None:
            unused.callback(self._kept.keep, kept)
        else:
            unused.callback(place.close)
        if not place.counts_for(_source(jobs)):
            return None
        logins = self._desk.prepare(jobs[0])
        if logins is None:
            return None
        unused.callback(logins.close)
        slot = self._slot(has_rider)
        if slot is not None:
            unused.callback(self.leave, slot)
        return Means(way, place, logins, slot, kept)

    def why_crowded(self, jobs: Sequence[Job]) -> Outcome:
        """Why there are no means for the *jobs*."""
        hop = self._hop(jobs[0])
        place = self._place_at(jobs[0])
        if place is None:
            return crowded(hop, min(self._most or self._slots.most, self._slots.most))
        place.close()
        logins = self._desk.prepare(jobs[0])
        if logins is None:
            return crowded(hop, 1)  # which tries a login of which nothing is known
        logins.close()
        return crowded(f"other hosts, {_source(jobs)}", self._slots.most_of_source)

    def leave(self, slot: int) -> None:
        """Let go of a slot of ``Means``: a worker has it, until it ends, or needs it no more."""
        if slot != self._slots.own:
            os.close(slot)

    def _way(self, job: Job, transport: Transport) -> object:
        """Equal for jobs that may go over one connection, whenever they come."""
        if self._kept is None:
            return None
        policies = transport.policies and transport.policies.rows
        return (
            *self.group(job, transport),
            self._desk.standing(job),
            policies,
            transport.rules.rows,
        )

    def _place_at(self, job: Job) -> Place | None:
        """A place at the job's next hop; None if all are taken."""
        return self._slots.place_at(f"hop {self._hop(job)}", self._most)

    def _slot(self, has_rider: bool) -> int | None:
        if not has_rider:
            return self._slots.own
        slot = self._slots.second()
        return None if slot < 0 else slot


def _source(jobs: Sequence[Job]) -> str:
    """From whom all *jobs* are, for people and for ``Place.counts_for``."""
    # Who shares a worker with others holds up nobody by it.
    sources = {job.source for job in jobs}
    if len(sources) == 1 and b"" not in sources:
        return f"from {printable(sources.pop()).decode('ascii')}"
    return f"from several, to {jobs[0].host.lower()}"
