from __future__ import annotations

import random

import pytest

from minimta.aliases import large_text, text
from minimta.aliases.rebuild_report import RebuildReport

LINES = [
    *(b"user%d: u%d@lab2.campus" % (n, n) for n in range(200)),
    *(b"List.%d-x+y_z: a, \xc3\xa9, |prog" % n for n in range(50)),
    b"# comment", b"", b" continued,", b"\tcontinued", b"   ", b'"two words": dave', b"two words: x",
    b"user7: again", b"USER8:again", b"no colon", b"empty:", b"empty2: \r", b":value", b"x@lab9.campus: y",
    b"\xc3\xa9va: eva", b"*:\tcatch", b"cr: dave\r", b"colon::x", b"form:\x0cfeed", b"a:b ", b"|x: y",
]  # fmt: skip


def both(octets: bytes, monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What is found in pieces, and line by line: entries in their order, and all of the report."""
    found: list[tuple[object, ...]] = []
    for large in (0, len(octets)):
        monkeypatch.setattr(text, "_LARGE", large)
        report = RebuildReport("aliases")
        entries = text.compile_text(octets, report, lambda domain: False)
        told = (report.lines(), report.errors, report.warnings, report.exit_code)
        found.append((list(entries.items()), *told))
    return found


@pytest.mark.parametrize("piece", [0, 1, 30, 200, 10000])
@pytest.mark.parametrize("plain", [0, 200, 250, len(LINES)], ids=["odd", "users", "lists", "all"])
def test_a_text_in_pieces_says_what_it_says_line_by_line(
    piece: int, plain: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_text, "_PIECE", piece)
    seeded = random.Random(piece)
    for _ in range(100):
        lines = seeded.choices(LINES[:plain] or LINES[200:], k=seeded.randrange(1, 30))
        octets = b"\n".join(lines) + seeded.choice((b"", b"\n", b"\n\n"))
        in_pieces, by_line = both(octets, monkeypatch)
        assert in_pieces == by_line, octets


def test_the_pieces_are_the_text_cut_before_lines_that_continue_nothing() -> None:
    octets = b"".join(b"name%d: x,\n\ty,\n z\n" % n for n in range(20_000))
    cut = list(large_text.pieces(octets))
    assert b"".join(piece for _, piece in cut) == octets
    assert len(cut) == len(octets) // (1 << 16) + 1
    assert all(piece.startswith(b"name") and piece.endswith(b" z\n") for _, piece in cut)
    assert [before for before, _ in cut] == [
        sum(piece.count(b"\n") for _, piece in cut[:number]) for number in range(len(cut))
    ]


def test_a_piece_is_taken_whole_or_not_at_all() -> None:
    found, report = {b"old": b"x"}, RebuildReport("aliases")
    for refused in (b"a: b\nOLD: y\n", b"a: b\nA: c\n", b"a: b\n\n", b"a: b\n# x", b"a: b\nc:\n"):
        assert not large_text.take_plain(refused, found, report), refused
        assert (found, report.count) == ({b"old": b"x"}, 0)
    assert large_text.take_plain(b"A: b, c\nd:\tefg", found, report)
    assert found == {b"old": b"x", b"a": b"b, c", b"d": b"efg"}
    assert (report.count, report.longest, report.total) == (2, 4, 9)
