"""A log file that logrotate takes away is not written to any more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimta.system.log_file import LogFile


@pytest.mark.parametrize("creates", [False, True], ids=["nothing in its place", "an empty one"])
def test_what_comes_after_a_rotation_is_in_the_new_file(tmp_path: Path, creates: bool) -> None:
    path = tmp_path / "maillog"
    one = LogFile(str(path))
    assert one.write("before\n")
    path.rename(tmp_path / "maillog.1")
    if creates:
        path.touch()
    assert one.write("after\n")
    assert (tmp_path / "maillog.1").read_text().endswith(" before\n")
    assert path.read_text().endswith(" after\n")
    assert path.read_text().count("\n") == 1


def test_while_it_stays_it_is_not_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = LogFile(str(tmp_path / "maillog"))
    assert one.write("first\n")
    monkeypatch.setattr(os, "open", None)
    assert one.write("second\n")
