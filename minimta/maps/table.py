"""A table that is asked for years: PATH.cdb if makemap has made one, else the text PATH.

Each question begins with rows(), which looks whether the file is another one by now, ten times a second
at most: a message has half a dozen questions, and each look lets another thread in between. What it gives
is the table as it is at that moment: who asks for several keys gets answers that belong together. As
with aliases the database counts, even if its text is newer.

A file that cannot be read is an OSError, and never an empty table. One whose directory has been closed
to us since (the listener gives up root) is what it was when it was last read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

from minimta.maps.cdb import Cdb
from minimta.maps.text_table import read_table

SUFFIX = ".cdb"
#: seconds for which what was seen counts
FRESH = 0.1
Get = Callable[[bytes], "bytes | None"]
_Seen = tuple[int, int, int]


def no_rows(key: bytes) -> bytes | None:
    """A table without rows: who knows it need not ask."""
    return None


class Table:
    """The table of one option. For all threads: two that see a change both read it."""

    def __init__(
        self,
        path: str,
        when_read: Callable[[str, Iterable[tuple[bytes, bytes]]], None] = lambda path, rows: None,
    ) -> None:
        """Opens nothing yet; "" is a table without rows. *when_read* sees each new file's rows."""
        self.path = path
        self._when_read = when_read
        self._known: tuple[tuple[_Seen | None, _Seen | None], Get] | None = None
        #: until then (monotonic seconds) it is not looked at again
        self._until = 0.0

    def rows(self) -> Get:
        """key (small letters) -> value of the table as it is now, or None. Raise OSError.

        Also what it returns raises OSError, if a database is damaged.
        """
        if not self.path:
            return no_rows
        now = time.monotonic()
        if self._known is not None and now < self._until:
            return self._known[1]
        try:
            seen = _stat(self.path + SUFFIX), _stat(self.path)
        except PermissionError:
            if self._known is None:
                raise
            return self._known[1]
        if self._known is None or self._known[0] != seen:
            self._known = seen, self._read(is_database=seen[0] is not None)
        self._until = now + FRESH
        return self._known[1]

    def is_there(self) -> bool:
        """Is there a file? Raise OSError."""
        self.rows()
        return self._known is not None and any(self._known[0])

    def _read(self, *, is_database: bool) -> Get:
        if is_database:
            database = Cdb(self.path + SUFFIX)
            self._when_read(database.path, database.records())
            return database.get
        table = read_table(self.path)
        self._when_read(self.path, table.items())
        return table.get if table else no_rows


def all_rows(path: str) -> dict[bytes, bytes]:
    """key (small letters) -> value of the whole table *path*, or of its database. Raise OSError."""
    if _stat(path + SUFFIX) is None:
        return read_table(path)
    found: dict[bytes, bytes] = {}
    for key, value in Cdb(path + SUFFIX).records():
        found.setdefault(key, value)
    return found


def tagged_rows(path: str, tags: tuple[bytes, ...]) -> dict[bytes, bytes]:
    """Of the table *path*, or its database, the rows whose keys begin with one of *tags*.

    For a few rows of a table that may have many. *tags* in small letters; no file is no rows. Raise
    OSError.
    """
    rows: Iterable[tuple[bytes, bytes]]
    if _stat(path + SUFFIX) is None:
        rows = read_table(path, tags).items()
    else:
        rows = Cdb(path + SUFFIX).mentioning(tags)
    found: dict[bytes, bytes] = {}
    for key, value in rows:
        if key.startswith(tags):
            found.setdefault(key, value)
    return found


def _stat(path: str) -> _Seen | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
