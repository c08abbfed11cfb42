"""All messages of a queue run for one next hop, over as few connections as possible.

Runs inside the unprivileged worker of ``remote``. Hosts are tried in the order of ``nexthop``; the
first that greets us gets every message, one transaction after the other (RFC 5321 section 4.5.4.1).

    what happens                          the messages not yet settled
    no connection, no welcome             next address
    421 or a broken line before the dot   another connection, this message last; then next address
    no answer to the final dot            that message waits (the peer may have it), the rest goes on
    no address left                       all wait, or fail if every host said so for good
"""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from minimta.config.options import Options
from minimta.mailers.job import Job, JobUser
from minimta.mailers.remote import reply_outcomes
from minimta.mailers.remote.connection import OutgoingConnection
from minimta.mailers.remote.content import Letter, Unreadable, Unsendable, prepare
from minimta.mailers.remote.mx_targets import Ourselves, Target, TargetFinder, Unroutable, parse
from minimta.message.address import domain_key, split
from minimta.message.outcome import Fate, Outcome, deferred
from minimta.smtp.client import PeerClosed, Transaction
from minimta.smtp.client_command import mail_line, rcpt_line
from minimta.smtp.reply import Reply, ReplyError
from minimta.system.dns import Resolver

#: recipients of one transaction; every host must take so many (RFC 5321 section 4.5.3.1.8)
MAX_RECIPIENTS = 100
#: connections in a row that settle nothing before the next address is tried
MAX_FRUITLESS = 2

Report = Callable[[Job, Mapping[bytes, Outcome]], None]

_UNFORESEEN = Outcome(Fate.DEFERRED, "4.4.1", "No host could be reached")


class PendingJob:
    """A Job and those of its users that have no Outcome yet."""

    __slots__ = ("job", "users")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.users: list[JobUser] = list({user.name: user for user in job.users}.values())


class Delivery:
    """The messages for one next hop, until each of their users has an Outcome."""

    def __init__(
        self,
        jobs: Sequence[Job],
        options: Options,
        ourselves: Ourselves,
        report: Report,
        *,
        say: Callable[[str], None] | None = None,
        alive: Callable[[], None] = lambda: None,
        resolver: Resolver | None = None,
        shuffle: Callable[[list[str]], None] = random.shuffle,
    ) -> None:
        """All *jobs* have the same host. *report* gets outcomes as they become final."""
        self._pending = deque(PendingJob(job) for job in jobs)
        self._options = options
        self._ourselves = ourselves
        self._report = report
        self._say = say
        self._alive = alive
        self._resolver = resolver or Resolver()
        self._shuffle = shuffle
        self._failure: Outcome | None = None
        #: transactions that went through to their end
        self._completed = 0

    def run(self) -> None:
        """Deliver, or find out why not."""
        try:
            for target in self._targets():
                self._visit(target)
                if not self._pending:
                    return
        except Unroutable as nowhere:
            self._note(nowhere.outcome)
        self._settle_rest(self._failure or _UNFORESEEN)

    def _settle_rest(self, outcome: Outcome) -> None:
        for task in list(self._pending):
            self._settle(task, dict.fromkeys((user.name for user in task.users), outcome))

    def _targets(self) -> Iterable[Target]:
        job = self._pending[0].job
        try:
            hop = parse(job.host)
        except ValueError as error:
            raise Unroutable(reply_outcomes.bad_next_hop(str(error))) from error
        # An address literal that somebody wrote to is not a next hop that we configured.
        written = {domain_key(split(user.name)[1]) for user in job.users}
        trusted = hop.bracketed and job.host.lower().encode("ascii", "replace") not in written
        finder = TargetFinder(
            hop,
            self._ourselves,
            self._resolver,
            trusted=trusted,
            note=self._note,
            shuffle=self._shuffle,
        )
        return finder.targets()

    def _note(self, outcome: Outcome) -> None:
        """Remember why a host was no good. One "try later" outweighs every "never"."""
        last = self._failure
        if last is None or outcome.fate is Fate.DEFERRED or last.fate is not Fate.DEFERRED:
            self._failure = outcome

    def _visit(self, target: Target) -> None:
        """Give one address all it will take."""
        fruitless = 0
        while self._pending and fruitless < MAX_FRUITLESS:
            completed = self._completed
            if not self._connection(target):
                return
            fruitless = 0 if self._completed > completed else fruitless + 1

    def _connection(self, target: Target) -> bool:
        """One connection, from connect to QUIT; were we welcome?"""
        session = self._session(target)
        try:
            if not self._open(session):
                return False
            while self._pending and not session.client.closing:
                self._offer(session, self._pending[0])
            self._leave(session)
        finally:
            session.close()
        return True

    def _session(self, target: Target) -> OutgoingConnection:
        name = self._ourselves.name
        return OutgoingConnection(target, self._options, name, say=self._say, alive=self._alive)

    def _open(self, session: OutgoingConnection) -> bool:
        target = session.target
        self._dial(f"Connecting to {target.name} via esmtp...")
        try:
            self._connect(session)
        except OSError as error:
            self._note(reply_outcomes.unconnected(error, target.name, target.relay))
            return False
        try:
            session.converse()
        except (OSError, PeerClosed, ReplyError) as error:
            self._note(_trouble(error, session))
            if isinstance(error, PeerClosed) and error.reply.code != 421:
                session.quit()
            return False
        if self._is_us(session):
            self._note(reply_outcomes.talks_to_itself(target.name, target.relay))
            session.quit()
            return False
        return True

    def _connect(self, session: OutgoingConnection) -> None:
        session.connect(self._connect_timeout())

    def _is_us(self, session: OutgoingConnection) -> bool:
        """Did a host that nobody configured as the next hop greet with our name?"""
        configured = session.target.name.startswith("[")
        return not configured and self._ourselves.is_named(session.client.peer_name)

    def _dial(self, what: str) -> None:
        if self._say:
            names = b",".join(user.name for user in self._pending[0].users)
            self._say(f"{names.decode('ascii', 'replace')}... {what}")

    def _connect_timeout(self) -> int:
        first = all(task.job.first_attempt for task in self._pending)
        return self._options.timeout_iconnect if first else self._options.timeout_connect

    def _leave(self, session: OutgoingConnection) -> None:
        if session.client.closing:
            return
        if self._say:
            self._say(f"Closing connection to {session.target.name}")
        session.quit()

    def _offer(self, session: OutgoingConnection, task: PendingJob) -> None:
        """One transaction, or the reason why there can be none."""
        job = self._as_sent(task.job)
        try:
            letter = prepare(
                job, session.client.extensions, self._options.eight_bit_mode, self._ourselves.name
            )
            mail = _mail_line(session, job, letter)
        except (Unsendable, Unreadable) as error:
            outcome = _unsent(error, session.target)
            self._settle(task, dict.fromkeys((user.name for user in task.users), outcome))
            return
        users, lines = self._recipients(session, task)
        if users:
            self._transact(session, task, letter, Transaction(mail, lines), users)

    def _as_sent(self, job: Job) -> Job:
        """Reverse path and header as the peer gets them."""
        return job

    def _forward_path(self, job: Job, user: JobUser) -> bytes:
        """The address that stands for *user*."""
        return user.name

    def _recipients(
        self, session: OutgoingConnection, task: PendingJob
    ) -> tuple[list[JobUser], list[bytes]]:
        """The next users of *task* with their RCPT lines; who cannot be named in one is settled."""
        users, lines, bad = [], [], {}
        for user in task.users[:MAX_RECIPIENTS]:
            extensions = session.client.extensions
            path = self._forward_path(task.job, user)
            try:
                line = rcpt_line(path, extensions, notify=user.notify, original=user.original)
            except ValueError as error:
                bad[user.name] = _bad_address(error, user.name, session.target)
            else:
                users.append(user)
                lines.append(line)
        if bad:
            self._settle(task, bad)
        return users, lines

    def _transact(
        self,
        session: OutgoingConnection,
        task: PendingJob,
        letter: Letter,
        transaction: Transaction,
        users: Sequence[JobUser],
    ) -> None:
        trouble = None
        try:
            session.client.begin(transaction)
            session.converse()
            if session.client.wants_content:
                session.send_content(letter)
        except (OSError, PeerClosed, ReplyError, Unreadable) as error:
            session.client.closing = True
            trouble = _trouble(error, session)
            if not session.content_begun:
                self._interrupted(task, trouble)
                return
        if not session.client.closing:
            self._completed += 1
        self._settle(task, _outcomes(transaction, users, session, trouble))

    def _interrupted(self, task: PendingJob, trouble: Outcome) -> None:
        """Nothing of it can be the peer's: it may come again, after the others."""
        self._note(trouble)
        self._pending.rotate(-1)

    def _settle(self, task: PendingJob, outcomes: Mapping[bytes, Outcome]) -> None:
        task.users = [user for user in task.users if user.name not in outcomes]
        if not task.users:
            self._pending.remove(task)
        self._report(task.job, outcomes)


def _mail_line(session: OutgoingConnection, job: Job, letter: Letter) -> bytes:
    """The MAIL command. Raise Unsendable if the peer's SIZE or the address forbids it."""
    extensions = session.client.extensions
    limit = extensions.get("SIZE", "")
    if limit.isascii() and limit.isdigit() and 0 < int(limit) < letter.wire_size:
        # RFC 1870 section 5: the client may bounce without asking.
        text = f"Message is too large; {int(limit)} bytes max"
        raise Unsendable("5.2.3", text, os.EX_UNAVAILABLE)
    body_type = b"8BITMIME" if job.eight_bit and not letter.converted else job.body_type
    try:
        return mail_line(
            job.reverse_path,
            extensions,
            size=letter.wire_size,
            body_type=body_type,
            envid=job.envid,
            ret=job.ret,
        )
    except ValueError as error:
        raise Unsendable("5.1.7", "Bad sender address", os.EX_DATAERR) from error


def _unsent(error: Unsendable | Unreadable, target: Target) -> Outcome:
    if isinstance(error, Unreadable):
        return deferred("4.3.0", str(error))
    return reply_outcomes.unsendable(
        error.status, error.text, target.name, target.relay, error.exit_code
    )


def _bad_address(error: ValueError, address: bytes, target: Target) -> Outcome:
    # RFC 6531 section 3.2: without SMTPUTF8 such an address cannot be said.
    status = "5.1.3" if address.isascii() else "5.6.7"
    return reply_outcomes.unsendable(status, str(error), target.name, target.relay, os.EX_DATAERR)


def _trouble(error: Exception, session: OutgoingConnection) -> Outcome:
    """What became of a conversation that ended in *error*."""
    target, client = session.target, session.client
    if isinstance(error, Unreadable):
        return _unsent(error, target)
    if isinstance(error, PeerClosed):
        said = "" if error.command == "greeting" else client.last_sent
        return reply_outcomes.refused(error.reply, error.command, said, target.name, target.relay)
    return reply_outcomes.broken(error, target.name, target.relay)


def _outcomes(
    transaction: Transaction,
    users: Sequence[JobUser],
    session: OutgoingConnection,
    trouble: Outcome | None,
) -> dict[bytes, Outcome]:
    """What the replies mean for each user; who comes too many is left out, for another round."""
    target = session.target
    dsn = "DSN" in session.client.extensions
    outcomes = {}
    for i, user in enumerate(users):
        reply, command, said = _decisive(transaction, i, session)
        if reply is None:
            assert trouble is not None, "a transaction without trouble has all its replies"
            outcomes[user.name] = trouble
        elif command == "." and reply.code < 300:
            outcomes[user.name] = reply_outcomes.sent(
                reply, target.name, target.relay, dsn_passed_on=dsn and bool(user.notify)
            )
        elif not (command == "RCPT" and transaction.has_recipient and _is_too_many(reply)):
            outcomes[user.name] = reply_outcomes.refused(
                reply, command, said, target.name, target.relay
            )
    return outcomes


def _decisive(
    transaction: Transaction, i: int, session: OutgoingConnection
) -> tuple[Reply | None, str, str]:
    """The reply that decided on recipient *i*, what it answered, and the line said before it."""
    mail, rcpt, data = transaction.mail, transaction.rcpt, transaction.data
    if mail is not None and mail.code >= 300:
        return mail, "MAIL", transaction.mail_line.decode("ascii")
    if i >= len(rcpt):
        return None, "", ""
    if rcpt[i].code >= 300:
        # In a group the command said last is DATA, and that is what Sendmail's bounces show.
        grouped = "PIPELINING" in session.client.extensions
        return rcpt[i], "RCPT", "DATA" if grouped else transaction.rcpt_lines[i].decode("ascii")
    if data is not None and not 300 <= data.code < 400:
        return data, "DATA", "DATA"
    number = transaction.taken_before(i) if session.client.dialect.answers_each else 0
    finals = transaction.finals[number : number + 1]
    return (finals[0] if finals else None), ".", "DATA"


def _is_too_many(reply: Reply) -> bool:
    """RFC 5321 section 4.5.3.1.10: 452, or 552 from old hosts; the rest of them may come again."""
    return reply.code in (452, 552) and reply.enhanced in ("", "4.5.3", "5.5.3")
