"""The users of AUTH in a file of ours, /etc/mail/smtp-users: what is kept of their passwords.

    TAB SECRET                       base64; makes up salts for users who do not exist
    NAME TAB SCRYPT TAB SCRAM        one a user
    # end

    SCRYPT   $scrypt$ln=14,r=8,p=1$SALT$HASH             for PLAIN and LOGIN
    SCRAM    SCRAM-SHA-256$16384:SALT$STOREDKEY:SERVERKEY   for SCRAM-SHA-256 (RFC 5803)

``minimta passwd`` writes it. NAME is any printable text, prepared (RFC 4013); names are compared
octet by octet. Passwords cannot be had from the file, but guessed: only root and the listener
may read it (0640 root:minimta). A file that others can read, or that cannot be read or understood,
is an OSError: nobody's password is wrong because of it.

A wrong password and an unknown user take the same time and memory.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import hmac
import os
import re
import secrets
import stat
import threading
from dataclasses import dataclass, field

from minimta.listener.auth_backend import LoginPlace, PasswordVerdict
from minimta.smtp import sasl_server, scram
from minimta.smtp.saslprep import saslprep
from minimta.smtp.scram import ScramKeys, ScramServer
from minimta.system import safedirpath, safefile
from minimta.system.safefile import Untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.smtp.sasl_server import SaslServer

#: how the text ends: a file that was cut must not make users unknown
_END = "# end\n"
#: octets of the file
MAX_FILE = 4 << 20
#: of new hashes: scrypt takes 128 * r * 2**ln octets, 16 MiB; rounds of SCRAM
LN, R, P, ROUNDS = 14, 8, 1, 16384
#: the most that a hash in the file may cost
_MAX_MEMORY = 64 << 20
#: passwords that are hashed at the same time, and seconds that one waits for its turn
_AT_ONCE, _TURN = 2, 20.0

_SCRYPT = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([^$]+)\$([^$]+)", re.ASCII)
_SCRAM = re.compile(r"SCRAM-SHA-256\$(\d{4,7}):([^$]+)\$([^:]+):(.+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class ScryptHash:
    """What scrypt (RFC 7914) makes of a password."""

    ln: int
    r: int
    p: int
    salt: bytes
    value: bytes = field(repr=False)

    def fits(self, password: str) -> bool:
        """Is it the hash of *password*, prepared?"""
        made = _scrypt(password, self.salt, self.ln, self.r, self.p)
        return hmac.compare_digest(made, self.value)


@dataclass(frozen=True, slots=True)
class UserKeys:
    """One user."""

    scrypt: ScryptHash
    scram: ScramKeys


@dataclass(frozen=True, slots=True)
class SmtpUserFile:
    """The whole file."""

    secret: bytes = field(repr=False)
    users: dict[str, UserKeys]


def new_file() -> SmtpUserFile:
    """One without users."""
    return SmtpUserFile(secrets.token_bytes(32), {})


def new_keys(password: str) -> UserKeys:
    """What to keep of *password*. Raise ValueError for one that SASLprep refuses."""
    prepared = saslprep(password, stored=True)
    if not prepared:
        raise ValueError("a password has a character at least")
    salt = secrets.token_bytes(16)
    hashed = ScryptHash(LN, R, P, salt, _scrypt(prepared, salt, LN, R, P))
    return UserKeys(hashed, scram.keys_of(password, secrets.token_bytes(16), ROUNDS))


def user_name(text: str) -> str:
    """The prepared form of a user's name. Raise ValueError for what cannot be one."""
    name = saslprep(text, stored=True)
    if not name or not name.isprintable() or len(name.encode()) > sasl_server.MAX_NAME:
        raise ValueError("a name is printable text, 1024 octets at most")
    return name


def _scrypt(password: str, salt: bytes, ln: int, r: int, p: int) -> bytes:
    memory = _MAX_MEMORY + (1 << 20)
    return hashlib.scrypt(
        password.encode(), salt=salt, n=1 << ln, r=r, p=p, maxmem=memory, dklen=32
    )


# --- the text -------------------------------------------------------------------------------------


def encode(file: SmtpUserFile) -> bytes:
    """The text of the file; users in the order of their names."""
    rows = [f"\t{_text(file.secret)}"]
    for name, keys in sorted(file.users.items()):
        rows.append("\t".join((name, _scrypt_text(keys.scrypt), _scram_text(keys.scram))))
    return ("# minimta passwd writes this\n" + "\n".join((*rows, _END))).encode()


def decode(text: bytes) -> SmtpUserFile:
    """The inverse of encode(). Raise ValueError, which names the line."""
    if not text.endswith(_END.encode()):
        raise ValueError("the file was cut")
    secret, users = b"", dict[str, UserKeys]()
    for number, line in enumerate(text.decode("utf-8").split("\n"), 1):
        name, *rest = line.split("\t")
        try:
            if not line or (line[0] == "#" and not rest):
                continue
            if not name and len(rest) == 1:
                secret = _octets(rest[0])
            else:
                scrypt, scram_keys = rest
                users[name] = UserKeys(_scrypt_hash(scrypt), _scram_keys(scram_keys))
        except ValueError:
            raise ValueError(
                f"line {number} makes no sense; write it with minimta passwd"
            ) from None
    if not secret:
        raise ValueError("the line of the secret is missing")
    return SmtpUserFile(secret, users)


def _scrypt_text(hashed: ScryptHash) -> str:
    costs = f"ln={hashed.ln},r={hashed.r},p={hashed.p}"
    return f"$scrypt${costs}${_text(hashed.salt)}${_text(hashed.value)}"


def _scram_text(keys: ScramKeys) -> str:
    pair = f"{_text(keys.stored_key)}:{_text(keys.server_key)}"
    return f"SCRAM-SHA-256${keys.iterations}:{_text(keys.salt)}${pair}"


def _scrypt_hash(text: str) -> ScryptHash:
    found = _SCRYPT.fullmatch(text)
    if found is None:
        raise ValueError
    ln, r, p = (int(found[number]) for number in (1, 2, 3))
    if not 1 <= ln <= 20 or r < 1 or p < 1 or 128 * r << ln > _MAX_MEMORY:
        raise ValueError
    return ScryptHash(ln, r, p, _octets(found[4]), _octets(found[5]))


def _scram_keys(text: str) -> ScramKeys:
    found = _SCRAM.fullmatch(text)
    if found is None:
        raise ValueError
    salt, stored, server = (_octets(found[number]) for number in (2, 3, 4))
    return ScramKeys(salt, int(found[1]), stored, server)


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _octets(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


# --- the back end ---------------------------------------------------------------------------------


def read(path: str) -> SmtpUserFile:
    """The file *path*. Raise OSError for all that is wrong with it, FileNotFoundError for none."""
    try:
        found = safedirpath.read_trusted(path, 0, MAX_FILE)
        if safefile.readers(os.stat(path)) & stat.S_IROTH:
            raise Untrusted("World readable file")
        return decode(found.text)
    except Untrusted as error:
        raise OSError(errno.EPERM, str(error), path) from error
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), path) from error


class SmtpUsers:
    """An AuthBackend: the file, read again when it has changed."""

    def __init__(self, path: str, realm: str = "") -> None:
        """*realm* is the option AuthRealm: "emma" and "emma@REALM" are the same user."""
        self._path = path
        self._realm = realm
        self._turns = threading.BoundedSemaphore(_AT_ONCE)
        self._read: tuple[tuple[int, ...], SmtpUserFile] | None = None

    def is_there(self) -> bool:
        """See AuthBackend."""
        try:
            os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            pass  # a login will tell
        return True

    def has_scram(self) -> bool:
        """See AuthBackend."""
        return True

    def check(self, user: str, password: str, place: LoginPlace) -> PasswordVerdict:
        """See AuthBackend. Raise OSError."""
        keys = self._find(user)
        hashed = keys.scrypt if keys else ScryptHash(LN, R, P, bytes(16), bytes(32))
        if not self._turns.acquire(timeout=_TURN):
            raise OSError(errno.EAGAIN, "too many logins at the same time")
        try:
            fits = hashed.fits(password)
        finally:
            self._turns.release()
        if keys is None:
            return PasswordVerdict.NO_USER
        return PasswordVerdict.RIGHT if fits else PasswordVerdict.WRONG

    def scram(self, place: LoginPlace) -> SaslServer:
        """See AuthBackend. Raise OSError."""
        secret = self._file().secret
        keys = ScramServer(
            "SCRAM-SHA-256",
            lambda user: found.scram if (found := self._find(user)) else None,
            secret,
            secrets.token_urlsafe(18),
            iterations=ROUNDS,
        )
        return sasl_server.server("SCRAM-SHA-256", keys)

    def _find(self, user: str) -> UserKeys | None:
        users, realm = self._file().users, self._realm
        other = user.removesuffix(f"@{realm}") if "@" in user else f"{user}@{realm}"
        return users.get(user) or (users.get(other) if realm else None)

    def _file(self) -> SmtpUserFile:
        # Two threads may both read it; the answer of one of them stays.
        found = os.stat(self._path)
        stamp = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode)
        if self._read is None or self._read[0] != stamp:
            self._read = (stamp, read(self._path))
        return self._read[1]
