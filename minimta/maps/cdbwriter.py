"""Constant databases in the cdb format, writing (the format is told in ``cdb``).

One pass: records as they come, in batches; only hash and position are kept in memory, 8 octets for each.
"""

from __future__ import annotations

import os
from array import array
from itertools import accumulate, islice
from struct import Struct, pack, unpack

from minimta.maps.cdb import FIRST_HASH, HEADER, LIMIT
from minimta.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: records that are written at a time, and whose keys are hashed together
_BATCH = 1024
#: what stands before a key and its data
_LENGTHS = Struct("<II")


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
    # Of each table its slots in use, as the file has them: position * 2**32 + hash.
    tables = [array("Q") for _ in range(256)]
    files.write_all(out, bytes(HEADER))
    position = HEADER
    each = iter(items)
    while batch := list(islice(each, _BATCH)):
        keys, values = zip(*batch, strict=True)
        heads = map(_LENGTHS.pack, map(len, keys), map(len, values))
        records = list(map(b"".join, zip(heads, keys, values, strict=True)))
        starts = list(accumulate(map(len, records), initial=position))
        _require_room(starts[-1])
        files.write_all(out, b"".join(records))
        for value, start in zip(key_hashes(keys), starts, strict=False):
            tables[value & 255].append(start << 32 | value)
        position = starts[-1]
    header: list[int] = []
    for entries in tables:
        slots = 2 * len(entries)
        header += (position, slots)
        files.write_all(out, pack(f"<{slots}Q", *_placed(entries, slots)))
        position += 8 * slots
    _require_room(position)
    os.lseek(out, 0, os.SEEK_SET)
    files.write_all(out, pack("<512I", *header))


def _require_room(position: int) -> None:
    if position > LIMIT:
        raise ValueError("more than 4 GiB do not fit into a cdb")


def key_hashes(keys: Sequence[bytes]) -> list[int]:
    """cdb.key_hash() of each of *keys*, in a tenth of the time.

    Keys of one length are the lanes, of 64 bits, of one large number, so that a step of the hash is
    one multiplication for all of them. 33 times 32 bits never reaches into the next lane.
    """
    found = [0] * len(keys)
    of_length: dict[int, list[int]] = {}
    for number, key in enumerate(keys):
        of_length.setdefault(len(key), []).append(number)
    for length, numbers in of_length.items():
        lanes = len(numbers)
        octets = b"".join([keys[number] for number in numbers])
        cut = int.from_bytes(pack("<Q", LIMIT) * lanes, "little")
        hashes = int.from_bytes(pack("<Q", FIRST_HASH) * lanes, "little")
        column = bytearray(8 * lanes)
        for place in range(length):
            column[::8] = octets[place::length]
            hashes = hashes * 33 & cut ^ int.from_bytes(column, "little")
        values = unpack(f"<{lanes}Q", hashes.to_bytes(8 * lanes, "little"))
        for number, value in zip(numbers, values, strict=True):
            found[number] = value
    return found


def _placed(entries: Iterable[int], slots: int) -> list[int]:
    """The slots of one table: each entry at its hash's place or the next free one."""
    table = [0] * slots
    for entry in entries:
        place = (entry >> 8 & 0xFFFFFF) % slots
        while table[place]:
            place = place + 1 if place + 1 < slots else 0
        table[place] = entry
    return table
