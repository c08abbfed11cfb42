"""The installation's links, directories and files."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from minimta.admin.checkout import HOME
from minimta.admin.install.accounts import group_number
from minimta.admin.install.steps import below
from minimta.system.files import sync_directory

#: everybody may look
_COUNTS_MODE = 0o664


@dataclass(frozen=True, slots=True)
class Link:
    """The name of a command or manual page, as a link into the checkout."""

    root: Path
    path: str
    target: str

    def __str__(self) -> str:
        return f"link {self.path} -> {self.target}"

    @property
    def _place(self) -> Path:
        return below(self.root, self.path)

    def is_done(self) -> bool:
        """Does the name lead where it is to lead?"""
        return self._place.is_symlink() and os.readlink(self._place) == self.target

    def is_ours(self) -> bool:
        """Into this checkout, or into another one of ours."""
        target = self._leads_to()
        # A package's /usr/lib/sendmail leads to /usr/sbin/sendmail (Debian Policy 11.6).
        return is_checkout(target) or is_checkout(Link(self.root, target, "")._leads_to())

    def _leads_to(self) -> str:
        """The absolute path of the target, "" for what is no link. A package's links are relative."""
        if not self._place.is_symlink():
            return ""
        return os.path.normpath(os.path.join(os.path.dirname(self.path), os.readlink(self._place)))

    def do(self) -> None:
        """Rename a new link over the old one: at no time is there no sendmail."""
        aside = self._place.with_name(f".{self._place.name}.minimta")
        self._place.parent.mkdir(parents=True, exist_ok=True)
        aside.unlink(missing_ok=True)
        aside.symlink_to(self.target)
        aside.rename(self._place)

    def undo(self) -> None:
        """Take the name away. Raise OSError."""
        self._place.unlink()


def is_checkout(target: str) -> bool:
    """Is *target*, an absolute path, the bin/NAME of a checkout of ours, or its minimta/man/PAGE?"""
    homes = Path(target).parents[1:3]
    return any(str(home) == HOME or (home / "minimta/__init__.py").is_file() for home in homes)


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory with its owner and mode. Undone only when empty: what is in it is mail.

    With ``keep`` one that exists is the administrator's and stays as it is.
    """

    root: Path
    path: str
    mode: int
    group: str = "root"
    keep: bool = False

    def __str__(self) -> str:
        return f"directory {self.path}, mode {self.mode:o}, root:{self.group}"

    @property
    def _place(self) -> Path:
        return below(self.root, self.path)

    def is_done(self) -> bool:
        """Is it there, with its owner and mode (with ``keep``: in any state)?"""
        try:
            found = os.lstat(self._place)
        except FileNotFoundError:
            return False
        if self.keep:
            return True
        owner = (0, group_number(self.root, self.group))
        is_right = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == self.mode
        return is_right and (found.st_uid, found.st_gid) == owner

    def is_ours(self) -> bool:
        """Is it empty? What is in it is mail, or somebody else's."""
        is_own = self._place.is_dir() and not self._place.is_symlink()
        return is_own and not any(self._place.iterdir())

    def do(self) -> None:
        """Make it, or put its owner and mode right. Raise OSError."""
        self._place.mkdir(parents=True, exist_ok=True)
        os.chown(self._place, 0, group_number(self.root, self.group), follow_symlinks=False)
        self._place.chmod(self.mode)

    def undo(self) -> None:
        """A message that came this moment makes rmdir fail."""
        self._place.rmdir()


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file of ours. With ``keep`` one that exists is the administrator's and stays.

    With ``shared`` other programs read it, and may have written the same: it stays in any case.
    """

    root: Path
    path: str
    content: str
    keep: bool = False
    mode: int = 0o644
    shared: bool = False

    def __str__(self) -> str:
        return f"write {self.path}"

    @property
    def _place(self) -> Path:
        return below(self.root, self.path)

    def is_done(self) -> bool:
        """Is it there as it is written here (with ``keep``: in any state)?"""
        # A link that leads nowhere now is the administrator's, too: a file system may be missing.
        return os.path.lexists(self._place) if self.keep else self._is_unchanged()

    def is_ours(self) -> bool:
        """May it go? With ``keep`` only if nobody has changed it."""
        if self.shared:
            return False
        return self._is_unchanged() if self.keep else self._place.is_file()

    def _is_unchanged(self) -> bool:
        return self._place.is_file() and self._place.read_bytes() == self.content.encode()

    def do(self) -> None:
        """Write it beside and rename it: nobody sees half of it, after a crash neither. Raise OSError."""
        self._place.parent.mkdir(parents=True, exist_ok=True)
        aside = self._place.with_name(f".{self._place.name}.minimta")
        with open(aside, "w", encoding="utf-8") as file:
            file.write(self.content)
            file.flush()
            os.fchmod(file.fileno(), self.mode)
            os.fsync(file.fileno())
        aside.rename(self._place)
        sync_directory(str(self._place.parent))

    def undo(self) -> None:
        """Remove it. Raise OSError."""
        self._place.unlink()


@dataclass(frozen=True, slots=True)
class Unwanted:
    """A file of ours that this machine wants no more, as an earlier installation wrote it."""

    root: Path
    path: str

    def __str__(self) -> str:
        return f"remove {self.path}"

    def is_done(self) -> bool:
        """Is there none?"""
        return not self.is_ours()

    def is_ours(self) -> bool:
        """Is there one?"""
        return below(self.root, self.path).is_file()

    def do(self) -> None:
        """Remove it. Raise OSError."""
        below(self.root, self.path).unlink()

    def undo(self) -> None:
        """Remove it. Raise OSError."""
        self.do()


@dataclass(frozen=True, slots=True)
class LockFile:
    """A file beside the queue that running programs leave behind. Nothing to install."""

    root: Path
    path: str

    def __str__(self) -> str:
        return f"lock file {self.path}"

    def is_done(self) -> bool:
        """Always: running programs make it."""
        return True

    def is_ours(self) -> bool:
        """Is there one to remove?"""
        return below(self.root, self.path).is_file()

    def do(self) -> None:
        """Nothing: it comes by itself."""

    def undo(self) -> None:
        """Remove it. Raise OSError."""
        below(self.root, self.path).unlink()


@dataclass(frozen=True, slots=True)
class CountsFile:
    """Where listener and runner count mail: root's, and the listener's user may write.

    The listener, which can make no file beside the queue, finds it there. What is no plain file is the
    administrator's, as a link to /dev/null, which nobody follows.
    """

    root: Path
    path: str
    group: str

    def __str__(self) -> str:
        return f"counts of mail {self.path}, mode {_COUNTS_MODE:o}, root:{self.group}"

    def is_done(self) -> bool:
        """Is it there, with its owner and mode?"""
        try:
            found = os.lstat(below(self.root, self.path))
        except FileNotFoundError:
            return False
        owner = (0, group_number(self.root, self.group))
        is_right = (
            stat.S_IMODE(found.st_mode) == _COUNTS_MODE and (found.st_uid, found.st_gid) == owner
        )
        return is_right or not stat.S_ISREG(found.st_mode)

    def is_ours(self) -> bool:
        """Is there one to remove?"""
        return below(self.root, self.path).is_file()

    def do(self) -> None:
        """Make it, or put its owner and mode right; the counts stay. Raise OSError."""
        flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(below(self.root, self.path), flags, 0o600)
        try:
            os.fchown(file, 0, group_number(self.root, self.group))
            os.fchmod(file, _COUNTS_MODE)
        finally:
            os.close(file)

    def undo(self) -> None:
        """Remove it. Raise OSError."""
        below(self.root, self.path).unlink()


@dataclass(frozen=True, slots=True)
class RememberedHosts:
    """What running programs remember of other hosts. Nothing to install."""

    root: Path
    path: str

    def __str__(self) -> str:
        return f"host status {self.path}"

    def is_done(self) -> bool:
        """Always: running programs make it."""
        return True

    def is_ours(self) -> bool:
        """Is there anything to remove?"""
        path = below(self.root, self.path)
        return path.is_dir() and not path.is_symlink()

    def do(self) -> None:
        """Nothing: it comes by itself."""

    def undo(self) -> None:
        """Remove it. Raise OSError."""
        shutil.rmtree(below(self.root, self.path))
