"""The installation's system user, and how users and groups of a tree are looked up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from minimta.admin.install.services import call
from minimta.admin.install.steps import below
from minimta.system.users import User, Users


@dataclass(frozen=True, slots=True)
class Account:
    """The system user, and group of the same name, that listener and remote worker become."""

    root: Path
    name: str
    home: str

    def __str__(self) -> str:
        return f"user and group {self.name}"

    def is_done(self) -> bool:
        """Is there a user of that name?"""
        return find_user(self.root, self.name) is not None

    def is_ours(self) -> bool:
        """Still the one that do() made, and no queued mail needs it."""
        user = find_user(self.root, self.name)
        queue = below(self.root, self.home)
        has_mail = queue.is_dir() and any(queue.iterdir())
        return user is not None and user.home == self.home and not has_mail

    def do(self) -> None:
        """Make group and user. Raise AdminError if useradd(8) refuses."""
        tree = prefix(self.root)
        options = ["--system", "--gid", self.name, "--no-create-home", "--home-dir", self.home]
        options += ["--shell", "/usr/sbin/nologin", "--comment", "minimta mail system"]
        call(["groupadd", *tree, "--system", "--force", self.name])
        call(["useradd", *tree, *options, self.name])

    def undo(self) -> None:
        """Remove user and group. Raise AdminError if userdel(8) refuses."""
        call(["userdel", *prefix(self.root), self.name])
        # login.defs decides whether userdel(8) takes the group along.
        groups = below(self.root, "/etc/group").read_text(encoding="utf-8").split("\n")
        if any(line.startswith(f"{self.name}:") for line in groups):
            call(["groupdel", *prefix(self.root), self.name])


def prefix(root: Path) -> list[str]:
    """The words that make useradd(8) and its kin work on another tree."""
    return [] if root == Path("/") else ["--prefix", str(root)]


def find_user(root: Path, name: str) -> User | None:
    """The user *name* of the tree below *root*, None if it has none. Raise OSError."""
    if root == Path("/"):
        return Users("").find(name.encode())
    file = below(root, "/etc/passwd")
    return Users(str(file)).find(name.encode()) if file.exists() else None


def group_number(root: Path, name: str) -> int:
    """The number of the group of *name*: root's, or the primary one of a user so named.

    -1, which no file has, as long as there is no such user.
    """
    user = find_user(root, name) if name != "root" else None
    return 0 if name == "root" else user.gid if user else -1
