"""All messages of a queue run for one next hop, over as few connections as possible.

Runs inside the unprivileged worker. Hosts are tried in the order of ``mx_targets``; the first that
greets us gets every message, one transaction after the other (RFC 5321 section 4.5.4.1).

    what happens                          the messages not yet settled
    no connection, no welcome             next address
    a broken TLS handshake                once more in clear, if the policy does not bind
    no TLS as the policy wants it         next address
    less TLS than a recipient needs       that recipient waits, or fails (TLS_Rcpt:)
    421 or a broken line before the dot   another connection, this message last; then next address
    451 to MAIL, or to all its RCPTs      the next host, this message only (RFC 5321 section 5.1)
    no answer to the final dot            that message waits (the peer may have it), the rest go on
    not reached a while ago               next host
    no address left                       all wait, or fail if every host said so for good

Where the Transport allows no second connection, the message under way waits when the first one
breaks, and those behind it are LATER. Where it has time for an idle one, the next Delivery gets the
last connection; if that is broken by then, it makes another.
"""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from minimta.mailers.job import Job, JobUser
from minimta.mailers.remote import next_hops, offer, reply_outcomes
from minimta.mailers.remote.auth_dialogue import Logins
from minimta.mailers.remote.connection import OutgoingConnection
from minimta.mailers.remote.content import Content, Unreadable, Unsendable
from minimta.mailers.remote.dialogue import RecordedDialogue
from minimta.mailers.remote.host_policy import HostPolicies, NotTrusted
from minimta.mailers.remote.host_status import Hosts, HostStatus
from minimta.mailers.remote.lines import Line
from minimta.mailers.remote.mx_targets import SMTP_PORT, NextHop, Target, Unroutable
from minimta.mailers.remote.tls_failures import TlsFailures
from minimta.mailers.remote.tls_policy import Policy
from minimta.mailers.remote.tls_results import TlsTally
from minimta.mailers.remote.transaction_outcomes import (
    LATER,
    UNFORESEEN,
    PendingJob,
    is_put_off,
    outcomes_of,
    trouble_of,
    unsent,
)
from minimta.mailers.remote.transport import Transport
from minimta.message.outcome import Fate, Outcome, crowded
from minimta.message.printable import shown
from minimta.smtp.client import PeerClosed, Transaction
from minimta.smtp.reply import ReplyError
from minimta.system.dns import Resolver
from minimta.system.slots import Place
from minimta.system.tls_values import TlsError, TlsFacts

#: connections in a row that settle nothing before the next address is tried
MAX_FRUITLESS = 2

Report = Callable[[Job, Mapping[bytes, Outcome]], None]


class Delivery:
    """The messages for one next hop, until each of their users has an Outcome."""

    def __init__(
        self,
        jobs: Sequence[Job],
        transport: Transport,
        report: Report,
        *,
        say: Callable[[str], None] | None = None,
        alive: Callable[[], None] = lambda: None,
        tell_tls: Callable[[str, TlsFacts], None] = lambda relay, facts: None,
        log: Callable[[str], None] = lambda text: None,
        tell: Callable[[Line], None] = lambda line: None,
        resolver: Resolver | None = None,
        shuffle: Callable[[list[str]], None] = random.shuffle,
        place: Place | None = None,
        hosts: Hosts | None = None,
        kept: OutgoingConnection | None = None,
    ) -> None:
        """All *jobs* have the same host and option, or the *transport* has one host for all.

        *report* gets outcomes as they become final, *say* the lines of the dialogue (-v); *alive*
        is called after every wait. *tell_tls* gets host and TLS of each connection that has one, and
        *log* what else is for the log; *tell* is told of logins and policies. *shuffle* mixes hosts
        of one preference. With *place* no more connections go to one host than it has places; *hosts*
        remembers which were not reached. What an earlier Delivery has *kept* is used first.
        """
        self._job = jobs[0]
        self._waiting = deque(PendingJob(job) for job in jobs)
        self._transport = transport
        self._report = report
        self._say = say
        self._alive = alive
        self._tell_tls = tell_tls
        self._resolver = resolver or Resolver()
        self._shuffle = shuffle
        self._place = place or Place(-1, 0)
        #: what is said; of a connection that is kept it goes on
        self._dialogue = kept.dialogue if kept else RecordedDialogue(say)
        self._hosts = hosts
        self._kept = kept
        #: how the host is, whose addresses are tried now; None: nobody knows
        self._found: HostStatus | None = None
        #: why no host so far was any good; see _note()
        self._failure: Outcome | None = None
        #: what the last host did not take for now: the next one is asked
        self._elsewhere: list[PendingJob] = []
        #: what a host said of them; it stands if no other says more
        self._put_off: dict[PendingJob, Mapping[bytes, Outcome]] = {}
        policies = HostPolicies(transport, self._resolver, tell)
        self._tls = TlsFailures(transport, policies, TlsTally(tell), log, say)
        self._logins = Logins(transport.logins, tell)
        #: transactions that went through to their end
        self._completed = 0

    def run(self) -> OutgoingConnection | None:
        """Deliver, or find out why not. Returns the connection, if it is kept for more messages.

        Raises only what *report*, *say*, *log* and such raise.
        """
        kept, self._kept = self._kept, None
        try:
            if kept is not None:
                self._converse(kept)
            if self._waiting or self._elsewhere:
                self._visit_all()
        except Unroutable as nowhere:
            self._note(nowhere.outcome)
        self._leave_host()
        self._take_up()
        why = self._failure or UNFORESEEN
        self._settle_rest(why if self._transport.may_refuse else reply_outcomes.for_now(why))
        return self._kept

    def _visit_all(self) -> None:
        """One target after the other, while anything waits. Raise Unroutable if it is no use."""
        asked, known = "", None
        transport, resolver = self._transport, self._resolver
        targets = next_hops.targets(
            self._job, transport, resolver, self._logins, note=self._note, shuffle=self._shuffle
        )
        for hop, target in targets:
            if target.name != asked:  # not another address of the same host
                self._leave_host()
                self._take_up()
                self._move_on_to(target)
                known = self._remembered(target)
            asked = target.name
            if known is not None:
                continue
            welcome = self._visit(hop, target)
            if welcome and not transport.reconnects:
                self._settle_rest(LATER)
            if not (self._waiting or self._elsewhere):
                return

    def _move_on_to(self, target: Target) -> None:
        """Raise Unroutable if too many talk to the host: others share it with this next hop."""
        # The next exchanger would be as full soon, and then nobody had a slot for other hosts.
        if not self._place.moves_on_to(f"host {target.name.lower()}:{target.port}"):
            raise Unroutable(crowded(target.name, self._place.most))

    def _remembered(self, target: Target) -> Outcome | None:
        """Why the host is not asked (RFC 5321 section 4.5.4.1), None if it is."""
        found = self._hosts and self._hosts.memory.trouble(target.host)
        if not found:
            return None
        outcome = reply_outcomes.remembered(found, target.name)
        self._note(outcome)
        return outcome

    def _leave_host(self) -> None:
        """Remember how it was; nothing new if it was reached, and nobody thought otherwise."""
        found, self._found = self._found, None
        if self._hosts and found and self._hosts.memory.wants(found):
            self._hosts.tell(found)

    def _take_up(self) -> None:
        self._waiting += self._elsewhere
        self._elsewhere.clear()

    def _settle_rest(self, outcome: Outcome) -> None:
        for pending in list(self._waiting):
            said = self._put_off.get(pending)
            if said is None:
                self._settle_all(pending, outcome)
            else:
                self._settle(pending, said)

    def _note(self, outcome: Outcome) -> None:
        """Remember why a host was no good. One "try later" outweighs every "never"."""
        self._dialogue.happened(outcome.stat)
        last = self._failure
        if last is None or outcome.fate is Fate.DEFERRED or last.fate is not Fate.DEFERRED:
            self._failure = outcome

    def _visit(self, hop: NextHop | None, target: Target) -> bool:
        """Give one address all it will take; were we welcome, once at least?"""
        fruitless, welcome = 0, False
        while self._waiting and fruitless < MAX_FRUITLESS:
            completed, failures = self._completed, self._tls.count
            if not self._over_one_connection(hop, target):
                if self._tls.count > failures:
                    continue
                break
            welcome = True
            if not self._transport.reconnects:
                break
            fruitless = 0 if self._completed > completed else fruitless + 1
        return welcome

    def _over_one_connection(self, hop: NextHop | None, target: Target) -> bool:
        """One connection, from connect on; were we welcome?"""
        try:
            policy = self._tls.policy(hop, target)
        except NotTrusted as why:
            self._note(why.outcome)
            return False
        port = f" port {target.port}" if target.port else ""
        self._dialogue.connect(f"{target.relay}{port}")
        connection = OutgoingConnection(
            target, self._transport, policy, dialogue=self._dialogue, alive=self._alive
        )
        if self._open(connection, policy, hop) and self._log_in(connection, policy, hop):
            self._converse(connection)
            return True
        connection.close()
        return False

    def _converse(self, connection: OutgoingConnection) -> None:
        """All that waits, until the peer has enough; then QUIT, or the connection is kept."""
        try:
            while self._waiting and not (connection.client.closing or connection.has_enough):
                self._offer(connection, self._waiting[0])
            if connection.may_stay() and not self._elsewhere:
                self._kept = connection
            else:
                self._leave(connection)
        finally:
            if connection is not self._kept:
                connection.close()

    def _open(self, connection: OutgoingConnection, policy: Policy, hop: NextHop | None) -> bool:
        target = connection.target
        self._tell_target(target)
        try:
            first = all(pending.job.first_attempt for pending in self._waiting)
            connection.connect(self._transport.connect_timeout(first=first))
        except OSError as error:
            self._note(reply_outcomes.unconnected(error, target.name, target.relay))
            self._find(reply_outcomes.host_status(error, target.host, connected=False))
            return False
        try:
            connection.greet()
        except TlsError as error:
            self._note(self._tls.failed(error, target, policy, hop))
            return False
        except (OSError, PeerClosed, ReplyError) as error:
            self._note(self._logins.before_login(hop, trouble_of(error, connection)))
            if isinstance(error, OSError) and not connection.client.answered:
                self._find(reply_outcomes.host_status(error, target.host, connected=True))
            elif isinstance(error, PeerClosed):
                self._found = reply_outcomes.unwelcome(error.reply, target.host)
            if isinstance(error, PeerClosed) and error.reply.code != 421:
                connection.quit()
            return False
        finally:
            if connection.tls is not None:
                self._tell_tls(target.name, connection.tls)
        self._tls.tally.reached(connection, policy, hop)
        self._found = HostStatus(target.host, 0, "2.0.0", os.EX_OK)
        if connection.leads_to_us:
            outcome = reply_outcomes.talks_to_itself(target.name, target.relay)
            self._note(reply_outcomes.of_option(self._job.option, self._job.host, outcome))
            connection.quit()
            return False
        return True

    def _log_in(self, connection: OutgoingConnection, policy: Policy, hop: NextHop | None) -> bool:
        """Is there no login for *hop*, or has the peer taken it?"""
        try:
            why = self._logins.log_in(connection, hop, policy)
        except (OSError, PeerClosed, ReplyError) as error:
            why = trouble_of(error, connection)
            connection.client.closing = True
        if why is not None:
            self._note(why)
            self._leave(connection)
        return why is None

    def _find(self, found: HostStatus) -> None:
        """One address of the host was not reached; another may have been."""
        if self._found is None or self._found.error:
            self._found = found

    def _tell_target(self, target: Target) -> None:
        if self._say and self._transport.via:
            names = b",".join(user.name for user in self._waiting[0].users)
            port = f" port {target.port}" if target.port != SMTP_PORT else ""
            what = f"Connecting to {target.name}{port} via {self._transport.via}..."
            self._say(f"{shown(names)}... {what}")

    def _leave(self, connection: OutgoingConnection) -> None:
        if connection.client.closing:
            return
        if self._say:
            self._say(f"Closing connection to {connection.target.name}")
        connection.quit()

    def _offer(self, connection: OutgoingConnection, pending: PendingJob) -> None:
        """One transaction, or the reason why there can be none."""
        try:
            made = offer.make(pending.job, pending.users, connection, self._transport)
        except (Unsendable, Unreadable) as error:
            self._refused(pending, error, connection.target)
            return
        if made.bad:
            self._settle(pending, made.bad)
        if made.users:
            self._transact(connection, pending, made.content, made.transaction, made.users)

    def _refused(self, pending: PendingJob, error: Unsendable | Unreadable, target: Target) -> None:
        """Never to this peer; perhaps to the next one."""
        outcome = unsent(error, target)
        self._dialogue.begin(pending)
        self._dialogue.happened(outcome.stat)
        if isinstance(error, offer.WrongPeer) and self._transport.reconnects:
            self._put_elsewhere(pending, {user.name: outcome for user in pending.users})
        else:
            self._settle_all(pending, outcome)

    def _put_elsewhere(self, pending: PendingJob, outcomes: Mapping[bytes, Outcome]) -> None:
        """Another host is asked; *outcomes* stand if none says more."""
        self._put_off[pending] = outcomes
        self._waiting.remove(pending)
        self._elsewhere.append(pending)

    def _transact(
        self,
        connection: OutgoingConnection,
        pending: PendingJob,
        content: Content,
        transaction: Transaction,
        users: Sequence[JobUser],
    ) -> None:
        trouble = None
        self._dialogue.begin(pending)
        try:
            connection.offer(transaction)
            if connection.client.wants_content:
                connection.send_content(content)
        except (OSError, PeerClosed, ReplyError, Unreadable) as error:
            connection.client.closing = True
            trouble = trouble_of(error, connection)
            # Once the content has begun the message is not tried again in this run: the peer may
            # have it, and lost only its answer.
            if not connection.content_begun:
                self._interrupted(pending, trouble)
                return
            self._dialogue.happened(trouble.stat)
        final = transaction.final
        if not connection.client.closing or (final is not None and final.code < 300):
            self._completed += 1
        if final is not None and final.code < 300:
            self._found = reply_outcomes.took_mail(final, connection.target.host)
        # What is wrong with a host that we named ourselves returns nobody's mail.
        file = self._transport.options.auth_info_file or "AuthInfoFile"
        outcomes = outcomes_of(
            transaction, users, connection, trouble, login_file=file if self._job.option else ""
        )
        if is_put_off(transaction) and self._transport.reconnects and users == pending.users:
            self._put_elsewhere(pending, outcomes)
        else:
            self._settle(pending, outcomes)

    def _interrupted(self, pending: PendingJob, trouble: Outcome) -> None:
        """The conversation broke before the content: nothing of it can be the peer's."""
        if self._transport.reconnects:
            self._note(trouble)
            self._waiting.rotate(-1)  # it may be what broke the connection
        else:
            self._settle_all(pending, trouble)

    def _settle_all(self, pending: PendingJob, outcome: Outcome) -> None:
        self._settle(pending, {user.name: outcome for user in pending.users})

    def _settle(self, pending: PendingJob, outcomes: Mapping[bytes, Outcome]) -> None:
        outcomes = self._dialogue.added_to(outcomes, pending)
        pending.users = [user for user in pending.users if user.name not in outcomes]
        if not pending.users:
            self._waiting.remove(pending)
        self._report(pending.job, outcomes)
