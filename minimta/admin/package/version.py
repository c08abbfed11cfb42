"""What the package of a checkout is called, and of what time its files are.

A release is ``0.1.0``. A commit after it is ``0.1.0+git20261130104300.eaa2d68``, and a work tree with
changes of its own ends in ``.dirty``, and has the time of its newest file: apt takes one for another.
The time is that of all files, so that the same commit gives the same package, octet for octet.
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from minimta import __version__
from minimta.admin.checkout import AdminError


@dataclass(frozen=True, slots=True)
class Version:
    """Debian's version number, and the time (seconds since the epoch)."""

    number: str
    epoch: int


def of_checkout(home: str, files: list[Path]) -> Version:
    """What *files*, which are the package's, are. ``SOURCE_DATE_EPOCH`` is heeded.

    Raise AdminError if that is no number, OSError.
    """
    commit, moment = _commit(home)
    if not commit:
        return Version(__version__, _told(_newest(files)))
    if _git(home, "status", "--porcelain", "--untracked-files=normal"):
        epoch = _told(_newest(files))
        return Version(f"{__version__}+git{_digits(epoch)}.{commit}.dirty", epoch)
    if f"v{__version__}" in _git(home, "tag", "--points-at", "HEAD").split():
        return Version(__version__, _told(moment))
    return Version(f"{__version__}+git{_digits(moment)}.{commit}", _told(moment))


def _commit(home: str) -> tuple[str, int]:
    """Short name and time of the commit; ("", 0) if this is no clone, or there is no git(1)."""
    said = _git(home, "log", "-1", "--format=%h %ct", "--abbrev=10").split()
    is_clone = len(said) == 2 and os.path.exists(os.path.join(home, ".git"))
    return (said[0], int(said[1])) if is_clone else ("", 0)


def _git(home: str, *words: str) -> str:
    """What git says; "" if it refuses, or is not there."""
    command = ["git", "-C", home, "-c", f"safe.directory={home}", *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


def _newest(files: list[Path]) -> int:
    return max(int(path.stat().st_mtime) for path in files)


def _told(epoch: int) -> int:
    """The time that https://reproducible-builds.org/specs/source-date-epoch tells, else *epoch*."""
    told = os.environ.get("SOURCE_DATE_EPOCH", "")
    if told and not (told.isascii() and told.isdigit()):
        raise AdminError(f"SOURCE_DATE_EPOCH={told} is no number of seconds", os.EX_USAGE)
    return int(told) if told else epoch


def _digits(epoch: int) -> str:
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(epoch))
