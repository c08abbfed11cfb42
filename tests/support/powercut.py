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
only they count as fsync. fsync itself is not executed: a disk that forgets is fast.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minimta.queue import commit

CHANGES = (
    *("open", "write", "writev", "pwrite", "pwritev", "sendfile", "copy_file_range"),
    *("rename", "replace", "link", "symlink", "unlink", "remove", "rmdir", "mkdir"),
    *("ftruncate", "truncate", "posix_fallocate", "utime", "chmod", "fchmod"),
)
SYNCS = ("fsync", "fdatasync", "sync")
#: more pending names than this are not combined in every way
_ALL_SUBSETS = 6

#: (inode, how often the number was reused): a file or directory, whatever it is called
Identity = tuple[int, int]
Names = dict[Identity, dict[str, Identity]]
#: directory, and what one call did to the names in it; None: removed
Change = tuple[Identity, dict[str, Identity | None]]


@dataclass(frozen=True)
class File:
    """What a file is at one moment."""

    content: bytes
    mode: int
    mtime_ns: int


@dataclass
class Call:
    """One call that changed something, synced something, or a mark."""

    name: str
    subject: str = ""
    changes: list[Change] = field(default_factory=list)
    files: dict[Identity, File] = field(default_factory=dict)
    #: what was synced: a file or directory; None: everything, if this is a sync at all
    synced: Identity | None = None

    def __str__(self) -> str:
        return f"{self.name}({self.subject})"


@dataclass(frozen=True)
class State:
    """One thing that may be on the disk after the cut."""

    root: Identity
    names: Names
    files: dict[Identity, File]
    label: str

    @property
    def key(self) -> object:
        """What it looks like from outside: equal for states that are the same."""
        return self._key(self.root)

    def _key(self, identity: Identity) -> object:
        if identity in self.files:
            return self.files[identity]
        inside = self.names.get(identity, {}).items()
        return frozenset((name, self._key(child)) for name, child in inside)

    def write(self, directory: Path) -> None:
        """Materialise it below *directory*, which exists and is empty."""
        self._write(directory, self.root)

    def _write(self, directory: Path, identity: Identity) -> None:
        for name, child in self.names.get(identity, {}).items():
            path = directory / name
            file = self.files.get(child)
            if file is None:
                path.mkdir()
                self._write(path, child)
                continue
            path.write_bytes(file.content)
            path.chmod(file.mode & 0o7777)
            os.utime(path, ns=(file.mtime_ns, file.mtime_ns))


class Disk:
    """The journal of what happens below *root* while the ``with`` block runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[Call] = []
        self._mutex = threading.RLock()
        self._saved: list[tuple[Any, str, Any]] = []
        self._generations: dict[int, int] = {}
        self._modes: dict[Identity, int] = {}
        self._names: Names = {}
        self._files: dict[Identity, File] = {}
        self._scan()
        self._top = self._identity(os.stat(root).st_ino)
        self._first_names, self._first_files = self._names, self._files

    # --- recording --------------------------------------------------------------------------------

    def __enter__(self) -> Disk:
        for name in (*CHANGES, *SYNCS):
            self._wrap(os, name, is_sync=name in SYNCS)
        self._wrap(commit, "syncfs", is_sync=True)
        return self

    def __exit__(self, *unused: object) -> None:
        while self._saved:
            owner, name, real = self._saved.pop()
            setattr(owner, name, real)

    def mark(self, text: str) -> None:
        """Note that something was promised, or is over."""
        with self._mutex:
            self.calls.append(Call("mark", text))

    def _wrap(self, owner: Any, name: str, *, is_sync: bool) -> None:
        real = getattr(owner, name)
        self._saved.append((owner, name, real))

        def wrapped(*args: Any, **options: Any) -> Any:
            with self._mutex:
                if is_sync:
                    self._note(Call(name, synced=self._synced(name, args)), always=True)
                    return None
                try:
                    return real(*args, **options)
                finally:
                    subject = next((str(a) for a in args if isinstance(a, (str, os.PathLike))), "")
                    self._note(Call(name, os.path.basename(subject)), always=False)

        setattr(owner, name, wrapped)

    def _synced(self, name: str, args: tuple[Any, ...]) -> Identity | None:
        if name in ("sync", "syncfs"):
            return None
        return self._identity(os.fstat(args[0]).st_ino)

    def _note(self, call: Call, *, always: bool) -> None:
        names, files = self._names, self._files
        self._scan()
        for directory in names.keys() | self._names.keys():
            before, after = names.get(directory, {}), self._names.get(directory, {})
            change: dict[str, Identity | None] = {
                name: after.get(name)
                for name in before.keys() | after.keys()
                if before.get(name) != after.get(name)
            }
            if change:
                call.changes.append((directory, change))
        call.files = {i: f for i, f in self._files.items() if files.get(i) != f}
        if always or call.changes or call.files:
            self.calls.append(call)

    def _scan(self) -> None:
        """Take down the whole tree as it is now."""
        known = {identity for names in self._names.values() for identity in names.values()}
        here = {inode for inode, _ in known}
        self._names, self._files, todo = {}, {}, [str(self.root)]
        while todo:
            path = todo.pop()
            names = self._names.setdefault(self._identity(os.stat(path).st_ino), {})
            with os.scandir(path) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    if (
                        found.st_ino not in here
                    ):  # a new file, perhaps with the number of an old one
                        self._generations[found.st_ino] = self._generations.get(found.st_ino, 0) + 1
                        here.add(found.st_ino)
                    identity = names[entry.name] = self._identity(found.st_ino)
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        content = Path(entry.path).read_bytes()
                        self._files[identity] = File(content, found.st_mode, found.st_mtime_ns)

    def _identity(self, inode: int) -> Identity:
        return inode, self._generations.get(inode, 0)

    # --- pulling the plug -------------------------------------------------------------------------

    def cuts(self) -> range:
        """Every moment: after no call, after one, ... after all."""
        return range(len(self.calls) + 1)

    def syncs(self) -> list[int]:
        """Which calls are syncs, for *without*."""
        return [k for k, call in enumerate(self.calls) if call.name in (*SYNCS, "syncfs")]

    def marks(self, cut: int) -> list[str]:
        """What was promised before the cut."""
        return [call.subject for call in self.calls[:cut] if call.name == "mark"]

    def survivors(
        self, *, after: int, without: Collection[int] = (), journal: bool = False
    ) -> Iterator[State]:
        """Everything that may be on the disk if the power fails after *after* calls."""
        memory = _Memory(self._first_names, self._first_files)
        for k, call in enumerate(self.calls[:after]):
            memory.apply(call)
            if k in self.syncs() and k not in without:
                memory.sync(call.synced, journal=journal)
        seen = set()
        for (which, names), (how, files) in itertools.product(
            memory.name_sets(), memory.file_sets()
        ):
            state = State(
                self._top, names, files, f"after {after} calls, names: {which}, data: {how}"
            )
            if state.key not in seen:
                seen.add(state.key)
                yield state


class _Memory:
    """What is on the disk for certain, and what is still on its way."""

    def __init__(self, names: Names, files: dict[Identity, File]) -> None:
        self.certain = {directory: dict(inside) for directory, inside in names.items()}
        self.pending: list[Change] = []
        self.synced = dict(files)
        self.latest = dict(files)

    def apply(self, call: Call) -> None:
        self.pending += call.changes
        self.latest |= call.files

    def sync(self, target: Identity | None, *, journal: bool) -> None:
        if target is None:
            self.synced = dict(self.latest)
        elif target in self.latest:
            self.synced[target] = self.latest[target]
        everything = target is None or (journal and target in self.latest)
        for change in [c for c in self.pending if everything or c[0] == target]:
            _change(self.certain, change)
            self.pending.remove(change)

    def name_sets(self) -> Iterator[tuple[str, Names]]:
        count = len(self.pending)
        every = range(count)
        if count <= _ALL_SUBSETS:
            chosen = [s for n in range(count + 1) for s in itertools.combinations(every, n)]
        else:
            chosen = [tuple(range(n)) for n in range(count + 1)]
            chosen += [(k,) for k in every]
            chosen += [tuple(n for n in every if n != k) for k in every]
        for some in chosen:
            names = {directory: dict(inside) for directory, inside in self.certain.items()}
            for k in some:
                _change(names, self.pending[k])
            yield f"{len(some)} of {count} {list(some)}", names

    def file_sets(self) -> Iterator[tuple[str, dict[Identity, File]]]:
        def survived(part: Callable[[bytes, bytes], bytes]) -> dict[Identity, File]:
            files = {}
            for identity, file in self.latest.items():
                old = self.synced.get(identity)
                content = part(old.content if old else b"", file.content)
                files[identity] = File(content, file.mode, (old or file).mtime_ns)
            return files

        yield "synced", survived(lambda old, new: old)
        yield "half", survived(lambda old, new: new[: (len(old) + len(new)) // 2])
        yield "all", dict(self.latest)


def _change(names: Names, change: Change) -> None:
    directory, inside = change
    there = names.setdefault(directory, {})
    for name, identity in inside.items():
        if identity is None:
            there.pop(name, None)
        else:
            there[name] = identity


@contextlib.contextmanager
def playground(parent: Path) -> Iterator[Path]:
    """A fresh directory for one State, gone afterwards: thousands of them shall not pile up."""
    import shutil
    import tempfile

    directory = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
