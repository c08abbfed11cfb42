"""Tables on disk: text tables here, constant databases in ``cdb`` and ``cdbwriter``."""

from __future__ import annotations

import os
import stat

from minimta.system.safefile import why_untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def why_refused(found: os.stat_result, forgiven: int = 0) -> str:
    """Sendmail's words if it is no plain file, or others can write it; else "".

    *forgiven* are the bits of the mode that the administrator does not mind.
    """
    if not stat.S_ISREG(found.st_mode):
        return "Regular files only"
    # Whose it is was the administrator's choice.
    shown = os.stat_result((found.st_mode & ~forgiven, *found[1:10]))
    reason = why_untrusted(shown, (found.st_uid,))
    return f"{reason} file" if reason else ""


def why_directory_refused(path: str) -> str:
    """The same for the directory of *path*: "World writable directory". Raise OSError as stat(2).

    A sticky one is no better: others can put a database there before there is one.
    """
    found = os.stat(os.path.dirname(path) or ".")
    # Of a directory that all may write Sendmail says just that.
    reason = "World writable" if found.st_mode & stat.S_IWOTH else ""
    reason = reason or why_untrusted(found, (found.st_uid,))
    return f"{reason} directory" if reason else ""


def read_table(path: str) -> dict[bytes, bytes]:
    """A text table: key, blanks, value on each line; "#" begins a comment line; keys in small letters.

    The first row of a key counts. No file is an empty table. Raise any other OSError.
    """
    table: dict[bytes, bytes] = {}
    try:
        for _, key, value in _rows(path):
            table.setdefault(key, value)
    except FileNotFoundError:
        pass
    return table


def line_of(path: str, key: bytes) -> int:
    """The line of a text table, from 1, with the row that counts for *key*; 0 if none is seen now."""
    try:
        return next((number for number, found, _ in _rows(path) if found == key), 0)
    except OSError:
        return 0


def _rows(path: str) -> Iterator[tuple[int, bytes, bytes]]:
    """(line, key, value) of each row. Raise OSError."""
    with open(path, "rb") as file:
        text = file.read()
    for number, line in enumerate(text.split(b"\n"), 1):
        key, value = [*line.split(None, 1), b"", b""][:2]
        if key and key[:1] != b"#":
            yield number, key.lower(), value.strip()
