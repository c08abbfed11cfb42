"""Text tables: key, blanks, value on each line, as option MailerTable has them.

    # comment                       only at the beginning of a line
    lab3.campus  esmtp:[10.0.3.1]   keys in small letters; the value may have blanks
    lab3.campus  esmtp:other        the first row of a key counts

A table is read as a whole, by whoever may read it; what is not there is empty.
"""

from __future__ import annotations

import errno
from codecs import BOM_UTF8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def read_table(path: str, mentioned: tuple[bytes, ...] = ()) -> dict[bytes, bytes]:
    """Key -> value of the table *path*; no file is an empty table.

    *mentioned*, in small letters: it may be left out, as a whole, if it has none of these.

    Raise any other OSError, also for what is no text or ends inside of a row: a row that is not seen
    sends mail elsewhere.
    """
    table: dict[bytes, bytes] = {}
    try:
        for _, key, value in numbered_rows(path, mentioned):
            table.setdefault(key, value)
    except FileNotFoundError:
        pass
    return table


def line_of(path: str, key: bytes) -> int:
    """The line of a text table, from 1, with the row that counts for *key*; 0 if none is seen now."""
    try:
        return next((number for number, found, _ in numbered_rows(path) if found == key), 0)
    except OSError:
        return 0


def numbered_rows(
    path: str, mentioned: tuple[bytes, ...] = ()
) -> Iterator[tuple[int, bytes, bytes]]:
    """(line, from 1, key in small letters, value) of each row. Raise OSError.

    *mentioned*: none, if not one of these words stands in the table.
    """
    with open(path, "rb") as file:
        text = file.read().removeprefix(BOM_UTF8)
    if b"\0" in text:
        raise OSError(errno.EINVAL, "is no text", path)
    lines = text.split(b"\n")
    if len(lines[-1].split()) == 1 and not lines[-1].lstrip().startswith(b"#"):
        # A key without value and line end: the file is just being written, or the disk is full.
        raise OSError(errno.EINVAL, "ends inside of a row", path)
    small = text.lower() if mentioned else b""
    if mentioned and not any(word in small for word in mentioned):
        return
    for number, line in enumerate(lines, 1):
        key, value = [*line.split(None, 1), b"", b""][:2]
        if key and key[:1] != b"#":
            yield number, key.lower(), value.strip()
