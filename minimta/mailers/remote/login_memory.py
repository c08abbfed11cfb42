"""Which logins were refused, kept between deliveries and runs: providers lock accounts.

    QueueDirectory.logins    one JSON object, mode 600: login -> Memory; no secret is in it

A login that was refused rests for half an hour, then an hour, up to a day, or until what it says has
changed: its state is another one then (``CredentialStore.state_of``). One that was accepted needs no
caution. Where the file cannot be read or written, this process still remembers.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from minimta.system import files, log

#: seconds for which a login rests: the first time, and at most
FIRST_REST, LONGEST_REST = 1800.0, 86400.0
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MAX_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class LoginRecord:
    """What came of a login the last time."""

    #: of what it says
    state: str
    accepted: bool
    #: epoch seconds
    when: float
    #: refusals in a row
    count: int = 0
    #: why it was refused
    text: str = ""

    @property
    def rests_until(self) -> float:
        """Epoch seconds before which it is not tried again."""
        if self.accepted:
            return 0.0
        return self.when + min(FIRST_REST * (1 << min(self.count - 1, 16)), LONGEST_REST)

    def rests(self, now: float) -> bool:
        """Is it not to be tried at *now* (epoch seconds)?"""
        # What was refused in the future was dated by a clock that has been put right.
        return self.when <= now < self.rests_until


class LoginMemory:
    """The memory of a queue's logins, seen from one process."""

    def __init__(self, path: str) -> None:
        self._path = path
        #: what this process has seen: login -> LoginRecord
        self._seen: dict[str, LoginRecord] = {}

    def last(self, login: str, state: str) -> LoginRecord | None:
        """What came of *login* while it said the same; None: nothing is known. Raises nothing."""
        record = self._seen.get(login)
        with contextlib.suppress(OSError):
            record = self._read().get(login, record)
        return record if record is not None and record.state == state else None

    def known(self) -> dict[str, LoginRecord]:
        """What came of every login the last time, by "HOST:PORT USER". Raise OSError.

        No file is nothing known, and none is made.
        """
        if not os.path.lexists(self._path):
            return {}
        return self._read()

    def refused(self, login: str, state: str, now: float, text: str) -> LoginRecord:
        """Note a refusal at *now* (epoch seconds); returns what is known then."""
        before = self.last(login, state)
        count = before.count + 1 if before and not before.accepted else 1
        record = LoginRecord(state, False, now, count, text)
        self._note(login, record)
        return record

    def accepted(self, login: str, state: str, now: float) -> None:
        """Note that it works, if that is news."""
        before = self.last(login, state)
        if before is None or not before.accepted:
            self._note(login, LoginRecord(state, True, now))

    def _note(self, login: str, record: LoginRecord) -> None:
        self._seen[login] = record
        try:
            with self._locked() as file:
                known = {**_parsed(files.read_to_limit(file, _MAX_SIZE)), login: record}
                text = json.dumps({name: asdict(one) for name, one in known.items()})
                os.ftruncate(file, 0)
                os.lseek(file, 0, os.SEEK_SET)
                files.write_all(file, text.encode("ascii"))
        except OSError as error:
            reason = f"{log.clean(self._path)}: {error.strerror}"
            log.line("", f"SYSERR(root): logins are not remembered: {reason}", level=1, error=True)

    def _read(self) -> dict[str, LoginRecord]:
        """Raise OSError."""
        with self._locked() as file:
            return _parsed(files.read_to_limit(file, _MAX_SIZE))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        file = os.open(self._path, _FLAGS, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)


def _parsed(text: bytes) -> dict[str, LoginRecord]:
    """What a power cut left half written is nothing."""
    try:
        return {name: LoginRecord(**said) for name, said in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def beside(queue_directory: str) -> str:
    """The file for the logins of a queue: not in the directory, where real Sendmail would meet it."""
    return queue_directory.rstrip("/") + ".logins"
