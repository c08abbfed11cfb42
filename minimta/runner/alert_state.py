"""What was told of an outage, kept between looks, runs and processes.

    QueueDirectory.alert    one JSON object, mode 600, padded to _SIZE octets; no secret, nobody's address
                            whoever looks holds flock(2) on it, also while something is told

It is written over in its place and never grows, so that a full disk, which is to be told of, does not
keep us from remembering that it was. Where the queue's file system has become read-only, a file in _RUN
takes its place, and is made only then; where neither can be written the caller hears it (NotRemembered).

    what is told      when
    once              more is wrong than was told (NONE < AGE < LOGIN < QUEUE)
    nothing           the same, or less: a login that is refused has mail grow old by itself
    once, "over"      nothing is wrong any more, if something was told
    again, later      it could not be told: after a minute, two, four ... an hour
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from minimta.system import files

#: seconds until what could not be told is tried again: at first, and at most
FIRST_PAUSE, LONGEST_PAUSE = 60.0, 3600.0
_SIZE = 1024
_RUN = "/run"
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Trouble(enum.IntEnum):
    """What is wrong, the worst last."""

    NONE = 0
    #: the oldest message is older than AlertAge
    AGE = 1
    #: a login at another host, or a token for one, is refused
    LOGIN = 2
    #: nothing can be put into the queue
    QUEUE = 3


class NotRemembered(OSError):
    """It was told, and nothing says so: no file could be written."""


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """What is known of the outage."""

    told: Trouble = Trouble.NONE
    #: epoch seconds when that was
    since: float = 0.0
    #: in vain, in a row
    tries: int = 0
    #: epoch seconds before which it is not tried again
    next: float = 0.0
    #: epoch seconds when this was written
    written: float = 0.0


def to_tell(record: AlertRecord, found: Trouble) -> bool:
    """Is there news? *found* NONE is told as the end."""
    return found > record.told or (found is Trouble.NONE and record.told > Trouble.NONE)


def rests(record: AlertRecord, now: float) -> bool:
    """Must the next try wait? A pause in the far future is that of a clock that was put right."""
    return now < record.next <= now + LONGEST_PAUSE


def was_told(record: AlertRecord, found: Trouble, now: float) -> AlertRecord:
    """After *found* was told."""
    since = record.since if record.told and found else now
    return AlertRecord(found, since if found else 0.0)


def could_not(record: AlertRecord, now: float) -> AlertRecord:
    """After a try in vain at *now*."""
    pause = min(FIRST_PAUSE * (1 << min(record.tries, 16)), LONGEST_PAUSE)
    return replace(record, tries=record.tries + 1, next=now + pause)


def nothing_new(record: AlertRecord, found: Trouble) -> AlertRecord:
    """When nothing is to be told: what is better by now would be news if it came again."""
    if found < record.told or record.tries:
        return replace(record, told=found, tries=0, next=0.0)
    return record


# --- the file -------------------------------------------------------------------------------------


class StateFile:
    """The open, locked file or files; ``record`` is what they say."""

    def __init__(self, opened: list[int], spare: str) -> None:
        self._opened = opened
        self._spare = spare
        self.record = max((_decoded(file) for file in opened), key=lambda one: one.written)

    def write(self, record: AlertRecord, now: float) -> None:
        """Remember. Raise NotRemembered if no place takes it."""
        self.record = replace(record, written=now)
        text = json.dumps({**asdict(self.record), "told": int(record.told)}).encode("ascii")
        try:
            if not any(_put(file, text) for file in self._opened):
                self._opened.append(_open_locked(self._spare, create=True))
                _write(self._opened[-1], text)
        except OSError as error:
            raise NotRemembered(error.errno, error.strerror) from error


def _put(file: int, text: bytes) -> bool:
    """Does *file* take it?"""
    try:
        _write(file, text)
    except OSError:
        return False
    return True


def _write(file: int, text: bytes) -> None:
    os.lseek(file, 0, os.SEEK_SET)
    files.write_all(file, text.ljust(_SIZE))
    os.fsync(file)


@contextlib.contextmanager
def locked(queue_directory: str, run: str = _RUN) -> Iterator[StateFile | None]:
    """The state of a queue; None if another process is just at it. Raise OSError if none can be had."""
    spare = aside(queue_directory, run)
    opened: list[int] = []
    state = None
    with contextlib.suppress(BlockingIOError):
        why = _open_into(opened, beside(queue_directory), create=True)
        # What an outage before left in the other may be newer.
        why = _open_into(opened, spare, create=not opened) or why
        if not opened:
            raise why or OSError("no place")
        state = StateFile(opened, spare)
    try:
        yield state
    finally:
        for file in opened:
            os.close(file)


def _open_into(opened: list[int], path: str, *, create: bool) -> OSError | None:
    """Why it could not be. Raise BlockingIOError if another process has it."""
    try:
        opened.append(_open_locked(path, create=create))
    except BlockingIOError:
        raise
    except OSError as error:
        return error
    return None


def _open_locked(path: str, *, create: bool) -> int:
    """Raise BlockingIOError if another process has it."""
    file = os.open(path, _FLAGS | (os.O_CREAT if create else 0), 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(file)
        raise
    return file


def read(queue_directory: str, run: str = _RUN) -> AlertRecord:
    """What is remembered, for people. Raise OSError if it is there and cannot be read."""
    found = [AlertRecord()]
    for path in (beside(queue_directory), aside(queue_directory, run)):
        with contextlib.suppress(FileNotFoundError):
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                found.append(_decoded(file))
            finally:
                os.close(file)
    return max(found, key=lambda one: one.written)


def _decoded(file: int) -> AlertRecord:
    """What is none, or half written, is nothing told."""
    try:
        said = json.loads(files.read_to_limit(file, _SIZE))
        return AlertRecord(**{**said, "told": Trouble(said["told"])})
    except (OSError, ValueError, TypeError, KeyError):
        return AlertRecord()


def beside(queue_directory: str) -> str:
    """The file of a queue: not within, where the listener could make it first."""
    return queue_directory.rstrip("/") + ".alert"


def aside(queue_directory: str, run: str = _RUN) -> str:
    """The file in *run* that is used when beside() cannot be written."""
    return os.path.join(run, f"minimta{queue_directory.rstrip('/').replace('/', '-')}.alert")
