from __future__ import annotations

import itertools

import pytest

from minimta.smtp.data import BadText, DataReader, DataWriter, Violation

BODY = b"Hi\n.dot\n\n..\nend\n"
WIRE = b"Hi\n..dot\n\n...\nend\n.\nQUIT\n"
EOLS = [b"\r\n", b"\n"]
#: text as it is stored, and as it goes out
STORED = b".\n..\n.x\nplain\n\n.\nend."
SENT = b"..\r\n...\r\n..x\r\nplain\r\n\r\n..\r\nend.\r\n.\r\n"

# 35 pairs of line ends around a dot that are not the one true pair, and four that only text
# libraries take for line ends: what a smuggler puts before a second message.
_ENDS = [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\0\r\n"]
FALSE_ENDS = [
    *(a + b"." + b for a, b in itertools.product(_ENDS, _ENDS) if (a, b) != (b"\r\n", b"\r\n")),
    *(end + b"." + end for end in (b"\v", b"\f", b"\x85", "\u2028".encode())),
]


def read(reader: DataReader, octets: bytes, size: int) -> tuple[bytes, bytes]:
    """(text, octets that were not read) of *octets* in chunks of *size*."""
    text = b""
    while octets and not reader.done:
        text += reader.feed(octets[:size])
        octets = octets[size:]
    return text, octets


@pytest.mark.parametrize("eol", EOLS)
@pytest.mark.parametrize("size", range(1, len(WIRE) + 12))
def test_any_chunking_gives_the_same_text(eol: bytes, size: int) -> None:
    reader = DataReader(eol)
    text, rest = read(reader, WIRE.replace(b"\n", eol), size)
    assert text == BODY
    assert reader.done
    assert reader.trailing + rest == b"QUIT" + eol


@pytest.mark.parametrize("eol", EOLS)
@pytest.mark.parametrize("size", [1, 2, 3, 99])
def test_a_dot_at_once_is_an_empty_message(eol: bytes, size: int) -> None:
    reader = DataReader(eol)
    assert read(reader, b"." + eol, size) == (b"", b"")
    assert reader.done


@pytest.mark.parametrize("eol", EOLS)
@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (b"..\n", b".\n"),
        (b".x\n", b"x\n"),
        (b"a.\n", b"a.\n"),
        (b"....\n", b"...\n"),
        (b"x\n..\n..\n", b"x\n.\n.\n"),
        (b". \n", b" \n"),
    ],
)
def test_one_leading_dot_goes_and_nothing_else(eol: bytes, sent: bytes, meant: bytes) -> None:
    reader = DataReader(eol)
    assert read(reader, (sent + b".\n").replace(b"\n", eol), 99)[0] == meant


def test_the_gallery_has_39_pieces() -> None:
    assert len(set(FALSE_ENDS)) == 39


@pytest.mark.parametrize("false_end", FALSE_ENDS)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 1000])
def test_only_crlf_dot_crlf_ends_data(false_end: bytes, size: int) -> None:
    reader = DataReader(b"\r\n")
    smuggled = b"MAIL FROM:<x@evil.example>\r\n"
    wire = b"Subject: s\r\n\r\nbody" + false_end + smuggled + b".\r\n"
    try:
        text, _ = read(reader, wire, size)
    except Violation:
        return
    assert smuggled[:-2] in text, "a false end was taken for the end"


@pytest.mark.parametrize("octets", [b"a\r\n", b"a\rb\n", b"\r", b"a\n.\r\n", b"a\r\n.\n"])
@pytest.mark.parametrize("size", [1, 99])
def test_in_a_session_of_bare_linefeeds_no_carriage_return_may_appear(
    octets: bytes, size: int
) -> None:
    with pytest.raises(Violation):
        read(DataReader(b"\n"), octets + b"more\n", size)


@pytest.mark.parametrize("octets", [b"a\nb\r\n", b"a\rb\r\n", b"\n", b"a\r\r\n", b"a\r\nb\n\r\n"])
@pytest.mark.parametrize("size", [1, 99])
def test_in_a_session_of_crlf_no_half_of_it_may_appear(octets: bytes, size: int) -> None:
    with pytest.raises(Violation):
        read(DataReader(b"\r\n"), octets + b"more\r\n", size)


@pytest.mark.parametrize("eol", EOLS)
def test_a_nul_is_a_violation(eol: bytes) -> None:
    with pytest.raises(Violation, match="NUL"):
        DataReader(eol).feed(b"a\0b" + eol)


def test_what_is_held_back_is_never_more_than_the_beginning_of_the_end() -> None:
    reader = DataReader(b"\r\n")
    text = sum(len(reader.feed(b"x" * 65536)) for _ in range(20))
    assert text >= 20 * 65536 - 4


# --- onto the wire --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(1, len(STORED) + 1))
def test_any_block_size_gives_the_same_wire(size: int) -> None:
    writer = DataWriter()
    blocks = [writer.feed(STORED[i : i + size]) for i in range(0, len(STORED), size)]
    assert b"".join(blocks) + writer.finish() == SENT


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
