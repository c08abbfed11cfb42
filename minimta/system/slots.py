"""How many deliveries go on at the same time, counted over all processes that deliver (MaxQueueChildren).

    QueueDirectory.slots     an empty file; octet 0: somebody waits; octets 1 to N: one slot each;
                             far behind them an octet for each place at a next hop, see place_at()

A slot is a lock of one octet of the file by F_OFD_SETLK (fcntl(2)). The kernel keeps such a lock with
the open file: whoever inherits the descriptor in a fork holds it too, and it is free when the last
of them has closed it or has died, in whatever way. So a killed process loses no slot, and nobody has
to give one back. flock(2) would need a file for each slot, and the older locks of fcntl(2) are not
inherited, and lost when any descriptor of the file is closed.

Who has a slot and turns to a host, a program or a busy mailbox needs a place there, too: of N slots
at most ``Slots.most`` may wait for the same, so that one is always free for somebody else. In the
same way whoever has mail for many hosts that never answer holds at most ``Slots.most_of_source``.

Where the file cannot be locked every delivery has a slot and a place, and nobody a second slot: mail
goes on.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time

from minimta.system import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minimta.config.options import Options

#: struct flock: type, whence, start, length, pid
_FLOCK = "hhqqi"
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: seconds between two looks for a slot
_POLL = 0.2
_WAITING = 0
#: octets that belong to one next hop, and how many next hops are told apart
_RANGE, _HOPS = 1 << 20, 1 << 40
#: in which process what was said to be wrong: a child says it again
_complained: set[tuple[int, str]] = set()


class Slots:
    """The slots of a queue, seen from one process. Nothing is opened before the first is taken."""

    def __init__(self, path: str, number: int) -> None:
        """*number* slots in the file *path*; at least one, or nothing would ever be delivered."""
        self._path = path
        self.resize(number)
        #: descriptor of the slot that this process works in, -1 if it has none
        self.own = -1
        self._waiting = -1

    def resize(self, number: int) -> None:
        """Let there be *number* slots; who has one of those that are no more keeps it to its end."""
        self._number = max(1, number)
        #: so many of them may be at one next hop
        spared = max(1, self._number // 5)
        self.most = max(1, self._number - spared)
        #: and so many may be for what came from one user or client: more, or a mute host would hold up
        #: all that they send elsewhere
        self.most_of_source = self._number - spared // 2

    def enter(self, *, waits: bool = False) -> bool:
        """Work in a slot of our own from now on; False if none is free. May be called twice.

        Who *waits* for one calls again later; until then nobody gets a second one.
        """
        if self.own >= 0:
            return True
        try:
            self.own = self._take()
            if self.own < 0:
                self._begin_to_wait(waits)
                return False
        except OSError as error:
            self._complain(error)
        self.forget_waiting()
        return True

    def enter_when_free(self, stop: Callable[[], bool]) -> bool:
        """Wait for a slot of our own; False if stop() came first."""
        while not self.enter(waits=True):
            if stop():
                return False
            time.sleep(_POLL)
        return True

    def leave(self) -> None:
        """Give our own slot back, or leave it to a child that was forked with it."""
        if self.own >= 0:
            file, self.own = self.own, -1
            os.close(file)

    def second(self) -> int:
        """A further slot for a child: its descriptor, -1 if none is free or somebody waits for one.

        The caller closes it when the child has it.
        """
        try:
            return self._take(after_others=True)
        except OSError as error:
            self._complain(error)
            return -1

    def place_at(self, hop: str, most: int = 0) -> Place | None:
        """A place at *hop*, whatever a delivery waits for: "host mx.campus."; None if all are taken.

        There are ``self.most`` of them, or *most* if that is less. The caller closes it.
        """
        try:
            place = Place(self._open(), min(most or self.most, self.most), self.most_of_source)
        except OSError as error:
            self._complain(error)
            return Place(-1, 0)
        try:
            if place.moves_to(hop):
                return place
        except OSError as error:
            self._complain(error)
            return place
        place.close()
        return None

    def forget_waiting(self) -> None:
        """Wait no more; in a child: it is not the child that waits."""
        if self._waiting >= 0:
            file, self._waiting = self._waiting, -1
            os.close(file)

    def _begin_to_wait(self, waits: bool) -> None:
        if waits and self._waiting < 0:
            self._waiting = self._open()
            _lock(self._waiting, _WAITING, fcntl.F_RDLCK)

    def _take(self, *, after_others: bool = False) -> int:
        """A slot's descriptor, -1 if all are taken. Each has an open file of its own: see above."""
        file = self._open()
        try:
            if not (after_others and _is_locked(file, _WAITING)):
                for count in range(self._number):
                    # Not all begin at the same one: the first look mostly finds a free slot.
                    if _lock(file, 1 + (os.getpid() + count) % self._number):
                        return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        return -1

    def _open(self) -> int:
        return os.open(self._path, _FLAGS, 0o600)

    def _complain(self, error: OSError) -> None:
        reason = f"cannot lock {log.clean(self._path)}: {error.strerror}"
        # Who waits looks several times a second, and a log that is full of it shows nothing else.
        if (os.getpid(), reason) in _complained:
            return
        _complained.add((os.getpid(), reason))
        log.line("", f"SYSERR(root): MaxQueueChildren: {reason}", level=1, error=True)


class Place:
    """A place at one next hop at a time: of this process, and of those that are forked with it."""

    def __init__(self, file: int, most: int, most_of_source: int = 0) -> None:
        """*file* is an open file of its own, -1 if nothing can be locked; a hop has *most* places.

        Those that mail from one source may have *most_of_source*, whatever the hop; 0: as many.
        """
        self.file = file
        self.most = most
        self._most_of_source = most_of_source or most
        self._octet = -1
        self._second = -1
        self._source = -1

    def moves_to(self, hop: str) -> bool:
        """Take a place at *hop* instead of the last one; False if there is none. Raise OSError."""
        self._octet = self._moved(self._octet, hop, self.most)
        return self._octet >= 0 or self.file < 0

    def moves_on_to(self, host: str) -> bool:
        """The same for a second place beside the first: at one *host* of the hop. Raises nothing."""
        try:
            self._second = self._moved(self._second, host, self.most)
        except OSError:
            return True
        return self._second >= 0 or self.file < 0

    def counts_for(self, source: str) -> bool:
        """Take a place of those that mail from *source* may have, whatever the hop. Raises nothing."""
        try:
            self._source = self._moved(self._source, source, self._most_of_source)
        except OSError:
            return True
        return self._source >= 0 or self.file < 0

    def counts_for_nobody(self) -> None:
        """Give the place of the source back, for a while in which nothing is done for it."""
        octet, self._source = self._source, -1
        if octet >= 0 and self.file >= 0:
            _lock(self.file, octet, fcntl.F_UNLCK)

    def close(self) -> None:
        """Give it back, or leave it to a child that was forked with it."""
        if self.file >= 0:
            file, self.file = self.file, -1
            os.close(file)

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _moved(self, old: int, hop: str, most: int) -> int:
        """The octet that is locked now, -1 if all are."""
        if self.file < 0:
            return -1
        if old >= 0:
            _lock(self.file, old, fcntl.F_UNLCK)
        first = _first_octet(hop)
        places = range(first, first + most)
        return next((octet for octet in places if _lock(self.file, octet)), -1)


def _first_octet(hop: str) -> int:
    """Where the octets of *hop* begin; the same in all processes."""
    import hashlib

    # Not a hash that can be met on purpose: whoever did could hold the places of another host.
    digest = hashlib.blake2b(hop.encode("utf-8", "surrogateescape"), digest_size=5).digest()
    return _RANGE * (1 + int.from_bytes(digest, "big") % _HOPS)


def beside(queue_directory: str) -> str:
    """The file of a queue's slots: not in the directory, where real Sendmail would meet it."""
    return queue_directory.rstrip("/") + ".slots"


def of_queue(options: Options) -> Slots:
    """The slots for deliveries from the MTA queue."""
    return Slots(beside(options.queue_directory), options.max_queue_children)


def _lock(file: int, octet: int, kind: int = fcntl.F_WRLCK) -> bool:
    """Lock an octet of an open file; False if another open file has it. Raise OSError."""
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, octet, 1, 0))
    except (BlockingIOError, PermissionError):  # POSIX leaves the choice between these two
        return False
    return True


def _is_locked(file: int, octet: int) -> bool:
    """Has another open file locked it? Raise OSError."""
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, octet, 1, 0)
    found = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked))
    return bool(found[0] != fcntl.F_UNLCK)
