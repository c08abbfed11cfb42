"""Counts of mail for mailstats(8), in a file (option StatusFile): kept under a lock, never fsynced.

    magic      "minstat1"
    times      two doubles: since when is counted, when it was written last (epoch seconds)
    mailers    for each of MAILERS the numbers of COLUMNS, 64 bits each
    connections  from clients, to other hosts, turned away

Whoever counts only puts a pair into a deque of its process: no lock, no call to the kernel. flush()
adds what came together to the file: the resident listener within a second, in a thread of its own that
sleeps while nothing is counted, the runner at the end of an attempt. If somebody else has the lock, or the disk fails, it is tried again at
the next; kill -9 loses what was not yet added, a power cut perhaps the file. Statistics are for graphs:
who has to know what became of mail asks the ledger.

The listener's user, too, may write there: root follows no link, reads no more than one record, believes
no number, and waits for nobody who keeps the lock.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import time
from _thread import allocate_lock
from collections import Counter, deque

#: Sendmail's numbers of mailers are those of its sendmail.cf; ours are these, where it has them
MAILERS = (
    "prog",
    "*file*",
    "*include*",
    "local",
    "smtp",
    "esmtp",
    "smtp8",
    "dsmtp",
    "relay",
    "lmtp",
)
#: octets are added up in KiB, each message rounded up, as Sendmail does
COLUMNS = (
    *("msgsfr", "bytes_from", "msgsto", "bytes_to"),
    *("msgsrej", "msgsdis", "msgsqur"),
)
CONNECTIONS = ("from", "to", "rejected")
_MAGIC = b"minstat1"
_WIDTH = len(COLUMNS)
_NUMBERS = len(MAILERS) * _WIDTH + len(CONNECTIONS)
_FORMAT = struct.Struct(f"<8sdd{_NUMBERS}Q")
#: pairs that are kept while the file cannot be written
_MOST = 100_000
#: the end of the year 9999, in epoch seconds: a later time has no date
_LAST = 253402300800.0
#: seconds between two tries for the lock
_PAUSE = 0.002
#: how often who ends tries, and cannot later; and how often who waits for the numbers
_SOME, _MANY = 10, 1000

_slot = {
    (mailer, column): number * _WIDTH + place
    for number, mailer in enumerate(MAILERS)
    for place, column in enumerate(COLUMNS)
} | {("", name): len(MAILERS) * _WIDTH + n for n, name in enumerate(CONNECTIONS)}
_pending: deque[tuple[int, int]] = deque(maxlen=_MOST)
#: closed while the thread of keep() sleeps until something is counted
_gate = allocate_lock()


class NoStatistics(ValueError):
    """The file holds no statistics."""


class Statistics:
    """What the file says."""

    def __init__(self, since: float, written: float, numbers: list[int]) -> None:
        """Times are epoch seconds; *numbers* as in the file."""
        self.since = since
        self.written = written
        self._numbers = numbers

    def of(self, mailer: str) -> list[int]:
        """The numbers of COLUMNS; *mailer* "" are the totals of all."""
        rows = [self._numbers[n * _WIDTH : (n + 1) * _WIDTH] for n in range(len(MAILERS))]
        return (
            [sum(row) for row in zip(*rows, strict=True)]
            if not mailer
            else rows[MAILERS.index(mailer)]
        )

    def connections(self) -> list[int]:
        """The numbers of CONNECTIONS."""
        return self._numbers[len(MAILERS) * _WIDTH :]


def path_of(status_file: str, queue_directory: str) -> str:
    """Where the file is: the options StatusFile, or if that is empty beside QueueDirectory."""
    return status_file or queue_directory.rstrip("/") + ".statistics"


def count(mailer: str, column: str, number: int = 1) -> None:
    """Note that *number* more are in a *column* of *mailer*; *mailer* "" has CONNECTIONS."""
    slot = _slot.get((mailer, column))
    if slot is not None:
        _pending.append((slot, number))
        if _gate.locked():
            try:
                _gate.release()
            except RuntimeError:
                pass  # another thread was faster


def kibibytes(octets: int) -> int:
    """As they are added up."""
    return (octets + 1023) >> 10


def open_file(path: str) -> int:
    """A descriptor for flush(); -1 if there can be none. Made with mode 0644 if it is not there."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = _made(path, flags) if not os.path.lexists(path) else os.open(path, flags)
    except OSError:
        return -1
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()):
        os.close(file)
        return -1
    return file


def _made(path: str, flags: int) -> int:
    """Whatever the umask is, mailstats(8) is everybody's. Raise OSError."""
    try:
        file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags)  # made by another process meanwhile
    os.fchmod(file, 0o644)
    return file


def flush(file: int, tries: int = 1) -> None:
    """Add what was counted to the open *file*, if nobody else has its lock now. Raises nothing."""
    if not _pending or file < 0:
        return
    try:
        _lock(file, fcntl.LOCK_EX, tries)
    except OSError:
        return
    taken = Counter[int]()
    try:
        while _pending:
            slot, number = _pending.popleft()
            taken[slot] += number
        found = _read(file, anew=True)
        for slot, number in taken.items():
            found._numbers[slot] = (found._numbers[slot] + number) & (1 << 64) - 1
        found.written = time.time()
        _write(file, found)
    except OSError:
        _pending.extend(taken.items())  # a full disk: until there is room
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def flush_to(path: str) -> None:
    """flush() into the file at *path*."""
    if _pending:
        file = open_file(path)
        flush(file, _SOME)
        if file >= 0:
            os.close(file)


def keep(file: int) -> None:
    """For a thread of its own: flush() a second after something was counted, for ever.

    Without a file, -1, there is nothing to keep.
    """
    if file < 0:
        return
    gate = _gate
    gate.acquire()
    while True:
        if not _pending:
            gate.acquire()
        time.sleep(1)
        flush(file)


def forget() -> None:
    """In a forked child: what the parent has counted is the parent's to add."""
    global _gate
    _pending.clear()
    _gate = allocate_lock()


os.register_at_fork(after_in_child=forget)


def read(path: str) -> Statistics:
    """The statistics. Raise OSError, or NoStatistics."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        try:
            _lock(file, fcntl.LOCK_SH, _MANY)
        except BlockingIOError:
            pass  # anybody may keep a lock for ever; a record is written in one call
        return _read(file)
    finally:
        os.close(file)


def reset(path: str) -> Statistics:
    """Give the statistics, and begin anew. Raise OSError, or NoStatistics.

    BlockingIOError: another process keeps the lock.
    """
    file = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _lock(file, fcntl.LOCK_EX, _MANY)
        found = _read(file)
        now = time.time()
        _write(file, Statistics(now, now, [0] * _NUMBERS))
        return found
    finally:
        os.close(file)


def _lock(file: int, kind: int, tries: int) -> None:
    """Raise BlockingIOError if another process has the lock at all *tries*; OSError."""
    for _ in range(tries - 1):
        try:
            return fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
    fcntl.flock(file, kind | fcntl.LOCK_NB)


def _read(file: int, *, anew: bool = False) -> Statistics:
    """An empty file counts from when it was made. *anew*: so does one that holds something else."""
    text = os.pread(file, _FORMAT.size + 1, 0)
    if len(text) == _FORMAT.size and text.startswith(_MAGIC):
        _, since, written, *numbers = _FORMAT.unpack(text)
        if 0 <= since < _LAST and 0 <= written < _LAST:  # which NaN is not
            return Statistics(since, written, numbers)
    if text and not anew:
        raise NoStatistics("no statistics of minimta")
    began = time.time() if text else os.fstat(file).st_mtime
    return Statistics(began, began, [0] * _NUMBERS)


def _write(file: int, found: Statistics) -> None:
    """In one call: a process that is killed has written it or not. Raise OSError."""
    text = _FORMAT.pack(_MAGIC, found.since, found.written, *found._numbers)
    if os.pwrite(file, text, 0) == len(text) < os.fstat(file).st_size:
        os.ftruncate(file, len(text))
