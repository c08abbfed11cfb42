"""makemap: a table on standard input becomes a map; ``-u`` shows what is in one.

    makemap cdb /etc/mail/users < /etc/mail/users       makes /etc/mail/users.cdb
    key     value with blanks                           "#" begins a comment line

Bad lines are told with their number and left out, and the exit code is 65, as in Sendmail. Readers
see the old map or the new one, never a part. The flags are Sendmail's; this mail system reads maps of
the kind cdb, and hash and btree can be made for others (``map_file``).
"""

from __future__ import annotations

import os
import sys
from codecs import BOM_UTF8
from getopt import GetoptError, gnu_getopt

from minimta.commands.map_file import MapFile, RefusedMap, kinds
from minimta.system.terminal import complain, print_octets, printed, say, wrong_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

USAGE = """\
Usage: makemap [-C cffile] [-N] [-c cachesize] [-D commentchar]
               [-d] [-e] [-f] [-i type] [-l] [-o] [-r] [-s] [-t delimiter]
               [-u] [-v] type mapname"""
#: flags that change nothing here, and why
_POINTLESS = {
    "-C": "nothing in the configuration file concerns maps",
    "-c": "a cdb needs no cache",
}


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
            print_octets([b"key=`%b', val=`%b'\n" % (key, value)])
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
        return printed("makemap", _run(dict(given), words))
    except GetoptError as error:
        return wrong_option("makemap", error, USAGE)
    except RefusedMap as error:
        complain(f"makemap: {error}")
        return error.exit_code


def _run(flags: dict[str, str], words: Sequence[str]) -> int:
    if "-l" in flags or "-x" in flags:
        say(_known_kinds(with_suffix="-x" in flags))
        return os.EX_OK
    if len(words) != 2:
        complain(USAGE)
        return os.EX_USAGE
    if flags.get("-t") == "":
        raise RefusedMap("Invalid separator", os.EX_USAGE)
    for flag in sorted(flags.keys() & _POINTLESS.keys()):
        complain(f"makemap: {flag} has no effect: {_POINTLESS[flag]}")
    made = MapFile(words[0], words[1], flags.get("-i", ""))
    return _show(made, flags) if "-u" in flags else _make(made, flags)


def _known_kinds(*, with_suffix: bool) -> str:
    known = {**kinds(), "implicit": ""}
    ends = {kind: f":{suffix[1:]}" if with_suffix else "" for kind, suffix in known.items()}
    return "\n".join(f"{kind}{end}" for kind, end in ends.items())


def _show(made: MapFile, flags: dict[str, str]) -> int:
    separator = _octet(flags.get("-t")) or b"\t"
    # -N put a NUL behind both.
    print_octets(
        key.removesuffix(b"\0") + separator + value.removesuffix(b"\0") + b"\n"
        for key, value in made.records()
    )
    return os.EX_OK


def _make(made: MapFile, flags: dict[str, str]) -> int:
    if "-s" in flags:
        made.follow()
    lock = made.lock()
    try:
        old = made.check(is_careful="-s" not in flags)
        table = _Table(flags, made.records() if old and "-o" in flags else ())
        exit_code = os.EX_OK
        for number, line in enumerate(sys.stdin.buffer, 1):
            text = line.removeprefix(BOM_UTF8) if number == 1 else line  # as in all our files
            problem = table.add(text.removesuffix(b"\n"))
            if problem:
                complain(f"makemap: {made.name}: line {number}: {problem}")
                exit_code = os.EX_DATAERR
        made.write(table.records, old, duplicates="-d" in flags)
        return exit_code
    finally:
        os.close(lock)


def _octet(text: str | None) -> bytes:
    """The first octet of an argument; b"" if there is none."""
    return os.fsencode(text or "")[:1]


def _shown(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")
