"""The esmtp mailer: one unprivileged process for each next hop, as many as there are slots; several for
one where very much is to go.

The runner is root and parses nothing that comes from the network: a forked ``worker`` does, as
RunAsUser, and tells what became of the messages in the lines of ``protocol``. A worker that dies,
sends garbage or hangs only delays the messages it had not settled.

    a worker                                its messages
    has told the outcome of the last user   that message is yielded
    exits, is killed, cannot be forked      those not settled wait (4.3.0)
    sends a BadLine, or nothing for long    it is killed; those not settled wait
    finds no place at its next hop, or      is not started; they wait (4.4.5)
    none for who sent them all
    has no turn there (``pace``)            the same; with a turn, all but one message
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace

from minimta.config.options import Options
from minimta.mailers.job import Job, Settled
from minimta.mailers.remote import mx_targets, next_hops, worker
from minimta.mailers.remote.admission import Admission, Means
from minimta.mailers.remote.channel import JobProgress, WorkerProcess, ended, given_up
from minimta.mailers.remote.dkim_keys import SigningKeys
from minimta.mailers.remote.findings import Findings
from minimta.mailers.remote.kept_workers import KeptWorkers
from minimta.mailers.remote.lines import (
    AliveLine,
    DialogueLine,
    ErrorLine,
    HostLine,
    KeptLine,
    Line,
    LoginLine,
    LogLine,
    OutcomesLine,
    ResultLine,
    SayLine,
    StsLine,
    TakenLine,
    TlsLine,
)
from minimta.mailers.remote.logins import LoginDesk
from minimta.mailers.remote.pace import Pace
from minimta.mailers.remote.protocol import BadLine, decode
from minimta.mailers.remote.tls_policy import TlsPolicies, tls_client
from minimta.mailers.remote.tls_rules import TlsRules
from minimta.mailers.remote.transport import Transport
from minimta.message.outcome import Fate, deferred, paced
from minimta.system import dns, log, processes
from minimta.system.slots import Place, Slots
from minimta.system.waiting import Wait, alone, together

#: seconds a worker may be silent beyond the longest timeout it has to wait for
GRACE = 90
#: messages over one connection; for more of them there is another one beside it, if there may be
SHARE = 50
#: seconds after which it is tried again whether there is a slot for one more worker
_SLOT_POLL = 1.0


class RemoteMailer:
    """Deliver to other hosts by SMTP."""

    name = "esmtp"
    #: do the options hold that limit what goes to one destination? (DestinationConcurrency,
    #: SingleThreadDelivery, DestinationRateDelay)
    has_destinations = True

    def __init__(
        self,
        options: Options,
        slots: Slots,
        *,
        say: Callable[[str], None] | None = None,
        findings: Findings | None = None,
        kept: KeptWorkers | None = None,
    ) -> None:
        """*slots* bound the workers, with those of all other attempts; *say* gets the dialogue (-v).

        *findings* of workers are kept there; None: nowhere. With *kept*, workers keep connections to
        busy next hops for a while.
        """
        self._options = options
        self._slots = slots
        self._say = say
        self._findings = findings or Findings(options)
        self._kept = kept
        self._desk = LoginDesk(options, slots)
        self._pace = Pace(options)
        most = 1 if options.single_thread_delivery else options.destination_concurrency
        #: workers of one next hop, 0: as many as the slots have places
        self._most = most if self.has_destinations else 0
        if not self.has_destinations:
            self._pace.delay = 0
        self._admission = Admission(slots, self._desk, self._hop, most=self._most, kept=kept)
        #: workers of each delivery that is under way
        self._busy: list[dict[int, WorkerProcess]] = []
        names = (name for name in dir(options) if name.startswith("timeout_"))
        waits = (getattr(options, name) for name in names if "timeout_queue" not in name)
        self._patience = max(waits) + GRACE

    def deliver(self, jobs: Sequence[Job]) -> Iterator[Settled]:
        """Yield every job once, as soon as its last user is settled; see ``Mailer``."""
        return alone(self.steps(jobs))

    def steps(self, jobs: Sequence[Job]) -> Iterator[Settled | Wait]:
        """See SteppedMailer."""
        fallbacks = [hop.key for hop in next_hops.fallback_hops(self._options)]
        hosts = [*",".join({job.host for job in jobs}).split(","), *fallbacks]
        if any(map(mx_targets.may_ask_dns, hosts)):
            # Once here instead of in every child, which may not even be able to read where it lies.
            dns.load()
        try:
            policies = TlsPolicies.read(self._options)
            transport = Transport(
                self._options,
                mx_targets.ourselves(self._options),
                tls=tls_client(self._options),
                policies=policies,
                rules=TlsRules.read(self._options),
                sts=self._findings.sts,
                https=self._findings.https(hosts, policies),
                keys=SigningKeys.read(self._options.dkim_sign, jobs),
            )
        except OSError as error:
            yield from all_wait(jobs, error)
            return
        try:
            yield from cannot_be_signed(transport.keys.faults)
            yield from self._deliver(self._by_host(jobs, transport), transport)
        finally:
            transport.keys.close()

    def _deliver(
        self, groups: Sequence[list[Job]], transport: Transport
    ) -> Iterator[Settled | Wait]:
        """Each group by a worker of its own."""
        waiting = deque(groups)
        workers: dict[int, WorkerProcess] = {}
        self._busy.append(workers)
        self._findings.open()
        try:
            while waiting or workers:
                yield from self._start_all(waiting, transport, workers)
                if workers:
                    seconds = _SLOT_POLL if waiting else GRACE
                    yield from self._listen(workers, waiting, seconds)
                elif waiting and any(self._busy):
                    yield Wait((), _SLOT_POLL)
                elif waiting:
                    yield from self._crowded(waiting.popleft())
        finally:
            self._busy = [others for others in self._busy if others is not workers]
            for left in workers.values():
                left.end()
            if not self._busy:
                self._findings.close()

    def _start_all(
        self,
        waiting: deque[list[Job]],
        transport: Transport,
        workers: dict[int, WorkerProcess],
    ) -> Iterator[Settled]:
        """Start what has a place at its next hop, while there are slots."""
        for jobs in list(waiting):
            if left := self._pace.seconds_left(self._hop(jobs[0])):
                waiting.remove(jobs)
                yield from self._wait_for_turns(jobs, left)
                continue
            with ExitStack() as unused:
                means = self._admission.means(jobs, transport, unused, has_rider=self._has_rider)
                if means is None:
                    continue
                if means.slot is None:
                    return
                waiting.remove(jobs)
                if left := self._pace.take(self._hop(jobs[0])):  # somebody was faster
                    yield from self._wait_for_turns(jobs, left)
                    continue
                unused.pop_all()
            number = 1 if self._pace.delay else len(jobs)
            yield from self._start(jobs[:number], transport, workers, means)
            yield from self._wait_for_turns(jobs[number:], self._pace.delay)

    def _wait_for_turns(self, jobs: Sequence[Job], left: float) -> Iterator[Settled]:
        """These have no turn now; the first has one in *left* seconds, if nobody else takes it."""
        now, delay = time.time(), self._pace.delay
        for number, job in enumerate(jobs):
            outcome = paced(self._hop(job), delay, now + left + number * delay)
            yield job, {user.name: outcome for user in job.users}

    def _by_host(self, jobs: Sequence[Job], transport: Transport) -> list[list[Job]]:
        """Jobs that one worker shall do, without those that cannot be signed."""
        groups: dict[object, list[Job]] = {}
        for job in jobs:
            if job not in transport.keys.faults:
                groups.setdefault(self._admission.group(job, transport), []).append(job)
        shares = [share for group in groups.values() for share in enumerate(self._shares(group))]
        # No next hop gets a second worker before all others have one.
        return [share for _, share in sorted(shares, key=lambda numbered: numbered[0])]

    def _shares(self, jobs: list[Job]) -> list[list[Job]]:
        """The *jobs* for one next hop, for as many workers as are worth their connections."""
        number = min(-(-len(jobs) // SHARE), self._most or self._slots.most)
        if self._pace.delay:
            number = 1  # each message waits for its turn
        return [jobs[first::number] for first in range(number)]

    @property
    def _has_rider(self) -> bool:
        """Does a worker ride in the slot of the attempt?"""
        return any(worker.rides for busy in self._busy for worker in busy.values())

    def _hop(self, job: Job) -> str:
        """To which next hop the job goes, for people and for ``Slots.place_at``."""
        return job.host.lower()

    def _crowded(self, jobs: Sequence[Job]) -> Iterator[Settled]:
        """All that could be waited for has ended: another attempt may find a place."""
        outcome = self._admission.why_crowded(jobs)
        for job in jobs:
            yield job, {user.name: outcome for user in job.users}

    def _start(
        self,
        jobs: list[Job],
        transport: Transport,
        workers: dict[int, WorkerProcess],
        means: Means,
    ) -> Iterator[Settled]:
        """Give the *jobs* to the worker that is kept, or to a new one."""
        assert means.slot is not None
        rides = means.slot == self._slots.own
        try:
            is_busy = self._kept is not None and self._kept.note(self._hop(jobs[0]), len(jobs))
            child = means.handed(jobs, rides=rides)
            if child is None:
                grant = self._kept.grant() if self._kept is not None and is_busy else None
                with grant or nullcontext():
                    pid, ours = self._fork(jobs, transport, means, grant)
                child = WorkerProcess(
                    pid, ours, jobs, rides=rides, place=means.place, logins=means.logins
                )
                child.way = means.way if grant else None
            child.domains |= {
                hop.name.lower()
                for hop in next_hops.fallback_hops(self._options)
                if not hop.bracketed
            }
            workers[child.connection.fileno()] = child
        except OSError as error:
            means.logins.close()
            means.place.close()
            why = f"cannot fork: {error.strerror}"
            yield from given_up([JobProgress(job) for job in jobs], why)
        finally:
            self._admission.leave(means.slot)

    def _fork(
        self, jobs: list[Job], transport: Transport, means: Means, grant: Place | None
    ) -> tuple[int, socket.socket]:
        """The worker's pid, and our end of its socket pair. Raise OSError."""
        idle = self._options.connection_cache_timeout if grant else 0
        key = transport.keys.of(jobs[0])
        transport = replace(transport, logins=means.logins.faults, idle=idle, signing=key)
        pipe = self._desk.hand_over(means.logins)
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    pid = processes.fork(
                        "remote worker",
                        lambda: worker.run(
                            theirs,
                            jobs,
                            transport,
                            verbose=self._say is not None,
                            slot=-1 if means.slot is None else means.slot,
                            place=means.place,
                            grant=grant,
                            memory=self._findings.hosts,
                            logins=pipe,
                        ),
                    )
                except OSError:
                    ours.close()
                    raise
            return pid, ours
        finally:
            if pipe >= 0:
                os.close(pipe)

    def _listen(
        self, workers: dict[int, WorkerProcess], waiting: deque[list[Job]], seconds: float
    ) -> Iterator[Settled | Wait]:
        """Wait for something from any worker, at most *seconds*, and act on it."""
        for number in (yield from self._ready(workers, seconds)):
            child = workers[number]
            try:
                for line in child.read():
                    yield from self._believe(child, decode(line, len(child.progress)))
                if child.is_idle and self._kept is not None:
                    del workers[number]
                    self._kept.keep(child)
            except EOFError:
                del workers[number]
                why = child.end()
                if child.has_taken:
                    yield from ended(child, why)
                else:
                    waiting.append(child.jobs)  # it was just closing its connection
            except BadLine as error:
                del workers[number]
                child.end()
                yield from ended(child, f"said nonsense: {error}")
        for number, child in list(workers.items()):
            if time.monotonic() - child.heard > self._patience:
                del workers[number]
                child.end()
                yield from ended(child, "fell silent")

    def _ready(
        self, workers: dict[int, WorkerProcess], seconds: float
    ) -> Generator[Wait, None, list[int]]:
        yield Wait(workers, min(self._patience, seconds))
        return together([Wait(workers, 0)], 0)

    def _believe(self, child: WorkerProcess, line: Line) -> Iterator[Settled]:
        if isinstance(line, OutcomesLine):
            yield from self._settle(child, line)
        elif isinstance(line, DialogueLine):
            child.progress[line.job].dialogue = line.lines
        elif isinstance(line, SayLine):
            if self._say:
                with contextlib.suppress(OSError):  # a terminal that is gone stops no mail
                    self._say(line.text)
        elif isinstance(line, LogLine):
            child.log(line)
        elif isinstance(line, HostLine | StsLine | ResultLine):
            self._findings.take(child, line)
        elif isinstance(line, TlsLine):
            child.log_tls(line)
        elif isinstance(line, LoginLine):
            self._desk.note(child.logins, line)
            child.log_login(line)
        elif isinstance(line, KeptLine):
            child.rest()
        elif isinstance(line, TakenLine):
            child.has_taken = True
        elif isinstance(line, ErrorLine):
            child.error = line.text or child.error
        elif not isinstance(line, AliveLine):
            raise BadLine("that is no line of a worker")

    def _settle(self, child: WorkerProcess, line: OutcomesLine) -> Iterator[Settled]:
        if line.job not in child.unsettled:
            raise BadLine("that job was settled before")
        progress = child.progress[line.job]
        progress.add(line.outcomes)
        if progress.is_complete:
            child.unsettled.discard(line.job)
            yield progress.job, progress.outcomes
        # Only now, when the caller has recorded what was yielded, may one more be sent.
        if any(outcome.fate is Fate.SENT for outcome in line.outcomes.values()):
            child.recorded()


def cannot_be_signed(faults: Mapping[Job, str]) -> Iterator[Settled]:
    """Mail that shall be signed does not go without."""
    for job, why in faults.items():
        outcome = deferred("4.3.5", log.clean(why, 400))
        yield job, {user.name: outcome for user in job.users}


def all_wait(jobs: Sequence[Job], error: OSError) -> Iterator[Settled]:
    """Who does not know its own names could send mail in a circle, or to itself."""
    where = f"{error.filename}: " if error.filename else ""
    outcome = deferred("4.3.0", log.clean(f"{where}{error.strerror or error}"))
    for job in jobs:
        yield job, {user.name: outcome for user in job.users}
