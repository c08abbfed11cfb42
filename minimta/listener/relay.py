"""Who may send what to whom: recipients of this host, and who may relay through it.

Light, because submission asks too: a local user who does not exist is told at once.
"""

from __future__ import annotations

from minimta.message import address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.aliases.lookup import Aliases
    from minimta.routing.route import Router
    from minimta.system.users import User, Users

_LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


class Verdict:
    """What a recipient address is to this host."""

    __slots__ = ("known", "local", "user")

    def __init__(self, *, local: bool, known: bool, user: User | None = None) -> None:
        #: is the domain ours?
        self.local = local
        #: local: is it a user or an alias? Remote recipients are always known.
        self.known = known
        #: the user of that name, None for aliases
        self.user = user


def may_relay(ip: str) -> bool:
    """May a client at *ip* send to other hosts? Never by name, HELO or sender (threats T13)."""
    return ip in _LOOPBACK


def recipient_verdict(bare: bytes, router: Router, aliases: Aliases, users: Users) -> Verdict:
    """Judge a bare recipient address. Raise OSError if aliases or users cannot be asked now.

    postmaster is always known (RFC 5321 section 4.5.1).
    """
    route = router.route(bare)
    if route.mailer != "local":
        return Verdict(local=False, known=True)
    local_part = address.unquote(route.user)
    name, plus, _ = local_part.partition(b"+")
    keys = (local_part, name + b"+*", name) if plus and name else (local_part,)
    if any(aliases.find(key) is not None for key in keys):
        return Verdict(local=True, known=True)
    user = users.find(local_part) or (users.find(name) if plus else None)
    known = user is not None or local_part.lower() == b"postmaster"
    return Verdict(local=True, known=known, user=user)


def looks_like_route(bare: bytes) -> bool:
    """Does a local part ask to be sent on: "user%dom", "dom!user", '"user@dom"'?

    It never is (threats T13). But it is answered and logged as an attempt at relaying.
    """
    local_part = address.split(bare)[0]
    return b"%" in local_part or b"!" in local_part or b"@" in local_part


def is_ip(text: str) -> bool:
    """Is it an IPv4 or IPv6 address?"""
    from _socket import AF_INET, AF_INET6, inet_pton

    try:
        inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return False
    return True
