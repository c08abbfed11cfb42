"""Every path of the table is run by a test here, and every test is in it (``sweep.compare``)."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults.sweep import TABLE

SOURCES = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")]


def test_every_path_of_the_table_is_run() -> None:
    paths = re.findall(r"^\| ([^|]+) \|[^|]+\| \d+ \| \d+ \|$", TABLE.read_text("utf-8"), re.M)
    assert len(paths) == 18
    for path in paths:
        last = path.rpartition(", ")[2]
        assert any(last.lower() in source.lower() for source in SOURCES), path
