"""The map that makemap makes and editmap changes: its kind, its file, its records.

    cdb      NAME.cdb      what this mail system reads; no further program is needed
    hash     NAME.db       Berkeley DB, for other programs; by those of db5.3-util
    btree    NAME.db       the same, in order

Readers see the old map or the new one, never a part. Who changes one waits for others who do.
"""

from __future__ import annotations

import fcntl
import os
import stat

from minimta.maps import berkeley
from minimta.maps.cdb import Cdb
from minimta.maps.cdbwriter import write_cdb
from minimta.system import safefile
from minimta.system.terminal import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: what is not said is a cdb
_IMPLICIT = "implicit"
#: Sendmail's others
_FOREIGN = {"dbm": "use cdb, or -i cdb with dbm"}
#: what Sendmail gives a new map; one that was there keeps its mode
# DIFFERS: a new map has mode and owner of the text that it is named after, if there is one: our
# listener is not root, and would be locked out from /etc/mail/access.cdb with this.
_MODE = 0o640
Records = list[tuple[bytes, bytes]]


class RefusedMap(Exception):
    """The map cannot be made, read or shown; the text says why."""

    def __init__(self, text: str, exit_code: int = os.EX_CANTCREAT) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def kinds() -> dict[str, str]:
    """The kinds of maps that can be had here -> how their files' names end."""
    found = {"cdb": ".cdb"}
    if berkeley.is_there():
        found.update(dict.fromkeys(berkeley.KINDS, berkeley.SUFFIX))
    return found


class MapFile:
    """One map."""

    def __init__(self, kind: str, name: str, fallback: str = "") -> None:
        """*kind* and *name* as they were said; *fallback* (-i) if there is no such kind. Raise RefusedMap."""
        self.name = name
        self.kind = self._known(kind, fallback)
        suffix = ".cdb" if self.kind == "cdb" else berkeley.SUFFIX
        self.path = name if name.endswith(suffix) else name + suffix
        self._text = self.path.removesuffix(suffix)

    def _known(self, kind: str, fallback: str) -> str:
        for word in (kind, fallback):
            if word in ("cdb", _IMPLICIT):
                return "cdb"
            if word in berkeley.KINDS:
                return word
        if kind in _FOREIGN:
            raise RefusedMap(f"{kind} maps are not supported: {_FOREIGN[kind]}")
        raise self.failure(kind, "Unknown database type")

    def failure(self, kind: str, reason: object) -> RefusedMap:
        """What is said when it cannot be opened."""
        return RefusedMap(f"error opening type {kind} map {self.name}: {reason}")

    def follow(self) -> None:
        """-s: a symbolic link is followed."""
        self.path = os.path.realpath(self.path)

    def records(self) -> Records:
        """All of them, in its order. Raise RefusedMap."""
        try:
            if self.kind == "cdb":
                return list(Cdb(self.path).records())
            return berkeley.read(self.path)
        except (OSError, ValueError) as error:
            raise self._because(error) from error
        except berkeley.Missing as error:
            raise RefusedMap(str(error)) from error

    def write(
        self,
        records: Sequence[tuple[bytes, bytes]],
        old: os.stat_result | None,
        *,
        duplicates: bool,
    ) -> None:
        """Make it of these; *old* is what check() gave. Raise RefusedMap."""
        model = old or self._stat_of_text()
        mode = stat.S_IMODE(model.st_mode) & (0o777 if old else 0o644) if model else _MODE
        owner = (model.st_uid, model.st_gid) if model and os.geteuid() == 0 else None
        try:
            if self.kind == "cdb":
                write_cdb(self.path, records, mode, owner)
            else:
                berkeley.write(self.path, self.kind, records, mode, owner, duplicates=duplicates)
        except (OSError, ValueError) as error:
            raise self._because(error) from error
        except berkeley.Missing as error:
            raise RefusedMap(str(error)) from error

    def check(self, *, is_careful: bool = True) -> os.stat_result | None:
        """The map that is there already. Raise RefusedMap if it, or its directory, will not do."""
        try:
            reason = safefile.why_directory_refused(self.path)
            if reason:
                complain(f"WARNING: {reason} {os.path.dirname(self.path) or '.'}")
            old = os.lstat(self.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._because(error) from error
        reason = "" if stat.S_ISREG(old.st_mode) else "Regular files only"
        if stat.S_ISLNK(old.st_mode):
            reason = "Symbolic links not allowed"
        elif old.st_nlink > 1 and is_careful and not reason:
            reason = "Hard links not allowed"
        if reason:
            raise self.failure(self.kind, reason)
        return old

    def lock(self) -> int:
        """Wait for others who change maps of its directory; a descriptor that holds it. Raise RefusedMap."""
        try:
            file = os.open(os.path.dirname(self.path) or ".", os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise self._because(error) from error
        return file

    def _because(self, error: OSError | ValueError) -> RefusedMap:
        return self.failure(self.kind, error.strerror if isinstance(error, OSError) else error)

    def _stat_of_text(self) -> os.stat_result | None:
        """The text that a new map is made for, if it is a file of that name."""
        try:
            found = os.lstat(self._text)
        except OSError:
            return None
        return found if stat.S_ISREG(found.st_mode) else None
