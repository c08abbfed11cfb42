"""editmap: one record of a map is asked for, set or taken away.

    editmap -q cdb /etc/mail/users emma              prints its value; 69 if there is none
    editmap -u cdb /etc/mail/users emma "a value"    sets it
    editmap -x cdb /etc/mail/users emma              takes it away; 69 if there is none

Keys are in small letters, unless -f is said; with -N a NUL ends key and value. Whoever reads the map
meanwhile sees the old one or the new one. The text that the map was made from is not changed.
"""

from __future__ import annotations

import os
from getopt import GetoptError, gnu_getopt

from minimta.commands.map_file import MapFile, RefusedMap
from minimta.system.terminal import complain, print_octets, printed, wrong_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.commands.map_file import Records

USAGE = 'Usage: editmap [-C cffile] [-N] [-f] [-q|-u|-x] maptype mapname key [ "value ..." ]'
_DOES = ("-q", "-u", "-x")


def main(argv: list[str]) -> int:
    """Run the command; its exit code (sysexits)."""
    try:
        given, words = gnu_getopt(argv[1:], "C:fquxN")
    except GetoptError as error:
        return wrong_option("editmap", error, USAGE)
    flags = dict(given)
    does = [flag for flag in _DOES if flag in flags]
    if len(does) != 1 or len(words) != (4 if does == ["-u"] else 3):
        complain(USAGE)
        return os.EX_USAGE
    if "-C" in flags:
        complain("editmap: -C has no effect: nothing in the configuration file concerns maps")
    end = b"\0" if "-N" in flags else b""
    key = os.fsencode(words[2])
    key = (key if "-f" in flags else key.lower()) + end
    try:
        made = MapFile(words[0], words[1])
        if does == ["-q"]:
            return _query(made, key)
        value = os.fsencode(words[3]) + end if does == ["-u"] else None
        return _change(made, key, value)
    except RefusedMap as error:
        complain(f"editmap: {error}")
        return error.exit_code


def _query(made: MapFile, key: bytes) -> int:
    for known, value in made.records():
        if known == key:
            print_octets([value.removesuffix(b"\0"), b"\n"])
            return printed("editmap", os.EX_OK)
    complain(f"editmap: couldn't find key {_shown(key)} in map {made.name}")
    return os.EX_UNAVAILABLE


def _change(made: MapFile, key: bytes, value: bytes | None) -> int:
    """Set the *value*, or take the record away if that is None."""
    lock = made.lock()
    try:
        old = made.check()
        records = made.records() if old is not None or value is None else []
        changed = _changed(records, key, value)
        if value is None and len(changed) == len(records):
            complain(f"editmap: key {_shown(key)} doesn't exist in map {made.name}")
            return os.EX_UNAVAILABLE
        keys = {known for known, _ in changed}
        made.write(changed, old, duplicates=len(keys) < len(changed))
        return os.EX_OK
    finally:
        os.close(lock)


def _changed(records: Records, key: bytes, value: bytes | None) -> Records:
    """With the new value where the first old one was, and no other of that key."""
    made: Records = []
    left = value
    for known, text in records:
        if known != key:
            made.append((known, text))
        elif left is not None:
            made.append((key, left))
            left = None
    return made if left is None else [*made, (key, left)]


def _shown(key: bytes) -> str:
    return key.removesuffix(b"\0").decode("utf-8", "backslashreplace")
