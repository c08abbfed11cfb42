"""The mechanisms of AUTH, as a server takes them, without a socket (RFC 4954, RFC 4422).

A login begins with ``server``; its ``step`` takes each response (None if there was none with the AUTH
command) and gives

    Challenge       say 334 with these octets, then step() with the answer
    CheckPassword   somebody must know whether it is right; the dialogue is over
    Accepted        it has proven who it is
    Refused         wrong user or password; both take the same work

What is no dialogue of the mechanism is a SaslError: 501. What a look at the users raises goes on to
the caller: it is no verdict. The table of the mechanisms stands in ``sasl``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from minimta.smtp import scram
from minimta.smtp.saslprep import saslprep
from minimta.smtp.scram import SaslError, ScramServer, ScramState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class SaslServer(Protocol):
        """The server's side of one login."""

        def step(self, response: bytes | None) -> Step:
            """Take a response, None if there was none with the AUTH command. Raise SaslError."""


#: octets of a user name, identity or password that a server takes; RFC 4616 section 2: 255 at least
MAX_NAME = 1024
#: what a server can do, the strongest first
SERVER_MECHANISMS = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN")


@dataclass(frozen=True, slots=True)
class Challenge:
    """Say 334 with these octets, and step() again."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class CheckPassword:
    """What the client sent. Names are prepared; *identity* is as whom it wants to act, "" as itself."""

    user: str
    password: str = field(repr=False)
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """It has proven that it is *user*; *identity* is as whom it wants to act, "" as itself."""

    user: str
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """User or password is wrong. *user* is what it called itself, for the log."""

    user: str


Step = Challenge | CheckPassword | Accepted | Refused


def server(mechanism: str, keys: ScramServer | None = None) -> SaslServer:
    """Begin a login that a client asked for by *mechanism*, one of SERVER_MECHANISMS.

    SCRAM needs *keys*, made for this connection.
    """
    if mechanism == "PLAIN":
        return _PlainServer()
    if mechanism == "LOGIN":
        return _LoginServer()
    assert keys is not None and keys.mechanism == mechanism
    return _ScramServerSteps(keys)


class _PlainServer:
    def step(self, response: bytes | None) -> Step:
        """See SaslServer. Raise SaslError."""
        if response is None:
            return Challenge(b"")
        parts = response.split(b"\0")
        # RFC 4616 section 2: identity NUL user NUL password
        if len(parts) != 3 or not parts[1] or not parts[2]:
            raise SaslError("no message of PLAIN")
        return CheckPassword(_prepared(parts[1]), _prepared(parts[2]), _prepared(parts[0]))


class _LoginServer:
    def __init__(self) -> None:
        self._user: str | None = None
        self._asked = False

    def step(self, response: bytes | None) -> Step:
        """See SaslServer. Raise SaslError."""
        if response is None:
            return Challenge(b"Username:")
        if self._user is None:
            self._user = _prepared(response)
            if not self._user:
                raise SaslError("no user name")
            return Challenge(b"Password:")
        if not response:
            raise SaslError("no password")
        return CheckPassword(self._user, _prepared(response))


class _ScramServerSteps:
    def __init__(self, keys: ScramServer) -> None:
        self._keys = keys
        self._state: ScramState | None = None
        self._accepted: Accepted | None = None

    def step(self, response: bytes | None) -> Step:
        """See SaslServer. Raise SaslError."""
        if response is None:
            return Challenge(b"")
        if self._accepted is not None:
            if response:
                raise SaslError("more than the mechanism has to say")
            return self._accepted
        if self._state is None:
            challenge, self._state = self._keys.first(response)
            return Challenge(challenge)
        final = scram.last(self._state, response)
        if final is None:
            return Refused(self._state.user)
        self._accepted = Accepted(self._state.user, self._state.identity)
        return Challenge(final)


def _prepared(octets: bytes) -> str:
    if len(octets) > MAX_NAME:
        raise SaslError("user name or password too long")
    try:
        return saslprep(octets.decode("utf-8"))
    except ValueError:  # UnicodeDecodeError is one
        raise SaslError("a character that user name or password cannot have") from None


def offer(*, sends_password: bool, keys: bool, binding: bool, chosen: Sequence[str]) -> list[str]:
    """The mechanisms that a server offers, the strongest first.

    *sends_password*: those that send it may be used (TLS); *keys*: there are keys of SCRAM;
    *binding*: the connection has data that identify it; *chosen* are those of the configuration.
    """
    wanted = {name.upper() for name in chosen}
    possible = {
        "SCRAM-SHA-256-PLUS": keys and binding,
        "SCRAM-SHA-256": keys,
        "PLAIN": sends_password,
        "LOGIN": sends_password,
    }
    return [name for name in SERVER_MECHANISMS if possible[name] and name in wanted]
