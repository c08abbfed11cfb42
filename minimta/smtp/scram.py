"""SCRAM, both ends: neither sends the password, and the server proves that it knows it, too.

RFC 5802; SCRAM-SHA-256 is RFC 7677. -PLUS binds the login to the TLS connection by tls-exporter (RFC
9266) or tls-server-end-point (RFC 5929), whichever data are given.

    client-first    n,,n=emma,r=NONCE               p=tls-exporter,,n=... with -PLUS
    server-first    r=NONCE+ITS,s=SALT,i=4096
    client-final    c=biws,r=NONCE+ITS,p=PROOF      c: header and what identifies the TLS connection
    server-final    v=SIGNATURE

Nonces, and the data of the TLS connection, are given: nothing here is random or knows a socket.
A server that cannot prove that it knows the password is refused, whatever it says.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from minimta.smtp.saslprep import saslprep

#: rounds of the hash that a client agrees to. RFC 7677 section 4: at least 4096; and a server shall
#: not keep us busy for minutes
MIN_ITERATIONS, MAX_ITERATIONS = 4096, 1_000_000
#: octets of a message, before base64
MAX_MESSAGE = 4096
_DIGESTS = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
#: errors of RFC 5802 section 7 that are about what we said, not how
_REFUSALS = (b"e=invalid-proof", b"e=unknown-user")
#: our server has only this one
_SERVERS_DIGEST = "sha256"


class SaslError(Exception):
    """The dialogue of a mechanism cannot go on, or its other end is not what it says.

    The text holds nothing that is secret. Beyond that nothing is known of user and password: a
    client may try the next mechanism.
    """


@dataclass(frozen=True, slots=True)
class ChannelBinding:
    """What identifies a TLS connection at both of its ends."""

    #: "tls-exporter"
    name: str
    data: bytes


class WrongPassword(SaslError):
    """The server says that it is user or password that is wrong: no mechanism will do."""


class Unproven(SaslError):
    """The server does not know the password: it is somebody else, and no mechanism will do."""


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a server keeps of a password (RFC 5802 section 3); the password is not to be had from it."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


def keys_of(password: str, salt: bytes, iterations: int) -> ScramKeys:
    """The keys of a new *password*, for ScramServer. Raise ValueError if SASLprep refuses it."""
    digest = _SERVERS_DIGEST
    salted = _salted(saslprep(password, stored=True), salt, iterations, digest)
    client_key = _hmac(salted, b"Client Key", digest)
    stored_key = hashlib.new(digest, client_key).digest()
    return ScramKeys(salt, iterations, stored_key, _hmac(salted, b"Server Key", digest))


def _salted(prepared: str, salt: bytes, iterations: int, digest: str) -> bytes:
    return hashlib.pbkdf2_hmac(digest, prepared.encode(), salt, iterations)


def _hmac(key: bytes, message: bytes, digest: str) -> bytes:
    return hmac.digest(key, message, digest)


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def is_scram(mechanism: str) -> bool:
    """Is it one of those in this file, with or without -PLUS?"""
    return mechanism.removesuffix("-PLUS") in _DIGESTS


# --- the client -----------------------------------------------------------------------------------


class ScramClient:
    """One login."""

    def __init__(
        self,
        mechanism: str,
        user: str,
        password: str,
        nonce: str,
        *,
        identity: str = "",
        binding: ChannelBinding | None = None,
    ) -> None:
        """*user* logs in with *password*, to act as *identity* ("": as itself).

        *nonce* is printable and without a comma, never used before; *binding* is that of the
        connection, if there is one. Raise SaslError for what SASLprep refuses.
        """
        self._digest = _DIGESTS[mechanism.removesuffix("-PLUS")]
        self._password = _prepared(password, "password")
        self._nonce = nonce
        is_plus = mechanism.endswith("-PLUS")
        # RFC 5802 section 6: "y" tells a server that has -PLUS that somebody took it off its list.
        bound = binding.data if binding and is_plus else b""
        flag = f"p={binding.name}" if binding and is_plus else "y" if binding else "n"
        acting = f"a={_escaped(_prepared(identity, 'identity'))}" if identity else ""
        self._header = f"{flag},{acting},".encode()
        self._bound = self._header + bound
        self._first = f"n={_escaped(_prepared(user, 'user name'))},r={nonce}".encode()
        self._signature = b""
        self._is_proven = False

    def initial(self) -> bytes:
        """The first message, client-first."""
        return self._header + self._first

    def step(self, challenge: bytes) -> bytes:
        """Answer server-first with client-final, and server-final with nothing.

        Raise SaslError, Unproven.
        """
        if not self._signature:
            return self._final(challenge)
        self._check_server(challenge)
        return b""

    def finish(self) -> None:
        """The server says that all is well. Raise Unproven if it has not proven who it is."""
        if not self._is_proven:
            raise Unproven("the server did not prove that it knows the password")

    def _final(self, challenge: bytes) -> bytes:
        fields = _fields(challenge, "r", "s", "i")
        nonce, iterations = fields["r"], _iterations(fields["i"])
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise SaslError("the server's nonce is not made from ours")
        salt = _from_base64(fields["s"])
        bare = f"c={b64encode(self._bound).decode()},r={nonce}".encode()
        message = b",".join((self._first, challenge, bare))
        salted = _salted(self._password, salt, iterations, self._digest)
        client_key = _hmac(salted, b"Client Key", self._digest)
        stored_key = hashlib.new(self._digest, client_key).digest()
        server_key = _hmac(salted, b"Server Key", self._digest)
        self._signature = _hmac(server_key, message, self._digest)
        proof = _xor(client_key, _hmac(stored_key, message, self._digest))
        return bare + b",p=" + b64encode(proof)

    def _check_server(self, challenge: bytes) -> None:
        if challenge in _REFUSALS:
            raise WrongPassword(f"the server says {challenge[2:].decode('ascii')}")
        if challenge[:2] == b"e=":
            raise SaslError("the server broke off the dialogue")
        proof = _from_base64(_fields(challenge, "v")["v"])
        if self._is_proven or not hmac.compare_digest(proof, self._signature):
            raise Unproven("the server could not prove that it knows the password")
        self._is_proven = True


# --- the server -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScramServer:
    """What a server brings to every login with one mechanism."""

    #: "SCRAM-SHA-256" or "SCRAM-SHA-256-PLUS"
    mechanism: str
    #: user, prepared -> its keys, None if there is no such user; what it raises goes on to the caller
    find: Callable[[str], ScramKeys | None]
    #: octets that only this server knows: users that do not exist have a salt all the same
    secret: bytes = field(repr=False)
    #: printable, without a comma, never used before
    nonce: str
    #: name -> data that identify the connection; empty if -PLUS is not offered
    bindings: Mapping[str, bytes] = field(default_factory=dict)
    #: rounds that are told for users who do not exist
    iterations: int = MIN_ITERATIONS

    def first(self, response: bytes) -> tuple[bytes, ScramState]:
        """Read client-first: server-first, and what to keep. Raise SaslError.

        For a user that does not exist the answer has the same form, and the same work is done.
        """
        flag, _, rest = _text(response).partition(",")
        acting, _, bare = rest.partition(",")
        if acting and not acting.startswith("a="):
            raise SaslError("no client-first message")
        self._check_binding(flag)
        fields = _fields(bare.encode(), "n", "r")
        user = _prepared(_unescaped(fields["n"]), "user name")
        found = self.find(user)
        keys = found or self._no_keys(user)
        nonce = fields["r"] + self.nonce
        salt = b64encode(keys.salt).decode()
        challenge = f"r={nonce},s={salt},i={keys.iterations}".encode()
        bound = f"{flag},{acting},".encode() + self.bindings.get(flag[2:], b"")
        begun = bare.encode() + b"," + challenge
        identity = _prepared(_unescaped(acting[2:]), "identity")
        exists = found is not None
        return challenge, ScramState(user, identity, exists, keys, nonce, bound, begun)

    def _check_binding(self, flag: str) -> None:
        """RFC 5802 section 6."""
        if flag == "y" and self.bindings:
            raise SaslError("somebody took -PLUS off the list of mechanisms")
        is_plus = self.mechanism.endswith("-PLUS")
        fitting = {f"p={name}" for name in self.bindings} if is_plus else {"n", "y"}
        if flag not in fitting:
            raise SaslError("channel binding does not fit the mechanism")

    def _no_keys(self, user: str) -> ScramKeys:
        """Keys that nobody has, the same each time this user is asked for."""
        made = hmac.digest(self.secret, b"salt " + user.encode(), "sha256")
        return ScramKeys(made[:16], self.iterations, made, made)


@dataclass(frozen=True, slots=True)
class ScramState:
    """Between server-first and client-final."""

    user: str
    #: as whom it wants to act, "" for itself
    identity: str
    exists: bool
    keys: ScramKeys
    nonce: str
    #: what the client must say in c=
    bound: bytes
    #: client-first-message-bare and server-first-message
    begun: bytes


def last(state: ScramState, response: bytes) -> bytes | None:
    """Read client-final: server-final, or None if user or password is wrong. Raise SaslError.

    It was no login before the server has sent this and the client has answered with nothing.
    """
    digest = _SERVERS_DIGEST
    bare, comma, proof_field = response.rpartition(b",p=")
    fields = _fields(bare, "c", "r")
    proof = _from_base64(_text(proof_field))
    if not comma or len(proof) != hashlib.new(digest).digest_size:
        raise SaslError("no client-final message")
    if not hmac.compare_digest(_from_base64(fields["c"]), state.bound):
        raise SaslError("channel binding does not match")
    if not hmac.compare_digest(fields["r"].encode(), state.nonce.encode()):
        raise SaslError("that is not the nonce")
    message = state.begun + b"," + bare
    client_key = _xor(proof, _hmac(state.keys.stored_key, message, digest))
    is_right = hmac.compare_digest(hashlib.new(digest, client_key).digest(), state.keys.stored_key)
    signature = _hmac(state.keys.server_key, message, digest)
    return b"v=" + b64encode(signature) if is_right and state.exists else None


# --- fields ---------------------------------------------------------------------------------------


def _fields(message: bytes, *names: str) -> dict[str, str]:
    """The values of *names*, which come first and in this order; what follows are extensions.

    RFC 5802 section 5.1: an extension "m=" must be understood, and none is known.
    """
    found = {}
    parts = _text(message).split(",")
    if any(part[:2] == "m=" for part in parts):
        raise SaslError("an extension that we do not know")
    for name, part in zip(names, parts, strict=False):
        if part[:2] != f"{name}=":
            break
        found[name] = part[2:]
    if len(found) < len(names) or not all(found.values()):
        raise SaslError("a message that is none of SCRAM")
    return found


def _text(message: bytes) -> str:
    try:
        text = message.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if len(message) > MAX_MESSAGE or not text.isprintable():
        raise SaslError("a message that is none of SCRAM")
    return text


def _iterations(digits: str) -> int:
    # Digits first: int() alone takes "+1", "1_0" and digits of other scripts.
    count = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0
    if not MIN_ITERATIONS <= count <= MAX_ITERATIONS:
        raise SaslError(f"the server wants {digits[:12]} iterations")
    return count


def _from_base64(text: str) -> bytes:
    try:
        octets = binascii.a2b_base64(text.encode(), strict_mode=True)
    except ValueError:
        raise SaslError("bad base64") from None
    if b64encode(octets) != text.encode():
        raise SaslError("bad base64")
    return octets


def _prepared(text: str, what: str) -> str:
    try:
        return saslprep(text)
    except ValueError:
        raise SaslError(f"a character that a {what} cannot have") from None


def _escaped(name: str) -> str:
    return name.replace("=", "=3D").replace(",", "=2C")


def _unescaped(name: str) -> str:
    plain = name.replace("=2C", "").replace("=3D", "")
    if "=" in plain:
        raise SaslError("bad user name")
    return name.replace("=2C", ",").replace("=3D", "=")
