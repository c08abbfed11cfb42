"""Home directories for tests, and what can be wrong with a file in one."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.system.users import User

#: neither root nor anybody who exists
STRANGER = 4242


def own_home(tmp_path: Path) -> User:
    """A user who is ourselves."""
    home = tmp_path / "home" / "dave"
    home.mkdir(parents=True)
    for path in (home, home.parent):
        path.chmod(0o755)
    return User("dave", os.getuid(), os.getgid(), home=str(home))


def let_others_in(path: Path) -> None:
    """Let other users reach *path*: pytest's directories are closed to them."""
    for one in (path, *path.parents):
        found = one.stat()
        if not found.st_mode & 0o001 and found.st_uid == os.geteuid():
            one.chmod(found.st_mode & 0o7777 | (0o055 if one == path else 0o011))


def foreign_home(tmp_path: Path) -> User:
    """As root: "nobody", with a home that he can reach."""
    let_others_in(tmp_path)
    home = tmp_path / "nobody"
    home.mkdir()
    home.chmod(0o755)
    entry = pwd.getpwnam("nobody")
    os.chown(home, entry.pw_uid, entry.pw_gid)
    return User("nobody", entry.pw_uid, entry.pw_gid, home=str(home))


def put(user: User, text: bytes = b"carol\n", name: str = ".forward") -> Path:
    """A file of *user* in his home; directories of *name* are made."""
    path = Path(user.home, name)
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o755)
        os.chown(path.parent, user.uid, user.gid)
    path.write_bytes(text)
    path.chmod(0o644)
    os.chown(path, user.uid, user.gid)
    return path


def other_group() -> int:
    """A group that is not our primary one; root may take any."""
    if os.geteuid() == 0:
        return 12345
    others = [gid for gid in os.getgroups() if gid != os.getegid()]
    return others[0] if others else pytest.skip("we have but one group")


def mode(bits: int, of: Callable[[Path], Path] = lambda path: path) -> Callable[[Path], None]:
    """Spoil by chmod; the group is one with other members."""

    def spoil(path: Path) -> None:
        os.chown(of(path), -1, other_group())
        of(path).chmod(bits)

    return spoil


def parent(path: Path) -> Path:
    return path.parent


def grandparent(path: Path) -> Path:
    return path.parent.parent


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def sock(path: Path) -> None:
    path.unlink()
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's name may have but 107 octets
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def link_to(target: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return spoil


def huge(path: Path) -> None:
    os.truncate(path, 1 << 30)


def link_in_an_open_directory(path: Path) -> None:
    """Leads to a file that is good, through a directory where all may put another link."""
    shared = path.parent / "shared"
    shared.mkdir()
    path.rename(path.parent / "good")
    (shared / "fw").symlink_to("../good")
    path.symlink_to("shared/fw")
    shared.chmod(0o1777)


def hard_link_in_an_open_directory(path: Path) -> None:
    shared = path.parent / "shared"
    shared.mkdir()
    path.rename(path.parent / "old")
    os.link(path.parent / "old", shared / "fw")
    path.symlink_to("shared/fw")
    shared.chmod(0o1777)


#: what may be wrong, and Sendmail's word for it
SPOILED: tuple[tuple[str, Callable[[Path], None], str], ...] = (
    ("0664", mode(0o664), "Group writable file"),
    ("0666", mode(0o666), "Group writable file"),
    ("0646", mode(0o646), "World writable file"),
    ("directory", directory, "Regular files only"),
    ("fifo", fifo, "Regular files only"),
    ("socket", sock, "Regular files only"),
    ("circle of links", circle, "Too many levels of symbolic links"),
    ("link to a device", link_to("/dev/zero"), "Regular files only"),
    ("link to a directory", link_to(".."), "Regular files only"),
    ("link to the root", link_to("/"), "Regular files only"),
    ("1 GB", huge, "Larger than [0-9]+ octets"),
    ("link in a sticky directory", link_in_an_open_directory, "Symbolic links not allowed"),
    ("hard link in a sticky directory", hard_link_in_an_open_directory, "Hard links not allowed"),
    ("home 0775", mode(0o775, parent), "Group writable directory"),
    ("home 0777", mode(0o777, parent), "World writable directory"),
    ("home 0757", mode(0o757, parent), "World writable directory"),
    ("/home 0775", mode(0o775, grandparent), "Group writable directory"),
    ("/home 0757", mode(0o757, grandparent), "World writable directory"),
)


def owned_by_a_stranger(path: Path) -> None:
    os.chown(path, STRANGER, STRANGER)


def in_a_strangers_directory(path: Path) -> None:
    os.chown(path.parent, STRANGER, STRANGER)


def device(path: Path) -> None:
    path.unlink()
    os.mknod(path, 0o20644, os.makedev(1, 5))  # /dev/zero


#: what only root can make wrong
SPOILED_BY_ROOT: tuple[tuple[str, Callable[[Path], None], str], ...] = (
    ("stranger's file", owned_by_a_stranger, "Wrong owner"),
    ("stranger's home", in_a_strangers_directory, "Wrong owner directory"),
    ("device", device, "Regular files only"),
)
