"""Names of ours that packages of other mail systems have, too: dpkg puts theirs aside.

A diversion (dpkg-divert(1)) is an entry in dpkg's own database: as long as it is there, whatever
package brings ``/usr/sbin/sendmail``, now or later, gets it under another name, and ours stays. Our
name for it, ``sendmail.minimta-diverted``, says whose diversion it is: there is no second record.

A diversion keeps a name, not a port: the daemon of a package that comes later may still take port 25
(``other_mta``). All names are below /usr, so that a machine whose /lib is /usr/lib has no second way to them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from minimta.admin.checkout import AdminError
from minimta.admin.install.services import call, has_program, run
from minimta.admin.install.steps import below

SUFFIX = ".minimta-diverted"


@dataclass(frozen=True, slots=True)
class Diversion:
    """A name that is kept from packages. Nothing to do where there is no dpkg."""

    root: Path
    path: str

    def __str__(self) -> str:
        return f"divert {self.path} of packages to {self.path}{SUFFIX}"

    @property
    def _place(self) -> Path:
        return below(self.root, self.path)

    @property
    def _aside(self) -> Path:
        return below(self.root, self.path + SUFFIX)

    def is_done(self) -> bool:
        """Is the name diverted, by us or by the administrator, or can nothing divert it?"""
        return not has_dpkg(self.root) or self._truename() != self.path

    def is_ours(self) -> bool:
        """Is it diverted to the name that do() gives?"""
        return has_dpkg(self.root) and self._truename() == self.path + SUFFIX

    def _truename(self) -> str:
        """What dpkg makes of the name. Raise AdminError with its words."""
        done = run(["dpkg-divert", f"--root={self.root}", "--truename", self.path])
        if done.returncode:
            raise AdminError(f"dpkg-divert: {done.stderr.strip()}", os.EX_OSERR)
        return done.stdout.strip()

    def do(self) -> None:
        """Tell dpkg, and keep what a package has there now. Raise OSError or AdminError.

        The old file stays in its place until ours is renamed over it: at no time is there no sendmail.
        """
        is_kept = self._keep()
        try:
            self._tell("--no-rename", "--add")
        except AdminError:
            if is_kept:
                self._aside.unlink()
            raise

    def _keep(self) -> bool:
        """Give the file of a package its other name, too; is there one? Raise OSError."""
        if not package_of(self.root, self.path):
            return False
        with suppress(FileNotFoundError):  # the package has it, and the administrator removed it
            os.link(self._place, self._aside, follow_symlinks=False)
            return True
        return False

    def _tell(self, *words: str) -> None:
        to = ["--divert", self.path + SUFFIX, self.path]
        call(["dpkg-divert", f"--root={self.root}", "--quiet", "--local", *words, *to])

    def undo(self) -> None:
        """Let packages have the name again, and what they have of it. Raise AdminError."""
        self._tell("--rename", "--remove")


def has_dpkg(root: Path) -> bool:
    """Does the tree have a database of packages, and this machine the program for it?"""
    return below(root, "/var/lib/dpkg/info").is_dir() and has_program("dpkg-divert")


def package_of(root: Path, path: str) -> str:
    """Debian's package that holds *path*; "" if none does."""
    if not has_dpkg(root):
        return ""
    # "diversion by ..." lines tell of names, not of owners.
    lines = run(["dpkg-query", f"--root={root}", "--search", path]).stdout.split("\n")
    owners = [line for line in lines if not line.startswith(("diversion by ", "local diversion "))]
    return owners[0].partition(":")[0].partition(",")[0]
