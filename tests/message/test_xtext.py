from __future__ import annotations

import re

import pytest

from minimta.message.xtext import decode_xtext, is_xtext

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
