"""Who is a recipient of this host: an alias, a user, or nobody.

RCPT, VRFY, EXPN, -bv, the check of a submission and the expansion all ask here.
As with Sendmail an alias comes before a user, and for ``dave+lists`` the first of these counts:

    alias dave+lists, alias dave+*, alias dave, user dave+lists, user dave with the detail "lists"

postmaster is always somebody: without alias and user it is root (RFC 5321 section 4.5.1). All raise
OSError if aliases or users cannot be asked now, which never means that there is nobody.
"""

from __future__ import annotations

from minimta.message import address
from minimta.routing.local_host import LocalRecipient
from minimta.routing.route import STICKY
from minimta.system import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.routing.local_host import LocalHost
    from minimta.routing.refusal import Refusal
    from minimta.system.users import User


def look_up(bare: bytes, here: LocalHost) -> LocalRecipient | None:
    """Who a bare address is; None if it is not for this host to say. Raise OSError."""
    route = here.router.route(bare)
    if route.mailer != "local":
        return None
    name, is_final = address.local_name(route.user)
    if is_final:
        return find_mailbox(name, here)
    return find(name, here, is_sticky=route.option == STICKY)


def why_refused(bare: bytes, here: LocalHost) -> Refusal | None:
    """Why there is nobody to take mail for a bare address: a local recipient who does not exist, or
    "error:" in alias or table. None if there is somebody, or if that cannot be known now.
    """
    try:
        found = look_up(bare, here)
        if found is None:
            return here.router.route(bare).refusal()
    except OSError as error:
        log.line("", f"cannot look up {log.clean(bare)}: {error.strerror}")
        return None
    return why_not(found)


def why_not(found: LocalRecipient) -> Refusal | None:
    """Why a local recipient is refused: nobody, or an alias that is one "error:"; else None."""
    if found.is_known and found.elsewhere is None and found.alias is None:
        return None
    from minimta.routing import refusal  # a letter to a user does not wait for it

    if not found.is_known:
        return refusal.UNKNOWN
    if found.elsewhere is not None:
        return found.elsewhere.refusal()
    return refusal.of_alias(found.value)


def is_unknown(bare: bytes, here: LocalHost) -> bool:
    """Is it a local recipient who does not exist? If that cannot be known now: no."""
    from minimta.routing.refusal import UNKNOWN

    return why_refused(bare, here) is UNKNOWN


def find(local_part: bytes, here: LocalHost, *, is_sticky: bool = False) -> LocalRecipient:
    """Who an unquoted local part is; *is_sticky*: the mail is for this host. Raise OSError."""
    if is_sticky:
        return _find(local_part, here)
    if here.known is None:
        return _relayed(local_part, _find(local_part, here), here)
    if local_part not in here.known:
        here.known[local_part] = _relayed(local_part, _find(local_part, here), here)
    return here.known[local_part]


def _relayed(local_part: bytes, found: LocalRecipient, here: LocalHost) -> LocalRecipient:
    """*found*, or who has the mail instead: LuserRelay, MailHub, LocalRelay. Raise OSError."""
    options = here.options
    if found.alias is not None or not (
        options.luser_relay or options.mail_hub or options.local_relay
    ):
        return found
    from minimta.routing import relays  # few hosts have the options

    route = relays.for_nobody(local_part, options) if found.user is None else None
    if route is not None and route.mailer == "local":
        found = _find(route.user, here)
        found.stands_in = True
        return found
    found.stands_in = route is not None
    found.elsewhere = route or relays.for_users(local_part, options)
    return found


def _find(local_part: bytes, here: LocalHost) -> LocalRecipient:
    name, plus, _ = local_part.partition(b"+")
    for alias in (local_part, name + b"+*", name) if plus and name else (local_part,):
        value = here.aliases.find(alias)
        if value is not None:
            return LocalRecipient(alias=alias, value=value)
    mailbox = find_mailbox(local_part, here)
    if mailbox.user is None and local_part.lower() == b"postmaster":
        # DIFFERS: RFC 5321 section 4.5.1 wants mail for postmaster accepted, alias or not.
        return LocalRecipient(alias=b"", value=b"root")
    if mailbox.user is None:
        here.aliases.require_whole()
    return mailbox


def find_mailbox(local_part: bytes, here: LocalHost) -> LocalRecipient:
    """The user of an unquoted local part, whatever the aliases say of them. Raise OSError."""
    user = _user(local_part, here)
    name, plus, detail = local_part.partition(b"+")
    if user is not None or not plus:
        return LocalRecipient(user=user)
    return LocalRecipient(user=_user(name, here), detail=detail)


def _user(name: bytes, here: LocalHost) -> User | None:
    found = here.users.find(name)
    if found is None and not name.isascii():
        found = here.users.find(address.folded(name))
    return found
