"""How often a message may go to one next hop, counted over all processes (DestinationRateDelay).

    QueueDirectory.pace    eight octets for each next hop: when the next message may go (epoch
                           seconds, a big-endian double), 0.0 if it may

Nobody waits for a turn: who gets none defers its message and says when to try again, so that no
process sleeps in a slot. The octets of a next hop are locked only while they are read and written.
Where the file cannot be used mail goes on, without pauses, and the log says why: a provider that
minds defers it, and our own trouble stops no mail.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import struct
import time

from minimta.config.options import Options
from minimta.system import log

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_TIME = struct.Struct(">d")
#: next hops that are told apart; the file is sparse
_HOPS = 1 << 24


class Pace:
    """The turns of all next hops of a queue."""

    def __init__(self, options: Options) -> None:
        """Nothing is opened before the first turn is asked for, and nothing without the option."""
        self.delay = options.destination_rate_delay
        self._path = beside(options.queue_directory)

    def seconds_left(self, hop: str) -> float:
        """Seconds until the next message may go to *hop*; 0.0: now."""
        return self._asked(hop, takes=False) if self.delay else 0.0

    def take(self, hop: str) -> float:
        """Take the turn at *hop*, for one message: 0.0, or the seconds that are left until there is one."""
        return self._asked(hop, takes=True) if self.delay else 0.0

    def _asked(self, hop: str, *, takes: bool) -> float:
        try:
            file = os.open(self._path, _FLAGS, 0o600)
            try:
                return self._turn(file, _offset(hop), time.time(), takes)
            finally:
                os.close(file)  # and nobody else of this process has it open: the lock goes with it
        except OSError as error:
            reason = f"cannot use {log.clean(self._path)}: {error.strerror}"
            log.line("", f"SYSERR(root): DestinationRateDelay: {reason}", level=1, error=True)
            return 0.0

    def _turn(self, file: int, offset: int, now: float, takes: bool) -> float:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _TIME.size, offset)
        except (BlockingIOError, PermissionError):
            return float(self.delay)  # somebody takes it at this moment, and may be stopped there
        octets = os.pread(file, _TIME.size, offset)
        due = _TIME.unpack(octets)[0] if len(octets) == _TIME.size else 0.0
        # More than a delay ahead: the clock was set back, or the option.
        if math.isfinite(due) and now < due <= now + self.delay:
            return float(due - now)
        if takes:
            os.pwrite(file, _TIME.pack(now + self.delay), offset)
        return 0.0


def beside(queue_directory: str) -> str:
    """The file of a queue: not within, where real Sendmail would meet it."""
    return queue_directory.rstrip("/") + ".pace"


def _offset(hop: str) -> int:
    # As in Slots: not a hash that can be met on purpose.
    digest = hashlib.blake2b(hop.encode("utf-8", "surrogateescape"), digest_size=3).digest()
    return _TIME.size * (int.from_bytes(digest, "big") % _HOPS)
