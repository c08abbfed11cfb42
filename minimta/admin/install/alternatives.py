"""mail(1) by that name, as long as there is no other: Debian's mailx packages share it.

update-alternatives(1) gives ``/usr/bin/mailx``, and ``/usr/bin/mail`` with it, to the program of the
highest priority: bsd-mailx, mailutils and s-nail have 30 and more. Where one of them is, ours is not seen.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from minimta.admin.install.diversions import has_dpkg
from minimta.admin.install.services import call, has_program, run

GROUP, LINK = "mailx", "/usr/bin/mailx"
#: name -> where it leads to something
SLAVE, SLAVE_LINK = "mail", "/usr/bin/mail"
PRIORITY = "1"


@dataclass(frozen=True, slots=True)
class MailAlternative:
    """Our program among the alternatives. Nothing to do where there are none."""

    root: Path
    program: str

    def __str__(self) -> str:
        return f"alternative {SLAVE_LINK} -> {self.program}, after every other mailx"

    def is_done(self) -> bool:
        """Is it among them, or is there nothing to be among?"""
        return not self._has_alternatives() or self._is_among_them()

    def is_ours(self) -> bool:
        """Is it among them?"""
        return self._has_alternatives() and self._is_among_them()

    def _has_alternatives(self) -> bool:
        return has_dpkg(self.root) and has_program("update-alternatives")

    def _is_among_them(self) -> bool:
        lines = run(["update-alternatives", *self._tree(), "--query", GROUP]).stdout.split("\n")
        return f"Alternative: {self.program}" in lines

    def do(self) -> None:
        """Add it. Raise AdminError."""
        slave = ["--slave", SLAVE_LINK, SLAVE, self.program]
        self._call("--install", LINK, GROUP, self.program, PRIORITY, *slave)

    def undo(self) -> None:
        """Take it away. Raise AdminError."""
        self._call("--remove", GROUP, self.program)

    def _call(self, *words: str) -> None:
        call(["update-alternatives", *self._tree(), "--quiet", *words])

    def _tree(self) -> list[str]:
        return [] if self.root == Path("/") else ["--root", os.fspath(self.root)]
