"""makemap: a table on standard input becomes a map; ``-u`` shows what is in one.

    makemap cdb /etc/mail/users < /etc/mail/users       makes /etc/mail/users.cdb
    key     value with blanks                           "#" begins a comment line

Bad lines are told with their number and left out, and the exit code is 65, as in Sendmail. Readers
see the old map or the new one, never a part. The flags are Sendmail's; the one kind of map is cdb.
"""

from __future__ import annotations

import os
import stat
import sys
from codecs import BOM_UTF8
from getopt import GetoptError, gnu_getopt

from minimta.maps.cdb import Cdb
from minimta.maps.cdbwriter import write_cdb
from minimta.system import safefile
from minimta.system.terminal import complain, wrong_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

USAGE = """\
Usage: makemap [-C cffile] [-N] [-c cachesize] [-D commentchar]
               [-d] [-e] [-f] [-i type] [-l] [-o] [-r] [-s] [-t delimiter]
               [-u] [-v] type mapname"""
SUFFIX = ".cdb"
_TYPES = ("cdb", "implicit")
#: Sendmail's others
_FOREIGN = ("hash", "btree", "dbm")
#: what Sendmail gives a new map; one that was there keeps its mode
# DIFFERS: a new map has mode and owner of the text that it is named after, if there is one: our
# listener is not root, and would be locked out from /etc/mail/access.cdb with this.
_MODE = 0o640
#: flags that change nothing here, and why
_POINTLESS = {
    "-C": "nothing in the configuration file concerns maps",
    "-c": "a cdb needs no cache",
}


class _Refused(Exception):
    """The map cannot be made or shown; the text says why."""

    def __init__(self, text: str, exit_code: int = os.EX_CANTCREAT) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class _Table:
    """What will be in the map; add() says what is wrong with a line."""

    def __init__(self, flags: dict[str, str], old: Iterable[tuple[bytes, bytes]]) -> None:
        self._flags = flags
        self._separator = _octet(flags.get("-t"))
        self._comment = _octet(flags.get("-D", "#"))
        self.records = list(old)
        self._places = {key: place for place, (key, _) in enumerate(self.records)}

    def add(self, line: bytes) -> str:
        """Take a *line* without its end; "" or what is wrong with it.

        DIFFERS: of any length; Sendmail makes keys of what is behind the 1023rd octet.
        """
        if not line or line[:1] == self._comment:
            return ""
        if not self._separator and line[:1].isspace():
            return "syntax error (leading space)"
        key, value = self._split(line)
        if not value and "-e" not in self._flags:
            return f"no RHS for LHS {_shown(key)}"
        if "-v" in self._flags:
            sys.stdout.buffer.write(b"key=`%b', val=`%b'\n" % (key, value))
        end = b"\0" if "-N" in self._flags else b""
        is_new = self._insert(key + end, value + end)
        return "" if is_new else f"key {_shown(key)}: duplicate key"

    def _split(self, line: bytes) -> tuple[bytes, bytes]:
        if self._separator:
            key, _, value = line.partition(self._separator)
            value = value.lstrip(self._separator)
        else:
            key, value = (*line.split(None, 1), b"")[:2]
        return (key if "-f" in self._flags else key.lower()), value

    def _insert(self, key: bytes, value: bytes) -> bool:
        place = self._places.setdefault(key, len(self.records))
        if place == len(self.records) or "-d" in self._flags:
            self.records.append((key, value))
        elif "-r" in self._flags:
            self.records[place] = (key, value)
        else:
            return False
        return True


def main(argv: list[str]) -> int:
    """Run the command; its exit code (sysexits)."""
    try:
        given, words = gnu_getopt(argv[1:], "C:ND:c:defi:lorst:uvx")
        return _run(dict(given), words)
    except GetoptError as error:
        return wrong_option("makemap", error, USAGE)
    except _Refused as error:
        complain(f"makemap: {error}")
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is buffered has nowhere to go
        return os.EX_IOERR


def _run(flags: dict[str, str], words: Sequence[str]) -> int:
    if "-l" in flags or "-x" in flags:
        print("\n".join(_TYPES) if "-l" in flags else "cdb:cdb\nimplicit:")
        return os.EX_OK
    if len(words) != 2:
        complain(USAGE)
        return os.EX_USAGE
    if flags.get("-t") == "":
        raise _Refused("Invalid separator", os.EX_USAGE)
    for flag in sorted(flags.keys() & _POINTLESS.keys()):
        complain(f"makemap: {flag} has no effect: {_POINTLESS[flag]}")
    kind, name = _kind(words, flags.get("-i", "")), words[1]
    path = name if name.endswith(SUFFIX) else name + SUFFIX
    try:
        return _show(path, flags) if "-u" in flags else _make(path, name, flags)
    except (OSError, ValueError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise _Refused(f"error opening type {kind} map {name}: {reason}") from error


def _kind(words: Sequence[str], fallback: str) -> str:
    kind = words[0]
    if kind in _TYPES:
        return kind
    if fallback in _TYPES:
        return fallback
    if kind in _FOREIGN:
        raise _Refused(f"{kind} maps are not supported: use cdb, or -i cdb with {kind}")
    raise _Refused(f"error opening type {kind} map {words[1]}: Unknown database type")


def _show(path: str, flags: dict[str, str]) -> int:
    separator = _octet(flags.get("-t")) or b"\t"
    for key, value in Cdb(path).records():
        # -N put a NUL behind both.
        line = key.removesuffix(b"\0") + separator + value.removesuffix(b"\0") + b"\n"
        sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
    return os.EX_OK


def _make(path: str, name: str, flags: dict[str, str]) -> int:
    path = os.path.realpath(path) if "-s" in flags else path
    old = _checked(path, is_careful="-s" not in flags)
    table = _Table(flags, Cdb(path).records() if old and "-o" in flags else ())
    exit_code = os.EX_OK
    for number, line in enumerate(sys.stdin.buffer, 1):
        text = line.removeprefix(BOM_UTF8) if number == 1 else line  # as in all our files
        problem = table.add(text.removesuffix(b"\n"))
        if problem:
            complain(f"makemap: {name}: line {number}: {problem}")
            exit_code = os.EX_DATAERR
    sys.stdout.buffer.flush()
    model = old or _text_of(path)
    mode = stat.S_IMODE(model.st_mode) & (0o777 if old else 0o644) if model else _MODE
    owner = (model.st_uid, model.st_gid) if model and os.geteuid() == 0 else None
    write_cdb(path, table.records, mode, owner)
    return exit_code


def _text_of(path: str) -> os.stat_result | None:
    """The text that a new map is made for, if it is a file of that name."""
    try:
        found = os.lstat(path.removesuffix(SUFFIX))
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _checked(path: str, *, is_careful: bool) -> os.stat_result | None:
    """The map that is there already. Raise OSError if it, or its directory, will not do."""
    reason = safefile.why_directory_refused(path)
    if reason:
        complain(f"WARNING: {reason} {os.path.dirname(path) or '.'}")
    try:
        old = os.lstat(path)
    except FileNotFoundError:
        return None
    reason = "" if stat.S_ISREG(old.st_mode) else "Regular files only"
    if stat.S_ISLNK(old.st_mode):
        reason = "Symbolic links not allowed"
    elif old.st_nlink > 1 and is_careful and not reason:
        reason = "Hard links not allowed"
    if reason:
        raise OSError(0, reason, path)
    return old


def _octet(text: str | None) -> bytes:
    """The first octet of an argument; b"" if there is none."""
    return os.fsencode(text or "")[:1]


def _shown(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")
