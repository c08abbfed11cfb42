"""How the messages of a mailer are given to a peer: one value, from the mailer to the connection.

                  mailer esmtp                    mailer local, LocalMailer=lmtp:...
    dialect       SMTP                            LMTP
    next_hop      that of the jobs, by MX         HOST:PORT of the option
    opened        none: the worker connects       socket of this host, opened by the runner
    via           "esmtp"                         "": the runner has told where it connects to
    reconnects    yes                             no: what is opened by the runner is opened once
    may_refuse    yes                             no: one's own server is repaired, and mail waits
    tls           keys and authorities            none: nothing but this host lies between
    policies      what TLS each next hop needs    none
    rules         and each host, each recipient   none
    logins        of the worker's own next hops   none
    sts, https    policies of MTA-STS             none
    idle          while the hop is busy           0: nothing is kept

Who needs something asks the Transport that it has.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from minimta.config.options import Options
from minimta.mailers.remote.credentials import HopLogin
from minimta.mailers.remote.dkim import SigningKey
from minimta.mailers.remote.dkim_keys import SigningKeys
from minimta.mailers.remote.mx_targets import NextHop, Ourselves, Target
from minimta.mailers.remote.sts_cache import StsCache
from minimta.mailers.remote.tls_policy import NO_TLS, Level, Policy, TlsPolicies
from minimta.mailers.remote.tls_rules import TlsRules
from minimta.smtp.client import SMTP, Dialect
from minimta.system.https import HttpsClient
from minimta.system.tls import TlsClient


@dataclass(frozen=True, slots=True)
class OpenedConnection:
    """A connected socket, and what it leads to."""

    target: Target
    socket: socket.socket


@dataclass(frozen=True, slots=True)
class Transport:
    """What a worker must know beside its jobs."""

    options: Options
    ourselves: Ourselves
    dialect: Dialect = SMTP
    #: the administrator's choice for all jobs; None: each has a next hop of its own
    next_hop: NextHop | None = None
    #: the only connection that is used, None if the worker connects
    opened: OpenedConnection | None = None
    #: named in the line "Connecting to lab2.campus. via esmtp..." (-v), "" for no such line
    via: str = "esmtp"
    #: may the worker connect again when a connection ends? If not, the message that was under way
    #: waits, and those behind it have the Outcome LATER
    reconnects: bool = True
    #: may messages be returned because the peer refuses a connection, greeting or EHLO?
    may_refuse: bool = True
    #: made by who may read our key; None: TLS is not used
    tls: TlsClient | None = None
    #: from the table of TLSPolicy
    policies: TlsPolicies | None = None
    #: from the access table
    rules: TlsRules = field(default_factory=TlsRules)
    #: seconds for which the worker keeps its last connection for messages that may come
    #: (ConnectionCacheTimeout)
    idle: float = 0.0
    #: NextHop.key -> the login there, or why there is none now; in the worker alone
    logins: Mapping[str, HopLogin] = field(default_factory=dict)
    #: policies of MTA-STS that were fetched, and how others are; None: that is not asked
    sts: StsCache | None = None
    https: HttpsClient | None = None
    #: which jobs are signed, and in the worker the key of all its jobs; None: they are not
    keys: SigningKeys = field(default_factory=SigningKeys)
    signing: SigningKey | None = None

    @property
    def known_file(self) -> int:
        """The directory of ``sts``, -1 if there is none."""
        return self.sts.file if self.sts is not None else -1

    def connect_timeout(self, *, first: bool) -> int:
        """Seconds, by Timeout.iconnect if it is the *first* attempt for all messages, or .connect."""
        return self.options.timeout_iconnect if first else self.options.timeout_connect

    def source(self, address: str) -> str | None:
        """From which address of ours *address* is reached, "" for any; None: not at all.

        ClientPortOptions may leave out a whole family; LocalMailer is none of its business.
        """
        rows = () if self.next_hop else self.options.client_ports
        family = "inet6" if ":" in address else "inet"
        found = [row.address for row in rows if row.family == family]
        return found[-1] if found else None if rows else ""

    def policy(self, hop: NextHop | None, address: str = "") -> Policy:
        """What TLS there must be with *hop*; None is what was opened. Raise ValueError for a bad row.

        *address* is where it has led to, if that is known: on this host nobody listens to a login.
        """
        if hop is None or self.policies is None or self.tls is None:
            return NO_TLS
        login = self.logins.get(hop.key)
        logs_in = login is not None and not is_here(hop, address or hop.name)
        policy = self.policies.policy(hop, logs_in=logs_in)
        if login is None or policy.level is not Level.VERIFY:
            return policy
        return replace(policy, names=(*policy.names, *login.names))


def is_here(hop: NextHop, address: str) -> bool:
    """Is *address* one of this host that no wire leads to, and did *hop* name it, or localhost?

    Who forges the answers of name servers could make any other name lead to a port of this host, where
    some user of it listens.
    """
    is_named = is_loopback(hop.name) or hop.name.lower().removesuffix(".") == "localhost"
    return is_named and is_loopback(address)


def is_loopback(address: str) -> bool:
    """Is it an address of this host that no wire leads to? A name is none, whatever it means."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
