"""What may be on a disk after a power cut: of each file and each name what was made durable, and chance.

A file has the octets it had when it was last fsynced; what was written later survives wholly, by half,
or not at all. A name survives for certain when its directory was fsynced; of the later ones any may.
``powercut.Disk`` keeps the journal of calls from which a Memory is made.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: more pending names than this are not combined in every way
_ALL_SUBSETS = 6

#: (inode, how often the number was reused): a file or directory, whatever it is called
Identity = tuple[int, int]
Names = dict[Identity, dict[str, Identity]]
Files = dict[Identity, "File"]
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
    files: Files = field(default_factory=dict)
    #: what was synced: a file or directory; None: everything, if this is a sync at all
    synced: Identity | None = None

    def __str__(self) -> str:
        return f"{self.name}({self.subject})"


@dataclass(frozen=True)
class State:
    """One thing that may be on the disk after the cut."""

    root: Identity
    names: Names
    files: Files
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


class Memory:
    """What is on the disk for certain, and what is still on its way."""

    def __init__(self, names: Names, files: Files) -> None:
        """*names* and *files* were there before."""
        self.certain = {directory: dict(inside) for directory, inside in names.items()}
        self.pending: list[Change] = []
        self.synced = dict(files)
        self.latest = dict(files)

    def apply(self, call: Call) -> None:
        """A call was made; nothing of it is certain."""
        self.pending += call.changes
        self.latest |= call.files

    def sync(self, target: Identity | None, *, journal: bool) -> None:
        """A file, a directory or (None) all became durable; with a *journal* a file takes all names along."""
        if target is None:
            self.synced = dict(self.latest)
        elif target in self.latest:
            self.synced[target] = self.latest[target]
        everything = target is None or (journal and target in self.latest)
        for change in [c for c in self.pending if everything or c[0] == target]:
            _change(self.certain, change)
            self.pending.remove(change)

    def chance(self, rng: random.Random) -> tuple[Names, Files]:
        """One of all that may survive."""
        some = [change for change in self.pending if rng.random() < 0.5]
        files = dict(self.latest)
        for identity, file in self.latest.items():
            old = self.synced.get(identity)
            before, now = old.content if old else b"", file.content
            if before == now:
                continue
            how = rng.randrange(4)
            end = rng.randint(min(len(before), len(now)), max(len(before), len(now)))
            content = before if how == 0 else now if how == 1 else now[:end]
            files[identity] = File(content, file.mode, (old or file).mtime_ns)
        return self._with(some), files

    def _with(self, pending: list[Change]) -> Names:
        names = {directory: dict(inside) for directory, inside in self.certain.items()}
        for change in pending:
            _change(names, change)
        return names

    def name_sets(self) -> Iterator[tuple[str, Names]]:
        """Which names of those on their way survive: all combinations, or of many the likely ones."""
        count = len(self.pending)
        every = range(count)
        if count <= _ALL_SUBSETS:
            chosen = [s for n in range(count + 1) for s in itertools.combinations(every, n)]
        else:
            chosen = [tuple(range(n)) for n in range(count + 1)]
            chosen += [(k,) for k in every]
            chosen += [tuple(n for n in every if n != k) for k in every]
        for some in chosen:
            yield (
                f"{len(some)} of {count} {list(some)}",
                self._with([self.pending[k] for k in some]),
            )

    def file_sets(self) -> Iterator[tuple[str, Files]]:
        """How much of what was written survives."""

        def survived(part: Callable[[bytes, bytes], bytes]) -> Files:
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


def changes(before: Names, after: Names) -> list[Change]:
    """What made *after* of *before*."""
    found = []
    for directory in before.keys() | after.keys():
        old, new = before.get(directory, {}), after.get(directory, {})
        if old != new:
            names = (name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
            found.append((directory, {name: new.get(name) for name in names}))
    return found
