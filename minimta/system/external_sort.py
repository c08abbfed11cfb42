"""Sort texts of which there may be more than shall be in memory (an external merge sort).

What is more than a few thousand goes, sorted, into a file without a name, a run after the
other; in the end the runs are merged. Where no such file can be had, or the disk is full, all of it
stays in memory: slower for others, but in order.
"""

from __future__ import annotations

import errno
import heapq
import marshal
import os

from minimta.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    #: what texts are sorted by: no two are equal
    Key = tuple[float | str | bytes, ...]

_PLACES = ("/var/tmp", "/tmp")
#: pairs that are read at a time of each run
_BLOCK = 64


class ExternalSort:
    """Texts in, then the same in the order of their keys."""

    def __init__(self, most: int = 4096) -> None:
        """At *most* so many are in memory."""
        self._most = most
        self._pairs: list[tuple[Key, str]] = []
        #: one file for all runs, -1 if there is none
        self._file = -1
        #: of each run its blocks: (where it begins, octets)
        self._runs: list[list[tuple[int, int]]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, key: Key, text: str) -> None:
        """Take one more."""
        self._pairs.append((key, text))
        self._count += 1
        if len(self._pairs) >= self._most:
            self._spill()

    def __iter__(self) -> Iterator[str]:
        """All of them in order, once. Raise OSError if what was put aside cannot be read back."""
        self._pairs.sort()
        try:
            for _, text in heapq.merge(*map(self._read, self._runs), self._pairs):
                yield text
        finally:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _spill(self) -> None:
        self._pairs.sort()
        run: list[tuple[int, int]] = []
        try:
            if self._file < 0:
                self._file = _open()
            end = os.lseek(self._file, 0, os.SEEK_END)
            for begin in range(0, len(self._pairs), _BLOCK):
                octets = marshal.dumps(self._pairs[begin : begin + _BLOCK])
                files.write_all(self._file, octets)
                run.append((end, len(octets)))
                end += len(octets)
        except OSError:
            self._most = 2 * len(self._pairs)  # perhaps later
            return
        self._runs.append(run)
        self._pairs.clear()

    def _read(self, run: list[tuple[int, int]]) -> Iterator[tuple[Key, str]]:
        for begin, size in run:
            yield from marshal.loads(os.pread(self._file, size, begin))


def _open() -> int:
    """A file that loses its name at once. Raise OSError."""
    # Not O_TMPFILE, which the overlays of containers do not know.
    name = f"minimta-{os.urandom(16).hex()}"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    for place in _PLACES:
        path = os.path.join(place, name)
        try:
            file = os.open(path, flags, 0o600)
        except OSError:
            continue
        os.unlink(path)
        return file
    raise OSError(errno.ENOENT, "no place for a file", _PLACES[-1])
