"""Several queue directories that are one queue: Sendmail's queue group.

    in      each message goes to the next directory that has room (MinFreeBlocks) and works; one that does not
            is left out for a while, and only if none is left the message is not taken
    out     a message is locked by its name, "q1/ID"; an id alone is looked for in all directories

Directories come and go while it is open: look() finds them. One that is gone, with mail in it, is not touched.
What is wrong with one of them is logged, and does not keep the others waiting.
"""

from __future__ import annotations

import errno
import os
import time
from _thread import allocate_lock
from itertools import count

from minimta.queue import pattern
from minimta.queue import qid as queue_id
from minimta.queue.directory import QueueEntry
from minimta.queue.spool import Spool
from minimta.system import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    from minimta.config.options import Options
    from minimta.queue.commit import Committer
    from minimta.queue.locked import LockedMessage

    _T = TypeVar("_T")

#: seconds between two looks for new directories, and for which one that failed is left out
_LOOK, _LEFT_OUT = 10.0, 60.0
_PLACE = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: seconds after which what is wrong is logged once more
_SAY = 86400.0


class _Member(Spool):
    """One of the directories. It is closed when nobody has it any more: when it goes, threads may be using it."""

    descriptor = -1

    def close(self) -> None:
        """May be called twice."""
        if self.descriptor >= 0:
            super().close()
            self.descriptor = -1

    def __del__(self) -> None:
        self.close()


class QueueGroup:
    """The open directories. Threads may share it. Its methods are those of a Spool."""

    #: nobody adopts from here
    is_client = False

    def __init__(
        self,
        options: Options,
        *,
        commit: Callable[[str], Committer] | None = None,
        listener_uid: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """See ``directories.open_queue``; *clock* gives seconds. Raise OSError."""
        self.directory = options.queue_pattern
        #: see Spool; of all directories
        self.lost: list[tuple[str, str]] = []
        self.refused: list[tuple[str, str, str]] = []
        self.complaints: list[str] = []
        self._options = options
        self._commit = commit
        self._listener_uid = listener_uid
        self._clock = clock
        self._reads_back = True
        self._spools: dict[str, Spool] = {}
        #: path -> until when it is left out
        self._left_out: dict[str, float] = {}
        #: what was logged, and until when it need not be said again
        self._said: dict[str, float] = {}
        self._turns = count(os.urandom(1)[0])
        self._mutex = allocate_lock()
        self._next_look = 0.0
        # Open for good: a listener that has given up root may not list it any more.
        self._base = os.open(options.queue_directory, _PLACE)
        try:
            self.look()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all directories."""
        for spool in self.spools:
            spool.close()
        os.close(self._base)

    # --- which there are --------------------------------------------------------------------------

    @property
    def spools(self) -> list[Spool]:
        """Each directory."""
        return list(self._spools.values())

    def look(self) -> None:
        """Find directories that are new, or gone. Raise OSError if none can be used."""
        with self._mutex:
            self._next_look = self._clock() + _LOOK
            self._follow_base()
            found: dict[str, Spool] = {}
            trouble = None
            try:
                names = pattern.names_in(self._base, self.directory)
            except pattern.NoQueueDirectory:
                self._use({})  # what is put into one that was moved away would be lost
                raise
            for name in names:
                try:
                    found[name] = self._open(name)
                except OSError as error:
                    trouble = error
                    self._say(name, error)
            if trouble and not found:
                raise trouble
            self._use(found)

    def _follow_base(self) -> None:
        """The place that they are in may be another by now. Who may not open it keeps the old one."""
        try:
            if os.path.samestat(os.stat(self._options.queue_directory), os.fstat(self._base)):
                return
            base = os.open(self._options.queue_directory, _PLACE)
        except OSError as error:
            self._say("", error)
            return
        os.dup2(base, self._base, inheritable=False)  # at once, for all threads
        os.close(base)

    def _use(self, found: dict[str, Spool]) -> None:
        gone = [name for name in self._spools if name not in found]
        self._spools = found  # others may be using the one before
        for name in gone:
            path = log.clean(os.path.join(self._options.queue_directory, name))
            log.line(
                "", f"{path}: it is gone; mail in it waits until it is back", level=1, error=True
            )

    def _open(self, name: str) -> Spool:
        known = self._spools.get(name)
        if known and self._leads_to(name, known):
            return known
        path = os.path.join(self._options.queue_directory, name)
        commit = self._commit(path) if self._commit else None
        spool = _Member(path, commit=commit, listener_uid=self._listener_uid)
        spool.lost, spool.refused = self.lost, self.refused
        spool.complaints, spool.reads_back = self.complaints, self._reads_back
        return spool

    def _leads_to(self, name: str, known: Spool) -> bool:
        """Has it still that name? One that cannot be asked is kept: it is open, and the disk tells the rest."""
        try:
            found = os.stat(name, dir_fd=self._base)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._say(name, error)
            return True
        return os.path.samestat(found, os.fstat(known.descriptor))

    @property
    def reads_back(self) -> bool:
        """See QueueDirectory; of all directories."""
        return self._reads_back

    @reads_back.setter
    def reads_back(self, reads_back: bool) -> None:
        """For those that are found later, too."""
        self._reads_back = reads_back
        for spool in self.spools:
            spool.reads_back = reads_back

    # --- in ---------------------------------------------------------------------------------------

    def begin(self, qid: str, now: float) -> tuple[Spool, str, int]:
        """See Spool.begin: in the directory whose turn it is. Raise OSError if none takes it."""
        self._look_sometimes()
        trouble = None
        for spool in self._in_turn():
            try:
                return self._begin(self._in_place(spool), qid, now)
            except OSError as error:
                trouble = error
                self.leave_out(spool)
                self._say(spool.directory, error)
        raise trouble or pattern.NoQueueDirectory(self.directory)

    def _in_place(self, spool: Spool) -> Spool:
        """It, or the one that has its name now. Raise OSError if it is gone.

        What goes into one that was moved away or mounted over just now would be looked for by nobody.
        """
        name = os.path.basename(spool.directory)
        if self._leads_to(name, spool):
            return spool
        self.look()
        if name not in self._spools:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self._spools[name]

    def _begin(self, spool: Spool, qid: str, now: float) -> tuple[Spool, str, int]:
        others = [one for one in self.spools if one is not spool]
        while any(_has(one, qid) for one in others):
            qid = queue_id.new(now)  # people shall know it by its id alone
        return spool.begin(qid, now)

    def _in_turn(self) -> Iterator[Spool]:
        """All, those first that work and have room; the rest is better than nothing."""
        spools = self.spools
        first = next(self._turns) % max(1, len(spools))
        later = []
        for spool in spools[first:] + spools[:first]:
            if self._is_left_out(spool) or _free(spool) < self._options.min_free_blocks:
                later.append(spool)
            else:
                yield spool
        yield from later

    def _look_sometimes(self) -> None:
        if self._clock() >= self._next_look:
            try:
                self.look()
            except OSError as error:
                self._say(self.directory, error)  # those that were there may still do

    def leave_out(self, spool: Spool) -> None:
        """It has failed, now or just now: the others come first for a while."""
        self._left_out[spool.directory] = self._clock() + _LEFT_OUT

    def _is_left_out(self, spool: Spool) -> bool:
        until = self._left_out.get(spool.directory)
        if until is not None and self._clock() >= until:
            self._left_out.pop(spool.directory, None)
            return False
        return until is not None

    def is_in_place(self) -> bool:
        """See QueueDirectory; begin() and look() see to it that they are."""
        return True

    def free_blocks(self) -> int:
        """Those of the directory that has most; see QueueDirectory."""
        return max(map(_free, self.spools), default=0)

    # --- out --------------------------------------------------------------------------------------

    def lock(self, name: str, *, trusted: bool = True, kind: str = "qf") -> LockedMessage | None:
        """See Spool.lock."""
        directory, qid = pattern.of_message(name)
        for here, spool in list(self._spools.items()):
            message = None
            if directory in ("", here):
                message = spool.lock(qid, trusted=trusted, kind=kind)
            if message is not None:
                message.name = name
                return message
        return None

    def names(self, kind: str = "qf") -> list[str]:
        """The names of all that is queued; see QueueDirectory. Raise OSError if no directory can be read."""
        found = self._each(lambda spool: spool.names(kind))
        return [f"{directory}/{qid}" for directory, qid in found]

    def entries(self, kind: str = "qf") -> Iterator[QueueEntry]:
        """See QueueDirectory."""
        for directory, one in self._each(lambda spool: spool.entries(kind)):
            yield QueueEntry(f"{directory}/{one.qid}", one.mtime)

    def _each(self, act: Callable[[Spool], Iterable[_T]]) -> Iterator[tuple[str, _T]]:
        """All that *act* gives of each directory, until it fails there. Raise OSError if it fails everywhere."""
        trouble, done = None, False
        for directory, spool in list(self._spools.items()):
            try:
                for one in act(spool):
                    yield directory, one
            except OSError as error:
                trouble = error
                self._say(spool.directory, error)
                continue
            done = True
        if trouble and not done:
            raise trouble

    # --- housekeeping -----------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """See Spool."""

        def swept(spool: Spool) -> tuple[()]:
            spool.sweep(now)
            return ()

        for _ in self._each(swept):
            pass

    @property
    def retired(self) -> list[str]:
        """See QueueDirectory."""
        return [qid for spool in self.spools for qid in spool.retired]

    def flush(self) -> None:
        """See QueueDirectory: wherever there is something to do. Raise OSError, after the others are done."""
        trouble = None
        for spool in self.spools:
            try:
                if spool.retired:
                    spool.flush()
            except OSError as error:
                trouble = error
        if trouble:
            raise trouble

    def _say(self, where: str, error: OSError) -> None:
        """Once a day: a listener meets it with each message."""
        text = pattern.broken(os.path.join(self._options.queue_directory, where), error)
        now = self._clock()
        if now >= self._said.get(text, now):
            self._said[text] = now + _SAY
            log.line("", text, level=1, error=True)


def _has(spool: Spool, qid: str) -> bool:
    try:
        return spool.has(qid)
    except OSError:
        # Nobody can look there, and others are not to wait for it. Only a dead process of our number whose
        # clock was wrong can have had an id that is new; and a message is locked by its directory as well.
        return False


def _free(spool: Spool) -> int:
    try:
        return spool.free_blocks()
    except OSError:
        return 0
