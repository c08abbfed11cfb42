"""A provider on 127.0.0.1 that wants a login, as those that people have do it.

    with FakeProvider(PROVIDERS["gmail"], {"emma": "secret"}, tls=context) as server:
        ...
    server.logins       what was tried: ("emma", "PLAIN", accepted, over TLS)

The lists of EHLO and the refusals are those that the providers document. Passwords of *users*; for
XOAUTH2 and OAUTHBEARER they are tokens. A line of AUTH is kept in ``commands`` without its argument.
"""

from __future__ import annotations

import base64
import hmac
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BufferedIOBase

from minimta.smtp import sasl_server, scram
from minimta.smtp.sasl_server import Accepted, Challenge, CheckPassword
from minimta.smtp.scram import SaslError, ScramServer
from tests.support.fakesmtp import FakeSmtp

ACCEPTED = "235 2.7.0 Authentication successful"


@dataclass(frozen=True)
class Provider:
    """What one says."""

    keywords: Sequence[str]
    mechanisms: str
    #: to a wrong password, and to MAIL without a login
    refusal: str
    no_login: str
    #: the challenge that refuses a token
    token_refusal: str = '{"status":"401"}'


PROVIDERS = {
    "gmail": Provider(
        ["SIZE 35882577", "8BITMIME", "ENHANCEDSTATUSCODES", "PIPELINING", "CHUNKING", "SMTPUTF8"],
        "LOGIN PLAIN XOAUTH2 PLAIN-CLIENTTOKEN OAUTHBEARER XOAUTH",
        "535-5.7.8 Username and Password not accepted. For more information, go to\r\n"
        "535 5.7.8  https://support.google.com/mail/?p=BadCredentials a1 - gsmtp",
        "530-5.7.0 Authentication Required. For more information, go to\r\n"
        "530 5.7.0  https://support.google.com/mail/?p=WantAuthError a1 - gsmtp",
        '{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}',
    ),
    "office365": Provider(
        ["SIZE 157286400", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", "8BITMIME", "BINARYMIME",
         "CHUNKING", "SMTPUTF8"],
        "LOGIN XOAUTH2",
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the"
        " Tenant. Visit https://aka.ms/smtp_auth_disabled for more information.",
        "530 5.7.57 Client not authenticated to send mail.",
    ),
    "ses": Provider(
        ["8BITMIME", "Ok"],
        "PLAIN LOGIN",
        "535 Authentication Credentials Invalid",
        "530 Authentication required",
    ),
    "fastmail": Provider(
        ["PIPELINING", "SIZE 71000000", "ENHANCEDSTATUSCODES", "8BITMIME"],
        "PLAIN LOGIN XOAUTH2 OAUTHBEARER",
        "535 5.7.0 Incorrect username or password (e.g. use an app password)",
        "530 5.7.1 Authentication required",
    ),
    "sendgrid": Provider(
        ["8BITMIME", "PIPELINING", "SIZE 31457280"],
        "PLAIN LOGIN",
        "535 Authentication failed: The provided authorization grant is invalid, expired, or revoked",
        "550 Unauthenticated senders not allowed",
    ),
    "scram": Provider(
        ["PIPELINING", "8BITMIME"],
        "SCRAM-SHA-256 CRAM-MD5 PLAIN",
        "535 5.7.8 Error: authentication failed",
        "530 5.7.1 Authentication required",
    ),
}  # fmt: skip


class FakeProvider(FakeSmtp):
    """Runs while the with block does."""

    def __init__(
        self,
        provider: Provider,
        users: Mapping[str, str],
        *,
        tls: ssl.SSLContext | None = None,
        implicit: bool = False,
        mechanisms: str | None = None,
        auth_answers: Sequence[str] = (),
        address: str = "127.0.0.1",
    ) -> None:
        """*mechanisms* instead of the provider's. The *auth_answers* are given to the first AUTH
        commands, whatever they say.
        """
        offered = provider.mechanisms if mechanisms is None else mechanisms
        secure = [*provider.keywords, *([f"AUTH {offered}"] if offered else [])]
        super().__init__(
            keywords=provider.keywords if tls else secure,
            secure_keywords=secure,
            tls=tls,
            implicit=implicit,
            address=address,
        )
        self._provider = provider
        self._users = dict(users)
        self._auth_answers = list(auth_answers)
        self._logins: list[tuple[str, str, bool, bool]] = []
        self._logged_in: set[int] = set()
        self._says_why = False

    def __enter__(self) -> FakeProvider:
        super().__enter__()
        return self

    @property
    def logins(self) -> list[tuple[str, str, bool, bool]]:
        """(user, mechanism, accepted, over TLS) of each that came to its end."""
        found: list[tuple[str, str, bool, bool]] = self.ask("logins_here")
        return found

    def say_why(self) -> None:
        """In the server's process: SCRAM tells in a challenge that a password is wrong."""
        self._says_why = True

    def logins_here(self) -> list[tuple[str, str, bool, bool]]:
        """In the server's process."""
        return self._logins

    def _react(
        self, connection: socket.socket, lines: BufferedIOBase, verb: str, told: list[str]
    ) -> bytes:
        if verb == "MAIL" and id(told) not in self._logged_in:
            return _send(connection, self._provider.no_login)
        if verb != "AUTH":
            return super()._react(connection, lines, verb, told)
        command, argument = told[-1].split(" ", 2)[:2], told[-1].split(" ", 2)[2:]
        told[-1] = " ".join([*command, *("..." for _ in argument)])
        if self._auth_answers:
            return _send(connection, self._auth_answers.pop(0))
        mechanism, initial = command[1], argument[0].encode() if argument else None
        try:
            user, is_right = _login(
                self._users, self._provider, connection, lines, mechanism, initial
            )
            if self._says_why and not is_right:
                connection.sendall(b"334 " + base64.b64encode(b"e=invalid-proof") + b"\r\n")
                lines.readline()
        except SaslError as error:
            return _send(connection, f"501 5.5.2 {error}")
        self._logins.append((user, mechanism, is_right, isinstance(connection, ssl.SSLSocket)))
        if is_right:
            self._logged_in.add(id(told))
        return _send(connection, ACCEPTED if is_right else self._provider.refusal)


def _send(connection: socket.socket, reply: str) -> bytes:
    connection.sendall(reply.encode() + b"\r\n")
    return reply[:1].encode()


def _login(
    users: Mapping[str, str],
    provider: Provider,
    connection: socket.socket,
    lines: BufferedIOBase,
    mechanism: str,
    initial: bytes | None,
) -> tuple[str, bool]:
    """Who it was, and whether it may. Raise SaslError."""

    def ask(challenge: bytes) -> bytes:
        connection.sendall(b"334 " + base64.b64encode(challenge) + b"\r\n")
        line = lines.readline().removesuffix(b"\r\n")
        if line == b"*":
            raise SaslError("cancelled")
        return base64.b64decode(line, validate=True)

    first = None if initial is None else base64.b64decode(initial, validate=True)
    if mechanism in ("XOAUTH2", "OAUTHBEARER"):
        said = ask(b"") if first is None else first
        user, token = _token_of(mechanism, said)
        is_right = users.get(user) == token
        if not is_right:
            ask(provider.token_refusal.encode())
        return user, is_right
    if mechanism == "CRAM-MD5":
        challenge = b"<1.2@provider>"
        name, _, digest = ask(challenge).decode().rpartition(" ")
        wanted = hmac.new(users.get(name, "").encode(), challenge, "md5").hexdigest()
        return name, digest == wanted
    keys = None
    if mechanism.startswith("SCRAM"):
        made = {name: scram.keys_of(word, b"salt", 4096) for name, word in users.items()}
        keys = ScramServer(mechanism, made.get, b"secret", "servers")
    theirs = sasl_server.server(mechanism, keys)
    step = theirs.step(first)
    while isinstance(step, Challenge):
        step = theirs.step(ask(step.octets))
    if isinstance(step, CheckPassword):
        return step.user, users.get(step.user) == step.password
    return step.user, isinstance(step, Accepted)


def _token_of(mechanism: str, said: bytes) -> tuple[str, str]:
    fields = said.decode().split("\x01")
    token = next(part for part in fields if part.startswith("auth=")).removeprefix("auth=Bearer ")
    if mechanism == "XOAUTH2":
        return fields[0].removeprefix("user="), token
    return fields[0].split(",")[1].removeprefix("a="), token
