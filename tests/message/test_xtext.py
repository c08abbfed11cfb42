from __future__ import annotations

import re

import pytest

from minimta.message.xtext import (
    decode_utf8_address,
    decode_xtext,
    is_xtext,
    utf8_address,
)

#: RFC 3461 section 4: xchar is printable ASCII but "+" and "=", hexchar is "+" and two digits
GRAMMAR = re.compile(rb"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")


@pytest.mark.parametrize("octets", [b"QQ314", b"a+2Bb", b"+3D+00", b"rfc822;dave@lab2.campus"])
def test_xtext_is_printable_with_codes(octets: bytes) -> None:
    assert is_xtext(octets)


@pytest.mark.parametrize(
    "octets",
    [b"", b"a b", b"a=b", b"a+zz", b"a+2b", b"+", b"a+2", b"++2B", b"a\nb", b"a\0", b"\xe9"],
)
def test_what_could_end_a_parameter_or_a_line_is_no_xtext(octets: bytes) -> None:
    assert not is_xtext(octets)


def test_every_octet_alone_and_behind_a_plus_is_as_the_grammar_has_it() -> None:
    shapes = (b"%c", b"a%cb", b"+%c", b"+2%c", b"+%c2", b"+2B%c")
    for shape in shapes:
        for code in range(256):
            octets = shape % code
            assert is_xtext(octets) is bool(GRAMMAR.fullmatch(octets)), octets


@pytest.mark.parametrize(
    "text, meaning",
    [
        (b"a+2Bb", b"a+b"),
        (b"+3D+3d", b"=="),
        (b"plain", b"plain"),
        (b"bad+2", b"bad+2"),
        (b"bad+GG", b"bad+GG"),
        (b"+", b"+"),
        (b"++2B", b"++"),
    ],
)
def test_xtext_is_decoded_and_what_is_none_stays(text: bytes, meaning: bytes) -> None:
    assert decode_xtext(text) == meaning


@pytest.mark.parametrize(
    "text, coded",
    [
        ("döner@käse.example", b"d\\x{F6}ner@k\\x{E4}se.example"),
        ("a+b=c\\d", b"a\\x{2B}b\\x{3D}c\\x{5C}d"),
        (" \x7f!~", b"\\x{20}\\x{7F}!~"),
        ("\ud7ff\ue000\U0010ffff", b"\\x{D7FF}\\x{E000}\\x{10FFFF}"),
    ],
)
def test_what_is_no_ascii_and_what_xtext_codes_is_a_code_of_a_utf8_address(
    text: str, coded: bytes
) -> None:
    assert utf8_address(text.encode()) == coded
    assert decode_utf8_address(coded) == text.encode()


@pytest.mark.parametrize(
    "digits", ["", "0", "000000", "D800", "DFFF", "110000", "00000F6", "f6", "+F6", " F6"]
)
def test_a_code_that_stands_for_no_character_stays(digits: str) -> None:
    code = b"\\x{%b}" % digits.encode()
    assert decode_utf8_address(b"a" + code + b"b\\x{0000F6}") == b"a" + code + "bö".encode()


def test_a_code_without_its_end_stays() -> None:
    assert decode_utf8_address(b"\\x{F6\\x{F6}\\x{F6") == b"\\x{F6" + "ö".encode() + b"\\x{F6"
