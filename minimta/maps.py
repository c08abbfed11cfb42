"""Tables on disk: text tables, and constant databases in D. J. Bernstein's cdb format.

A cdb file, all numbers 32-bit little-endian:

    256 x (position, slots) of a hash table
    records: key length, data length, key, data
    256 hash tables of (hash, position of the record); slots = 2 x entries, position 0 = empty

A key's table is hash % 256, its first slot hash / 256 % slots, then the following ones. Readers
take no lock: the file never changes, a new one is renamed over it.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_HEADER = 2048
_LIMIT = 0xFFFFFFFF
_BATCH = 4096


class CorruptMap(OSError):
    """The file is no whole cdb. An OSError, because whoever asks has to try again later."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(errno.EIO, f"corrupt database ({reason})", path)


def key_hash(key: bytes) -> int:
    """The hash of the format: h = (h * 33) ^ c from 5381, modulo 2**32."""
    value = 5381
    for octet in key:
        value = value * 33 ^ octet  # cut once at the end: the low 32 bits are the same
    return value & _LIMIT


class Cdb:
    """An open database; get() costs the same for ten keys and ten million."""

    __slots__ = ("_file", "_size", "path", "stat")

    def __init__(self, path: str) -> None:
        """Open *path*; raise OSError, CorruptMap if it is too short for a cdb."""
        self.path = path
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.stat = os.fstat(self._file)
        self._size = self.stat.st_size
        if self._size < _HEADER:
            self.close()
            raise CorruptMap(path, "too short")

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.close()

    def get(self, key: bytes) -> bytes | None:
        """The data of *key*, None if it is not there. Raise CorruptMap for a damaged file."""
        value = key_hash(key)
        table, slots = self._numbers((value & 255) * 8)
        if not slots:
            return None
        if table < _HEADER or table + slots * 8 > self._size:
            raise CorruptMap(self.path, "hash table outside of the file")
        slot = (value >> 8) % slots
        for _ in range(slots):
            found, position = self._numbers(table + slot * 8)
            if not position:
                return None
            if found == value:
                data = self._record(position, key)
                if data is not None:
                    return data
            slot = slot + 1 if slot + 1 < slots else 0
        return None

    def _numbers(self, position: int) -> tuple[int, int]:
        pair = os.pread(self._file, 8, position)
        if len(pair) != 8:
            raise CorruptMap(self.path, "cut short")
        return int.from_bytes(pair[:4], "little"), int.from_bytes(pair[4:], "little")

    def _record(self, position: int, key: bytes) -> bytes | None:
        """The data at *position* if its key is *key*."""
        key_length, length = self._numbers(position)
        if position + 8 + key_length + length > self._size:
            raise CorruptMap(self.path, "record outside of the file")
        if key_length != len(key):
            return None
        record = os.pread(self._file, key_length + length, position + 8)
        if len(record) != key_length + length:
            raise CorruptMap(self.path, "cut short")
        return record[key_length:] if record.startswith(key) else None


def write_cdb(path: str, items: Iterable[tuple[bytes, bytes]], mode: int = 0o644) -> None:
    """Make *path* a database of *items*, atomically and durably: readers see the old or the new.

    Keys should differ; of equal ones the first is found. Raise OSError, or ValueError beyond 4 GiB;
    then the old file stands.
    """
    temporary = f"{path}.tmp-{os.getpid()}"
    if os.path.lexists(temporary):
        os.unlink(temporary)  # of a dead process that had our number
    # O_EXCL: a link planted under this name is not followed.
    out = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            os.fchmod(out, mode)
            _write_database(out, items)
            os.fsync(out)
        finally:
            os.close(out)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_directory(os.path.dirname(path) or ".")


def _sync_directory(directory: str) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_database(out: int, items: Iterable[tuple[bytes, bytes]]) -> None:
    from array import array  # here: only writers need it
    from struct import pack

    # Of each table its entries as hash, position, hash, position ...
    tables = [array("I") for _ in range(256)]
    _write(out, bytes(_HEADER))
    position = _HEADER
    batch: list[bytes] = []
    for key, data in items:
        value = key_hash(key)
        if position > _LIMIT:
            break
        tables[value & 255].extend((value, position))
        batch += (pack("<II", len(key), len(data)), key, data)
        position += 8 + len(key) + len(data)
        if len(batch) >= _BATCH:
            _write(out, b"".join(batch))
            batch.clear()
    _write(out, b"".join(batch))
    header: list[int] = []
    for entries in tables:
        slots = len(entries)
        header += (position, slots)
        _write(out, pack(f"<{2 * slots}I", *_placed(entries, slots)))
        position += 8 * slots
    if position > _LIMIT:
        raise ValueError("more than 4 GiB do not fit into a cdb")
    os.lseek(out, 0, os.SEEK_SET)
    _write(out, pack("<512I", *header))


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


def _write(out: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(out, rest) :]


def read_table(path: str) -> dict[bytes, bytes]:
    """A text table: key, blanks, value on each line; "#" begins a comment line; keys in small letters.

    The first row of a key counts. No file is an empty table; other trouble is an OSError.
    """
    table: dict[bytes, bytes] = {}
    try:
        with open(path, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        return table
    for line in text.split(b"\n"):
        parts = line.split(None, 1)
        if parts and parts[0][:1] != b"#":
            table.setdefault(parts[0].lower(), parts[1].strip() if len(parts) > 1 else b"")
    return table
