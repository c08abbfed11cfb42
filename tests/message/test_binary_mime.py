"""Messages with binary parts, at the door (RFC 3030 section 3)."""

from __future__ import annotations

import email
import email.policy
import itertools
from email.message import Message

import pytest

from minimta.message.binary_mime import MAX_HEADER, BinaryMime
from minimta.message.mime_entity import MAX_DEPTH, MAX_PARTS, NotConvertible

#: every octet, bare CR and LF, NUL, what looks like an end of data and like a delimiter of another
HOSTILE = bytes(range(256)) + b"\r\n.\r\n\n.\n\r.\r\n--other\r\n\0" * 3 + b"\r"


def converted(wire: bytes, size: int = 0, note: bytes = b"") -> bytes:
    reader = BinaryMime(note)
    size = size or len(wire) or 1
    out = [reader.feed(wire[i : i + size]) for i in range(0, len(wire), size)]
    return b"".join([*out, reader.finish()])


def leaf(octets: bytes, kind: bytes = b"application/octet-stream") -> bytes:
    return b"Content-Type: %b\r\nContent-Transfer-Encoding: binary\r\n\r\n%b" % (kind, octets)


def multipart(*parts: bytes, boundary: bytes = b"b", kind: bytes = b"mixed") -> bytes:
    head = b'Content-Type: multipart/%b; boundary="%b"\r\n' % (kind, boundary)
    head += b"Content-Transfer-Encoding: binary\r\n\r\npreamble"
    between = b"\r\n--%b\r\n" % boundary
    return head + b"".join(between + part for part in parts) + b"\r\n--%b--\r\nend\r\n" % boundary


def parsed(text: bytes) -> Message:
    assert b"\r" not in text and b"\0" not in text
    return email.message_from_bytes(text, policy=email.policy.compat32)


def parts_of(whole: Message) -> list[Message]:
    parts = whole.get_payload()
    assert isinstance(parts, list)
    return [part for part in parts if isinstance(part, Message)]


def octets_of(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload


WHOLE = b"Subject: x\r\nMIME-Version: 1.0\r\n" + multipart(
    b"Content-Type: text/plain\r\n\r\nhello\r\n",
    leaf(HOSTILE),
    multipart(leaf(b""), leaf(b"\r\n"), boundary=b"inner"),
    b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\nA: b\r\n"
    + leaf(HOSTILE),
)


def test_binary_parts_keep_their_octets() -> None:
    whole = parsed(converted(WHOLE))
    text, binary, inner, message = parts_of(whole)
    assert text.get_payload() == "hello\n"
    assert octets_of(binary) == HOSTILE
    assert [octets_of(one) for one in parts_of(inner)] == [b"", b"\r\n"]
    assert [octets_of(one) for one in parts_of(message)] == [HOSTILE]
    assert b"binary" not in converted(WHOLE)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 56, 57, 58, 319, 320, 321, 1000])
def test_any_pieces_give_the_same_text(size: int) -> None:
    assert converted(WHOLE, size) == converted(WHOLE)


def test_every_cut_in_two_gives_the_same_text() -> None:
    wire = multipart(leaf(b"a\rb\nc\0"), b"\r\ntext") + b"\r\n"
    whole = converted(wire)
    for cut in range(len(wire)):
        reader = BinaryMime(b"")
        assert reader.feed(wire[:cut]) + reader.feed(wire[cut:]) + reader.finish() == whole, cut


@pytest.mark.parametrize("length", range(0, 120, 7))
def test_a_message_that_is_one_binary_body(length: int) -> None:
    octets = (b"\r\0\n\xff" * 40)[:length]
    text = converted(leaf(octets, b"image/png"))
    assert octets_of(parsed(text)) == octets
    assert text.endswith(b"\n") and max(map(len, text.split(b"\n"))) <= 76


@pytest.mark.parametrize(
    "wire",
    [
        b"Subject: x\r\n\r\ntext\r\n",
        b"\r\nno header\r\n",
        b"no header at all\r\n\r\nbody\r\n",
        b"Subject: only\r\n",
        b"",
        b"Content-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa4\r\n",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\na\r\n--x--\r\n",
    ],
)
def test_what_is_not_binary_stays_as_it_is(wire: bytes) -> None:
    assert converted(wire) == wire.replace(b"\r\n", b"\n")


def test_the_change_is_told() -> None:
    text = converted(leaf(b"\0"), note=b"%s by lab2.campus")
    assert b"\nX-MIME-Autoconverted: from binary to base64 by lab2.campus\n" in text


@pytest.mark.parametrize("octets", [b"a\nb", b"a\rb", b"a\0b", b"a\r\r\nb"])
def test_other_line_ends_stand_in_binary_parts_only(octets: bytes) -> None:
    with pytest.raises(NotConvertible):
        converted(b"Subject: x\r\n\r\n" + octets + b"\r\n")
    with pytest.raises(NotConvertible):
        converted(b"Subject: " + octets + b"\r\n\r\n")
    with pytest.raises(NotConvertible):
        converted(multipart(leaf(b"\0"), b"\r\n" + octets))


def test_what_is_signed_is_not_touched() -> None:
    signed = multipart(leaf(b"clean\r\n", b"text/plain"), boundary=b"s", kind=b"signed")
    wire = multipart(signed, leaf(b"\0"))
    text = converted(wire)
    inner = multipart(leaf(b"clean\r\n", b"text/plain"), boundary=b"s", kind=b"signed")
    assert inner.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n") in text
    assert b"\nAA==\n" in text
    with pytest.raises(NotConvertible):
        converted(multipart(leaf(b"a\0b"), kind=b"signed"))


def test_depth_and_number_of_parts_have_a_limit() -> None:
    wire = leaf(b"x")
    for depth in range(MAX_DEPTH + 1):
        wire = multipart(wire, boundary=b"d%d" % depth)
    with pytest.raises(NotConvertible):
        converted(wire)
    message = b"Content-Type: message/rfc822\r\n\r\n"
    with pytest.raises(NotConvertible):
        converted(message * (MAX_DEPTH + 1) + b"\r\n")
    assert converted(multipart(*[message + b"A: b\r\n\r\nc"] * (MAX_DEPTH + 9)))
    with pytest.raises(NotConvertible):
        converted(multipart(*[b"\r\na"] * (MAX_PARTS + 1)))
    with pytest.raises(NotConvertible):
        converted(b"A: " + b"b" * MAX_HEADER)


def test_delimiters_of_outer_parts_end_inner_ones() -> None:
    inner = multipart(leaf(b"\0" * 9), boundary=b"in")[: -len(b"\r\n--in--\r\nend\r\n")]
    whole = parsed(converted(multipart(inner, leaf(b"\1", b"a/b"), boundary=b"out")))
    first, second = parts_of(whole)
    assert [octets_of(one) for one in parts_of(first)] == [b"\0" * 9]
    assert octets_of(second) == b"\1"


def test_binary_text_of_any_length_ends_its_part_exactly() -> None:
    for length, tail in itertools.product(range(60), (b"", b"\r", b"\n", b"\r\n", b"\r\n-")):
        octets = b"x" * length + tail
        whole = parsed(converted(multipart(leaf(octets), b"\r\nlast")))
        assert octets_of(parts_of(whole)[0]) == octets
