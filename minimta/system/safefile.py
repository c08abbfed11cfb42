"""Who owns a file or directory, and who could change it (Sendmail's safefile()).

A file is as safe as the directories on the way to it: ``safedirpath`` walks there. What is asked here
is asked of one that was found: by its mode and owner. Untrusted says in Sendmail's words
("Group writable file") what the administrator or the user has to mend.
"""

from __future__ import annotations

import os
import stat

#: Without root our own primary group counts as ourselves: most systems give every user a group of
#: their own, and umask 002. What began as root trusts no group, nor does its child that has become
#: a user (so it is asked here, once): on other systems that user's group is "users", everybody's.
_OWN_GROUP = os.getegid() if os.geteuid() != 0 else -1
#: bits of the mode by which others could read a file: a secret must have none of them
_readers = stat.S_IRGRP | stat.S_IROTH


class Untrusted(Exception):
    """The file is there, but others could have modified it. The text says why."""


def forget_readers() -> None:
    """From now on nobody else is there who could read a secret: a system with one user (OneUser).

    What containers are given as secrets often has the mode 0444, and no owner that they could choose.
    """
    global _readers
    _readers = 0


def readers(found: os.stat_result) -> int:
    """The bits of the mode by which others may read what was *found*; 0 if none, or nobody is there."""
    return found.st_mode & _readers


def why_untrusted(found: os.stat_result, owners: tuple[int, ...]) -> str:
    """Sendmail's words if another than *owners* (user ids) owns or may write what was *found*.

    "Wrong owner", "Group writable", "World writable"; "" if it is safe.
    """
    return next(iter(faults(found, owners)), "")


def why_refused(found: os.stat_result, forgiven: int = 0) -> str:
    """Of a table or database: Sendmail's words if it is no plain file, or others can write it; or "".

    *forgiven* are the bits of the mode that the administrator does not mind. Whose the file is was
    the administrator's choice as well.
    """
    if not stat.S_ISREG(found.st_mode):
        return "Regular files only"
    shown = os.stat_result((found.st_mode & ~forgiven, *found[1:10]))
    reason = why_untrusted(shown, (found.st_uid,))
    return f"{reason} file" if reason else ""


def why_directory_refused(path: str) -> str:
    """Of the directory of a table or database *path*: "World writable directory"; or "".

    Raise OSError as stat(2). A sticky one is no better: others can put a database there before there is one.
    """
    found = os.stat(os.path.dirname(path) or ".")
    # Of a directory that all may write Sendmail says just that.
    reason = "World writable" if found.st_mode & stat.S_IWOTH else ""
    reason = reason or why_untrusted(found, (found.st_uid,))
    return f"{reason} directory" if reason else ""


def faults(found: os.stat_result, owners: tuple[int, ...]) -> list[str]:
    """All that why_untrusted() could say, in the order in which it counts."""
    wrong = [] if found.st_uid in owners else ["Wrong owner"]
    if found.st_mode & stat.S_IWGRP and found.st_gid != _OWN_GROUP:
        wrong.append("Group writable")
    if found.st_mode & stat.S_IWOTH:
        wrong.append("World writable")
    return wrong
