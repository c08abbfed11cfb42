"""The mechanisms of AUTH, as a client says them, without a socket (RFC 4954, RFC 4422).

    mechanism                       client  server  what it does
    SCRAM-SHA-256-PLUS              yes     yes     as below, and nobody sits in between (``scram``)
    SCRAM-SHA-256                   yes     yes     both prove that they know the password
    SCRAM-SHA-1, -PLUS              yes     no      the same with the older hash
    PLAIN (RFC 4616), LOGIN         yes     yes     the password is sent: only inside TLS
    CRAM-MD5 (RFC 2195)             yes     no      a hash of the password, to be guessed offline
    OAUTHBEARER (RFC 7628), XOAUTH2 yes     no      a token is sent: only inside TLS

A login begins with ``client``: ``initial`` is what goes with the AUTH command (None: the server
speaks first), ``step`` answers each challenge, ``finish`` is asked when the server says 235. What is
no dialogue of the mechanism is a SaslError: the next one may do. The server's side is ``sasl_server``.
"""

from __future__ import annotations

import binascii
import hmac
import json
from base64 import b64encode
from collections.abc import Collection
from dataclasses import dataclass, field

from minimta.message.printable import shown
from minimta.smtp.scram import ChannelBinding, SaslError, ScramClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class SaslClient(Protocol):
        """The client's side of one login."""

        def initial(self) -> bytes | None:
            """The first message, None if the server speaks first."""

        def step(self, challenge: bytes) -> bytes:
            """The answer to a challenge. Raise SaslError."""

        def finish(self) -> None:
            """The server has accepted us. Raise SaslError if it should have proven something first."""


#: octets of a line of base64 (RFC 4954 section 4)
MAX_LINE = 12288
#: what needs a token, not a password
TOKEN_MECHANISMS = ("OAUTHBEARER", "XOAUTH2")
#: what needs a password, the strongest first. All of it is said inside TLS, where PLAIN shows the
#: password only to the server that has it anyway; CRAM-MD5 needs a server that keeps passwords as
#: they are, and whoever hears it can try all words of a dictionary
PASSWORD_MECHANISMS = (
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-1",
    "PLAIN",
    "LOGIN",
    "CRAM-MD5",
)


def encoded(octets: bytes) -> bytes:
    """As it stands behind 334, or in a line of its own: base64."""
    return b64encode(octets)


def decoded(line: bytes) -> bytes:
    """The octets of a line of base64. Raise SaslError: nothing but base64, padded, one form only."""
    if len(line) > MAX_LINE:
        raise SaslError("line too long")
    try:
        octets = binascii.a2b_base64(line, strict_mode=True)
    except ValueError:
        raise SaslError("bad base64") from None
    if b64encode(octets) != line:
        raise SaslError("bad base64")
    return octets


# --- the client -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are at another host, and how that is proven."""

    #: the name that the secret belongs to (authentication identity)
    user: str
    #: password or token, the octets that the administrator wrote
    secret: bytes = field(repr=False)
    #: as whom to act there, "" for *user* (authorization identity)
    identity: str = ""
    #: mechanisms that may be used, () for all that need a password
    mechanisms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a mechanism may need to know beside the login."""

    #: printable, without a comma, never used before (SCRAM)
    nonce: str
    #: of the connection, if there is one (-PLUS)
    binding: ChannelBinding | None = None
    #: name and port of the host (OAUTHBEARER)
    host: str = ""
    port: int = 0


def usable(offered: str, login: Login, *, binding: bool, tried: Collection[str] = ()) -> list[str]:
    """The mechanisms that the server *offered* (the parameters of AUTH in EHLO) and *login* allows.

    The strongest first, those *tried* left out; -PLUS needs a channel *binding*.
    """
    words = offered.upper().split()
    known = (*TOKEN_MECHANISMS, *PASSWORD_MECHANISMS)
    allowed = login.mechanisms or PASSWORD_MECHANISMS
    return [
        name
        for name in known
        if name in words and name in allowed and name not in tried
        if binding or not name.endswith("-PLUS")
    ]


def client(mechanism: str, login: Login, surroundings: Surroundings) -> SaslClient:
    """Begin a login with *mechanism*, one of usable(). Raise SaslError if it cannot say these words."""
    if mechanism == "PLAIN":
        return _Once(_plain(login))
    if mechanism == "XOAUTH2":
        return _Once(_xoauth2(login), farewell=b"")
    if mechanism == "OAUTHBEARER":
        return _Once(_oauthbearer(login, surroundings), farewell=b"\x01")
    if mechanism == "LOGIN":
        return _Answers([login.user.encode(), login.secret])
    if mechanism == "CRAM-MD5":
        return _CramMd5(login)
    try:
        password = login.secret.decode("utf-8")
    except UnicodeDecodeError:
        raise SaslError("the password is not UTF-8") from None
    return ScramClient(
        mechanism,
        login.user,
        password,
        surroundings.nonce,
        identity=login.identity,
        binding=surroundings.binding,
    )


def _plain(login: Login) -> bytes:
    parts = (login.identity.encode(), login.user.encode(), login.secret)
    if any(b"\0" in part for part in parts):
        raise SaslError("NUL in user name or password")
    return b"\0".join(parts)


def _xoauth2(login: Login) -> bytes:
    user, token = login.user.encode(), _token(login)
    return b"user=%b\x01auth=Bearer %b\x01\x01" % (user, token)


def _oauthbearer(login: Login, surroundings: Surroundings) -> bytes:
    # RFC 7628 section 3.1, with the header of RFC 5801 section 4
    name = (login.identity or login.user).replace("=", "=3D").replace(",", "=2C").encode()
    place = b"host=%b\x01port=%d" % (surroundings.host.encode(), surroundings.port)
    return b"n,a=%b,\x01%b\x01auth=Bearer %b\x01\x01" % (name, place, _token(login))


def _token(login: Login) -> bytes:
    # RFC 6750 section 2.1: a token68; an octet 1 would begin another field.
    if not login.secret or not all(0x20 < octet < 0x7F for octet in login.secret):
        raise SaslError("that is no token")
    return login.secret


class _Once:
    """One message says all; a challenge after it tells why it was not enough."""

    def __init__(self, message: bytes, *, farewell: bytes | None = None) -> None:
        """*farewell* answers a challenge, after which the server refuses; None: there is none."""
        self._message = message
        self._farewell = farewell
        self._said = False

    def initial(self) -> bytes:
        self._said = True
        return self._message

    def step(self, challenge: bytes) -> bytes:
        """See SaslClient. Raise SaslError."""
        if self._farewell is None:
            raise SaslError("the server asks for more")
        answer, self._farewell = self._farewell, None
        return answer

    def finish(self) -> None:
        if not self._said:
            raise SaslError("the server did not ask for a secret")


class _Answers:
    """LOGIN, whatever the prompts say: some servers translate them."""

    def __init__(self, answers: list[bytes]) -> None:
        self._answers = answers

    def initial(self) -> None:
        return None

    def step(self, challenge: bytes) -> bytes:
        """See SaslClient. Raise SaslError."""
        if not self._answers:
            raise SaslError("the server asks for more")
        return self._answers.pop(0)

    def finish(self) -> None:
        if self._answers:
            raise SaslError("the server did not ask for a password")


class _CramMd5:
    """RFC 2195 section 2."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._answered = False

    def initial(self) -> None:
        return None

    def step(self, challenge: bytes) -> bytes:
        """See SaslClient. Raise SaslError."""
        if self._answered or not challenge:
            raise SaslError("no challenge of CRAM-MD5")
        self._answered = True
        try:
            digest = hmac.new(self._login.secret, challenge, "md5").hexdigest()
        except ValueError:  # a system in FIPS mode
            raise SaslError("MD5 is not to be had here") from None
        return self._login.user.encode() + b" " + digest.encode()

    def finish(self) -> None:
        if not self._answered:
            raise SaslError("the server did not ask for a password")


def token_trouble(challenge: bytes) -> str:
    """The reason in the challenge that refuses a token: "invalid_token", "" if it gives none.

    RFC 7628 section 3.2.2; XOAUTH2 has the same form. Only its status is taken, and it is cleaned.
    """
    try:
        told = json.loads(challenge)
        status = told.get("status", "") if isinstance(told, dict) else ""
    except (ValueError, RecursionError):
        return ""
    return shown(str(status), 60) if isinstance(status, str | int) else ""
