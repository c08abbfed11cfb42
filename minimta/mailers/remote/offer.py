"""One message as a peer is offered it: its text, MAIL, and RCPT for as many as the peer takes at once.

    the peer                        then
    offers LIMITS (RFC 9422)        no more recipients, and domains of them, than that in one message
    is not good enough for TLS_Rcpt:, or cannot be told the address: that recipient is not offered
    offers no REQUIRETLS, or has not proved itself     a message that wants it is not offered (5.7.30)
    offers no DELIVERBY, or wants more time            one that must be there in time neither (BY=...;R)

A message that this peer cannot have because of the last two is another's, if the domain has one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from minimta.mailers.job import Job, JobUser
from minimta.mailers.remote.connection import OutgoingConnection
from minimta.mailers.remote.content import Content, Unsendable, mail_command, prepare
from minimta.mailers.remote.transaction_outcomes import offered
from minimta.mailers.remote.transport import Transport
from minimta.message import address, internationalized
from minimta.message.outcome import Outcome
from minimta.smtp import limits
from minimta.smtp.client import Transaction

#: what reads addresses beyond ASCII: loaded now, as a worker has no right to read it later
__all__ = ["MAX_RECIPIENTS", "Offer", "WrongPeer", "internationalized", "make"]

#: recipients of one transaction; every host must take so many (RFC 5321 section 4.5.3.1.8)
MAX_RECIPIENTS = 100


class WrongPeer(Unsendable):
    """This peer cannot have the message; another exchanger of the domain may."""


class Offer(NamedTuple):
    """What is said to a peer about one message."""

    content: Content
    transaction: Transaction
    #: in the order of the RCPT lines; perhaps none
    users: Sequence[JobUser]
    #: what becomes of those who cannot be offered
    bad: Mapping[bytes, Outcome]


def make(
    job: Job, users: Sequence[JobUser], connection: OutgoingConnection, transport: Transport
) -> Offer:
    """An offer of *job* to the next of *users*. Raise Unsendable (WrongPeer) or Unreadable."""
    client = connection.client
    options, ours = transport.options, transport.ourselves.name
    charset = options.default_charset
    content = prepare(
        job, client.extensions, options.eight_bit_mode, ours, transport.signing, charset
    )
    more = _promises(job, connection)
    taken, lines, bad = _recipients(users, connection, transport)
    mail = mail_command(
        job,
        content,
        client.extensions,
        logged_in=client.is_logged_in,
        utf8=not all(line.isascii() for line in lines),
    )
    chunk = content.chunk() if connection.takes_chunks else b""
    return Offer(content, Transaction(mail + more, lines, chunk), taken, bad)


def _recipients(
    users: Sequence[JobUser], connection: OutgoingConnection, transport: Transport
) -> tuple[list[JobUser], list[bytes], dict[bytes, Outcome]]:
    """As many as go into one message, their RCPT lines, and what becomes of the others among them."""
    taken, lines, bad = [], [], {}
    for user in _at_once(users, limits.parse(connection.client.extensions.get("LIMITS", ""))):
        line = offered(user, connection, transport.rules)
        if isinstance(line, Outcome):
            bad[user.name] = line
        else:
            taken.append(user)
            lines.append(line)
    return taken, lines, bad


def _at_once(users: Sequence[JobUser], told: limits.Limits) -> list[JobUser]:
    """The first of *users* that keep to the limits of a peer."""
    most = min(MAX_RECIPIENTS, told.recipients or MAX_RECIPIENTS)
    if not told.domains:
        return list(users[:most])
    domains, found = set[bytes](), list[JobUser]()
    for user in users:
        domains.add(address.domain_key(address.split(user.name)[1]))
        if len(domains) > told.domains or len(found) == most:
            break
        found.append(user)
    return found


def _promises(job: Job, connection: OutgoingConnection) -> bytes:
    """The parameters of MAIL that the peer must keep. Raise WrongPeer if it cannot."""
    more = b""
    if job.requires_tls:
        why = connection.why_no_requiretls
        if why:
            # RFC 8689 section 5
            raise WrongPeer("5.7.30", f"REQUIRETLS support required: {why}", os.EX_UNAVAILABLE)
        more += b" REQUIRETLS"
    if job.deliver_by is not None:
        more += _deliver_by(job, connection.client.extensions)
    return more


def _deliver_by(job: Job, extensions: Mapping[str, str]) -> bytes:
    """RFC 2852 section 4.1.4."""
    wish = job.deliver_by
    assert wish is not None
    left = wish.left(job.created, time.time())
    if "DELIVERBY" not in extensions:
        if wish.returns:
            text = "delivery in time is required, but DELIVERBY was not offered by the host"
            raise WrongPeer("5.3.3", text, os.EX_UNAVAILABLE)
        return b""
    least = extensions["DELIVERBY"].partition(",")[0].strip()
    if wish.returns and least.isascii() and least.isdigit() and left < int(least[:9]):
        text = f"{left} seconds are left, and the host wants {int(least[:9])}"
        raise WrongPeer("5.4.7", text, os.EX_UNAVAILABLE)
    return b" BY=" + wish.parameter(left)
