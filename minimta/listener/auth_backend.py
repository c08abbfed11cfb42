"""Who knows the users of AUTH: a file of ours, Dovecot, or saslauthd (option AuthBackend)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from minimta.smtp.sasl_server import SaslServer

    class AuthBackend(Protocol):
        """One for all sessions of a listener, used by all its threads."""

        def is_there(self) -> bool:
            """May anybody log in? Not knowing is yes: then a login is answered with 454."""
            ...

        def has_scram(self) -> bool:
            """Can it do SCRAM-SHA-256, too? Not knowing is no."""
            ...

        def check(self, user: str, password: str, place: LoginPlace) -> PasswordVerdict:
            """Is that the password? Raise OSError if it cannot be known now."""
            ...

        def scram(self, place: LoginPlace) -> SaslServer:
            """A login by SCRAM-SHA-256. Raise OSError."""
            ...


class PasswordVerdict(enum.Enum):
    """What became of a password."""

    RIGHT = enum.auto()
    WRONG = enum.auto()
    #: there is no such user, if the back end tells that apart; only the log hears of it
    NO_USER = enum.auto()


@dataclass(frozen=True, slots=True)
class LoginPlace:
    """From where somebody logs in, for back ends that have rules about it."""

    #: "10.0.3.134"
    ip: str
    #: our address that was connected to, "" if it does not matter
    our_ip: str
    is_secure: bool
