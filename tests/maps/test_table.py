"""A table that is asked for years."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimta.maps.cdb import CorruptMap
from minimta.maps.cdbwriter import write_cdb
from minimta.maps.table import Table, all_rows, no_rows, tagged_rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access"


def test_a_text_is_read_and_keys_are_in_small_letters(path: Path) -> None:
    path.write_text("# x\nConnect:10.0.3.4   550 Go away\n")
    assert Table(str(path)).rows()(b"connect:10.0.3.4") == b"550 Go away"


def test_no_file_and_no_path_are_no_rows(path: Path) -> None:
    assert Table(str(path)).rows()(b"x") is None
    assert Table("").rows()(b"x") is None


def test_a_text_that_changes_is_seen(path: Path) -> None:
    table = Table(str(path))
    assert table.rows()(b"x") is None
    path.write_text("x one\n")
    assert table.rows()(b"x") == b"one"
    path.write_text("x another\n")
    assert table.rows()(b"x") == b"another"
    path.unlink()
    assert table.rows()(b"x") is None


def test_who_asks_for_several_keys_gets_them_from_one_table(path: Path) -> None:
    path.write_text("x one\n")
    table = Table(str(path))
    rows = table.rows()
    path.write_text("x another\n")
    assert (rows(b"x"), table.rows()(b"x")) == (b"one", b"another")


def test_a_database_counts_before_its_text(path: Path) -> None:
    write_cdb(f"{path}.cdb", [(b"x", b"database")])
    path.write_text("x text\ny text\n")
    table = Table(str(path))
    assert (table.rows()(b"x"), table.rows()(b"y")) == (b"database", None)
    write_cdb(f"{path}.cdb", [(b"x", b"newer")])
    assert table.rows()(b"x") == b"newer"
    os.unlink(f"{path}.cdb")
    assert table.rows()(b"x") == b"text"


@pytest.mark.parametrize("octets", [b"x\0y", b"x one\ny"])
def test_what_is_no_table_is_an_error_and_not_empty(path: Path, octets: bytes) -> None:
    path.write_text("x one\n")
    table = Table(str(path))
    table.rows()
    path.write_bytes(octets)
    with pytest.raises(OSError):
        table.rows()
    path.write_text("x whole\n")
    assert table.rows()(b"x") == b"whole"


def test_a_damaged_database_is_an_error_and_not_its_text(path: Path) -> None:
    path.write_text("x one\n")
    Path(f"{path}.cdb").write_bytes(b"short")
    with pytest.raises(CorruptMap):
        Table(str(path)).rows()


def test_a_directory_that_is_closed_to_us_later_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text("x one\n")
    table, late = Table(str(path)), Table(str(path))
    table.rows()

    def refused(path: str) -> os.stat_result:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "stat", refused)
    assert table.rows()(b"x") == b"one"
    with pytest.raises(PermissionError):
        late.rows()


def test_each_new_file_is_shown_once(path: Path) -> None:
    shown: list[tuple[str, list[tuple[bytes, bytes]]]] = []
    path.write_text("x one\n")
    table = Table(str(path), lambda path, rows: shown.append((path, list(rows))))
    table.rows()
    table.rows()
    write_cdb(f"{path}.cdb", [(b"y", b"two")])
    table.rows()
    assert shown == [(str(path), [(b"x", b"one")]), (f"{path}.cdb", [(b"y", b"two")])]


# --- whole tables, and parts of them --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text", "cdb"])
def test_all_rows_and_those_with_a_tag(path: Path, kind: str) -> None:
    if kind == "text":
        path.write_text("A:x  one two\nb:y three\na:x four\n")
    else:
        rows = [(b"a:x", b"one two"), (b"b:y", b"three"), (b"a:x", b"four")]
        write_cdb(f"{path}.cdb", rows)
    assert all_rows(str(path)) == {b"a:x": b"one two", b"b:y": b"three"}
    assert tagged_rows(str(path), (b"a:", b"c:")) == {b"a:x": b"one two"}
    assert tagged_rows(str(path), (b"c:",)) == {}


def test_no_file_is_no_rows_and_a_damaged_one_is_an_error(path: Path) -> None:
    assert all_rows(str(path)) == tagged_rows(str(path), (b"a:",)) == {}
    write_cdb(f"{path}.cdb", [(b"x", b"y")])
    whole = Path(f"{path}.cdb").read_bytes()
    Path(f"{path}.cdb").write_bytes(whole[:2052])
    with pytest.raises(CorruptMap):
        all_rows(str(path))
    with pytest.raises(CorruptMap):
        tagged_rows(str(path), (b"a:",))


def test_it_is_not_looked_at_for_each_question(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message has half a dozen, and a stat(2) lets other threads in between."""
    path.write_text("a 1\n")
    table = Table(str(path))
    assert table.rows()(b"a") == b"1"
    monkeypatch.setattr("minimta.maps.table.FRESH", 60.0)
    path.write_text("a 10\n")
    assert table.rows()(b"a") == b"10", "what was seen before counted for no time"
    path.write_text("a 100\n")
    assert table.rows()(b"a") == b"10"


def test_without_rows_it_need_not_be_asked(path: Path) -> None:
    assert Table(str(path)).rows() is no_rows
    path.write_text("# nothing\n")
    assert Table(str(path)).rows() is no_rows
    path.write_text("a 1\n")
    assert Table(str(path)).rows() is not no_rows
