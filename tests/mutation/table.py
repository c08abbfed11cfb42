"""Tables of changes: which test notices each, or why none can.

    durable.tsv     the durable path, every change
    survivors.tsv   of others that a random sample met: those that no test notices, and why not

A line is module, function, change, and the name of a test, or "= " and a reason; tabs between. What is
changed is told without line numbers: a row lives as long as its statement.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.mutation.changes import Change

HERE = Path(__file__).resolve().parent
DURABLE = HERE / "durable.tsv"
SURVIVORS = HERE / "survivors.tsv"
_HEAD = '# module, function, change, the test that notices; or "= " and why none does\n'

Key = tuple[str, str, str]


class Row(NamedTuple):
    """A line of a table."""

    module: str
    function: str
    change: str
    killed_by: str

    @property
    def key(self) -> Key:
        """Which change it is of."""
        return self[:3]

    @property
    def reason(self) -> str:
        """Why no test notices; "" if one does."""
        return self.killed_by.removeprefix("= ") if self.killed_by.startswith("= ") else ""


def key(module: str, change: Change) -> Key:
    """Of the row that a change has."""
    return module, change.function, change.what


def row(module: str, change: Change, test: str) -> Row:
    """*test* may be a single case ("test_x[1]"): the row has the whole test."""
    return Row(*key(module, change), test.partition("[")[0])


def rows(table: Path) -> list[Row]:
    """What the file holds; nothing if it is not there. Raise ValueError for a line that is no row."""
    if not table.exists():
        return []
    lines = table.read_text(encoding="utf-8").splitlines()
    found = [line.split("\t") for line in lines if line and not line.startswith("#")]
    if wrong := [words for words in found if len(words) != len(Row._fields)]:
        raise ValueError(f"{table.name}: no row: {wrong[0]}")
    return [Row(*words) for words in found]


def write(table: Path, found: Iterable[Row]) -> None:
    """Keep these rows, and no others."""
    text = "".join("\t".join(one) + "\n" for one in found)
    table.write_text(_HEAD + text, encoding="utf-8")
