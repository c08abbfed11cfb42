"""Text tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimta.maps import text_table


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "mailertable"
    path.write_bytes(b"\xef\xbb\xbflab3.campus esmtp:[10.0.3.1]\n")
    assert text_table.read_table(str(path)) == {b"lab3.campus": b"esmtp:[10.0.3.1]"}
    assert text_table.line_of(str(path), b"lab3.campus") == 1


@pytest.mark.parametrize("begin", [b"", b"lab2.campus esmtp:x\n"])
@pytest.mark.parametrize("end", [b"l", b"lab3.cam", b"lab3.campus", b"lab3.campus ", b" lab3"])
def test_a_table_that_ends_inside_of_a_row_is_just_being_written(
    tmp_path: Path, begin: bytes, end: bytes
) -> None:
    path = tmp_path / "mailertable"
    path.write_bytes(begin + end)
    with pytest.raises(OSError, match="ends inside of a row"):
        text_table.read_table(str(path))


@pytest.mark.parametrize("end", [b"", b"lab3.campus esmtp:y", b"# the end", b"#end", b"  ", b"x\n"])
def test_the_last_line_need_not_have_an_end(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "mailertable"
    path.write_bytes(b"lab2.campus esmtp:x\n" + end)
    assert text_table.read_table(str(path))[b"lab2.campus"] == b"esmtp:x"
