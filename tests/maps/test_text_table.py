"""Text tables."""

from __future__ import annotations

from pathlib import Path

from minimta.maps import text_table


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "mailertable"
    path.write_bytes(b"\xef\xbb\xbflab3.campus esmtp:[10.0.3.1]\n")
    assert text_table.read_table(str(path)) == {b"lab3.campus": b"esmtp:[10.0.3.1]"}
    assert text_table.line_of(str(path), b"lab3.campus") == 1
