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

Here belong, for every connection to come: the credentials for a next hop (AUTH), the key that signs
what goes out. Who needs one asks the Transport that it has.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from minimta.config.options import Options
from minimta.mailers.remote.mx_targets import NextHop, Ourselves, Target
from minimta.mailers.remote.tls_policy import NO_TLS, Policy, TlsPolicies
from minimta.smtp.client import SMTP, Dialect
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

    def source(self, address: str) -> str | None:
        """From which address of ours *address* is reached, "" for any; None: not at all.

        ClientPortOptions may leave out a whole family; LocalMailer is none of its business.
        """
        rows = () if self.next_hop else self.options.client_ports
        family = "inet6" if ":" in address else "inet"
        found = [row.address for row in rows if row.family == family]
        return found[-1] if found else None if rows else ""

    def policy(self, hop: NextHop | None) -> Policy:
        """What TLS there must be with *hop*; None is what was opened. Raise ValueError for a bad row."""
        if hop is None or self.policies is None or self.tls is None:
            return NO_TLS
        return self.policies.policy(hop)
