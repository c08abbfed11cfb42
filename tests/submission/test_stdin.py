"""Standard input made canonical: line ends, dots, NUL; whatever the size of the pieces."""

from __future__ import annotations

import os
import threading

import pytest

from minimta.smtp.data import DataWriter
from minimta.submission import stdin
from minimta.submission.stdin import CanonicalText
from tests.smtp.test_data import FALSE_ENDS


def whole(text: bytes, size: int, *, ignore_dots: bool = False) -> tuple[bytes, CanonicalText]:
    canonical, out = CanonicalText(ignore_dots=ignore_dots), b""
    for begin in range(0, len(text), size):
        out += canonical.feed(text[begin : begin + size])
    return out + canonical.feed(b"", last=True), canonical


CASES = [
    (b"a\nb\n", b"a\nb\n"),
    (b"a\r\nb\r\n", b"a\nb\n"),
    (b"a\r\r\nb", b"a\nb"),
    (b"one\n.\ntwo\n", b"one\n"),
    (b"one\r\n.\r\ntwo\r\n", b"one\n"),
    (b".\ntwo\n", b""),
    (b".", b""),
    (b"one\n.", b"one\n"),
    (b"..one\n...two\n.three\n", b".one\n..two\n.three\n"),
    (b"a.\n.b\nc..\n", b"a.\n.b\nc..\n"),
    (b"10%\r50%\r100%\n", b"10% 50% 100%\n"),
    (b"x\r", b"x "),
    (b"a\n\n\n", b"a\n\n\n"),
    (b"", b""),
    (b"\n.\n", b"\n"),
    (b"x\n. \ny\n", b"x\n. \ny\n"),
    (b"caf\xe9\n", b"caf\xe9\n"),
]


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[repr(text) for text, _ in CASES])
def test_any_chunking_gives_the_same_text(text: bytes, expected: bytes) -> None:
    for size in range(1, len(text) + 2):
        assert whole(text, size)[0] == expected


@pytest.mark.parametrize("text", [b"one\n.\ntwo\n", b"..one\n", b".", b"a\n.\n"])
def test_dots_are_data_with_ignore_dots(text: bytes) -> None:
    for size in range(1, len(text) + 2):
        assert whole(text, size, ignore_dots=True)[0] == text


def test_what_follows_the_lone_dot_is_not_read_in() -> None:
    out, canonical = whole(b"one\n.\n" + b"x" * 5000, 7)
    assert (out, canonical.ended) == (b"one\n", True)


def test_a_nul_is_noticed_and_taken_out() -> None:
    out, canonical = whole(b"a\0b\n", 1)
    assert (out, canonical.has_nul) == (b"ab\n", True)


def test_a_line_without_end_is_not_kept_in_memory() -> None:
    canonical = CanonicalText(ignore_dots=False)
    passed = sum(len(canonical.feed(b"x" * 65536)) for _ in range(16))
    assert passed >= 15 * 65536


def test_a_cr_at_the_border_of_a_long_line_still_ends_it() -> None:
    canonical = CanonicalText(ignore_dots=False)
    out = (
        canonical.feed(b"x" * 5000 + b"\r")
        + canonical.feed(b"\n.\nno")
        + canonical.feed(b"", last=True)
    )
    assert out == b"x" * 5000 + b"\n"


def test_reading_stops_at_the_dot_even_if_the_pipe_stays_open() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"hello\n.\n")
    canonical = CanonicalText(ignore_dots=False)
    assert b"".join(stdin.pieces(canonical, reader)) == b"hello\n"
    os.close(reader)
    os.close(writer)


def test_a_descriptor_that_does_not_block_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)

    def end() -> None:
        os.write(writing, b"late\n")
        os.close(writing)

    later = threading.Timer(0.2, end)
    later.start()
    try:
        canonical = stdin.CanonicalText(ignore_dots=False)
        assert b"".join(stdin.pieces(canonical, reading)) == b"late\n"
    finally:
        later.join()
        os.close(reading)


@pytest.mark.parametrize("false_end", [*FALSE_ENDS, b"\r\n.\r\n"])
def test_no_end_of_text_that_another_host_could_see_goes_out(false_end: bytes) -> None:
    """CVE-2023-51765: from standard input as it is to what goes out."""
    text = whole(b"Subject: x\n\nHi" + false_end + b"MAIL FROM:<evil@x>\n", 7, ignore_dots=True)[0]
    writer = DataWriter()
    wire = writer.feed(text) + writer.finish()
    lines = wire.split(b"\r\n")
    assert not any(octet in line for line in lines for octet in (b"\r", b"\n", b"\0"))
    assert lines.count(b".") == 1 and lines[-2:] == [b".", b""]
    assert b"MAIL FROM:<evil@x>" in wire
