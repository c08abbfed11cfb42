"""What a transaction, or the error that it ended in, means for each of its recipients.

One reply decides about a recipient:

    reply               if
    to MAIL             it is not 2yz
    to RCPT             it is not 2yz
    to DATA             it is not 3yz
    to the final dot    nothing before it decided; with LMTP it is the recipient's own; the same to BDAT
    none                the conversation broke before: the error decides

Nothing here raises.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from minimta.mailers.job import Job, JobUser
from minimta.mailers.remote import reply_outcomes
from minimta.mailers.remote.connection import OutgoingConnection
from minimta.mailers.remote.content import Unreadable, Unsendable
from minimta.mailers.remote.mx_targets import Target
from minimta.mailers.remote.tls_rules import TlsRules
from minimta.message.outcome import Fate, Outcome, deferred
from minimta.message.printable import shown
from minimta.smtp.client import PeerClosed, Transaction
from minimta.smtp.client_command import Utf8Needed, rcpt_line
from minimta.smtp.reply import Reply
from minimta.system.tls_requirement import Requirement

#: RFC 4954 section 6: a login is wanted, or another one, or not this way
_LOGIN_CODES = (530, 534, 535, 538)
#: what those say who have no code for it, to who has not logged in
_LOGIN_WORDS = ("unauthenticated sender", "authentication required", "authentication is required")
#: what becomes of messages that may come over another connection, which their mailer makes
LATER = Outcome(Fate.DEFERRED, "4.4.2", "connection lost before its turn", exit_code=os.EX_TEMPFAIL)
#: and of those for which no host was good, and nobody knows why
UNFORESEEN = Outcome(Fate.DEFERRED, "4.4.1", "No host could be reached")


class PendingJob:
    """A Job and those of its users that have no Outcome yet."""

    __slots__ = ("job", "users")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.users: list[JobUser] = list({user.name: user for user in job.users}.values())


def outcomes_of(
    transaction: Transaction,
    users: Sequence[JobUser],
    connection: OutgoingConnection,
    trouble: Outcome | None,
    *,
    login_file: str = "",
) -> dict[bytes, Outcome]:
    """user.name -> what the replies mean for that user; *users* in the order of the RCPT lines.

    *login_file* is where the login at a host that the configuration names would stand, "" for others.

    Recipients beyond the peer's limit are left out: they are left for the next transaction.
    """
    target = connection.target
    dsn = "DSN" in connection.client.extensions
    outcomes = {}
    for i, user in enumerate(users):
        reply, command, said = _decisive(transaction, i, connection)
        if reply is None:
            assert trouble is not None, "a transaction without trouble has all its replies"
            outcomes[user.name] = trouble
        elif command == "." and reply.code < 300:
            outcomes[user.name] = reply_outcomes.sent(
                reply, target.name, target.relay, dsn_passed_on=dsn and bool(user.notify)
            )
        elif login_file and _wants_login(reply, connection):
            wanted = "a row for it is" if not connection.client.is_logged_in else "the right login"
            outcomes[user.name] = reply_outcomes.wants_login(
                reply, target.name, target.relay, f"{wanted} wanted in {login_file}"
            )
        elif not (command == "RCPT" and transaction.has_recipient and _is_too_many(reply)):
            outcomes[user.name] = reply_outcomes.refused(
                reply, command, said, target.name, target.relay
            )
    return outcomes


def _wants_login(reply: Reply, connection: OutgoingConnection) -> bool:
    """Is it the login that is missing or wrong, and not the mail? Some say so with 550 (SendGrid)."""
    if reply.code in _LOGIN_CODES:
        return True
    said = " ".join(reply.lines).lower()
    return not connection.client.is_logged_in and any(word in said for word in _LOGIN_WORDS)


def _decisive(
    transaction: Transaction, i: int, connection: OutgoingConnection
) -> tuple[Reply | None, str, str]:
    """The reply that decided on recipient *i*, what it answered, and the line said before it."""
    mail, rcpt, data = transaction.mail, transaction.rcpt, transaction.data
    client = connection.client
    if mail is not None and mail.code >= 300:
        return mail, "MAIL", shown(transaction.mail_line)
    if i >= len(rcpt):
        return None, "", ""
    if rcpt[i].code >= 300:
        # In a group the command said last is DATA, and that is what Sendmail's bounces show.
        grouped = "PIPELINING" in client.extensions
        own_line = shown(transaction.rcpt_lines[i])
        return rcpt[i], "RCPT", transaction.text_line if grouped else own_line
    if data is not None and not 300 <= data.code < 400:
        return data, "DATA", "DATA"
    number = transaction.taken_before(i) if client.dialect.answers_each else 0
    finals = transaction.finals[number : number + 1]
    return (finals[0] if finals else None), ".", transaction.text_line


def _is_too_many(reply: Reply) -> bool:
    """RFC 5321 section 4.5.3.1.10: 452, or 552 from old hosts; the rest of them may come again."""
    return reply.code in (452, 552) and reply.enhanced in ("", "4.5.3", "5.5.3")


def is_put_off(transaction: Transaction) -> bool:
    """Did the peer say 451 to the whole message, as greylisting hosts do?"""
    mail, rcpt = transaction.mail, transaction.rcpt
    if mail is not None and mail.code >= 300:
        return mail.code == 451
    asked_all = len(rcpt) == len(transaction.rcpt_lines)
    return asked_all and all(reply.code == 451 for reply in rcpt)


# --- errors ---------------------------------------------------------------------------------------


def trouble_of(error: Exception, connection: OutgoingConnection) -> Outcome:
    """What becomes of a message when the conversation about it ended in *error*."""
    target, client = connection.target, connection.client
    if isinstance(error, Unreadable):
        return unsent(error, target)
    if isinstance(error, PeerClosed):
        said = "" if error.command == "greeting" else client.last_sent
        return reply_outcomes.refused(error.reply, error.command, said, target.name, target.relay)
    return reply_outcomes.broken(error, target.name, target.relay)


def unsent(error: Unsendable | Unreadable, target: Target) -> Outcome:
    """What becomes of a message that was not even offered."""
    if isinstance(error, Unreadable):
        return deferred("4.3.0", str(error))
    return reply_outcomes.unsendable(
        error.status, error.text, target.name, target.relay, error.exit_code
    )


def offered(user: JobUser, connection: OutgoingConnection, rules: TlsRules) -> bytes | Outcome:
    """The RCPT line for *user*, or what becomes of it without one: by *rules* (TLS_Rcpt:) the
    connection is not good enough, or the address cannot be said.
    """
    target = connection.target
    try:
        wanted = rules.of_recipient(user.name)
    except ValueError as error:
        return reply_outcomes.bad_next_hop(str(error))
    if wanted is not None:
        what = wanted.unmet(connection.proved, target.name, rules.allows)
        if what:
            return _unmet(wanted, what, connection)
    extensions = connection.client.extensions
    try:
        return rcpt_line(user.name, extensions, notify=user.notify, original=user.original)
    except ValueError as error:
        return not_named(error, target)


def _unmet(wanted: Requirement, what: str, connection: OutgoingConnection) -> Outcome:
    ours, target = connection.untrusting if wanted.verified else "", connection.target
    text = f"{wanted.code} {wanted.status} {ours or what}; nothing was sent ({wanted.origin})"
    outcome = reply_outcomes.unmet(wanted, text, target.name, target.relay)
    # What broke, or is our own fault, is no verdict on the peer.
    is_certain = not ours and connection.proved.verify != "SOFTWARE"
    return outcome if is_certain else reply_outcomes.for_now(outcome)


def not_named(error: ValueError, target: Target) -> Outcome:
    """What becomes of a recipient whose address cannot stand in RCPT."""
    status = "5.6.7" if isinstance(error, Utf8Needed) else "5.1.3"
    return reply_outcomes.unsendable(status, str(error), target.name, target.relay, os.EX_DATAERR)
