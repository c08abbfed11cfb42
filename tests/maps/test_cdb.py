from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.maps import cdbwriter
from minimta.maps.cdb import Cdb, CorruptMap, key_hash
from minimta.maps.cdbwriter import write_cdb
from minimta.maps.text_table import line_of, read_table

ITEMS = [(b"postmaster", b"root"), (b"nobody", b"/dev/null"), (b"", b"empty key"), (b"x", b"")]


def test_the_hash_is_that_of_the_format() -> None:
    # From the definition: h = ((h << 5) + h) ^ c, modulo 2**32.
    value = 5381
    for octet in b"postmaster" * 9:
        value = ((value << 5) + value) & 0xFFFFFFFF ^ octet
    assert key_hash(b"postmaster" * 9) == value
    assert key_hash(b"") == 5381


def test_many_keys_are_hashed_as_one_is() -> None:
    seeded = random.Random(5)
    keys = [seeded.randbytes(seeded.randrange(40)) for _ in range(3000)]
    keys += [b"", b"\xff" * 5000, b"\0" * 300, b"\xff" * 5000]
    assert cdbwriter.key_hashes(keys) == [key_hash(key) for key in keys]
    assert cdbwriter.key_hashes([]) == []


def test_what_was_written_is_found_and_nothing_else(tmp_path: Path) -> None:
    path = str(tmp_path / "a.cdb")
    write_cdb(path, ITEMS)
    database = Cdb(path)
    assert [(key, database.get(key)) for key, _ in ITEMS] == ITEMS
    assert database.get(b"nosuch") is None


def test_many_keys_in_one_table_are_all_found(tmp_path: Path) -> None:
    path = str(tmp_path / "a.cdb")
    items = [(b"user%d" % n, b"%d" % n) for n in range(5000)]
    write_cdb(path, items)
    database = Cdb(path)
    assert all(database.get(key) == data for key, data in items)
    assert database.get(b"user5000") is None


def test_a_lookup_reads_a_bounded_number_of_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "a.cdb")
    write_cdb(path, ((b"user%d" % n, b"x" * 50) for n in range(20000)))
    database, reads = Cdb(path), 0
    real = os.pread

    def pread(file: int, length: int, position: int) -> bytes:
        nonlocal reads
        reads += 1
        return real(file, length, position)

    monkeypatch.setattr(os, "pread", pread)
    for number in range(1000):
        database.get(b"user%d" % number)
    assert reads < 6 * 1000


def test_an_independent_reader_finds_the_records(tmp_path: Path) -> None:
    path = tmp_path / "a.cdb"
    write_cdb(str(path), ITEMS)
    raw, position, found = path.read_bytes(), 2048, []
    end = struct.unpack_from("<I", raw)[0]  # the first table lies behind the last record
    while position < end:
        key_length, length = struct.unpack_from("<II", raw, position)
        start = position + 8 + key_length
        found.append((raw[position + 8 : start], raw[start : start + length]))
        position = start + length
    assert found == ITEMS
    slots = sum(struct.unpack_from("<I", raw, 8 * n + 4)[0] for n in range(256))
    assert len(raw) == end + 8 * slots == end + 16 * len(ITEMS)


def test_all_records_come_in_the_order_of_the_file_equal_keys_too(tmp_path: Path) -> None:
    path = str(tmp_path / "a.cdb")
    items = [*ITEMS, (b"x", b"again"), (b"long", b"v" * 200000)]
    write_cdb(path, items)
    assert list(Cdb(path).records()) == items
    assert Cdb(path).get(b"x") == b""
    write_cdb(path, [])
    assert list(Cdb(path).records()) == []


def test_no_cut_or_damaged_file_crashes_a_listing(tmp_path: Path) -> None:
    path = tmp_path / "a.cdb"
    write_cdb(str(path), ITEMS)
    raw = path.read_bytes()
    damaged = [raw[:length] for length in range(2048, len(raw))]
    damaged += [raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :] for at in range(len(raw))]
    for octets in damaged:
        path.write_bytes(octets)
        try:
            records = list(Cdb(str(path)).records())
        except CorruptMap:
            continue
        assert sum(8 + len(key) + len(data) for key, data in records) <= len(raw)


def test_a_record_that_reaches_into_the_hash_tables_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "a.cdb"
    write_cdb(str(path), [(b"x", b"y")])
    raw = path.read_bytes()
    path.write_bytes(raw[:2052] + struct.pack("<I", 2) + raw[2056:])
    with pytest.raises(CorruptMap, match="outside"):
        list(Cdb(str(path)).records())


@pytest.mark.root
def test_a_database_may_belong_to_somebody_else(tmp_path: Path) -> None:
    write_cdb(str(tmp_path / "a.cdb"), ITEMS, 0o604, (1234, 2345))
    found = (tmp_path / "a.cdb").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, 2345, 0o604)


def test_no_cut_file_crashes_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "a.cdb"
    write_cdb(str(path), ITEMS)
    raw = path.read_bytes()
    for length in [*range(0, 2048, 97), *range(2048, len(raw))]:
        path.write_bytes(raw[:length])
        for key in (b"postmaster", b"nobody", b"nosuch"):
            try:
                data = Cdb(str(path)).get(key)
            except CorruptMap as error:
                assert isinstance(error, OSError) and error.filename == str(path)
            else:
                assert data in (None, b"root", b"/dev/null")


def test_no_damaged_octet_crashes_or_hangs_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "a.cdb"
    write_cdb(str(path), ITEMS)
    raw = path.read_bytes()
    for place in range(len(raw)):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 0xFF]) + raw[place + 1 :])
        database = Cdb(str(path))
        for key, _ in ITEMS:
            try:
                database.get(key)
            except CorruptMap:
                continue


def crafted(path: Path, table: int, slots: int, rest: bytes) -> Cdb:
    """A database in which every hash table is the same one."""
    path.write_bytes(struct.pack("<II", table, slots) * 256 + rest)
    return Cdb(str(path))


def test_a_record_may_end_with_the_file_and_not_behind_it(tmp_path: Path) -> None:
    for missing in (0, 1):
        slot = struct.pack("<II", key_hash(b"x"), 2056)
        record = struct.pack("<II", 1, 1 + missing) + b"xy"
        database = crafted(tmp_path / "a.cdb", 2048, 1, slot + record)
        if missing:
            with pytest.raises(CorruptMap, match="record outside of the file"):
                database.get(b"x")
        else:
            assert database.get(b"x") == b"y"


def test_a_shorter_key_of_the_same_hash_and_its_data_are_no_key(tmp_path: Path) -> None:
    slot = struct.pack("<II", key_hash(b"xy"), 2056)
    record = struct.pack("<II", 1, 2) + b"xyz"
    assert crafted(tmp_path / "a.cdb", 2048, 1, slot + record).get(b"xy") is None


def test_a_table_without_an_empty_slot_ends_the_search(tmp_path: Path) -> None:
    full = struct.pack("<II", key_hash(b"x") ^ 1, 2048) * 3
    assert crafted(tmp_path / "a.cdb", 2048, 3, full).get(b"x") is None


@pytest.mark.parametrize(("table", "slots"), [(8, 3), (2048, 4), (0xFFFFFFFF, 1)])
def test_a_table_outside_of_its_place_is_corrupt(tmp_path: Path, table: int, slots: int) -> None:
    full = struct.pack("<II", key_hash(b"x") ^ 1, 2048) * 3
    with pytest.raises(CorruptMap, match="outside"):
        crafted(tmp_path / "a.cdb", table, slots, full).get(b"x")


def test_an_empty_database_holds_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "a.cdb")
    write_cdb(path, [])
    assert Cdb(path).get(b"") is None


def test_a_failure_leaves_the_old_database_and_no_rubbish(tmp_path: Path) -> None:
    path = str(tmp_path / "a.cdb")
    write_cdb(path, [(b"a", b"old")])

    def items() -> object:
        yield b"a", b"new"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_cdb(path, items())  # type: ignore[arg-type]
    assert Cdb(path).get(b"a") == b"old"
    assert os.listdir(tmp_path) == ["a.cdb"]


def test_the_new_database_is_durable_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("fsync", "rename"):
        real = getattr(os, name)

        def call(*arguments: object, name: str = name, real: Callable[..., None] = real) -> None:
            calls.append(name)
            real(*arguments)

        monkeypatch.setattr(os, name, call)
    write_cdb(str(tmp_path / "a.cdb"), ITEMS)
    assert calls == ["fsync", "rename", "fsync"]


def test_a_planted_link_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / f"a.cdb.tmp-{os.getpid()}").symlink_to(victim)
    write_cdb(str(tmp_path / "a.cdb"), ITEMS)
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "a.cdb").is_symlink()


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        write_cdb(str(tmp_path / "a.cdb"), ITEMS)
    finally:
        os.umask(old)
    assert (tmp_path / "a.cdb").stat().st_mode & 0o777 == 0o644


def test_a_text_table_has_keys_in_small_letters_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "mailertable"
    path.write_bytes(
        b"# comment\n\nLab3.Campus\tesmtp:[10.0.3.136]  \n.x  error:5.7.1:550 No way\nlab3.campus y\nz\n"
    )
    assert read_table(str(path)) == {
        b"lab3.campus": b"esmtp:[10.0.3.136]",
        b".x": b"error:5.7.1:550 No way",
        b"z": b"",
    }


def test_a_missing_text_table_is_empty(tmp_path: Path) -> None:
    assert read_table(str(tmp_path / "none")) == {}


def test_the_line_of_a_row_is_that_which_counts(tmp_path: Path) -> None:
    path = tmp_path / "mailertable"
    path.write_bytes(b"# b.campus x\n\nA.campus  esmtp:x\nb.campus\na.campus error:y\n")
    lines = [line_of(str(path), key) for key in (b"a.campus", b"b.campus", b"c.campus")]
    assert lines == [3, 4, 0]
    assert line_of(str(tmp_path / "none"), b"a.campus") == 0


# 2048 + 50 x 110 octets of records, 16 for each in the tables.
@pytest.mark.parametrize("limit", [3000, 8000], ids=["records", "tables"])
def test_more_than_four_gib_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    items = [(b"%d" % n, b"x" * 100) for n in range(50)]
    monkeypatch.setattr(cdbwriter, "LIMIT", limit)
    with pytest.raises(ValueError, match="4 GiB"):
        write_cdb(str(tmp_path / "a.cdb"), items)


def test_what_does_not_fit_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = ((b"%d" % n, b"x" * 100) for n in range(10**4))
    monkeypatch.setattr(cdbwriter, "LIMIT", 3000)
    with pytest.raises(ValueError, match="4 GiB"):
        write_cdb(str(tmp_path / "a.cdb"), items)
    assert sum(1 for _ in items) > 8000


@pytest.mark.parametrize("size", [2048, 4096])
def test_a_file_of_zeros_is_no_empty_database(tmp_path: Path, size: int) -> None:
    (tmp_path / "a.cdb").write_bytes(bytes(size))
    with pytest.raises(CorruptMap):
        Cdb(str(tmp_path / "a.cdb")).get(b"dave")


def test_what_is_no_text_is_no_empty_table(tmp_path: Path) -> None:
    (tmp_path / "mailertable").write_bytes(b"\xff\0" * 50)
    with pytest.raises(OSError, match="is no text"):
        read_table(str(tmp_path / "mailertable"))
