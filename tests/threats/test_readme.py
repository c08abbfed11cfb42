"""The table of attacks names every test file here, and only files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
HOME = HERE.parent.parent
TABLE = (HERE / "README.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[a-z0-9_/]+\.py)`", TABLE)))


def test_every_file_of_attacks_is_in_the_table() -> None:
    files = {f"tests/threats/{path.name}" for path in HERE.glob("test_*.py")} - {
        "tests/threats/test_readme.py"
    }
    assert files <= set(NAMED)


@pytest.mark.parametrize("named", NAMED)
def test_what_the_table_names_exists(named: str) -> None:
    assert (HOME / named).is_file()


def test_every_attack_has_a_test() -> None:
    rows = [line for line in TABLE.split("\n") if line.startswith("| ") and "attack" not in line]
    assert rows
    assert not [row for row in rows if "`tests/" not in row.rpartition("|")[0].rpartition("|")[2]]
