"""One alias file: its database if there is one, else its text.

Both are looked at again for each question (stat), so a listener that runs for weeks sees what
newaliases made. A file that others could have written is not asked: aliases start programs, so
whoever writes them runs commands as DefaultUser. That is an OSError, and the mail waits.
"""

from __future__ import annotations

import errno
import os
import stat
from codecs import BOM_UTF8

from minimta.system import log, safefile
from minimta.system.safefile import Untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Set

    from minimta.maps.cdb import Cdb

#: what the name of a database has more than the name of its text
SUFFIX = ".cdb"
#: the names of DontBlameSendmail, and the bits of the mode that they forgive
_FORGIVEN = {"groupwritablealiasfile": stat.S_IWGRP, "worldwritablealiasfile": stat.S_IWOTH}


def read_text(path: str, forgiven: int) -> bytes:
    """The text of an alias file. Raise OSError; Untrusted if others can write the file.

    *forgiven* are bits of the mode that do not matter. The directory is for the caller to judge.
    """
    # Nonblocking: a fifo of that name would hold up every delivery.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        reason = safefile.why_refused(os.fstat(file), forgiven)
        if reason:
            raise Untrusted(reason)
        with open(file, "rb", closefd=False) as text:
            return text.read().removeprefix(BOM_UTF8)
    finally:
        os.close(file)


class Source:
    """Looks up in one file. Opens nothing before the first question."""

    __slots__ = (
        "_database",
        "_is_whole",
        "_text",
        "_text_seen",
        "_warned",
        "forgiven",
        "optional",
        "path",
    )

    def __init__(self, file: str, dont_blame: Set[str] = frozenset()) -> None:
        """*file* as in AliasFile: a path, or "-o PATH" for one that need not be there."""
        self.optional = file.startswith("-o ")
        self.path = file.removeprefix("-o ")
        #: the bits of the file's mode that the administrator does not mind
        self.forgiven = sum(bit for name, bit in _FORGIVEN.items() if name in dont_blame)
        self._database: Cdb | None = None
        self._text: dict[bytes, bytes] = {}
        self._text_seen: tuple[int, int, int] | None = None
        self._warned = False
        self._is_whole = True

    def find(self, key: bytes) -> bytes | None:
        """The right-hand side of *key*, which is in small letters. Raise OSError."""
        database = self._current_database()
        return database.get(key) if database else self._current_text().get(key)

    def require_whole(self) -> None:
        """Raise OSError if some lines of the text, which is asked, cannot be read.

        Then a name that it does not have may stand there all the same.
        """
        if not self._current_database():
            self._current_text()
            if not self._is_whole:
                raise OSError(errno.EINVAL, "lines that cannot be read (newaliases)", self.path)

    def records(self) -> Iterable[tuple[bytes, bytes]]:
        """All names with their right-hand sides, in the order of the file. Raise OSError."""
        database = self._current_database()
        return database.records() if database else self._current_text().items()

    def is_stale(self) -> bool:
        """Is the text newer than its database? Not if there is only one of them."""
        try:
            return os.stat(self.path).st_mtime_ns > os.stat(self.path + SUFFIX).st_mtime_ns
        except OSError:
            return False

    def line_of(self, key: bytes, value: bytes) -> int:
        """The line of the text that gives *key* its *value*; 0 if there is none to be read."""
        from minimta.aliases import text

        try:
            return text.line_of(read_text(self.path, self.forgiven), key, value)
        except (OSError, Untrusted):
            return 0

    def _current_database(self) -> Cdb | None:
        try:
            now = os.stat(self.path + SUFFIX)
        except FileNotFoundError:
            return None
        old = self._database
        if old is None or (old.stat.st_ino, old.stat.st_mtime_ns) != (now.st_ino, now.st_mtime_ns):
            from minimta.maps.cdb import Cdb

            # If the new one is refused the old one is not asked either: what it says is no longer true.
            self._database = None
            fresh = Cdb(self.path + SUFFIX)
            self._refuse(safefile.why_refused(fresh.stat, self.forgiven), fresh.path)
            self._database = fresh
            self._warn_if_stale()
        return self._database

    def _warn_if_stale(self) -> None:
        if not self._warned and self.is_stale():
            self._warned = True
            log.line("", f"Warning: alias database {self.path} out of date")

    def _current_text(self) -> dict[bytes, bytes]:
        try:
            now = os.stat(self.path)
        except FileNotFoundError as error:
            if self.optional:
                return {}
            # As Sendmail: the mail waits, for without the file nobody can be called unknown.
            raise OSError(error.errno, "alias database unavailable", self.path) from error
        seen = (now.st_ino, now.st_mtime_ns, now.st_size)
        if seen != self._text_seen:
            self._text = self._read()
            self._text_seen = seen
        return self._text

    def _read(self) -> dict[bytes, bytes]:
        from minimta.aliases import text
        from minimta.aliases.rebuild_report import RebuildReport

        try:
            octets = read_text(self.path, self.forgiven)
        except Untrusted as error:
            octets = b""
            self._refuse(str(error), self.path)
        self._refuse("", self.path)
        # newaliases tells what is wrong in it.
        report = RebuildReport(self.path)
        found = text.compile_text(octets, report, None)
        self._is_whole = not report.errors
        return found

    def _refuse(self, reason: str, path: str) -> None:
        """Raise OSError for *reason*, or if others can put another file in the place of *path*."""
        reason = reason or safefile.why_directory_refused(path)
        if reason:
            log.line("", f"cannot open {path}: {reason}", error=True)
            raise OSError(errno.EPERM, reason, path)
