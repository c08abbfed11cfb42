"""Who is at the other end of an SMTP session."""

from __future__ import annotations

from minimta.listener import relay
from minimta.system import log


class Peer:
    """Who is at the other end."""

    __slots__ = ("if_address", "ip", "may_relay", "name", "path", "shown")

    def __init__(self, ip: str, name: str, *, confirmed: bool, if_address: str = "") -> None:
        """*confirmed*: the *name* from reverse lookup leads back to *ip*. "" ip is standard input."""
        literal = f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"
        self.ip = ip
        self.name = log.clean(name)
        #: "lab1.campus [10.0.3.134]", as in $_, in replies and in the log
        self.shown = f"{self.name} {literal}".strip() if ip else self.name
        if name and not confirmed:
            self.shown += " (may be forged)"
        self.may_relay = not ip or relay.may_relay(ip)
        #: our address that was connected to
        self.if_address = if_address
        self.path = "MTA" if ip else "stdin"

    def why_not_relay(self) -> str:
        """What follows "Relaying denied" in the reply."""
        if not self.name:
            return f". IP name lookup failed [{self.ip}]"
        if self.shown.endswith(" (may be forged)"):
            return f". IP name possibly forged [{self.ip}]"
        return ""
