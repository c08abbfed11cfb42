"""What an installation consists of: each step knows whether it is done, how to do it, and undo it.

Paths are those of the finished machine; ``root`` stands before them when a tree for another
machine is prepared (``--root DIR``). Nothing is touched that is not ours; what holds mail stays.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Step(Protocol):
    """One row of the installation. What fails raises OSError or AdminError."""

    def __str__(self) -> str:
        """What it is, in a few words with the paths."""

    def is_done(self) -> bool:
        """Is everything as do() would leave it?"""

    def is_ours(self) -> bool:
        """Is there anything that undo() would take away?"""

    def do(self) -> None:
        """Bring it about. Raise OSError or AdminError."""

    def undo(self) -> None:
        """Take it back; called only if is_ours(). Raise OSError or AdminError."""


def below(root: Path, path: str) -> Path:
    """*path* of the finished machine, in the tree below *root*."""
    return root / path.lstrip("/")
