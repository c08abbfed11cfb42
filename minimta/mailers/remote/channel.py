"""The socket pair between a worker and its parent, and how each end uses it.

    worker -> parent    lines of ``protocol``
    parent -> worker    one octet for each line with a message sent, once it has been recorded;
                        another for further jobs, with descriptors: a file that says what they are,
                        their data files, and the slot, if they have one

The worker waits when WINDOW messages are unrecorded: so many, at most, are sent twice when the
parent crashes. At either end the end of file means that the other process is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from minimta.mailers.job import Job, Settled
from minimta.mailers.remote import handed_jobs
from minimta.mailers.remote.host_status import HostStatus
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
    SayLine,
    TakenLine,
    TlsLine,
)
from minimta.mailers.remote.mx_targets import parse
from minimta.mailers.remote.protocol import MAX_LINE, BadLine, encode
from minimta.message.outcome import Fate, Outcome, deferred
from minimta.system import log
from minimta.system.slots import Place
from minimta.system.tls_values import TlsFacts

if TYPE_CHECKING:
    from minimta.mailers.remote.logins import WorkersLogins

#: messages sent and not yet recorded by the parent
WINDOW = 8
#: seconds between signs of life
HEARTBEAT = 30.0
#: outcomes written in one line: with the longest transcripts they stay far below MAX_LINE
MAX_OUTCOMES = 100
#: lines of one worker that are written to the log; the rest is dropped
MAX_LOG_LINES = 100
#: hosts that one worker tells of: each is a file
MAX_HOSTS = 200
#: policies of MTA-STS that one worker tells of: each is a file
MAX_POLICIES = 20
#: jobs that are handed to a worker that has begun: each is a descriptor, of which the kernel passes 253
MAX_HANDED = 200
#: results of TLS that one worker tells of: each is a line
MAX_RESULTS = 1000
#: octets that are read at a time: what is larger than 128 KiB the allocator maps anew for each read
_READ = 64 * 1024
_RECORDED, _JOBS = b".", b"J"


# --- the worker's end -----------------------------------------------------------------------------


class ParentGone(Exception):
    """Nobody is left to tell."""


class WorkerChannel:
    """The worker's end of the socket pair."""

    def __init__(self, connection: socket.socket, jobs: Sequence[Job]) -> None:
        self._connection = connection
        self._numbers = {job: number for number, job in enumerate(jobs)}
        self._unrecorded = 0
        self._spoke = time.monotonic()

    def report(self, job: Job, outcomes: Mapping[bytes, Outcome]) -> None:
        """Tell outcomes of users by name; wait while too much is unrecorded. Raise ParentGone."""
        numbers = {user.name: number for number, user in enumerate(job.users)}
        said = next((outcome.dialogue for outcome in outcomes.values() if outcome.dialogue), ())
        if said:
            self._write(DialogueLine(self._numbers[job], said))
        numbered = ((numbers[name], outcome) for name, outcome in outcomes.items())
        for portion in _portions(numbered):
            self._write(OutcomesLine(self._numbers[job], portion))
            if any(outcome.fate is Fate.SENT for outcome in portion.values()):
                self._unrecorded += 1
        while self._unrecorded >= WINDOW:
            recorded = self._connection.recv(WINDOW)
            if not recorded:
                raise ParentGone
            self._unrecorded -= len(recorded)

    def fileno(self) -> int:
        """The descriptor: it is readable when receive() does not wait."""
        return self._connection.fileno()

    def keep(self) -> None:
        """Say that all jobs are settled, and that others may come. Raise ParentGone."""
        self._write(KeptLine())

    def receive(self) -> tuple[list[Job], int]:
        """Further jobs and their slot (-1: none); no jobs if it was something else that came.

        Raise ParentGone.
        """
        try:
            octet, handed, _, _ = socket.recv_fds(self._connection, 1, MAX_HANDED + 2)
        except OSError as error:
            raise ParentGone from error
        if not octet:
            raise ParentGone
        if octet != _JOBS:
            self._unrecorded -= 1
            return [], -1
        jobs, slot = handed_jobs.received(handed)
        self._numbers = {job: number for number, job in enumerate(jobs)}
        self._write(TakenLine())
        return jobs, slot

    def say(self, text: str) -> None:
        """Pass on a line of the dialogue. Raise ParentGone."""
        self._write(SayLine(text))

    def log(self, text: str, job: Job | None = None) -> None:
        """Have a line written to the log, about *job* if there is one. Raise ParentGone."""
        self._write(LogLine(-1 if job is None else self._numbers[job], text))

    def tell_host(self, found: HostStatus) -> None:
        """Tell whether a host was reached. Raise ParentGone."""
        self._write(HostLine(found))

    def tell_tls(self, relay: str, facts: TlsFacts) -> None:
        """Have it written to the log with which TLS the host *relay* is talked to. Raise ParentGone."""
        self._write(TlsLine(relay, facts))

    def tell(self, line: Line) -> None:
        """Tell what was found. Raise ParentGone."""
        self._write(line)

    def fail(self, text: str) -> None:
        """Say why the worker ends. Raise ParentGone."""
        self._write(ErrorLine(text))

    def alive(self) -> None:
        """Give a sign of life if the last one is long ago. Raise ParentGone."""
        if time.monotonic() - self._spoke > HEARTBEAT:
            self._write(AliveLine())

    def _write(self, line: Line) -> None:
        self._spoke = time.monotonic()
        try:
            self._connection.sendall(encode(line))
        except OSError as error:
            raise ParentGone from error


def _portions(outcomes: Iterator[tuple[int, Outcome]]) -> Iterator[dict[int, Outcome]]:
    while portion := dict(islice(outcomes, MAX_OUTCOMES)):
        yield portion


# --- the parent's end -----------------------------------------------------------------------------


class JobProgress:
    """A Job and what is known of its users."""

    __slots__ = ("dialogue", "job", "outcomes")

    def __init__(self, job: Job) -> None:
        self.job = job
        #: what was said, of the outcomes that follow and are no success
        self.dialogue: tuple[str, ...] = ()
        #: user.name -> Outcome
        self.outcomes: dict[bytes, Outcome] = {}

    @property
    def is_complete(self) -> bool:
        """Has every user an Outcome?"""
        return all(user.name in self.outcomes for user in self.job.users)

    def add(self, outcomes: Mapping[int, Outcome]) -> None:
        """Note outcomes; the first of a user stands. Raise BadLine for one that does not exist."""
        for number, outcome in outcomes.items():
            if number >= len(self.job.users):
                raise BadLine("no such user")
            if self.dialogue and outcome.fate is not Fate.SENT:
                outcome = replace(outcome, dialogue=self.dialogue)  # noqa: PLW2901
            self.outcomes.setdefault(self.job.users[number].name, outcome)

    def give_up(self, outcome: Outcome) -> None:
        """Whoever has no Outcome yet gets *outcome*."""
        for user in self.job.users:
            self.outcomes.setdefault(user.name, outcome)


class WorkerProcess:
    """A worker, and what is known of its jobs, in its parent."""

    def __init__(
        self,
        pid: int,
        connection: socket.socket,
        jobs: Sequence[Job],
        *,
        rides: bool,
        place: Place,
        logins: WorkersLogins,
    ) -> None:
        """*connection* is our end of the socket pair; *jobs* are in the order of the child.

        It *rides* in the slot of the attempt, or it has one of its own (``system.slots``). Its *place*
        is at its next hop, *logins* are those that it got.
        """
        self.pid = pid
        self.place = place
        self.logins = logins
        self.connection = connection
        #: what must be the same for jobs that are handed to it, once it keeps its connection
        self.way: object = None
        #: has it said that it began with its jobs? Of those that were forked with it this is known
        self.has_taken = True
        #: has it nothing to do, and since when (monotonic seconds)?
        self.is_idle = False
        self.idle_since = 0.0
        self._has(jobs, rides=rides)
        #: when it last said something, by time.monotonic()
        self.heard = time.monotonic()
        self._buffer = b""
        self._logged = 0
        #: hosts that it may still tell of
        self.hosts_left = MAX_HOSTS
        #: policies that it may still tell of
        self.policies_left = MAX_POLICIES
        #: results of TLS that it may still tell of
        self.results_left = MAX_RESULTS
        #: why it ends, if it said so
        self.error = ""

    def _has(self, jobs: Sequence[Job], *, rides: bool) -> None:
        self.rides = rides
        self.progress = [JobProgress(job) for job in jobs]
        #: numbers of jobs that are not complete
        self.unsettled = set(range(len(jobs)))
        #: next hops in small letters, as domains
        self.domains = frozenset(_domains(jobs))

    @property
    def jobs(self) -> list[Job]:
        """What it has to do, or has done."""
        return [progress.job for progress in self.progress]

    def hand(self, jobs: Sequence[Job], slot: int, *, rides: bool) -> None:
        """Give it, which is idle, MAX_HANDED *jobs* at most, and a *slot* (-1: none). Raise OSError."""
        told = handed_jobs.written(jobs, slot >= 0)
        try:
            handed = [told, *(job.body for job in jobs), *([slot] if slot >= 0 else [])]
            # Never waits, as in recorded(): it is one octet.
            flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
            socket.send_fds(self.connection, [_JOBS], handed, flags)
        finally:
            os.close(told)
        self._has(jobs, rides=rides)
        self.has_taken = self.is_idle = False
        self.heard = time.monotonic()

    def leave_place(self) -> None:
        """Make sure that it is gone; another one has its place."""
        self.place = Place(-1, 0)
        self.end()

    def rest(self) -> None:
        """It keeps its connection, and is idle. Raise BadLine if it has something to do."""
        if self.unsettled or self.way is None:
            raise BadLine("that worker keeps no connection")
        self.is_idle, self.rides = True, False
        self.idle_since = time.monotonic()
        self._logged = 0

    def read(self) -> list[bytes]:
        """Lines that have come. Raise BadLine for an endless one, EOFError at the end."""
        try:
            octets = self.connection.recv(_READ)
        except OSError:
            octets = b""
        if not octets:
            raise EOFError
        self.heard = time.monotonic()
        lines = (self._buffer + octets).split(b"\n")
        self._buffer = lines.pop()
        if len(self._buffer) > MAX_LINE:
            raise BadLine("endless line")
        return lines

    def log(self, line: LogLine) -> None:
        """Write to the log what it wants written, as a fact about the worker."""
        # Behind our words it cannot pass for another fact: a forged "ruleset=check_rcpt, relay=..."
        # would have a stranger's address banned. And it may not fill the disk.
        self._logged += 1
        if self._logged <= MAX_LOG_LINES:
            qid = self.progress[line.job].job.qid if line.job >= 0 else ""
            log.line(qid, f"remote worker {self.pid}: {line.text}")

    def log_tls(self, line: TlsLine) -> None:
        """Write the fact to the log, as Sendmail does: readers of logs know it in this form."""
        self._logged += 1
        if self._logged <= MAX_LOG_LINES:
            facts = line.facts
            log.line(
                "",
                f"STARTTLS=client, relay={line.relay}, version={facts.version}, "
                f"verify={facts.verify}, cipher={facts.cipher}, bits={facts.bits}/{facts.bits}",
            )

    def log_login(self, line: LoginLine) -> None:
        """Write to the log that a login was accepted, as Sendmail does."""
        self._logged += 1
        if line.accepted and self._logged <= MAX_LOG_LINES:
            facts = f"relay={line.relay}, mech={log.fact(line.text)}, bits={line.bits}"
            log.line("", f"AUTH=client, {facts}", level=10)

    def recorded(self) -> None:
        """Let it send one more message."""
        # Never waits: a worker that does not read its end must not hang the mailer. An error means
        # that it has ended; the next read says so.
        with contextlib.suppress(OSError):
            self.connection.send(_RECORDED, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def end(self) -> str:
        """Make sure that it is gone; returns why."""
        self.connection.close()
        self.logins.close()
        self.place.close()
        try:
            os.kill(self.pid, signal.SIGKILL)  # if it has exited this changes nothing
            code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except (ProcessLookupError, ChildProcessError):
            code = 0  # reaped by somebody else
        return self.error or (f"died with signal {-code}" if code < 0 else f"exit status {code}")


def _domains(jobs: Sequence[Job]) -> Iterator[str]:
    for job in jobs:
        with contextlib.suppress(ValueError):
            yield from (hop.name.lower() for hop in parse(job.host) if not hop.bracketed)


def ended(child: WorkerProcess, why: str) -> Iterator[Settled]:
    """What it did not settle waits, and the log says *why*."""
    if child.unsettled:
        log.line("", f"remote worker {child.pid}: {log.clean(why)}", level=1, error=True)
        yield from given_up([child.progress[number] for number in sorted(child.unsettled)], why)


def given_up(left: Sequence[JobProgress], why: str) -> Iterator[Settled]:
    """What the worker did not settle waits. A message it had just sent comes twice, never not."""
    outcome = deferred("4.3.0", f"remote worker {log.clean(why)}")
    for progress in left:
        progress.give_up(outcome)
        yield progress.job, progress.outcomes
