"""The table of paths and power cuts in README.md: its tests are there, and its numbers are true."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.powercut import cases

ROOT = Path(__file__).parent.parent.parent


def test_every_test_of_the_table_is_there() -> None:
    for row in cases.rows():
        path, _, name = row.test.partition("::")
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        assert callable(getattr(module, name)), row.test


def test_every_file_that_cuts_the_power_is_in_the_table() -> None:
    cutting = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"survivors\(|Trial\(|LazyFs\(|schedules\.several\(", path.read_text())
    }
    ours = {str(Path(__file__).relative_to(ROOT)), "tests/support/test_powercut.py"}
    assert cutting - ours == {row.test.partition("::")[0] for row in cases.rows()}


def test_the_sum_is_that_of_the_rows() -> None:
    assert cases.stated_sum() == sum(row.cases for row in cases.rows())
    assert len(cases.rows()) > 30


@pytest.mark.long
def test_the_numbers_are_those_of_the_tests() -> None:
    """Give or take a quarter: a call more or less changes many."""
    counts = cases.counted()
    for row in cases.rows():
        if counts[row.test]:
            assert 0.75 < row.cases / counts[row.test] < 1.34, f"{row.test}: {counts[row.test]}"
