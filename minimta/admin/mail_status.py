"""What ``minimta status`` finds: processes, queues, disk, counts, and what the log says of the last day.

Looked at without locks, and fast; what vanishes meanwhile is left out. A queue that cannot be read is an
OSError: nothing is said of what was not seen.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field

from minimta.admin import mail_log
from minimta.config.options import Options
from minimta.queue import listing, pattern
from minimta.system import locks, pidfile, statistics

_DAY = 86400
#: what a message in the queue may be, in the order of the screen
STATES = ("new", "delayed", "held", "put aside", "in client queue")


@dataclass(slots=True)
class Status:
    """What was found. Times are epoch seconds, 0.0: never, or not known."""

    now: float
    states: Counter[str] = field(default_factory=Counter)
    #: when the oldest message came that still is to be delivered
    oldest: float = 0.0
    last_attempt: float = 0.0
    next_due: float = 0.0
    has_runner: bool = False
    #: pid of the daemon, 0 if none lives
    daemon: int = 0
    free_octets: int = 0
    free_inodes: int = 0
    has_space: bool = True
    #: by reply code, and messages done, in the last 24 hours; None: not asked, or no log could be read
    refusals: Counter[str] | None = None
    #: why no log could be read, a sentence
    no_log: str = ""
    deliveries: int = 0
    totals: dict[str, int] = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        """Messages that are to be delivered."""
        return self.states["new"] + self.states["delayed"] + self.states["in client queue"]

    @property
    def age(self) -> int:
        """Of the oldest, seconds."""
        return max(0, int(self.now - self.oldest)) if self.oldest else 0


def look(options: Options, now: float) -> Status:
    """All but the log. Raise OSError if the queue cannot be read."""
    found = Status(now)
    _look_at_queue(found, options)
    found.has_runner = locks.is_resident(locks.beside(options.queue_directory))
    found.daemon = pidfile.daemon(options.pid_file)
    # One that has room is enough.
    disk = max(map(os.statvfs, pattern.paths(options)), key=lambda one: one.f_bavail * one.f_frsize)
    found.free_octets, found.free_inodes = disk.f_bavail * disk.f_frsize, disk.f_favail
    found.has_space = disk.f_bavail >= options.min_free_blocks
    try:
        path = statistics.path_of(options.status_file, options.queue_directory)
        numbers = statistics.read(path).of("")
        found.totals = dict(zip(statistics.COLUMNS, numbers, strict=True))
    except (OSError, statistics.NoStatistics):
        pass
    return found


def _look_at_queue(found: Status, options: Options) -> None:
    queues, client = pattern.paths(options), options.client_queue_directory
    kinds = [(queue, kind) for queue in queues for kind in ("qf", "hf", "Qf")]
    for directory, kind in (*kinds, (client, "qf")):
        try:
            rows = list(listing.scan(directory, kind))
        except (FileNotFoundError, NotADirectoryError):
            if directory != client:
                raise
            rows = []
        for one in rows:
            found.last_attempt = max(found.last_attempt, one.last_attempt)
            if kind in ("hf", "Qf"):
                found.states["held" if kind == "hf" else "put aside"] += 1
                continue
            here = "delayed" if one.attempts else "new"
            found.states["in client queue" if directory == client else here] += 1
            if one.created and (not found.oldest or one.created < found.oldest):
                found.oldest = float(one.created)
            if directory != client:
                _note_due(found, os.path.join(directory, kind + one.qid))


def _note_due(found: Status, path: str) -> None:
    """A control file's time is when it is tried next."""
    try:
        due = os.stat(path).st_mtime
    except OSError:
        return  # delivered meanwhile
    if not found.next_due or due < found.next_due:
        found.next_due = due


def read_log(found: Status, options: Options) -> None:
    """Refusals and deliveries of the last 24 hours, as far as the log can be read."""
    codes: Counter[str] = Counter()
    where = mail_log.places(options)
    lines, complaints = 0, list[str]()
    for line in mail_log.read(where, found.now - _DAY, complaints.append):
        lines += 1
        if ", reject=" in line.text:
            code = line.fields().get("reject", "")[:3]
            codes[code if code.isascii() and code.isdigit() else "other"] += 1
        elif line.text.startswith("done; "):
            found.deliveries += 1
    if complaints and not lines:
        found.no_log = complaints[0]
    else:
        found.refusals = codes
