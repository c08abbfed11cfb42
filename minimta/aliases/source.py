"""One alias file: its database if there is one, else its text."""

from __future__ import annotations

import errno
import os
import stat

from minimta import log, maps
from minimta.maps.cdb import Cdb
from minimta.trust import Untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Set

#: what the name of a database has more than the name of its text
SUFFIX = ".cdb"
#: the names of DontBlameSendmail, and the bits of the mode that they forgive
_FORGIVEN = {
    "groupwritablealiasfile": stat.S_IWGRP,
    "worldwritablealiasfile": stat.S_IWOTH | stat.S_IWGRP,
}


def forgiven(dont_blame: Set[str]) -> int:
    """The bits of an alias file's mode that the administrator does not mind."""
    bits = 0
    for name, more in _FORGIVEN.items():
        bits |= more if name in dont_blame else 0
    return bits


def read_text(path: str, bits: int) -> bytes:
    """The text. Raise OSError; Untrusted if others can write it, *bits* of the mode forgiven."""
    with open(path, "rb") as file:
        reason = maps.why_refused(path, os.fstat(file.fileno()), bits)
        if reason:
            raise Untrusted(reason)
        return file.read()


class Source:
    """Looks up in one file. Opens nothing before the first question."""

    __slots__ = ("_database", "_forgiven", "_text", "_text_seen", "_warned", "path")

    def __init__(self, path: str, dont_blame: Set[str] = frozenset()) -> None:
        self.path = path
        self._forgiven = forgiven(dont_blame)
        self._database: Cdb | None = None
        self._text: dict[bytes, bytes] = {}
        self._text_seen: tuple[int, int, int] | None = None
        self._warned = False

    def find(self, key: bytes) -> bytes | None:
        """The right-hand side of *key*, which is in small letters. Raise OSError."""
        database = self._current_database()
        return database.get(key) if database else self._current_text().get(key)

    def records(self) -> Iterable[tuple[bytes, bytes]]:
        """All names with their right-hand sides, in the order of the file. Raise OSError."""
        database = self._current_database()
        return database.records() if database else self._current_text().items()

    def exists(self) -> bool:
        """Is there a database or a text?"""
        return os.path.lexists(self.path + SUFFIX) or os.path.lexists(self.path)

    def line_of(self, key: bytes, value: bytes) -> int:
        """The line of the text that gives *key* its *value*; 0 if there is none to be read."""
        from minimta.aliases import text

        try:
            return text.line_of(read_text(self.path, self._forgiven), key, value)
        except (OSError, Untrusted):
            return 0

    def _current_database(self) -> Cdb | None:
        try:
            now = os.stat(self.path + SUFFIX)
        except FileNotFoundError:
            return None
        old = self._database
        if old is None or (old.stat.st_ino, old.stat.st_mtime_ns) != (now.st_ino, now.st_mtime_ns):
            self._database = None
            fresh = Cdb(self.path + SUFFIX)
            reason = maps.why_refused(fresh.path, fresh.stat, self._forgiven)
            if reason:
                raise _refused(fresh.path, reason)
            self._database = fresh
            self._warn_if_stale(fresh)
        return self._database

    def _warn_if_stale(self, database: Cdb) -> None:
        if self._warned:
            return
        try:
            text = os.stat(self.path)
        except OSError:
            return  # the database alone is enough
        if text.st_mtime_ns > database.stat.st_mtime_ns:
            self._warned = True
            log.line("", f"Warning: alias database {self.path} out of date")

    def _current_text(self) -> dict[bytes, bytes]:
        try:
            now = os.stat(self.path)
        except FileNotFoundError:
            return {}
        seen = (now.st_ino, now.st_mtime_ns, now.st_size)
        if seen != self._text_seen:
            from minimta.aliases import text
            from minimta.aliases.report import Report

            try:
                octets = read_text(self.path, self._forgiven)
            except Untrusted as error:
                raise _refused(self.path, str(error)) from error
            # What is wrong in it, newaliases tells.
            self._text = text.compile_text(octets, Report(self.path), None)
            self._text_seen = seen
        return self._text


def _refused(path: str, reason: str) -> OSError:
    log.line("", f"cannot open {path}: {reason}", error=True)
    return OSError(errno.EPERM, reason, path)
