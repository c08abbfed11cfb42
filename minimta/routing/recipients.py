"""Is an address one of ours, and does its recipient exist?"""

from __future__ import annotations

from minimta.message import address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.aliases.lookup import Aliases
    from minimta.routing.route import Router
    from minimta.system.users import User, Users


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
