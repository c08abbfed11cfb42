"""Who can read the checkout that everybody's sendmail is to be, and who else can write in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from minimta.admin.checkout import HOME, AdminError
from minimta.system.terminal import complain

_MOVE = "clone the project into /opt, and install from there"


def need_readable(home: str = HOME) -> None:
    """Raise AdminError, with the remedy, if an ordinary user could not run what lies in *home*.

    A clone made with umask 077, or below /root, would be root's own sendmail.
    """
    closed = [path for path in Path(home).parents if not path.stat().st_mode & stat.S_IXOTH]
    if closed:
        raise AdminError(
            f"users cannot pass {closed[-1]}, and so would have no sendmail: {_MOVE}",
            os.EX_NOPERM,
        )
    for path in (Path(home), *_tree(home)):
        # Byte code comes with the umask of whoever ran something; the installation puts it right.
        if "__pycache__" not in path.parts and not is_readable_by_others(path):
            raise AdminError(
                f"users cannot read {path}, and so would have no sendmail: chmod -R a+rX {home}",
                os.EX_NOPERM,
            )


def warn_of_writers(home: str = HOME) -> None:
    """Who can write in the checkout, or replace it, can run anything as root."""
    tree = [*reversed(Path(home).parents), Path(home), *_tree(home)]
    weak = [path for path in tree if is_writable_by_others(path)]
    if weak:
        complain(
            f"warning: others than root can write {weak[0]} and so become root here:"
            f" {against_writers(weak[0], home)}"
        )


def against_writers(weak: Path, home: str) -> str:
    """What to do when others can write *weak*, which is in or above the checkout *home*."""
    if weak not in Path(home).parents:
        return f"chown -R root:root {home} && chmod -R go-w {home}"
    if weak.lstat().st_uid:  # a user's home stays theirs
        return _MOVE
    return f"chmod go-w {weak}"


def _tree(home: str) -> Iterable[Path]:
    """What of the checkout is run."""
    for name in ("bin", "minimta"):
        yield Path(home, name)
        yield from Path(home, name).rglob("*")


def is_readable_by_others(path: Path) -> bool:
    """May everybody read it, and pass it if it is a directory? A link is what it leads to."""
    mode = path.stat().st_mode
    wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    return mode & wanted == wanted


def is_writable_by_others(path: Path) -> bool:
    """Could anybody but root change it, or put another in its place? (sticky directories: no)"""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return found.st_uid != 0
    is_open = bool(found.st_mode & 0o022) and not found.st_mode & stat.S_ISVTX
    return found.st_uid != 0 or is_open
