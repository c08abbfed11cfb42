"""Who is at the other end of an SMTP session."""

from __future__ import annotations

import socket

from minimta.config.ports import Port
from minimta.listener.rights import Rights
from minimta.listener.starttls import Secured
from minimta.system import log


class Peer:
    """A client, as the log, the replies and the rules know it."""

    __slots__ = (
        "if_address",
        "ip",
        "ip_port",
        "is_certain",
        "is_confirmed",
        "is_nowhere",
        "literal",
        "mechanism",
        "name",
        "port",
        "rights",
        "secured",
        "shown",
    )

    def __init__(
        self,
        ip: str,
        name: str,
        *,
        confirmed: bool,
        port: Port | None,
        rights: Rights,
        if_address: str = "",
        certain: bool = True,
        ip_port: int = 0,
        nowhere: bool = False,
    ) -> None:
        """*confirmed*: the *name* that *ip* leads to leads back to it. On standard input *ip* is ""
        and *port* None. *if_address*: our address that it connected to, "" for loopback.
        *certain*: name servers have answered, so that nothing else can be known of the name.
        *ip_port* is the port that the client connects from.
        *nowhere*: a proxy has told *ip*, and it is no address from which rights could come.
        """
        #: the address in brackets
        self.literal = literal = f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"
        self.ip = ip
        self.name = log.clean(name)
        #: "lab1.campus [10.0.3.134]", as in $_, in replies and in the log
        self.shown = f"{self.name} {literal}".strip() if ip else self.name
        if name and not confirmed:
            self.shown += " (may be forged)"
        self.is_certain = certain
        self.is_nowhere = nowhere
        #: does the name lead back to the address?
        self.is_confirmed = confirmed
        self.port = port
        #: replaced, never changed, as more becomes known of the client
        self.rights = rights
        #: what the TLS handshake has proved; None: there was none
        self.secured: Secured | None = None
        #: by which the client has logged in, "PLAIN"; "": it has not
        self.mechanism = ""
        self.if_address = if_address
        self.ip_port = ip_port

    @property
    def way_in(self) -> str:
        """The name of the port (DaemonPortOptions), or "stdin", as the log has it."""
        return self.port.name if self.port else "stdin"

    def why_not_relay(self) -> str:
        """What follows "Relaying denied" in the reply."""
        if not self.name:
            return f". IP name lookup failed [{self.ip}]"
        return "" if self.is_confirmed else f". IP name possibly forged [{self.ip}]"


def network(ip: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 of an IPv6 address."""
    if ":" not in ip:
        return ip
    return socket.inet_pton(socket.AF_INET6, ip)[:8].hex()
