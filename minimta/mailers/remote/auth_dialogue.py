"""Logging in at a peer: which mechanism, what its answers mean, and when nothing may be said at all.

    what happens                                    then
    no TLS, and the peer is not on this host        nothing is said; the mail waits
    a host that only DNS named, not verified        the same: the login belongs to the configured name
    no AUTH, no mechanism that both have            the mail waits
    a mechanism fails (500 to 504, 538, nonsense)   the next one
    wrong user or password (535, 534, other 5yz)    nothing more is tried, nor by other deliveries
    later (4yz)                                     the mail waits
    235, but the peer has proven nothing (SCRAM)    the connection ends: it is somebody else

A login that cannot be used is never left out: the message would come from nobody (RFC 4954). Runs in
the worker, and has nothing to do with files.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping

from minimta.mailers.remote import reply_outcomes
from minimta.mailers.remote.connection import OutgoingConnection
from minimta.mailers.remote.credentials import HopLogin
from minimta.mailers.remote.lines import LoginLine
from minimta.mailers.remote.mx_targets import NextHop, Target
from minimta.mailers.remote.tls_policy import Level, Policy
from minimta.mailers.remote.transport import is_here
from minimta.message.outcome import Outcome
from minimta.smtp import sasl
from minimta.smtp.reply import Reply, verbatim
from minimta.smtp.sasl import Login, Surroundings
from minimta.smtp.scram import SaslError, Unproven, WrongPassword

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.smtp.sasl import SaslClient

#: the mechanism, not the password, is what does not please
_TECHNICAL = (500, 501, 502, 503, 504, 538)
#: octets of a command line, its CRLF included (RFC 5321 section 4.5.3.1.4)
_MAX_COMMAND = 512
#: challenges of one mechanism
_MAX_CHALLENGES = 10


class LoginFailed(Exception):
    """No login; ``outcome`` is what becomes of the mail. Of *is_refused* the password was the reason."""

    def __init__(self, status: str, text: str, target: Target, *, is_refused: bool = False) -> None:
        """*status* and *text* are those of the outcome, *target* is whom we talked to."""
        super().__init__(text)
        self.outcome = reply_outcomes.delayed(status, text, target.name, target.relay)
        self.is_refused = is_refused


class Logins:
    """The logins of a worker, by next hop."""

    def __init__(self, logins: Mapping[str, HopLogin], tell: Callable[[LoginLine], None]) -> None:
        """*tell* gets what became of a login: accepted, or refused for its password."""
        self._logins = logins
        self._tell = tell
        #: next hops where the password was refused
        self._refused: dict[str, Outcome] = {}

    def why_not(self, hop: NextHop | None) -> Outcome | None:
        """Why *hop* is not even connected to, None if it may be."""
        got = self._logins.get(hop.key) if hop else None
        if hop is None or got is None:
            return None
        if got.fault:
            return reply_outcomes.delayed("4.7.0", got.fault, hop.key, hop.key)
        return self._refused.get(hop.key)

    def before_login(self, hop: NextHop | None, outcome: Outcome) -> Outcome:
        """What an *outcome* means that *hop* gave without waiting for our login: that mail waits."""
        # DIFFERS: Sendmail returns it. A provider's "554 your address is blocked" to the greeting is
        # about this host, and no verdict on anybody's mail.
        has_login = hop is not None and hop.key in self._logins
        return reply_outcomes.for_now(outcome) if has_login else outcome

    def log_in(
        self, connection: OutgoingConnection, hop: NextHop | None, policy: Policy
    ) -> Outcome | None:
        """Log in, if there is a login for *hop*: None, or why no mail may be sent.

        Raise as ``OutgoingConnection.converse`` does.
        """
        got = self._logins.get(hop.key) if hop else None
        if hop is None or got is None or got.login is None:
            return None
        try:
            _check_privacy(connection, hop, policy, got)
            mechanism = _log_in(connection, hop, got, got.login)
        except LoginFailed as failed:
            if failed.is_refused:
                self._refused[hop.key] = failed.outcome
                self._tell(_line(connection, hop, failed.outcome.text, accepted=False))
            return failed.outcome
        connection.client.is_logged_in = True
        self._tell(_line(connection, hop, mechanism, accepted=True))
        return None


def _line(connection: OutgoingConnection, hop: NextHop, text: str, *, accepted: bool) -> LoginLine:
    bits = connection.tls.bits if connection.tls else 0
    return LoginLine(hop.key, connection.target.name, accepted, text, bits)


def _check_privacy(
    connection: OutgoingConnection, hop: NextHop, policy: Policy, got: HopLogin
) -> None:
    """Raise LoginFailed if somebody else could hear the password."""
    target = connection.target
    if is_here(hop, target.address):
        return
    if connection.tls is None:
        text = f"no TLS with {target.name}, and without it there is no login ({got.origin})"
        raise LoginFailed("4.7.4", text, target)
    is_named = target.name.strip("[].").lower() == hop.name.strip(".").lower()
    if not is_named and policy.level not in (Level.VERIFY, Level.FINGERPRINT):
        text = f"the login for {hop.name} ({got.origin}) is not for {target.name}, which only an MX"
        raise LoginFailed("4.7.5", f"{text} record names: verify its certificate", target)


def _log_in(connection: OutgoingConnection, hop: NextHop, got: HopLogin, login: Login) -> str:
    """Returns the mechanism. Raise LoginFailed, and as converse() does."""
    client, target = connection.client, connection.target
    offered = client.extensions.get("AUTH")
    if offered is None:
        text = f"{target.name} offers no AUTH, and the login of {got.origin} must be used"
        raise LoginFailed("4.7.0", text, target)
    surroundings = Surroundings(secrets.token_urlsafe(24), None, hop.name, target.port)
    tried: list[str] = []
    reasons: list[str] = []
    while left := sasl.usable(offered, login, binding=False, tried=tried):
        tried.append(left[0])
        try:
            reply = _Dialogue(connection, left[0], login, surroundings).run()
        except Unproven as error:
            client.closing = True
            text = f"{error}: it is not {target.name}, or the password of {got.origin} is wrong"
            raise LoginFailed("4.7.8", text, target, is_refused=True) from error
        except WrongPassword as error:
            text = f"password of {login.user} refused, correct {got.origin}: {error}"
            raise LoginFailed("4.7.8", text, target, is_refused=True) from error
        except SaslError as error:
            reasons.append(f"{left[0]}: {error}")
            continue
        if reply.code < 300:
            return left[0]
        if reply.code not in _TECHNICAL:
            raise _refusal(reply, login, got, target)
        reasons.append(f"{left[0]}: {verbatim(reply)[-1]}")
    if reasons:
        text = f"no mechanism of {target.name} works: {'; '.join(reasons)}"
    else:
        known = " ".join(login.mechanisms or sasl.PASSWORD_MECHANISMS)
        wanted = " ".join(sasl.usable(known, login, binding=False)) or "none"
        text = f"no mechanism for the login of {got.origin}: {target.name} offers {offered or 'none'}; we can {wanted}"
    raise LoginFailed("4.7.0", text, target)


def _refusal(reply: Reply, login: Login, got: HopLogin, target: Target) -> LoginFailed:
    line = verbatim(reply)[-1]
    if reply.code < 500:
        text = f"login as {login.user} put off by {target.name}: {line}"
        return LoginFailed(reply.enhanced or "4.7.0", text, target)
    what = (
        "token" if login.mechanisms and login.mechanisms[0] in sasl.TOKEN_MECHANISMS else "password"
    )
    text = f"{what} of {login.user} refused, correct {got.origin}: {line}"
    return LoginFailed("4.7.8", text, target, is_refused=True)


class _Dialogue:
    """One AUTH command, its challenges and their answers."""

    def __init__(
        self,
        connection: OutgoingConnection,
        mechanism: str,
        login: Login,
        surroundings: Surroundings,
    ) -> None:
        """Over *connection*, where *mechanism* was offered. Raise SaslError if *login* is none for it."""
        self._connection = connection
        self._mechanism = mechanism
        self._sasl: SaslClient = sasl.client(mechanism, login, surroundings)
        self._secret = login.secret.decode("utf-8", "replace")
        #: as LOGIN has it, and who repeats what PLAIN has said may cut out
        self._encoded = b64encode(login.secret).decode("ascii")
        self._reason = ""

    def run(self) -> Reply:
        """The answer that ends it. Raise SaslError, Unproven, and as converse() does."""
        initial = self._sasl.initial()
        command = b"AUTH " + self._mechanism.encode("ascii")
        whole = command
        if initial is not None:
            # RFC 4954 section 4: an empty one is "=".
            whole = command + b" " + (sasl.encoded(initial) or b"=")
        kept = initial if len(whole) > _MAX_COMMAND - 2 else None
        reply = self._say(command if kept is not None else whole)
        for _ in range(_MAX_CHALLENGES):
            if reply.code != 334:
                break
            reply = self._answer(reply, kept)
            kept = None
        if reply.code < 300:
            self._sasl.finish()
        elif reply.code < 400:
            self._cancel()
        return self._explained(reply)

    def _answer(self, reply: Reply, kept: bytes | None) -> Reply:
        """Answer the challenge; *kept* is the first message, if it was too long for the command."""
        if kept is not None:
            return self._say(sasl.encoded(kept))
        try:
            challenge = self._challenge(reply.lines[-1].strip().encode("ascii"))
            answer = self._sasl.step(challenge)
        except SaslError:
            self._cancel()
            raise
        self._reason = sasl.token_trouble(challenge)
        return self._say(sasl.encoded(answer))

    def _challenge(self, line: bytes) -> bytes:
        try:
            return sasl.decoded(line)
        except SaslError:
            # Some servers ask for the user name in plain text.
            if self._mechanism == "LOGIN":
                return b""
            raise

    def _cancel(self) -> None:
        """RFC 4954 section 4: a lone "*"; the peer answers 501."""
        self._say(b"*")

    def _say(self, line: bytes) -> Reply:
        client = self._connection.client
        said = line.decode("ascii")
        initial = said[5:].partition(" ")[2] if said[:5] == "AUTH " else said
        client.authenticate(line, self._secret, initial, self._encoded)
        self._connection.converse()
        assert client.auth_reply is not None
        return client.auth_reply

    def _explained(self, reply: Reply) -> Reply:
        """With the reason that a challenge gave for the refusal of a token."""
        if reply.code < 400 or not self._reason:
            return reply
        return Reply(
            reply.code, reply.enhanced, (*reply.lines, f"{reply.lines[-1]} ({self._reason})")
        )
