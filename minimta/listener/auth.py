"""ClientLogins of SMTP clients: which mechanisms they are offered, what a login gives, what a failure costs.

    inside TLS                               all of AuthMechanisms that the back end can do
    in clear, this host, ClearAuth=loopback  the same
    in clear otherwise                       none
    by a port for old TLS (TLS=1.0)          none, unless it has a private address

A login gives Rights (``rights.after_login``). A failure is logged in Sendmail's words, which fail2ban
looks for, and makes the client wait, longer with each one of its address; MOST_FAILURES of them end a
session, MaxLoginFailures shut the address out for a while. Whether the user or the password was
wrong only the log tells. A back end that cannot be asked is 454, and nobody's failure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from minimta.listener import rights
from minimta.listener.auth_backend import LoginPlace, PasswordVerdict
from minimta.listener.dovecot_auth import DovecotAuth
from minimta.listener.login_failures import LoginFailures
from minimta.listener.peer import Peer
from minimta.listener.saslauthd import Saslauthd
from minimta.listener.smtp_users import SmtpUsers
from minimta.smtp import sasl_server
from minimta.smtp.reply import Reply, reply
from minimta.smtp.sasl_server import Accepted, CheckPassword, Refused
from minimta.system import log, service_credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options
    from minimta.listener.auth_backend import AuthBackend
    from minimta.smtp.sasl_server import SaslServer

#: failed logins in one session, the last of which ends it
MOST_FAILURES = 5

_LOGGED_IN = reply(235, "2.0.0", "OK Authenticated")
_FAILED = reply(535, "5.7.0", "authentication failed")
_NOT_NOW = reply(454, "4.7.0", "Temporary authentication failure")
_SHUT_OUT = reply(454, "4.7.0", "Too many failed logins from your address; try again later")
#: the verdicts in Cyrus SASL's words, as Sendmail logs them
_WORDS = {
    PasswordVerdict.WRONG: (
        "authentication failure (-13) SASL(-13): authentication failure: "
        "Password verification failed"
    ),
    PasswordVerdict.NO_USER: (
        "user not found (-20) SASL(-13): user not found: Password verification failed"
    ),
}
_KINDS: dict[str, Callable[[str, str], AuthBackend]] = {
    "dovecot": DovecotAuth,
    "saslauthd": Saslauthd,
}


class ClientLogins:
    """What all sessions of a listener share."""

    def __init__(self, options: Options) -> None:
        """As the options say; opens nothing yet."""
        self.options = options
        self.backend = _backend(options)
        self.failures = LoginFailures(options.max_login_failures)

    def mechanisms(self) -> list[str]:
        """What could be offered inside TLS, in the order of AuthMechanisms."""
        backend, options = self.backend, self.options
        if backend is None or not backend.is_there():
            return []
        wants_proof = "m" in options.auth_options
        chosen = options.auth_mechanisms
        has_scram = "SCRAM-SHA-256" in chosen and backend.has_scram()
        found = sasl_server.offer(
            sends_password=not wants_proof, keys=has_scram, binding=False, chosen=chosen
        )
        return sorted(found, key=chosen.index)


def _backend(options: Options) -> AuthBackend | None:
    if not options.auth_backend:
        return None
    kind, colon, path = options.auth_backend.partition(":")
    if colon and kind in _KINDS:
        return _KINDS[kind](path, options.auth_realm)
    return SmtpUsers(service_credentials.place(options.auth_backend), options.auth_realm)


class LoginSession:
    """The Authenticator of one session."""

    def __init__(
        self,
        logins: ClientLogins,
        client: Peer,
        note: Callable[[str], None],
    ) -> None:
        """*client* gets its Rights here; *note* logs, under the id of the session."""
        self._logins = logins
        self._client = client
        self._note = note
        #: may it relay without a login? Then it is this host, or one that we know
        self._is_trusted = client.rights.may_relay
        self._failures = 0
        self._pause = 0.0

    # --- what is offered --------------------------------------------------------------------------

    def offered(self) -> Sequence[str]:
        """See Authenticator."""
        return self.possible() if self._client.secured or self._is_trusted_here() else ()

    def possible(self) -> Sequence[str]:
        """See Authenticator."""
        port = self._client.port
        if port is None or "A" in port.modifiers:
            return ()
        # Whoever is between us and the client may read what TLS 1.0 hides (RFC 8996).
        if port.has_weak_tls and not rights.is_inside(self._client.ip):
            return ()
        return self._logins.mechanisms()

    def _is_trusted_here(self) -> bool:
        """In clear only this host itself (ClearAuth), and only while it is trusted to be itself."""
        is_wanted = self._logins.options.clear_auth == "loopback"
        return is_wanted and rights.may_relay(self._client.ip) and self._is_trusted

    # --- one login --------------------------------------------------------------------------------

    def begin(self, mechanism: str) -> SaslServer | Reply:
        """See Authenticator."""
        if self._is_counted() and self._logins.failures.is_shut_out(self._client.ip):
            self.note(f"AUTH {mechanism}: too many failed logins, shut out")
            return _SHUT_OUT
        if mechanism in ("PLAIN", "LOGIN"):
            return sasl_server.server(mechanism)
        assert self._logins.backend is not None
        try:
            return self._logins.backend.scram(self._place())
        except OSError as error:
            return self.unavailable(mechanism, error)

    def unavailable(self, mechanism: str, error: OSError) -> Reply:
        """See Authenticator."""
        where = f"{error.filename}: " if error.filename else ""
        reason = log.clean(f"{where}{error.strerror or error}")
        log.line("", f"SYSERR(root): AUTH {mechanism}: {reason}", level=1, error=True)
        return _NOT_NOW

    def finish(self, mechanism: str, step: CheckPassword | Accepted | Refused) -> Reply:
        """See Authenticator."""
        if isinstance(step, Refused):
            return self._failed(mechanism, step.user, PasswordVerdict.WRONG)
        verdict = PasswordVerdict.RIGHT
        if isinstance(step, CheckPassword):
            assert self._logins.backend is not None
            try:
                verdict = self._logins.backend.check(step.user, step.password, self._place())
            except OSError as error:
                return self.unavailable(mechanism, error)
        if verdict is not PasswordVerdict.RIGHT:
            return self._failed(mechanism, step.user, verdict)
        # Nobody acts as anybody else: there is no table that could allow it.
        if step.identity not in ("", step.user):
            return self._failed(mechanism, step.user, PasswordVerdict.WRONG)
        return self._logged_in(mechanism, step.user)

    def take_pause(self) -> float:
        """See Authenticator."""
        pause, self._pause = self._pause, 0.0
        return pause

    def note(self, text: str) -> None:
        """See Authenticator."""
        self._note(f"{text}, relay={self._client.shown}")

    def _place(self) -> LoginPlace:
        client = self._client
        return LoginPlace(client.ip, client.if_address, client.secured is not None)

    def _logged_in(self, mechanism: str, user: str) -> Reply:
        client = self._client
        client.rights = rights.after_login(client.rights, user)
        client.mechanism = mechanism
        who = f"relay={client.shown}, authid={_word(user)}, mech={mechanism}, bits=0"
        log.line("", f"AUTH=server, {who}")
        return _LOGGED_IN

    def _failed(self, mechanism: str, user: str, verdict: PasswordVerdict) -> Reply:
        client = self._client
        text = f"AUTH failure ({mechanism}): {_WORDS[verdict]}, user={_word(user)}"
        self._note(f"{text}, relay={client.shown}")
        self._failures += 1
        self._pause += self._logins.failures.failed(client.ip) if self._is_counted() else 1.0
        if self._failures < MOST_FAILURES:
            return _FAILED
        self._note(f"{client.shown}: possible SMTP attack: command=AUTH, count={self._failures}")
        return reply(421, "4.7.0", "Too many failed logins; closing connection")

    def _is_counted(self) -> bool:
        """Behind a trusted address are many users, of webmail for example: one shuts out no other."""
        return not self._is_trusted


def _word(user: str) -> str:
    """For the log: a name with ", relay=[192.0.2.1]" in it must not get others banned."""
    return log.clean(user, 200).replace(" ", "?").replace(",", "?")
