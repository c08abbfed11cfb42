"""A tree with dpkg's database in it, and packages whose files are what a test says."""

from __future__ import annotations

import subprocess
from pathlib import Path

_STATUS = """\
Package: {name}
Status: install ok installed
Maintainer: nobody <nobody@example.org>
Architecture: all
Version: 1
Provides: {provides}
Description: a package of a test

"""


def make(root: Path) -> Path:
    """An empty database below *root*."""
    database = root / "var/lib/dpkg"
    for name in ("info", "updates"):
        (database / name).mkdir(parents=True)
    (database / "info/format").write_text("1\n")
    for name in ("status", "available", "diversions"):
        (database / name).touch()
    return root


def install(root: Path, name: str, files: dict[str, str], provides: str = "x") -> None:
    """A package with *files* (path -> content), written where diversions lead them."""
    database = root / "var/lib/dpkg"
    with open(database / "status", "a", encoding="utf-8") as status:
        status.write(_STATUS.format(name=name, provides=provides))
    (database / f"info/{name}.list").write_text("".join(f"{path}\n" for path in files))
    (database / f"info/{name}.md5sums").touch()
    for path, content in files.items():
        place = root / true_name(root, path).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)


def true_name(root: Path, path: str) -> str:
    """Where a package's *path* is written."""
    command = ["dpkg-divert", f"--root={root}", "--truename", path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def diversions(root: Path) -> list[str]:
    """The names that are diverted."""
    return (root / "var/lib/dpkg/diversions").read_text().split("\n")[0::3][:-1]
