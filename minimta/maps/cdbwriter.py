"""Constant databases in the cdb format, writing (the format is told in ``cdb``).

One pass: records as they come, in batches; only the hashes are kept in memory, 8 octets for each.
"""

from __future__ import annotations

import os
from array import array
from struct import pack

from minimta.maps.cdb import HEADER, LIMIT, key_hash
from minimta.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_BATCH = 4096


def write_cdb(
    path: str,
    items: Iterable[tuple[bytes, bytes]],
    mode: int = 0o644,
    owner: tuple[int, int] | None = None,
) -> None:
    """Make *path* a database of *items*, atomically and durably: readers see the old or the new.

    *owner* is the (uid, gid) of the file, by default ours. Of equal keys the first is found. Raise
    OSError, or ValueError beyond 4 GiB; then the old file stands.
    """
    temporary = f"{path}.tmp-{os.getpid()}"
    if os.path.lexists(temporary):
        os.unlink(temporary)  # left by a dead process that had our number
    # O_EXCL: a link planted under this name is not followed.
    out = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            if owner is not None:
                os.fchown(out, *owner)
            os.fchmod(out, mode)
            _write_database(out, items)
            os.fsync(out)
        finally:
            os.close(out)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    # Or a power cut could bring the old database back, after newaliases said that it was done.
    files.sync_directory(os.path.dirname(path) or ".")


def _write_database(out: int, items: Iterable[tuple[bytes, bytes]]) -> None:
    # Of each table its entries as hash, position, hash, position ...
    tables = [array("I") for _ in range(256)]
    files.write_all(out, bytes(HEADER))
    position = HEADER
    batch: list[bytes] = []
    for key, data in items:
        value = key_hash(key)
        if position > LIMIT:
            break
        tables[value & 255].extend((value, position))
        batch += (pack("<II", len(key), len(data)), key, data)
        position += 8 + len(key) + len(data)
        if len(batch) >= _BATCH:
            files.write_all(out, b"".join(batch))
            batch.clear()
    files.write_all(out, b"".join(batch))
    header: list[int] = []
    for entries in tables:
        slots = len(entries)
        header += (position, slots)
        files.write_all(out, pack(f"<{2 * slots}I", *_placed(entries, slots)))
        position += 8 * slots
    if position > LIMIT:
        raise ValueError("more than 4 GiB do not fit into a cdb")
    os.lseek(out, 0, os.SEEK_SET)
    files.write_all(out, pack("<512I", *header))


def _placed(entries: Iterable[int], slots: int) -> list[int]:
    """The slots of one table: each entry at its hash's place or the next free one."""
    table = [0] * (2 * slots)
    each = iter(entries)
    for value, position in zip(each, each, strict=True):
        place = 2 * ((value >> 8) % slots)
        while table[place + 1]:
            place = place + 2 if place + 2 < 2 * slots else 0
        table[place] = value
        table[place + 1] = position
    return table
