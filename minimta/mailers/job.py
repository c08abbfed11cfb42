"""What every mailer is given, a Job, and what it answers: Sendmail's ``M`` line as a Python protocol.

Job         one message for one (mailer, host) pair, with at least one user
Mailer      deliver(jobs) yields each job once, with an Outcome for each of its users
SteppedMailer   the same in steps, which others need not wait for
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from minimta.message.deliver_by import DeliverBy
from minimta.message.outcome import Outcome
from minimta.system.users import User as SystemUser
from minimta.system.waiting import Wait


@dataclass(frozen=True, slots=True)
class JobUser:
    """One user of a Job: whom the mailer shall reach, and what the DSN parameters say (RFC 3461)."""

    #: login name for local mailers (b"dave"), bare forward-path for esmtp (b"dave@lab2.campus"),
    #: command without "|" for prog (b"vacation dave"), path for *file* (b"/var/tmp/archive")
    name: bytes
    #: NOTIFY for the next hop, "" if not given: "NEVER", "SUCCESS,FAILURE,DELAY"
    notify: str = ""
    #: ORCPT, xtext as received, b"" if none
    original: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One message for one (mailer, host) pair: Sendmail's triple, with its users.

    Jobs compare by identity: two are never the same.
    """

    qid: str
    #: bare; b"" is the null reverse-path of a DSN
    reverse_path: bytes
    #: next hop: "lab2.campus", "[10.0.3.135]", "[mx.campus]:2525"; for local the detail of
    #: user+detail; for prog and *file* command or path
    host: str
    #: at least one
    users: tuple[JobUser, ...]
    #: complete header block, LF line ends, ends with the LF of its last field (no empty line)
    header: bytes
    #: open data file: the body alone, LF line ends, to be read with pread from offset 0
    body: int
    #: octets of the body
    size: int
    #: 8-bit octets in header or body?
    eight_bit: bool = False
    #: BODY= as received: b"7BIT", b"8BITMIME" or b""
    body_type: bytes = b""
    ret: bytes = b""
    envid: bytes = b""
    #: never tried before (Timeout.iconnect)
    first_attempt: bool = False
    #: as whom prog and *file* act: the user who wrote the .forward or the list, or DefaultUser;
    #: never root. None: nobody knows, and nothing may be done
    controlling: SystemUser | None = None
    #: what named the next hop, "SmartHost" or "MailerTable": any address will do there, and what is
    #: wrong with it returns no mail; "": the domain is the users' own
    option: str = ""
    #: who left the message here, whatever sender it names: b"emma@localhost", b"mx.campus [10.0.3.2]"
    source: bytes = b""
    #: REQUIRETLS was said (RFC 8689)
    requires_tls: bool = False
    #: BY= (RFC 2852), and when the message came, epoch seconds
    deliver_by: DeliverBy | None = None
    created: int = 0
    #: was it submitted here, or by a client that may relay? Only that is signed (DKIM)
    is_own: bool = False

    def blocks(self, octets: int) -> Iterator[bytes]:
        """The body in blocks of at most *octets*. Raise OSError, also if it is shorter than ``size``."""
        position = 0
        while position < self.size:
            block = os.pread(self.body, min(octets, self.size - position), position)
            if not block:
                raise OSError(errno.EIO, "data file is shorter than recorded")
            position += len(block)
            yield block


#: a job that is over, and what became of its users by name
Settled = tuple[Job, Mapping[bytes, Outcome]]


class Mailer(Protocol):
    """Deliver some messages of one queue run."""

    #: "local", "esmtp" ...
    name: str

    def deliver(self, jobs: Sequence[Job]) -> Iterator[Settled]:
        """Yield every job exactly once, with an Outcome for every ``user.name`` of it.

        A job is yielded as soon as its outcomes are final and durable, so that the caller can
        record it before the next irreversible act; a mailer may join what belongs together (all
        jobs of one mailbox, all of one host). Expected trouble (mailbox locked, peer says 451) is
        an Outcome. An exception means a bug or a dead machine: the caller defers with 4.3.0 what
        was not yet yielded.
        """
        ...


@runtime_checkable
class SteppedMailer(Protocol):
    """A Mailer beside which others go on while it waits, for a program or another host."""

    def steps(self, jobs: Sequence[Job]) -> Iterator[Settled | Wait]:
        """See Mailer.deliver, and ``waiting``."""
        ...
