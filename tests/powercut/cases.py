"""Count the cases of the tests that README.md lists, and print or (``--write``) put them there.

    python3 -m tests.powercut.cases [--write]

A case is a state that a disk may be in after a power cut, and that was recovered from and looked at.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.powercut import EXAMINED

README = Path(__file__).with_name("README.md")
_ROW = re.compile(
    r"^\| (?P<path>[^|]+) \| (?P<cut>[^|]+) \| `(?P<test>[^`]+)` \| (?P<cases>\d+) \|$"
)
_SUM = re.compile(r"^\| all \| \| \| (\d+) \|$", re.M)


class Row(NamedTuple):
    """A line of the table."""

    path: str
    cut: str
    #: "tests/test_crash.py::test_..."
    test: str
    cases: int

    def __str__(self) -> str:
        return f"| {self.path} | {self.cut} | `{self.test}` | {self.cases} |"


def rows() -> list[Row]:
    """Those of the README."""
    matches = (_ROW.match(line) for line in README.read_text().split("\n"))
    return [Row(m["path"], m["cut"], m["test"], int(m["cases"])) for m in matches if m]


def stated_sum() -> int:
    """What the README says they come to."""
    found = _SUM.search(README.read_text())
    assert found
    return int(found[1])


class _Counting:
    """Of each test function, all its parameters together, how many cases it looked at."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        before = len(EXAMINED)
        yield
        self.counts[item.nodeid.partition("[")[0]] += len(EXAMINED) - before


def counted() -> Counter[str]:
    """Run the tests, and count. Raise AssertionError if one fails."""
    counting, tests = _Counting(), list(dict.fromkeys(row.test for row in rows()))
    code = pytest.main(["-q", "-p", "no:cacheprovider", *tests], plugins=[counting])
    assert code == 0, f"pytest ended with {code}"
    return counting.counts


def main() -> int:
    """The exit code."""
    counts = counted()
    new = [row._replace(cases=counts[row.test] or row.cases) for row in rows()]
    print("\n".join(map(str, new)))
    print(f"| all | | | {sum(row.cases for row in new)} |")
    if "--write" in sys.argv[1:]:
        text = README.read_text()
        for old, row in zip(rows(), new, strict=True):
            text = text.replace(str(old), str(row))
        total = sum(row.cases for row in new)
        README.write_text(_SUM.sub(f"| all | | | {total} |", text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
