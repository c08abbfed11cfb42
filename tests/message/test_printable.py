"""Printable ASCII, and "?" for everything else."""

from __future__ import annotations

import pytest

from minimta.message.printable import is_printable, printable, shown

EVERY = bytes(range(256))
PRINTABLE = bytes(range(0x20, 0x7F))


@pytest.mark.parametrize("octets", [b"a\nb", b"a\0", b"\x1b[2J", b"\xff", b"\x7f"])
def test_controls_and_8_bit_octets_are_not_printable(octets: bytes) -> None:
    assert is_printable(b"dave@lab2.campus")
    assert not is_printable(octets)


def test_all_agree_on_every_octet() -> None:
    for octet in EVERY:
        one = bytes([octet])
        assert is_printable(one) == (octet in PRINTABLE)
        assert printable(one) == (one if octet in PRINTABLE else b"?")
        assert shown(one) == printable(one).decode("ascii")


def test_the_length_stays() -> None:
    assert len(printable(EVERY)) == len(shown(EVERY)) == len(EVERY)
    assert shown("Zürich\u2028\u202e") == "Z?rich??", "one for each character"


@pytest.mark.parametrize("length", [9, 10, 11, 5000])
def test_a_long_value_is_cut_and_says_so(length: int) -> None:
    text = shown("x" * length, 10)
    assert text == ("x" * length if length <= 10 else "xxxxxxx...")


@pytest.mark.parametrize("value", ["", b""])
def test_nothing_stays_nothing(value: str | bytes) -> None:
    assert shown(value, 10) == ""
    assert is_printable(b"")
