"""May a program be run? Only if nobody but root could have put it there or modified it.

It is found step by step from /, links included (see ``safedirpath``).

DIFFERS: Sendmail runs a program that others may write, and says so in the log. The names
RunProgramInUnsafeDirPath and RunWritableProgram of DontBlameSendmail let us do the same.
"""

from __future__ import annotations

import errno
import os
import stat

from minimta.system import safedirpath, safefile
from minimta.system.safedirpath import Allowance
from minimta.system.safefile import Untrusted

_MAX_LINKS = 40
#: octets (NAME_MAX)
_LONGEST_NAME = 255


def trusted_owners() -> tuple[int, ...]:
    """User ids whose programs are trusted: root, and without root ourselves.

    Ask before you become a user: in the user's child the user would be trusted.
    """
    return (0, os.geteuid()) if os.geteuid() else (0,)


def why_not(path: bytes, owners: tuple[int, ...], blamed: frozenset[str]) -> str:
    """Why the program *path*, absolute, may not be run, in the words of smrsh; "" if it may.

    *owners* are those of trusted_owners(), *blamed* the names of DontBlameSendmail. Raise Untrusted if others could have put or changed it, OSError if it cannot be known now.
    """
    allowed = Allowance()
    allowed.unsafe_directory = "runprograminunsafedirpath" in blamed
    if b"\0" in path or len(path.rpartition(b"/")[2]) > _LONGEST_NAME:
        return "stat failed"
    way = os.fsdecode(path)
    for _ in range(_MAX_LINKS):
        directory, name = os.path.split(way)
        try:
            place = safedirpath.walk(directory, owners, allowed)
        except (FileNotFoundError, NotADirectoryError):
            return "stat failed"
        try:
            found = os.stat(name, dir_fd=place, follow_symlinks=False)
            if not stat.S_ISLNK(found.st_mode):
                return _fault(place, name, found, owners, blamed)
            if found.st_uid not in owners and not allowed.unsafe_directory:
                raise Untrusted("Wrong owner of a link")
            way = os.path.join(directory, os.readlink(name, dir_fd=place))
        except FileNotFoundError:
            return "stat failed"
        finally:
            os.close(place)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), way)


def _fault(
    place: int, name: str, found: os.stat_result, owners: tuple[int, ...], blamed: frozenset[str]
) -> str:
    if not stat.S_ISREG(found.st_mode):
        return "not a file"
    fault = safefile.why_untrusted(found, owners)
    if fault and "runwritableprogram" not in blamed:
        raise Untrusted(f"{fault} file")
    executable = os.access(name, os.X_OK, dir_fd=place, effective_ids=True)
    return "" if executable else "not executable"
