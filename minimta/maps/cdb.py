"""Constant databases in D. J. Bernstein's cdb format, reading.

A cdb file, all numbers 32-bit little-endian:

    256 x (position, slots) of a hash table
    records: key length, data length, key, data
    256 hash tables of (hash, position of the record); slots = 2 x entries, position 0 = empty

A key's table is hash % 256, its first slot hash / 256 % slots, then the following ones. Readers
take no lock: the file never changes, a new one is renamed over it. Numbers are checked against the
size of the file before they are used: a damaged one is CorruptMap, never a wrong answer.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

#: octets before the first record
HEADER = 2048
#: of a number in the file
LIMIT = 0xFFFFFFFF
#: the hash of an empty key
FIRST_HASH = 5381
_CHUNK = 1 << 16


class CorruptMap(OSError):
    """The file is no whole cdb. An OSError, because whoever asks has to try again later."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(errno.EIO, f"corrupt database ({reason})", path)


def key_hash(key: bytes) -> int:
    """The hash of the format: h = (h * 33) ^ c from 5381, modulo 2**32."""
    value = FIRST_HASH
    for octet in key:
        value = value * 33 ^ octet  # cut once at the end: the low 32 bits are the same
    return value & LIMIT


class Cdb:
    """An open database; get() costs the same for ten keys and ten million."""

    __slots__ = ("_file", "_size", "path", "stat")

    def __init__(self, path: str) -> None:
        """Open *path*; raise OSError, CorruptMap if it is too short for a cdb."""
        self.path = path
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.stat = os.fstat(self._file)
        self._size = self.stat.st_size
        if self._size < HEADER:
            self.close()
            raise CorruptMap(path, "too short")

    def close(self) -> None:
        """Close the file; a second time does nothing."""
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
        # Also where there are no slots: a file of zeros, as a power cut may leave it, is not empty.
        if table < HEADER or table + slots * 8 > self._size:
            raise CorruptMap(self.path, "hash table outside of the file")
        if not slots:
            return None
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

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """All (key, data) in the order of the file, equal keys too. Raise CorruptMap."""
        with open(self._file, "rb", buffering=_CHUNK, closefd=False) as file:
            file.seek(0)
            yield from read_records(file, self._size, self.path)

    def mentioning(self, words: tuple[bytes, ...]) -> Iterator[tuple[bytes, bytes]]:
        """records(), or none if one of *words* stands nowhere: a look at the whole is faster."""
        with open(self._file, "rb", buffering=0, closefd=False) as file:
            file.seek(0)
            octets = file.read()
        _end_of_records(octets[:HEADER], self._size, self.path)
        return self.records() if any(word in octets for word in words) else iter(())

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


def read_records(file: BinaryIO, size: int, path: str) -> Iterator[tuple[bytes, bytes]]:
    """All (key, data) of a database of *size* octets, read from its beginning. Raise CorruptMap."""
    if size < HEADER:
        raise CorruptMap(path, "too short")
    end = _end_of_records(file.read(HEADER), size, path)
    position = HEADER
    while position < end:
        lengths = file.read(8)
        key_length = int.from_bytes(lengths[:4], "little")
        length = int.from_bytes(lengths[4:], "little")
        position += 8 + key_length + length
        if position > end:
            raise CorruptMap(path, "record outside of its place")
        yield file.read(key_length), file.read(length)


def _end_of_records(header: bytes, size: int, path: str) -> int:
    """Where the hash tables begin: they lie behind the last record."""
    numbers = [int.from_bytes(header[at : at + 4], "little") for at in range(0, HEADER, 4)]
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    end = min((position for position, slots in pairs if slots), default=HEADER)
    if not HEADER <= end <= size:
        raise CorruptMap(path, "hash table outside of the file")
    return end
