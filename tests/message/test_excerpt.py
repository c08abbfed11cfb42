"""The beginning and the end of what is too long."""

from __future__ import annotations

import pytest

from minimta.message.excerpt import LINE, excerpt


def test_what_is_short_stays_whole_and_is_made_printable() -> None:
    assert excerpt(["250 ok", "\x1b[2J"], 100) == ("250 ok", "?[2J")


@pytest.mark.parametrize("number", [20, 100, 3000])
def test_of_what_is_long_the_beginning_and_the_end_are_kept(number: int) -> None:
    lines = [f"line {one}" for one in range(number)]
    kept = excerpt(lines, 100)
    assert kept[0] == "line 0" and kept[-1] == f"line {number - 1}"
    (gap,) = [line for line in kept if line.startswith("===")]
    assert gap == f"=== {number - len(kept) + 1} lines are left out"
    assert sum(len(line) + 1 for line in kept) <= 100


def test_a_long_line_is_cut() -> None:
    (line,) = excerpt(["x" * 5000], 10_000)
    assert len(line) == LINE and line.endswith("...")
