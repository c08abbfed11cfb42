"""LuserRelay, MailHub, LocalRelay: who takes the mail for users of this host, behind the aliases.

    nobody of that name    LuserRelay: host, user@host, local:USER, error:CODE TEXT
    everybody else         MailHub, or LocalRelay if there is none

With StickyHost only of addresses without a domain; see ``route``. As with Sendmail the next hop gets ``user@host``, and no ``.forward`` is read; "\\\\dave" is the mailbox
here, whatever these options say.
"""

from __future__ import annotations

from minimta.routing.refusal import error_of
from minimta.routing.route import Route, host_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options


def for_nobody(local_part: bytes, options: Options) -> Route | None:
    """Where LuserRelay sends mail for a name that nobody has; None if nowhere.

    Of mailer "local": to that user of this host.
    """
    text = options.luser_relay
    kind, _, rest = text.partition(":")
    if kind.lower() == "local":
        return Route("local", "", rest.strip().encode())
    if kind.lower() == "error":
        status, text = error_of(rest.strip())
        return Route("error", status, text.encode())
    name, at, host = text.rpartition("@")
    user = name.rpartition(":")[2].encode() if at else local_part
    return _sent_on(user, host, "LuserRelay") if host else None


def for_users(local_part: bytes, options: Options) -> Route | None:
    """Where the mail of users goes instead of their mailboxes; None if nowhere."""
    for option, host in (("MailHub", options.mail_hub), ("LocalRelay", options.local_relay)):
        if host:
            return _sent_on(local_part, host, option)
    return None


def _sent_on(user: bytes, text: str, option: str) -> Route:
    host = host_of(text)
    domain = host.partition(",")[0]
    if domain[:1] == "[":
        domain = domain.partition("]")[0] + "]"
        is_literal = domain[1:-1].replace(".", "").isdigit() or ":" in domain
        domain = domain if is_literal else domain[1:-1]
    else:
        domain = domain.partition(":")[0]
    return Route("esmtp", host, b"%b@%b" % (user, domain.encode("ascii", "replace")), option)
