"""What a failed delivery to a provider means, and what to do about it, in words for an administrator.

    explain("password of emma@gmail.com refused, ...", ["535 5.7.8 ..."], host="smtp.gmail.com")

The rows are tried in order against what was said here (the reason, as mailq has it) and by the other
side (its replies); the first that fits counts. Replies are those that the providers document. No
secret can come in here: a dialogue shows none. Pure.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass


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
_VERIFY = (
    "the provider does not know the address as one of yours: verify address or domain there, or"
    " give one that is (--from)"
)
#: (pattern, cause, remedy); {host}, {port} and {advice} are filled in
_ROWS: tuple[tuple[str, Cause, str], ...] = (
    # what is so before anything was said
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
    # what the provider has said
    (r"5\.7\.30|Basic authentication is not supported|basic authentication is disabled", Cause.METHOD,
     "passwords are no longer taken there. {advice}"),
    (r"SmtpClientAuthentication is disabled", Cause.METHOD,
     "logins by SMTP are switched off for the mailbox or the whole organization: an administrator"
     " allows them with Set-CASMailbox -SmtpClientAuthenticationDisabled $false. {advice}"),
    (r"5\.7\.9\b|[Aa]pplication-specific password|InvalidSecondFactor", Cause.LOGIN,
     "this is the password of the account, and an app password is wanted. {advice}"),
    (r"5\.7\.14\b|WebLoginRequired|log in (?:via|with) your web browser", Cause.LOGIN,
     "the provider wants to see you in a browser first: log in there once. {advice}"),
    (r"(?:5|4)\.7\.139|conditional access|security defaults", Cause.METHOD,
     "the organization's rules forbid this login. {advice}"),
    (r"authorization revoked|invalid_grant", Cause.LOGIN,
     "the authorization was revoked: minimta token renew NAME"),
    (r"no mechanism", Cause.METHOD, "the host has no way to log in that fits what is known. {advice}"),
    (r"offers no AUTH", Cause.METHOD,
     "{host} port {port} takes no logins at all: is it the port for clients (--port 587)?"),
    (r"SendAsDenied|5\.7\.60|5\.2\.252", Cause.SENDER,
     "the mailbox that logs in may not send as this address: give its own (--from), or let it Send As"),
    (r"[Ee]mail address is not verified", Cause.SENDER,
     _VERIFY + "; in the sandbox of SES recipients must be verified as well"),
    (r"does not match a verified Sender|[Ss]ender address (?:is )?not verified|from address", Cause.SENDER, _VERIFY),
    (r"5\.7\.1\b.*(?:not owned|[Nn]ot (?:authori[sz]ed|allowed) to send|may not send|[Ss]ender)"
     r"|[Ss]ender address rejected|not permitted to send as", Cause.SENDER, _VERIFY),
    (r"5\.4\.5|[Dd]aily (?:user )?sending (?:limit|quota)|Maximum sending rate|[Mm]essages? limit"
     r"|[Qq]uota exceeded|[Cc]redits exceeded", Cause.LIMIT,
     "nothing more is taken from this account for now: wait, or look at its limits there"),
    (r"5\.7\.57|^530|Authentication [Rr]equired|a row for it is wanted", Cause.NO_LOGIN,
     "the host takes nothing without a login: --user"),
    (r"refused, correct|^535|^534", Cause.LOGIN, "user or password is wrong. {advice}"),
    (r"put off by|login .* later|^454", Cause.LATER,
     "the provider answers no logins just now; after several wrong ones that is for some minutes"),
    (r"5\.1\.1\b|5\.1\.10\b|[Uu]ser unknown|no such user|mailbox unavailable", Cause.RECIPIENT,
     "is the address that the letter goes to spelt right (--root-address)?"),
    (r"[Rr]elay(?:ing)? (?:access )?(?:is )?denied|not (?:permitted|allowed) to relay", Cause.NO_LOGIN,
     "the host relays only for clients that it knows: log in (--user), or have this machine's"
     " address added there"),
    (r"PTR|reverse DNS|5\.7\.25|Spamhaus|block ?list", Cause.CONTENT,
     "mail straight from this address is not believed (no name, or a block list): send it through a provider"),
    (r"^55|^5\d\d", Cause.CONTENT, "the other side's words say why"),
    (r"^4\d\d", Cause.LATER, "the other side's words say why; such a letter waits and is tried again"),
)  # fmt: skip


def explain(
    reason: str, replies: Sequence[str], *, host: str, port: int = 587, advice: str = ""
) -> Explanation:
    """What is the matter; *reason* is ours, *replies* are the lines of the last reply that was no 2yz.

    *advice* is what the provider's row says of refused logins.
    """
    said = "\n".join([*replies, reason])
    for pattern, cause, remedy in _ROWS:
        if re.search(pattern, said, re.MULTILINE):
            told = remedy.format(host=host, port=port, advice=advice or _ADVICE)
            return Explanation(cause, told.strip())
    return Explanation(Cause.UNKNOWN, reason or "nobody said why")


_ADVICE = (
    "Many providers want a password made for programs (app password) in place of the account's"
)
