"""What newaliases has to tell of one file, in Sendmail's words.

/etc/aliases: 3 aliases, longest 10 bytes, 52 bytes total
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection


class RebuildReport:
    """Counts, warnings and errors of a rebuild."""

    __slots__ = ("count", "errors", "exit_code", "longest", "path", "refusal", "total", "warnings")

    def __init__(self, path: str) -> None:
        self.path = path
        self.count = 0
        #: octets of the longest right-hand side
        self.longest = 0
        #: octets of all names and right-hand sides
        self.total = 0
        self.warnings: list[str] = []
        self.errors: list[str] = []
        #: why nothing was rebuilt, a line each; () if it was
        self.refusal: tuple[str, ...] = ()
        self.exit_code = os.EX_OK

    def add(self, names: Collection[bytes], values: Collection[bytes]) -> None:
        """Count entries: their names and right-hand sides."""
        self.count += len(names)
        self.longest = max(self.longest, max(map(len, values), default=0))
        self.total += sum(map(len, names)) + sum(map(len, values))

    def refuse_text(self, reason: str) -> None:
        """The text cannot be read. That is no failure (recorded in Sendmail 8.17)."""
        self.refusal = (f"newaliases: cannot open {self.path}: {reason}",)

    def refuse_directory(self, reason: str) -> None:
        """Others could put another database in the place of ours. That is a failure."""
        self.refusal = (
            f"WARNING: {reason} {os.path.dirname(self.path) or '.'}",
            f"WARNING: cannot open alias database {self.path}",
            f"Cannot create database for alias file {self.path}",
        )
        self.errors = [self.refusal[-1]]
        self.exit_code = os.EX_SOFTWARE

    def lines(self) -> list[str]:
        """What newaliases prints, in its order."""
        if self.refusal:
            return list(self.refusal)
        # Warnings and errors both begin "PATH: line N: ": the text's order is the order of N.
        noted = sorted(self.warnings + self.errors, key=self._line_number)
        return [*noted, self.summary()]

    def summary(self) -> str:
        """The last line, which the log has too: how many aliases, how many octets."""
        return (
            f"{self.path}: {self.count} aliases, longest {self.longest} bytes,"
            f" {self.total} bytes total"
        )

    def _line_number(self, text: str) -> int:
        return int(text.removeprefix(f"{self.path}: line ").partition(":")[0])
