"""The local mailer for an LMTP server (RFC 2033): Dovecot, Cyrus. One connection for all jobs.

    lmtp:/run/dovecot/lmtp      a socket of this host
    lmtp:HOST:PORT, lmtp:[::1]:24, lmtp:HOST (port 24)

The dialogue is that of ``smtp`` in the same unprivileged worker, with LHLO, and an answer to the final
dot for each recipient. A socket that only root may open is opened by the runner, who never reads from
it. When a connection breaks, the message under way waits and the others go over another connection.
A server that is not there, or is no LMTP server, delays mail; it never returns any.
"""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from minimta.config.options import Options
from minimta.config.values import host_and_port
from minimta.mailers.job import Job, JobUser
from minimta.mailers.remote import reply_outcomes, worker
from minimta.mailers.remote.channel import WorkerProcess
from minimta.mailers.remote.connection import OutgoingConnection
from minimta.mailers.remote.delivery import MAX_FRUITLESS, Delivery, PendingJob, Report
from minimta.mailers.remote.mailer import RemoteMailer, Settled
from minimta.mailers.remote.mx_targets import NextHop, Ourselves, Target, TargetFinder, Unroutable
from minimta.message.address import qualified
from minimta.message.outcome import Fate, Outcome
from minimta.system.dns import Resolver

#: what the worker says of messages that it did not come to
LATER = Outcome(Fate.DEFERRED, "4.4.2", "connection lost before its turn", exit_code=os.EX_TEMPFAIL)
_RETURN_PATH = b"Return-Path:"


class LmtpMailer(RemoteMailer):
    """Mailer ``local``: user.name is a login name, job.host the detail of user+detail."""

    name = "local"
    is_slow = True

    def __init__(self, options: Options, *, say: Callable[[str], None] | None = None) -> None:
        super().__init__(options, say=say)
        self._place = options.local_mailer.removeprefix("lmtp:")
        self._connection: socket.socket | None = None

    def deliver(self, jobs: Sequence[Job]) -> Iterator[Settled]:
        """See Mailer.deliver; one connection after the other, while they get us further."""
        left, fruitless = list(jobs), 0
        while left:
            later: list[Settled] = []
            fruitless += 1
            for job, outcomes in super().deliver(left):
                if set(outcomes.values()) == {LATER}:
                    later.append((job, outcomes))
                    continue
                if any(outcome.fate is Fate.SENT for outcome in outcomes.values()):
                    fruitless = 0
                yield job, outcomes
            if fruitless >= MAX_FRUITLESS or len(later) == len(left):
                yield from later
                return
            left = [job for job, _ in later]

    def _groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        return [list(jobs)] if jobs else []

    def _start(
        self, jobs: list[Job], ourselves: Ourselves, workers: dict[int, WorkerProcess]
    ) -> Iterator[Settled]:
        if not self._place.startswith("/"):
            yield from super()._start(jobs, ourselves, workers)
            return
        try:
            self._connection = _connected(self._place, self._options.timeout_connect)
        except OSError as error:
            target = _socket_target(self._place)
            outcome = reply_outcomes.unconnected(error, target.name, target.relay)
            for job in jobs:
                yield job, {user.name: outcome for user in job.users}
            return
        with self._connection:
            yield from super()._start(jobs, ourselves, workers)

    def _work(self, connection: socket.socket, jobs: Sequence[Job], ourselves: Ourselves) -> int:
        return worker.run(
            connection,
            jobs,
            self._options,
            ourselves,
            verbose=self._say is not None,
            delivery=partial(LmtpDelivery, place=self._place, connection=self._connection),
            kept={self._connection.fileno()} if self._connection else (),
        )


class LmtpDelivery(Delivery):
    """All messages over one connection. In the worker."""

    def __init__(
        self,
        jobs: Sequence[Job],
        options: Options,
        ourselves: Ourselves,
        report: Report,
        *,
        place: str,
        connection: socket.socket | None = None,
        say: Callable[[str], None] | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """*place* as in LocalMailer behind "lmtp:"; *connection* leads there, None if not yet."""
        super().__init__(jobs, options, ourselves, report, say=say, alive=alive)
        self._place = place
        self._connected = connection

    def run(self) -> None:
        """Deliver what one connection takes; the rest is LATER, or waits if there was none."""
        rest = LATER
        try:
            if not any(self._connection(target) for target in self._targets()):
                rest = _for_now(self._failure)
        except Unroutable as nowhere:
            rest = _for_now(nowhere.outcome)
        self._settle_rest(rest)

    def _targets(self) -> Iterable[Target]:
        if self._connected:
            return [_socket_target(self._place)]
        finder = TargetFinder(
            NextHop(*host_and_port(self._place), bracketed=True),
            self._ourselves,
            Resolver(),
            trusted=True,
            note=self._note,
            shuffle=random.shuffle,
        )
        return finder.targets()

    def _session(self, target: Target) -> OutgoingConnection:
        name = self._ourselves.name
        return OutgoingConnection(
            target, self._options, name, say=self._say, alive=self._alive, lmtp=True
        )

    def _connect(self, session: OutgoingConnection) -> None:
        if self._connected:
            session.adopt(self._connected)
        else:
            super()._connect(session)

    def _is_us(self, session: OutgoingConnection) -> bool:
        return False  # an LMTP server of this host has its name, and relays nothing

    def _dial(self, what: str) -> None:
        pass  # who runs us has said "Connecting to local..."

    def _interrupted(self, task: PendingJob, trouble: Outcome) -> None:
        # It may be what broke the connection: the others do not wait for it.
        self._settle(task, {user.name: trouble for user in task.users})

    def _as_sent(self, job: Job) -> Job:
        # RFC 5321 section 4.4: the Return-Path is for who makes the final delivery, the server.
        header = job.header
        if header.startswith(_RETURN_PATH):
            header = header.partition(b"\n")[2]
        sender = qualified(job.reverse_path, self._ourselves.name)
        return replace(job, header=header, reverse_path=sender)

    def _forward_path(self, job: Job, user: JobUser) -> bytes:
        # DIFFERS from RFC 5321, which wants a domain: the name alone, as Sendmail gives it to its
        # LMTP mailers. Dovecot, as it is installed, knows users of the system by that only.
        # The option promises users of this host, so no domain says more than the name.
        detail = job.host.encode("utf-8", "surrogateescape")
        if not _is_plain(detail):
            return user.name
        return b"%b+%b" % (user.name, detail)


def _is_plain(detail: bytes) -> bool:
    """Can *detail* stand in a command without quotes? If not, the message goes without it."""
    return bool(detail) and not detail.translate(None, _PLAIN)


_PLAIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._=+-"


def _for_now(outcome: Outcome | None) -> Outcome:
    """Why no connection came about. However sure the server was: it delays, it returns nothing."""
    if outcome is None or outcome.fate is Fate.DEFERRED:
        return outcome or LATER
    return replace(
        outcome,
        fate=Fate.DEFERRED,
        status="4" + outcome.status[1:],
        text=outcome.diagnostic or outcome.text,
        exit_code=os.EX_TEMPFAIL,
    )


def _socket_target(path: str) -> Target:
    """As Sendmail's log has it: "localhost [[UNIX: /run/dovecot/lmtp]]"."""
    return Target("localhost", f"[UNIX: {path}]", 0)


def _connected(path: str, seconds: int) -> socket.socket:
    """A connection to the socket *path*. Raise OSError."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        # settimeout() would make it fail at once where the server is busy and its queue full.
        limit = struct.pack("ll", max(1, seconds), 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection
