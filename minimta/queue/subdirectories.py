"""Subdirectories of a queue directory where Sendmail, if they are there, has its files.

    mqueue/qf/qfID    control files, and those put aside
    mqueue/df/dfID    data
    mqueue/xf/xfID    transcripts

Who wants a faster queue on an old file system makes them (Sendmail's doc/op, "Queue directories"). Here all files
of a message lie side by side, because one fsync of one directory makes all its names durable: what is in a
subdirectory no run sees. Whoever looks at a queue tells of it; it is moved by hand, for a Sendmail that
still runs may be at it.
"""

from __future__ import annotations

import os

from minimta.queue.qid import valid

# DIFFERS: Sendmail reads them, and writes into them.
NAMES = ("qf", "df", "xf")


def found(directory: str) -> list[str]:
    """Those of NAMES that a queue directory has."""
    return [name for name in NAMES if os.path.isdir(os.path.join(directory, name))]


def messages(directory: str) -> int:
    """How many control files, of any kind, lie in *directory*; 0 if there is none. Raise OSError."""
    try:
        with os.scandir(directory) as entries:
            return sum(
                one.name[:2] in ("qf", "hf", "Qf") and valid(one.name[2:]) for one in entries
            )
    except (FileNotFoundError, NotADirectoryError):
        return 0


def unseen(directory: str) -> str:
    """What to tell of messages in the subdirectories of a queue directory, "" if there are none.

    Raise OSError if that cannot be known now.
    """
    where = os.path.join(directory, "qf")
    number = messages(where)
    if not number:
        return ""
    return (
        f"{number} message{'s'[: number > 1]} in {where}, as Sendmail may have it, that no run sees"
    )


def told(directory: str) -> str:
    """unseen(), or that it cannot be known; "" for a user who may not look there."""
    try:
        return unseen(directory)
    except OSError as error:
        if isinstance(error, PermissionError) and os.geteuid():
            return ""
        return f"{directory}/qf, where Sendmail may have mail, cannot be read: {error.strerror}"


def remedy(directory: str) -> str:
    """What moves them: data first, for a qf must find its df."""
    import shlex  # not for mailq

    here = shlex.quote(f"{directory.rstrip('/')}/")
    return f"with both stopped: mv {here}[dqx]f/* {here}, then rmdir them"
