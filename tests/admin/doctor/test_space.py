"""Room: blocks, inodes, file systems that became read-only."""

from __future__ import annotations

import os
from typing import Any

import pytest

from minimta.admin.doctor import space
from tests.support.patient import Machine

#: f_bsize f_frsize f_blocks f_bfree f_bavail f_files f_ffree f_favail f_flag f_namemax
WELL = [4096, 4096, 1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19, 1 << 19, 0, 255]


def disk(**changes: int) -> os.statvfs_result:
    names = ["f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree",
             "f_favail", "f_flag", "f_namemax"]  # fmt: skip
    return os.statvfs_result([changes.get(n, v) for n, v in zip(names, WELL, strict=True)])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"f_bavail": 50}, "50 blocks are free, less than MinFreeBlocks: nothing is taken (452)"),
        ({"f_favail": 0}, "no inode is free: nothing can be written"),
        ({"f_flag": os.ST_RDONLY}, "the file system is read-only"),
        ({"f_bavail": 1 << 14}, "Warning: 64 MB are free, 1 %"),
        ({"f_favail": 200}, "Warning: 200 inodes are free"),
    ],
)
def test_a_disk_that_is_nearly_full(machine: Machine, changes: dict[str, int], text: str) -> None:
    machine.changes["statvfs"] = lambda path: disk()
    assert not machine.told(space.space)
    machine.changes["statvfs"] = lambda path: disk(**changes)
    [line] = machine.told(space.space)
    assert text in line


def test_tmp_of_a_container_may_be_read_only(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp = str(machine.patient.below("/tmp"))
    os.makedirs(tmp, exist_ok=True)
    real = os.stat

    def stat(path: str, **more: object) -> os.stat_result:
        found = list(real(path))
        found[2] = 99 if path == tmp else 1  # st_dev
        return os.stat_result(found)

    monkeypatch.setattr(os, "stat", stat)
    machine.changes["statvfs"] = lambda path: disk(f_flag=os.ST_RDONLY if path == tmp else 0)
    assert machine.told(space.space)[0].startswith(f"{tmp}: the file system is read-only")
    machine.options.one_user = True
    assert not machine.told(space.space)


def test_of_several_queue_directories_one_may_be_full(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, real = machine.options.queue_directory, os.stat
    machine.options.queue_pattern = f"{base}/q*"
    for name in ("q1", "q2"):
        os.mkdir(f"{base}/{name}")
    machine.changes["statvfs"] = lambda path: disk(f_bavail=50 if path.endswith("q2") else 1 << 19)
    assert not machine.told(space.space)  # all on one disk: the first stands for it

    def stat(path: str, **more: Any) -> os.stat_result:
        found = list(real(path, **more))
        found[2] = 99 if str(path).endswith("q2") else found[2]  # st_dev
        return os.stat_result(found)

    monkeypatch.setattr(os, "stat", stat)
    [line] = machine.told(space.space)
    assert f"{base}/q2: 50 blocks are free, less than MinFreeBlocks: the other queue " in line


def test_a_file_system_without_numbers_of_inodes(machine: Machine) -> None:
    machine.changes["statvfs"] = lambda path: disk(f_files=0, f_favail=0)  # btrfs
    assert not machine.told(space.space)


def test_the_mailboxes_may_be_on_another_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailboxes = machine.options.mailbox_directory
    real = os.stat

    def stat(path: str, **more: object) -> os.stat_result:
        found = list(real(path))
        found[2] = 99 if path == mailboxes else 1  # st_dev
        return os.stat_result(found)

    monkeypatch.setattr(os, "stat", stat)
    machine.changes["statvfs"] = lambda path: disk(f_bavail=1) if path == mailboxes else disk()
    [line] = machine.told(space.space)
    assert line.startswith(mailboxes)
