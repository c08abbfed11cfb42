"""A disk that forgets: the calls of a real run, and what a power cut after any of them may leave.

    with Disk(tmp_path) as disk:            # wraps os.open, os.write, os.fsync, os.rename ...
        spool.accept(...)
        disk.mark("accepted 6AM...")        # what was promised to the outside by now
    for cut in disk.cuts():                 # the plug is pulled after this many calls
        for state in disk.survivors(after=cut):
            state.write(fresh_directory)    # now recover there, and look
            check(fresh_directory, disk.marks(cut), state)

What survives. A file has the octets it had when it was last fsynced; what was written later survives
wholly, by half, or not at all. A name (created, renamed, removed) survives for certain when its
directory was fsynced afterwards; of the later ones any may survive, also without earlier ones. Every
such state is given once. What was there before the ``with`` is on disk.

``survivors(..., without={k})`` pretends that call k, an fsync, was never made: a checker that does
not notice checks nothing. ``disk.syncs()`` lists them. ``journal=True`` is a file system with ordered
metadata (ext4, xfs, btrfs), where fsync of a file takes all earlier names along.

Calls are noted when they change something below *root*, by comparing before and after, so it does not
matter who makes them or how; but only calls through ``os`` of this process are points to cut at, and
only they count as fsync. fsync itself is not executed: a disk that forgets is fast. With
``Disk(root, children=True)`` those of forked children are such points, too, if their parent waits for
them (a delivery as its user); others work beside each other, and nobody knows in which order.

``survivor(rng, after=cut)`` is one state at random, of more than survivors() can try: any names, and
of each file any beginning of what was not fsynced.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from minimta.queue import commit
from tests.support.survivors import Call, File, Files, Identity, Memory, Names, State, changes

CHANGES = (
    *("open", "write", "writev", "pwrite", "pwritev", "sendfile", "copy_file_range"),
    *("rename", "replace", "link", "symlink", "unlink", "remove", "rmdir", "mkdir"),
    *("ftruncate", "truncate", "posix_fallocate", "utime", "chmod", "fchmod"),
)
SYNCS = ("fsync", "fdatasync", "sync")
EVERY_SYNC = (*SYNCS, "syncfs")
_OF_ONE = ("fsync", "fdatasync")
#: change what is in the open file that they are given, and no names
_CONTENT = ("write", "writev", "pwrite", "pwritev", "ftruncate", "posix_fallocate", "fchmod")
#: without one of these open(2) changes nothing
_CREATING = os.O_CREAT | os.O_TRUNC
_MEMORY = "/dev/shm"
#: one for each state that was given: for who counts the cases of a test
EXAMINED: list[int] = []


class Disk:
    """The journal of what happens below *root* while the ``with`` block runs."""

    def __init__(self, root: Path, *, children: bool = False, ignored: str = "") -> None:
        """With *children* the calls of children count for which this process waits.

        Names with a part *ignored* are not looked at: locks, of which any may survive.
        """
        self.root = root
        self._ignored = ignored
        self.calls: list[Call] = []
        #: called before each call that may concern *root*, outside the lock: a scheduler's turn
        self.before: Callable[[], None] = lambda: None
        self._mutex = threading.RLock()
        self._saved: list[tuple[Any, str, Any]] = []
        self._process = os.getpid()
        #: where children write down what they did, "" if nobody asks; and how much of it was read
        self._aside, self._heard = "", 0
        if children:
            file, self._aside = tempfile.mkstemp(prefix="powercut-")
            os.close(file)
        self._generations: dict[int, int] = {}
        self._names: Names = {}
        self._files: Files = {}
        #: size and times of a file when it was read
        self._looks: dict[Identity, tuple[int, ...]] = {}
        self._scan()
        self._top = self._identity(os.stat(root).st_ino)
        self._first_names, self._first_files = self._names, self._files

    # --- recording --------------------------------------------------------------------------------

    def __enter__(self) -> Disk:
        for name in (*CHANGES, *SYNCS):
            self._wrap(os, name)
        self._wrap(commit, "syncfs")
        return self

    def __exit__(self, *unused: object) -> None:
        while self._saved:
            owner, name, real = self._saved.pop()
            setattr(owner, name, real)
        self._hear_children()
        if self._aside:
            os.unlink(self._aside)

    def mark(self, text: str) -> None:
        """Note that something was promised, or is over."""
        with self._mutex:
            self._hear_children()
            self._add(Call("mark", text))

    def _wrap(self, owner: Any, name: str) -> None:
        real = getattr(owner, name)
        self._saved.append((owner, name, real))

        def wrapped(*args: Any, **options: Any) -> Any:
            if self._is_below(args):
                self.before()
            with self._mutex:
                if name in EVERY_SYNC:
                    self._note(Call(name), _descriptor(args))
                    return None
                try:
                    return real(*args, **options)
                finally:
                    if name != "open" or args[1] & _CREATING:
                        self._note(Call(name, _subject(args)), _descriptor(args))

        setattr(owner, name, wrapped)

    def _is_below(self, args: tuple[Any, ...]) -> bool:
        """Not a path of the system, which some read once and remember."""
        path = os.fspath(args[0]) if args and not isinstance(args[0], int) else ""
        return not os.path.isabs(path) or os.fsdecode(path).startswith(str(self.root))

    def _opened(self, descriptor: int) -> Identity | None:
        with contextlib.suppress(OSError):
            return self._identity(os.fstat(descriptor).st_ino)
        return None

    def _note(self, call: Call, descriptor: int = -1) -> None:
        """Add *call* to the journal, with what is different now; what it was given is read again."""
        self._hear_children()
        names, files, touched = self._names, self._files, self._opened(descriptor)
        if call.name in _CONTENT and touched in files:
            self._files = {**files, touched: self._read(touched, f"/proc/self/fd/{descriptor}")}
        else:
            self._scan(touched)
            call.changes = changes(names, self._names)
        call.files = {i: f for i, f in self._files.items() if files.get(i) != f}
        if call.name in _OF_ONE:
            call.synced = self._opened(descriptor)
        if call.changes or call.files or call.name in EVERY_SYNC:
            self._add(call)

    def _add(self, call: Call) -> None:
        self.calls.append(call)
        if self._aside and os.getpid() != self._process:
            known = self._names, self._files, self._generations, self._looks
            with open(self._aside, "ab") as file:
                file.write(pickle.dumps((call, known)))

    def _hear_children(self) -> None:
        """Add what a child did before its parent, who waited for it, goes on."""
        if not self._aside or os.getpid() != self._process:
            return
        with open(self._aside, "rb") as file:
            file.seek(self._heard)
            while self._heard < os.fstat(file.fileno()).st_size:
                call, known = pickle.load(file)
                self.calls.append(call)
                self._names, self._files, self._generations, self._looks = known
                self._heard = file.tell()

    def _scan(self, touched: Identity | None = None) -> None:
        """Take down the whole tree as it is now; what looks as before, and is not *touched*, is known."""
        known = {identity for names in self._names.values() for identity in names.values()}
        here = {inode for inode, _ in known}
        old, self._names, self._files = self._files, {}, {}
        todo = [str(self.root)]
        while todo:
            path = todo.pop()
            names = self._names.setdefault(self._identity(os.stat(path).st_ino), {})
            with os.scandir(path) as entries:
                for entry in entries:
                    if self._ignored and self._ignored in entry.name:
                        continue
                    found = entry.stat(follow_symlinks=False)
                    if found.st_ino not in here:
                        # A new file, perhaps with the number of an old one.
                        self._generations[found.st_ino] = self._generations.get(found.st_ino, 0) + 1
                        here.add(found.st_ino)
                    identity = names[entry.name] = self._identity(found.st_ino)
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        is_known = identity in old and identity != touched
                        is_known = is_known and self._looks[identity] == _look(found)
                        self._files[identity] = (
                            old[identity] if is_known else self._read(identity, entry.path)
                        )

    def _read(self, identity: Identity, path: str) -> File:
        found = os.stat(path)
        self._looks[identity] = _look(found)
        return File(Path(path).read_bytes(), found.st_mode, found.st_mtime_ns)

    def _identity(self, inode: int) -> Identity:
        return inode, self._generations.get(inode, 0)

    # --- pulling the plug -------------------------------------------------------------------------

    def cuts(self) -> range:
        """Every moment: after no call, after one, ... after all."""
        return range(len(self.calls) + 1)

    def syncs(self) -> list[int]:
        """Which calls are syncs, for *without*."""
        return [k for k, call in enumerate(self.calls) if call.name in EVERY_SYNC]

    def synced(self, k: int) -> str:
        """The name of what call *k* made durable, as it was last; ids cut off."""
        target = self.calls[k].synced
        for call in reversed(self.calls[:k]):
            for _, change in call.changes:
                for name, identity in change.items():
                    if identity == target:
                        return name if len(name) < 14 else name[:2]
        found = [p for p in self.root.rglob("*") if target and p.stat().st_ino == target[0]]
        return found[0].name if found else "?"

    def marks(self, cut: int) -> list[str]:
        """What was promised before the cut."""
        return [call.subject for call in self.calls[:cut] if call.name == "mark"]

    def survivors(
        self, *, after: int, without: Collection[int] = (), journal: bool = False
    ) -> Iterator[State]:
        """Everything that may be on the disk if the power fails after *after* calls."""
        memory = self._memory(after, without, journal=journal)
        seen = set()
        for (which, names), (how, files) in itertools.product(
            memory.name_sets(), memory.file_sets()
        ):
            label = f"after {after} calls, names: {which}, data: {how}"
            state = State(self._top, names, files, label)
            if state.key not in seen:
                seen.add(state.key)
                EXAMINED.append(1)
                yield state

    def survivor(self, rng: random.Random, *, after: int, without: Collection[int] = ()) -> State:
        """One of all that may be on the disk if the power fails after *after* calls."""
        names, files = self._memory(after, without).chance(rng)
        EXAMINED.append(1)
        return State(self._top, names, files, f"after {after} calls, at random")

    def _memory(
        self, after: int, without: Collection[int] = (), *, journal: bool = False
    ) -> Memory:
        memory = Memory(self._first_names, self._first_files)
        for k, call in enumerate(self.calls[:after]):
            memory.apply(call)
            if call.name in EVERY_SYNC and k not in without:
                memory.sync(call.synced, journal=journal)
        return memory


def _descriptor(args: tuple[Any, ...]) -> int:
    return args[0] if args and isinstance(args[0], int) else -1


def _subject(args: tuple[Any, ...]) -> str:
    named = next((str(one) for one in args if isinstance(one, (str, os.PathLike))), "")
    return os.path.basename(named)


def _look(found: os.stat_result) -> tuple[int, ...]:
    return found.st_size, found.st_mode, found.st_mtime_ns, found.st_ctime_ns


@contextlib.contextmanager
def playground(parent: Path) -> Iterator[Path]:
    """A fresh directory for one State, gone afterwards: thousands of them shall not pile up.

    In memory where that can be, else below *parent*: a disk takes 20 ms for each.
    """
    where = _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else parent
    directory = Path(tempfile.mkdtemp(prefix="minimta-after-", dir=where))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@contextlib.contextmanager
def without_waiting() -> Iterator[None]:
    """fsync does nothing: for what happens after the last cut."""
    saved = os.fsync, commit.syncfs
    os.fsync, commit.syncfs = _nothing, _nothing  # type: ignore[assignment]
    try:
        yield
    finally:
        os.fsync, commit.syncfs = saved


def _nothing(file: int) -> None:
    pass
