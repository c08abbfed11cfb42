"""Writing all, reading to a limit, and making names durable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.system import files
from tests.support.powercut import Disk


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "x", os.O_RDWR | os.O_CREAT, 0o600)
    yield descriptor
    os.close(descriptor)


def test_a_short_write_is_gone_on_with(
    file: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, text: real(file, bytes(text)[:7]))
    files.write_all(file, b"0123456789" * 5)
    assert (tmp_path / "x").read_bytes() == b"0123456789" * 5


def test_a_write_that_fails_is_an_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError, match="No space"):
        files.write_all(full.fileno(), b"x")


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 65536, 65537, 200_000])
@pytest.mark.parametrize("limit", [100, 65535, 65536, 150_000])
def test_a_file_is_read_to_its_limit_and_one_octet_more(file: int, size: int, limit: int) -> None:
    octets = os.urandom(size)
    files.write_all(file, octets)  # the descriptor stands at the end now
    assert files.read_to_limit(file, limit) == octets[: limit + 1]
    assert files.read_to_limit(file, limit, 50) == octets[50 : 50 + limit + 1]


def test_short_reads_are_gone_on_with(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_all(file, b"0123456789" * 5)
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, at: real(file, min(size, 7), at))
    assert files.read_to_limit(file, 20) == b"0123456789" * 2 + b"0"


def test_a_file_may_exist_unless_it_is_known_that_it_does_not(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    (tmp_path / "circle").symlink_to("circle")
    there, gone, below = (str(tmp_path / name) for name in ("x", "gone", "x/below"))
    assert not files.may_exist(gone, below, "")
    assert files.may_exist(gone, there) and files.may_exist(str(tmp_path / "circle"))


@pytest.mark.parametrize("way", ["by its path", "from a descriptor to pass only"])
def test_names_of_a_directory_survive_a_power_cut(tmp_path: Path, way: str) -> None:
    queue = tmp_path / "queue"
    queue.mkdir()
    directory = os.open(queue, os.O_PATH | os.O_DIRECTORY)
    with Disk(tmp_path) as disk:
        (queue / "x").touch()
        os.mkdir(queue / "y")
        if way == "by its path":
            files.sync_directory(str(queue))
        else:
            files.sync_directory(".", directory)
    os.close(directory)
    [inode] = {identity for identity in disk._names if identity[0] == queue.stat().st_ino}
    for state in disk.survivors(after=len(disk.calls)):
        assert set(state.names[inode]) == {"x", "y"}
    unsynced = disk.survivors(after=len(disk.calls), without=disk.syncs())
    assert any(set(state.names[inode]) == set() for state in unsynced)


def test_no_descriptor_is_left_open_when_a_sync_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda directory: os.write(-1, b""))
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="Bad file descriptor"):
        files.sync_directory(str(tmp_path))
    assert os.listdir("/proc/self/fd") == before


def test_words_of_a_class_file_stand_on_lines_or_between_blanks(tmp_path: Path) -> None:
    (tmp_path / "names").write_bytes(b"# class w\nlab1 lab2\t# and\n\n lab3#x\nlab4")
    assert files.words(str(tmp_path / "names")) == [b"lab1", b"lab2", b"lab3", b"lab4"]
    with pytest.raises(FileNotFoundError):
        files.words(str(tmp_path / "none"))


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path: Path) -> None:
    (tmp_path / "names").write_bytes(b"\xef\xbb\xbflab2.campus\nlab3.campus\n")
    assert files.words(str(tmp_path / "names")) == [b"lab2.campus", b"lab3.campus"]
