"""The local mailer for an LMTP server (RFC 2033): Dovecot, Cyrus. One connection for all jobs.

    lmtp:/run/dovecot/lmtp                              a socket of this host
    lmtp:HOST:PORT, lmtp:[::1]:24, lmtp:HOST (port 24)  LMTP over TCP

An unprivileged worker holds the dialogue, as for other hosts; the Transport says what differs. The
socket, which perhaps only root may open, is opened by the runner, which never reads from it. When a
connection breaks, the message under way waits and the others go over another connection. A server
that is not there, or is no LMTP server, delays mail; it never returns any.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from minimta.config.options import Options
from minimta.config.values import host_and_port
from minimta.mailers.job import Job, Settled
from minimta.mailers.remote import mx_targets, reply_outcomes
from minimta.mailers.remote.delivery import MAX_FRUITLESS
from minimta.mailers.remote.mailer import RemoteMailer, all_wait
from minimta.mailers.remote.mx_targets import NextHop, Ourselves, Target
from minimta.mailers.remote.transaction_outcomes import LATER
from minimta.mailers.remote.transport import OpenedConnection, Transport
from minimta.message.address import qualified
from minimta.message.outcome import Fate, Outcome
from minimta.smtp.client import LMTP
from minimta.system.slots import Slots
from minimta.system.waiting import Wait

_RETURN_PATH = b"Return-Path:"


class LmtpMailer(RemoteMailer):
    """Mailer ``local``: user.name is a login name, job.host the detail of user+detail."""

    name = "local"
    has_destinations = False  # but this host

    def __init__(
        self, options: Options, slots: Slots, *, say: Callable[[str], None] | None = None
    ) -> None:
        """See RemoteMailer; but there is one worker at a time, which rides: *slots* are not asked."""
        super().__init__(options, slots, say=say)
        #: path of a socket, or HOST:PORT
        self._place = options.local_mailer.removeprefix("lmtp:")

    def steps(self, jobs: Sequence[Job]) -> Iterator[Settled | Wait]:
        """See SteppedMailer; one connection after the other, while they get us further."""
        try:
            ourselves = mx_targets.ourselves(self._options)
        except OSError as error:
            yield from all_wait(jobs, error)
            return
        originals = {_as_sent(job, ourselves.name): job for job in jobs}
        left, fruitless = list(originals), 0
        while left:
            later: list[Settled] = []
            fruitless += 1
            for made in self._over_one_connection(left, ourselves):
                if isinstance(made, Wait):
                    yield made
                    continue
                sent, outcomes = made
                if set(outcomes.values()) == {LATER}:
                    later.append((sent, outcomes))
                    continue
                if any(outcome.fate is Fate.SENT for outcome in outcomes.values()):
                    fruitless = 0
                yield _as_given(originals[sent], sent, outcomes)
            if fruitless >= MAX_FRUITLESS or len(later) == len(left):
                yield from (_as_given(originals[sent], sent, found) for sent, found in later)
                return
            left = [sent for sent, _ in later]

    def _hop(self, job: Job) -> str:
        return f"lmtp:{self._place}"

    def _over_one_connection(
        self, jobs: list[Job], ourselves: Ourselves
    ) -> Iterator[Settled | Wait]:
        with ExitStack() as stack:
            try:
                transport = self._transport(stack, ourselves)
            except OSError as error:
                target = _socket_target(self._place)
                if not isinstance(error, ConnectionError | TimeoutError):
                    error = OSError(f"{self._place}: {error.strerror or error}")
                outcome = reply_outcomes.unconnected(error, target.name, target.relay)
                for job in jobs:
                    yield job, {user.name: outcome for user in job.users}
                return
            yield from self._deliver([jobs], transport)

    def _transport(self, stack: ExitStack, ourselves: Ourselves) -> Transport:
        """What a worker shall use; *stack* closes what was opened. Raise OSError."""
        common = Transport(
            self._options,
            ourselves,
            dialect=LMTP,
            via="",
            reconnects=False,
            may_refuse=False,
        )
        if self._place.startswith("/"):
            sock = stack.enter_context(_connected(self._place, self._options.timeout_connect))
            return replace(common, opened=OpenedConnection(_socket_target(self._place), sock))
        return replace(common, next_hop=NextHop(*host_and_port(self._place), bracketed=True))


# --- jobs as an LMTP server gets them -------------------------------------------------------------


def _as_sent(job: Job, sender_host: str) -> Job:
    """The job with names that can stand in RCPT, and with the sender and header for the server.

    *sender_host* completes a sender without a domain.
    """
    header = job.header
    if header.startswith(_RETURN_PATH):
        # RFC 5321 section 4.4: whoever makes the final delivery adds it, and that is the server.
        header = header.partition(b"\n")[2]
    # DIFFERS from RFC 5321, which wants a domain: the name alone, as Sendmail gives it to its
    # LMTP mailers. Dovecot, as it is installed, knows users of the system by that only.
    # The option promises users of this host, so no domain says more than the name.
    detail = job.host.encode("utf-8", "surrogateescape")
    behind = b"+" + detail if _is_plain(detail) else b""
    users = tuple(replace(user, name=user.name + behind) for user in job.users)
    sender = qualified(job.reverse_path, sender_host)
    return replace(job, header=header, reverse_path=sender, users=users)


def _as_given(job: Job, sent: Job, outcomes: Mapping[bytes, Outcome]) -> Settled:
    """The outcomes by the names that *job* has."""
    pairs = zip(job.users, sent.users, strict=True)
    return job, {given.name: outcomes[said.name] for given, said in pairs}


def _is_plain(detail: bytes) -> bool:
    """Can *detail* stand in a command without quotes? If not, the message goes without it."""
    return bool(detail) and not detail.translate(None, _PLAIN)


_PLAIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._=+-"


# --- the socket of this host ----------------------------------------------------------------------


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
