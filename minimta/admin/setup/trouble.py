"""What a test letter that failed means, and what to do about it with the flags of ``minimta setup``.

    explain("Connection refused by x", [], host="smtp.gmail.com")
    explain("password of emma refused", ["535 5.7.8 ..."], host="smtp.gmail.com", advice="...")

If the other side has refused, its reply counts, and what that means stands in ``provider_replies``;
else our own reason, as mailq has it: the rows here are tried in order. No secret can come in: a
dialogue shows none. Pure.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass

from minimta.admin import provider_replies
from minimta.admin.provider_replies import ReplyKind, ReplyMeaning


class Cause(enum.Enum):
    """The kinds of trouble that want different remedies."""

    NAME = "the name of the host is unknown"
    PORT = "the host cannot be reached"
    TLS = "TLS with the host is not possible"
    CERTIFICATE = "the host's certificate is not good"
    LOGIN = "the login is refused"
    NO_LOGIN = "a login is wanted"
    METHOD = "this kind of login is not possible"
    SENDER = "the sender is refused"
    RECIPIENT = "the recipient is refused"
    LIMIT = "the account is at its limit"
    CONTENT = "the letter is refused"
    LATER = "the host wants it later"
    UNKNOWN = "the letter did not get through"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is the matter, and the remedy; either may have several sentences."""

    cause: Cause
    remedy: str

    def __str__(self) -> str:
        return f"{self.cause.value}: {self.remedy}"


_BLOCKED = (
    "nobody answers at {host} port {port}; most hosters block port 25, some others:"
    " try another (--port), or ask the hoster; behind a firewall it must be opened"
)
#: of our own reasons: (pattern, cause, remedy); {host}, {port} and {advice} are filled in
_ROWS: tuple[tuple[str, Cause, str], ...] = (
    (r"no such user: .*RunAsUser", Cause.UNKNOWN, "minimta is not installed here: minimta install"),
    (r"Host unknown|host not found|no usable address", Cause.NAME,
     "there is no {host}; is it spelt right?"),
    (r"Name server: ", Cause.NAME,
     "no name server answers for {host}: look at /etc/resolv.conf, and whether this machine has a network"),
    (r"Network is unreachable|No route to host", Cause.PORT, "this machine has no network that leads there"),
    (r"Connection refused", Cause.PORT,
     "{host} does not listen on port {port}: try another (--port), or is it spelt right?"),
    (r"Connection timed out|Operation timed out|no answer in", Cause.PORT, _BLOCKED),
    (r"certificate", Cause.CERTIFICATE,
     "it is not that of {host}, or nobody known vouches for it: is the clock of this machine right"
     " (date), is ca-certificates installed, and is there nobody in between? An authority of your own:"
     " CACertFile"),
    (r"wrong version number|no TLS with|STARTTLS|handshake", Cause.TLS,
     "a password is sent only inside of TLS; port 587 (STARTTLS) or 465 has it as a rule: --port"),
    (r"authorization revoked|invalid_grant", Cause.LOGIN,
     "the authorization was revoked: minimta token renew NAME"),
    (r"no mechanism", Cause.METHOD, "the host has no way to log in that fits what is known. {advice}"),
    (r"offers no AUTH", Cause.METHOD,
     "{host} port {port} takes no logins at all: is it the port for clients (--port 587)?"),
    (r"a row for it is wanted", Cause.NO_LOGIN, "the host takes nothing without a login: --user"),
    (r"put off by|login .* later", Cause.LATER,
     "the provider answers no logins just now; after several wrong ones that is for some minutes"),
    (r"refused, correct", Cause.LOGIN, "user or password is wrong. {advice}"),
)  # fmt: skip

#: of the other side's: what is to be done with a flag; "": what ``provider_replies`` says
_LOGIN = "{advice}"
_KNOWN_SENDER = "verify the address there, or give one that is known (--from)"
_CAUSES: dict[ReplyKind, tuple[Cause, str]] = {
    ReplyKind.PASSWORD: (Cause.LOGIN, _LOGIN),
    ReplyKind.APP_PASSWORD: (Cause.LOGIN, _LOGIN),
    ReplyKind.LOCKED: (Cause.LOGIN, ""),
    ReplyKind.OAUTH: (Cause.METHOD, _LOGIN),
    ReplyKind.LOGIN_DISABLED: (Cause.METHOD, ""),
    ReplyKind.LOGIN_WANTED: (Cause.NO_LOGIN, "log in (--user)"),
    ReplyKind.RELAY: (
        Cause.NO_LOGIN,
        "log in (--user), or have this machine's address added there",
    ),
    ReplyKind.SENDER: (Cause.SENDER, _KNOWN_SENDER),
    ReplyKind.RECIPIENT: (
        Cause.RECIPIENT,
        "is the address that the letter goes to spelt right (--root-address)?",
    ),
    ReplyKind.LIMIT: (Cause.LIMIT, ""),
    ReplyKind.TLS: (Cause.TLS, ""),
    ReplyKind.LATER: (Cause.LATER, ""),
}
#: of all other kinds
_REFUSED = (Cause.CONTENT, "")
_ADVICE = (
    "Many providers want a password made for programs (app password) in place of the account's"
)


def explain(
    reason: str, replies: Sequence[str], *, host: str, port: int = 587, advice: str = ""
) -> Explanation:
    """What is the matter; *reason* is ours, *replies* are the lines of the last reply that was no 2yz.

    *advice* is what the provider's row says of refused logins.
    """
    names = {"host": host, "port": port, "advice": advice or _ADVICE}
    if (meaning := provider_replies.explain("\n".join(replies))) is not None:
        return _of_reply(meaning, names)
    for pattern, cause, remedy in _ROWS:
        if re.search(pattern, reason):
            return Explanation(cause, remedy.format_map(names).strip())
    if replies:
        cause = Cause.LATER if replies[-1].startswith("4") else Cause.CONTENT
        return Explanation(cause, "the other side's words say why")
    return Explanation(Cause.UNKNOWN, reason or "nobody said why")


def _of_reply(meaning: ReplyMeaning, names: dict[str, object]) -> Explanation:
    cause, flag = _CAUSES.get(meaning.kind, _REFUSED)
    remedy = flag.format_map(names) if flag else meaning.remedy
    return Explanation(cause, f"{meaning.meaning}. {remedy[:1].upper()}{remedy[1:]}")
