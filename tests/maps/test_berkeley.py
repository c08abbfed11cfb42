"""Maps that db_load makes: the old one or the new, and nothing of a dead process in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from minimta.maps import berkeley

pytestmark = pytest.mark.debian("db5.3-util")
OLD, NEW = [(b"old", b"1")], [(b"new", b"2")]


@pytest.fixture
def place(tmp_path: Path) -> str:
    berkeley.write(str(tmp_path / "x.db"), "hash", OLD, 0o640, None)
    return str(tmp_path / "x.db")


def write(place: str) -> None:
    berkeley.write(place, "hash", NEW, 0o644, None)


def test_what_a_dead_process_of_our_number_has_begun_is_not_added_to(place: str) -> None:
    os.rename(place, f"{place}.tmp-{os.getpid()}")
    write(place)
    assert berkeley.read(place) == NEW
    assert os.listdir(os.path.dirname(place)) == ["x.db"]


def test_it_is_durable_with_its_mode_before_it_has_its_name_and_then_the_name(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[object] = []
    rename = os.rename

    def synced(file: int) -> None:
        found = os.fstat(file)
        is_map = stat.S_ISREG(found.st_mode)
        steps.append(oct(stat.S_IMODE(found.st_mode)) if is_map else "directory")

    def renamed(old: str, new: str) -> None:
        steps.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    write(place)
    assert steps == ["0o644", "rename", "directory"]


def test_a_failure_leaves_the_old_map_and_no_rubbish(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(file: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="Input/output"):
            write(place)
    assert berkeley.read(place) == OLD
    assert os.listdir(os.path.dirname(place)) == ["x.db"]
