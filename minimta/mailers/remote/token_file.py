"""The files of `minimta token`: one JSON object a name, in the directory of the option TokenDirectory.

    NAME.json      mode 600: the client, the refresh token, the access token and its end
    NAME.json.new  its successor; renamed over it when it is durable, if need be by the next one
    NAME.lock      held (flock) by who renews or replaces it
    NAME.trouble   why it could not be renewed, and until when that is not tried again; no secret

Room for the successor is made before the old refresh token is spent, because a server that rotates
them takes it but once. A trouble counts while NAME.json is the one that it was had with. Root alone
writes here. What cannot be read is OSError, Untrusted or ValueError, never a reason to have no login.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields
from types import TracebackType

from minimta.mailers.remote import authinfo
from minimta.mailers.remote.oauth import OAuthClient, Tokens
from minimta.system import files, safedirpath
from minimta.system.safefile import Untrusted

#: octets of a file
_MAX_SIZE = 1 << 16
#: seconds between two looks whether the lock is free
_LOCK_POLL = 0.05
#: seconds for which it is not renewed again: first and at most; the server was not reached, or
#: it said no, after which somebody must act
FIRST_PAUSE, LONGEST_PAUSE = 60.0, 1800.0
FIRST_REST, LONGEST_REST = 1800.0, 86400.0


@dataclass(frozen=True, slots=True)
class TokenFile:
    """What is known of one access. Times are epoch seconds."""

    client: OAuthClient
    #: how it is renewed: "refresh_token" or "client_credentials"
    grant: str
    #: of this authorization: another one when somebody has authorized anew
    authorization: str
    refresh_token: str = field(default="", repr=False)
    access_token: str = field(default="", repr=False)
    #: when the access token came, and when it ends
    obtained: int = 0
    expires: int = 0

    def with_tokens(self, tokens: Tokens, now: float) -> TokenFile:
        """After *tokens* came at *now* (epoch seconds): a refresh token is kept until another comes."""
        return TokenFile(
            self.client,
            self.grant,
            self.authorization,
            tokens.refresh_token or self.refresh_token,
            tokens.access_token,
            int(now),
            int(now) + tokens.lifetime,
        )


def path_of(directory: str, name: str) -> str:
    """The file of *name*. Raise ValueError if that is no name."""
    if not authinfo.is_token_name(name):
        raise ValueError("no name of a token: letters, digits and ._@+- make one")
    return os.path.join(directory, f"{name}.json")


def names(directory: str) -> list[str]:
    """The tokens that there are. Raise OSError."""
    try:
        found = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted(one.removesuffix(".json") for one in found if one.endswith(".json"))


def read(path: str) -> TokenFile:
    """Raise OSError, Untrusted, ValueError; the text tells nothing of what is in it."""
    text = safedirpath.read_trusted(path, os.geteuid(), _MAX_SIZE, safedirpath.SECRET).text
    try:
        said = json.loads(text)
        return TokenFile(**{**_checked(said, TokenFile), "client": _client(said)})  # type: ignore[arg-type]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(f"{path}: is no token of `minimta token`") from None


def _client(said: dict[str, object]) -> OAuthClient:
    client = said["client"]
    if not isinstance(client, dict):
        raise TypeError
    return OAuthClient(**_checked(client, OAuthClient))  # type: ignore[arg-type]


def _checked(said: dict[str, object], kind: type) -> dict[str, object]:
    """The fields of a dataclass, each of the type that it has there. Raise TypeError, KeyError."""
    found: dict[str, object] = {}
    for one in fields(kind):
        needed = one.default is MISSING
        value = said[one.name] if needed else said.get(one.name, one.default)
        expected = "dict" if one.type == "OAuthClient" else one.type
        if type(value).__name__ != expected:
            raise TypeError
        found[one.name] = value
    return found


def write(path: str, token: TokenFile) -> None:
    """Put *token* in the place of what is there; durable on return. Raise OSError."""
    with Successor(path) as successor:
        successor.commit(token)


def finish(path: str) -> None:
    """What a renewal that was killed had written beside *path* takes its place. Raise OSError.

    The old refresh token may have been spent for it. For who holds the lock.
    """
    aside = f"{path}.new"
    try:
        _give_room_back(aside)
        left, here = read(aside), read(path)
    except (OSError, Untrusted, ValueError):
        return  # nothing, or not to its end: Successor takes it away
    is_next = (left.client, left.authorization) == (here.client, here.authorization)
    if is_next and left.obtained >= here.obtained:
        os.rename(aside, path)
        files.sync_directory(os.path.dirname(path))


def _give_room_back(aside: str) -> None:
    """Durable on return. Raise OSError."""
    file = os.open(aside, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.ftruncate(file, len(files.read_to_limit(file, _MAX_SIZE).rstrip(b"\0")))
        os.fsync(file)
    finally:
        os.close(file)


class Successor:
    """Room for the next content of a file. Leave it without commit(), and the old one stands."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._aside = f"{path}.new"
        self._file = -1

    def __enter__(self) -> Successor:
        """Raise OSError if there is no room."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._aside)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(self._aside, flags, 0o600)
        try:
            os.posix_fallocate(self._file, 0, _MAX_SIZE)
            os.fsync(self._file)
        except OSError:
            self.__exit__(None, None, None)
            raise
        return self

    def commit(self, token: TokenFile) -> None:
        """The file is *token* from now on, also after a power cut. Raise OSError."""
        text = json.dumps(asdict(token), indent=1).encode("ascii") + b"\n"
        files.write_all(self._file, text)
        os.ftruncate(self._file, len(text))
        os.fsync(self._file)
        os.rename(self._aside, self._path)
        files.sync_directory(os.path.dirname(self._path))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        os.close(self._file)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._aside)


@contextlib.contextmanager
def locked(path: str, seconds: float) -> Iterator[None]:
    """Nobody else renews or replaces *path* meanwhile. Raise OSError, ETIMEDOUT after *seconds*."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    file = os.open(f"{path.removesuffix('.json')}.lock", flags, 0o600)
    deadline = time.monotonic() + seconds
    try:
        while not _is_ours(file):
            if time.monotonic() >= deadline:
                raise OSError(errno.ETIMEDOUT, "another process is renewing it")
            time.sleep(_LOCK_POLL)
        yield
    finally:
        os.close(file)


def _is_ours(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# --- what went wrong ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TroubleRecord:
    """Why it could not be renewed the last time. Times are epoch seconds."""

    #: of the file that it was had with
    stamp: str
    until: float
    count: int
    text: str
    is_final: bool

    def counts(self, now: float) -> bool:
        """Is it not to be renewed at *now* (epoch seconds)?"""
        # One that lasts longer than any was noted by a clock that has been put right.
        longest = LONGEST_REST if self.is_final else LONGEST_PAUSE
        return now < self.until <= now + longest


def trouble(path: str) -> TroubleRecord | None:
    """The trouble with *path* as it stands there, None if there is none. Raise OSError."""
    try:
        said = json.loads(files.read_if_there(_trouble_path(path)) or b"null")
        record = TroubleRecord(**said) if said else None
        return record if record and record.stamp == _stamp(path) and record.until >= 0 else None
    except (ValueError, TypeError):  # a power cut left half of it
        return None


def note_trouble(path: str, now: float, text: str, *, is_final: bool) -> None:
    """Renewal failed at *now* (epoch seconds): after a while, each time longer, it may be tried."""
    last = trouble(path)
    count = last.count + 1 if last and last.is_final == is_final else 1
    first, longest = (FIRST_REST, LONGEST_REST) if is_final else (FIRST_PAUSE, LONGEST_PAUSE)
    until = now + min(first * (1 << min(count - 1, 16)), longest)
    record = TroubleRecord(_stamp(path), until, count, text, is_final)
    aside = f"{_trouble_path(path)}.new"
    with open(aside, "w", encoding="ascii", opener=_private) as file:
        json.dump(asdict(record), file)
    os.rename(aside, _trouble_path(path))


def forget_trouble(path: str) -> None:
    """It was renewed. Raise OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_trouble_path(path))


def remove(path: str) -> None:
    """Take away all that belongs to it but the lock. Raise OSError."""
    os.unlink(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{path}.new")
    forget_trouble(path)
    files.sync_directory(os.path.dirname(path))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _trouble_path(path: str) -> str:
    return f"{path.removesuffix('.json')}.trouble"


def _stamp(path: str) -> str:
    found = os.stat(path)
    return f"{found.st_dev} {found.st_ino} {found.st_mtime_ns} {found.st_size}"
