"""Room for mail: blocks and inodes where queues and mailboxes are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from minimta.admin.doctor.patient import Diagnosis, Patient, fault, ok, unknown, warning
from minimta.config.options import Options
from minimta.queue import pattern

#: part of a file system below which it is told, and octets from which on it never is
_LITTLE, _PLENTY = 0.05, 5 << 30
_LEAST_INODES = 1000


def space(patient: Patient) -> Iterator[Diagnosis]:
    """Each file system once."""
    options = patient.options
    seen, temporary = set[int](), str(patient.below("/tmp"))
    queues = _queues(options)
    several = len(_devices(queues)) > 1
    for path in (
        *queues,
        options.client_queue_directory,
        options.mailbox_directory,
        temporary,
    ):
        try:
            device = os.stat(path).st_dev
            if device in seen:
                continue
            seen.add(device)
            found = patient.statvfs(path)
            if options.one_user and path == temporary and found.f_flag & os.ST_RDONLY:
                continue  # a container's root is read-only on purpose, and we need no /tmp
            yield _of(path, found, options.min_free_blocks, several and path in queues)
        except FileNotFoundError:
            continue  # "queues" and "mailboxes" tell
        except OSError as error:
            yield unknown(path, error.strerror or str(error))


def _queues(options: Options) -> list[str]:
    try:
        return pattern.paths(options)
    except OSError:
        return []  # "queues" tells


def _devices(paths: list[str]) -> set[int]:
    found = set()
    for path in paths:
        with suppress(OSError):
            found.add(os.stat(path).st_dev)
    return found


def _of(path: str, found: os.statvfs_result, least: int, others: bool) -> Diagnosis:
    """*others*: there are queue directories on other disks, which are used instead of this one."""
    free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    if found.f_flag & os.ST_RDONLY:
        return fault(path, "the file system is read-only", "dmesg says why; mount -o remount,rw")
    if found.f_bavail < least:
        then = "the other queue directories are used" if others else "nothing is taken (452)"
        text = f"{found.f_bavail} blocks are free, less than MinFreeBlocks: {then}"
        return fault(path, text, "make room there (df, du)")
    if found.f_files and found.f_favail == 0:
        return fault(path, "no inode is free: nothing can be written", "remove files there (df -i)")
    if size and free < _PLENTY and free / size < _LITTLE:
        return warning(
            path,
            f"{free // (1 << 20)} MB are free, {free * 100 // size} %",
            "make room there (df, du)",
        )
    if found.f_files and found.f_favail < _LEAST_INODES:
        return warning(path, f"{found.f_favail} inodes are free", "remove files there (df -i)")
    return ok(path, f"{free // (1 << 20)} MB are free")
