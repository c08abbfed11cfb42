"""The disk that forgets, tried on small pieces of code whose faults are known."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.powercut import Disk, playground
from tests.support.survivors import State


def put(root: Path, name: str, content: bytes, *, sync: bool) -> None:
    file = os.open(root / name, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(file, content)
    if sync:
        os.fsync(file)
    os.close(file)


def sync_directory(root: Path) -> None:
    directory = os.open(root, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def look(state: State, tmp_path: Path) -> dict[str, bytes]:
    with playground(tmp_path) as fresh:
        state.write(fresh)
        return {p.name: p.read_bytes() for p in fresh.rglob("*") if p.is_file()}


def all_states(disk: Disk, tmp_path: Path, *, journal: bool = False) -> list[dict[str, bytes]]:
    end = len(disk.calls)
    return [look(state, tmp_path) for state in disk.survivors(after=end, journal=journal)]


def rooms(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "disk").mkdir()
    (tmp_path / "after").mkdir()
    return tmp_path / "disk", tmp_path / "after"


def test_what_was_not_fsynced_may_be_there_by_half_or_not(tmp_path: Path) -> None:
    root, after = rooms(tmp_path)
    with Disk(root) as disk:
        put(root, "a", b"1234", sync=False)
        sync_directory(root)
    assert all_states(disk, after) == [{"a": b""}, {"a": b"12"}, {"a": b"1234"}]


def test_a_name_is_certain_only_after_fsync_of_its_directory(tmp_path: Path) -> None:
    root, after = rooms(tmp_path)
    with Disk(root) as disk:
        put(root, "a", b"1", sync=True)
    assert all_states(disk, after) == [{}, {"a": b"1"}]
    assert all_states(disk, after, journal=True) == [{"a": b"1"}]
    with disk:
        sync_directory(root)
    assert all_states(disk, after) == [{"a": b"1"}]


def test_an_fsync_can_be_taken_away_afterwards(tmp_path: Path) -> None:
    root, after = rooms(tmp_path)
    with Disk(root) as disk:
        put(root, "a", b"1", sync=True)
        sync_directory(root)
    file_sync, directory_sync = disk.syncs()
    end = len(disk.calls)
    found = [look(s, after) for s in disk.survivors(after=end, without={file_sync})]
    assert found == [{"a": b""}, {"a": b"1"}]
    found = [look(s, after) for s in disk.survivors(after=end, without={directory_sync})]
    assert found == [{}, {"a": b"1"}]


def test_a_later_name_may_survive_without_an_earlier_one(tmp_path: Path) -> None:
    root, after = rooms(tmp_path)
    put(root, "old", b"1", sync=False)
    with Disk(root) as disk:
        os.rename(root / "old", root / "new")
        os.mkdir(root / "sub")
    states = all_states(disk, after)
    assert {"old": b"1"} in states
    assert {"new": b"1"} in states
    assert len(list(disk.survivors(after=2))) == 4


def test_a_reused_inode_number_is_another_file(tmp_path: Path) -> None:
    root, after = rooms(tmp_path)
    put(root, "a", b"old", sync=False)
    with Disk(root) as disk:
        os.unlink(root / "a")
        put(root, "b", b"new", sync=True)
    assert {"a": b"old", "b": b"new"} in all_states(disk, after)
    assert {"a": b"new"} not in all_states(disk, after)


def test_marks_say_what_was_promised_before_the_cut(tmp_path: Path) -> None:
    root, _ = rooms(tmp_path)
    with Disk(root) as disk:
        put(root, "a", b"1", sync=True)
        disk.mark("one")
    assert [str(call) for call in disk.calls] == ["open(a)", "write()", "fsync()", "mark(one)"]
    assert disk.marks(3) == []
    assert disk.marks(4) == ["one"]
    assert len(disk.cuts()) == 5
