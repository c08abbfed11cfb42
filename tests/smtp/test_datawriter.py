from __future__ import annotations

import pytest

from minimta.smtp.data import BadText, DataWriter

TEXT = b".\n..\n.x\nplain\n\n.\nend."
WIRE = b"..\r\n...\r\n..x\r\nplain\r\n\r\n..\r\nend.\r\n.\r\n"


@pytest.mark.parametrize("size", range(1, len(TEXT) + 1))
def test_any_block_size_gives_the_same_wire(size: int) -> None:
    writer = DataWriter()
    blocks = [writer.feed(TEXT[i : i + size]) for i in range(0, len(TEXT), size)]
    assert b"".join(blocks) + writer.finish() == WIRE


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        (b"", b".\r\n"),
        (b"\n", b"\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"a\n", b"a\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b"\n.\n", b"\r\n..\r\n.\r\n"),
        (b"a\n\n", b"a\r\n\r\n.\r\n"),
    ],
)
def test_the_last_line_is_ended_and_then_the_dot(text: bytes, wire: bytes) -> None:
    writer = DataWriter()
    assert writer.feed(text) + writer.finish() == wire


def test_an_empty_block_changes_nothing() -> None:
    writer = DataWriter()
    parts = [writer.feed(b""), writer.feed(b"a\n"), writer.feed(b""), writer.feed(b".b\n")]
    assert b"".join(parts) + writer.finish() == b"a\r\n..b\r\n.\r\n"


@pytest.mark.parametrize("text", [b"a\rb", b"a\r\n.\r\n", b"a\0b", b"\r", b"a\n.\r"])
def test_cr_and_nul_never_leave(text: bytes) -> None:
    with pytest.raises(BadText):
        DataWriter().feed(text)
