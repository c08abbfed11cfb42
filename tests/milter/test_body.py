"""The body that filters read, and what they put in its place."""

from __future__ import annotations

import os
from binascii import crc32
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.milter import body as room
from minimta.milter.body import MessageBody
from minimta.milter.protocol import FilterFailed

OLD = b"old body\nof two lines\n"


@pytest.fixture
def body(tmp_path: Path) -> Iterator[MessageBody]:
    (tmp_path / "df").write_bytes(OLD)
    file = os.open(tmp_path / "df", os.O_RDWR)
    yield MessageBody(file, len(OLD), 0)
    os.close(file)


def stored(body: MessageBody) -> bytes:
    return os.pread(body.descriptor, 1 << 20, 0)


@pytest.mark.parametrize("octets", [1, 2, 7, 1000])
def test_filters_read_it_with_the_line_ends_of_smtp(body: MessageBody, octets: int) -> None:
    pieces = list(body.pieces(octets))
    assert b"".join(pieces) == OLD.replace(b"\n", b"\r\n")
    assert all(len(piece) <= octets for piece in pieces)


@pytest.mark.parametrize("new", [b"new\r\n", b"longer than the old one\r\n" * 5, b"no line end"])
@pytest.mark.parametrize("cut", [1, 4, 1000])
def test_what_replaces_it_is_all_that_there_is(
    body: MessageBody, monkeypatch: pytest.MonkeyPatch, new: bytes, cut: int
) -> None:
    monkeypatch.setattr(room, "_BLOCK", 8)
    body.add(b"dropped\r\n")
    body.drop()
    earlier = b"of an earlier filter\n"
    body.add(earlier.replace(b"\n", b"\r\n"))
    body.finish()
    assert body.checksum == crc32(earlier)
    for at in range(0, len(new), cut):
        body.add(new[at : at + cut])
    assert stored(body) == earlier + new.replace(b"\r\n", b"\n"), "the old one stands"
    body.complete()
    body.finish()
    expected = new.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"
    assert stored(body) == expected
    assert (body.size, body.checksum, body.is_replaced) == (len(expected), crc32(expected), True)


def test_what_is_dropped_leaves_nothing(body: MessageBody) -> None:
    body.add(b"new\r\n")
    body.drop()
    body.complete()
    body.finish()
    assert stored(body) == OLD
    assert (body.size, body.is_replaced) == (len(OLD), False)


@pytest.mark.parametrize(
    "pieces", [[b"a\rb"], [b"a\r", b"b\r\n"], [b"a\r", b"\r\n"], [b"a\0"], [b"a\r\n\r"]]
)
def test_octets_that_no_message_has_are_refused(body: MessageBody, pieces: list[bytes]) -> None:
    with pytest.raises(FilterFailed, match="the new body has a bare carriage return"):
        for piece in pieces:
            body.add(piece)
        body.complete()
    body.drop()
    body.complete()
    assert stored(body) == OLD


def test_what_is_as_large_as_maxmessagesize_is_taken_and_nothing_larger(body: MessageBody) -> None:
    limited = MessageBody(body.descriptor, len(OLD), 10)
    limited.add(b"1234\r\n")
    limited.add(b"678\r\n\r\n")
    with pytest.raises(FilterFailed, match=r"the new body exceeds MaxMessageSize \(10\)$"):
        limited.add(b"x")
    limited.complete()
    limited.finish()
    assert stored(body) == b"1234\n678\n\n"


@pytest.mark.parametrize("pieces", [["a", "b"], ["é", "b"], ["a", "é"]])
def test_whether_it_is_ascii_is_known_of_all_its_pieces(
    body: MessageBody, pieces: list[str]
) -> None:
    for piece in pieces:
        body.add(piece.encode())
    assert body.eight_bit is not "".join(pieces).isascii()


def test_a_short_write_is_gone_on_with(body: MessageBody, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite: Callable[[int, bytes, int], int] = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, text, at: pwrite(file, text[:3], at))
    body.add(b"new body\r\n")
    body.complete()
    body.finish()
    assert stored(body) == b"new body\n"


def test_a_file_that_somebody_cuts_ends_it(body: MessageBody) -> None:
    body.add(b"new body\r\n")
    os.ftruncate(body.descriptor, len(OLD) - 1)
    with pytest.raises(OSError, match="shorter than it was"):
        body.finish()
    with pytest.raises(OSError, match="shorter than it was"):
        list(body.pieces(100))
