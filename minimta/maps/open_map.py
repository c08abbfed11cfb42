"""Tables on disk: text tables here, constant databases in ``cdb`` and ``cdbwriter``."""

from __future__ import annotations

import os
import stat

from minimta.system.safefile import why_untrusted


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

    The first row of a key counts. No file is an empty table; other trouble is an OSError.
    """
    table: dict[bytes, bytes] = {}
    try:
        with open(path, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        return table
    for line in text.split(b"\n"):
        parts = line.split(None, 1)
        if parts and parts[0][:1] != b"#":
            table.setdefault(parts[0].lower(), parts[1].strip() if len(parts) > 1 else b"")
    return table
