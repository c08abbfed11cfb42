"""Places that mail is delivered to, and what is fsynced by whichever process."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.system.users import User

#: a user that need not exist; he is tried only by root
UID = 12345
_SLOT = struct.Struct("=Q")


@pytest.fixture
def ground() -> Iterator[Path]:
    """A directory that every user may pass, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="minimta-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def dave(ground: Path) -> User:
    """Somebody with a home: ourselves, or if we are root somebody without rights."""
    return user(ground, "dave", 0)


@pytest.fixture
def carol(ground: Path) -> User:
    """Another one, if we are root; else ourselves again, with another home."""
    return user(ground, "carol", 1)


def user(ground: Path, name: str, number: int) -> User:
    home = ground / name
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    uid, gid = (UID + number,) * 2 if os.geteuid() == 0 else (os.getuid(), os.getgid())
    os.chown(home, uid, gid)
    return User(name, uid, gid, home=str(home))


class Synced:
    """Inodes that fsync was called for, here or in a child, in order."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1 << 16)  # shared with what is forked

    def add(self, inode: int) -> None:
        (number,) = _SLOT.unpack_from(self._memory, 0)
        _SLOT.pack_into(self._memory, 8 * (number + 1), inode)
        _SLOT.pack_into(self._memory, 0, number + 1)

    def inodes(self) -> list[int]:
        (number,) = _SLOT.unpack_from(self._memory, 0)
        return [_SLOT.unpack_from(self._memory, 8 * (n + 1))[0] for n in range(number)]

    def __contains__(self, path: Path) -> bool:
        return path.stat().st_ino in self.inodes()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Synced:
    seen, real = Synced(), os.fsync

    def fsync(file: int) -> None:
        real(file)
        seen.add(os.fstat(file).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen
