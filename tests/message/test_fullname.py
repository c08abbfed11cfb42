"""Full names: out of passwd, into From."""

from __future__ import annotations

from email.header import decode_header, make_header

import pytest

from minimta.message import fullname


@pytest.mark.parametrize(
    ("gecos", "name"),
    [
        ("Dave Example", b"Dave Example"),
        ("& Smith", b"Dave Smith"),
        ("Dave Example,Room 5,555-1234", b"Dave Example"),
        ("", b""),
        (" , ", b""),
        ('Dr. Dave "D" O\'Hara (x)', b'Dr. Dave "D" O\'Hara (x)'),
        ("Dävé", "Dävé".encode()),
    ],
)
def test_gecos_gives_what_stands_before_the_comma(gecos: str, name: bytes) -> None:
    assert fullname.from_gecos(gecos, "dave") == name


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        (b"Dave Example", b"Dave Example"),
        (b"O'Hara", b"O'Hara"),
        (b'Dr. Dave "D" O\'Hara (x)', b'"Dr. Dave \\"D\\" O\'Hara (x)"'),
        (b"back\\slash", b'"back\\\\slash"'),
        (b"a@b", b'"a@b"'),
        (b"two  blanks", b"two blanks"),
    ],
)
def test_a_phrase_is_quoted_only_when_it_must_be(name: bytes, phrase: bytes) -> None:
    assert fullname.phrase(name) == phrase


@pytest.mark.parametrize("name", ["Dävé", "Jürgen Groß", "山田 太郎" * 12, "a_b?c=d é"])
def test_a_name_beyond_ascii_becomes_encoded_words_that_say_the_same(name: str) -> None:
    phrase = fullname.phrase(name.encode()).decode("ascii")
    assert str(make_header(decode_header(phrase))) == name
    assert all(len(word) <= 75 for word in phrase.split(" "))


@pytest.mark.parametrize("evil", [b"\n", b"\r\n", b"\0", b"\x1b", b"\x7f"])
def test_no_control_character_gets_into_a_phrase(evil: bytes) -> None:
    phrase = fullname.phrase(b"Dave" + evil + b"Bcc: x")
    assert not any(octet < 32 or octet == 127 for octet in phrase)


def test_an_old_latin_1_name_becomes_an_encoded_word_of_its_own_charset() -> None:
    gecos = b"D\xe4ve Example,,,".decode("utf-8", "surrogateescape")
    name = fullname.from_gecos(gecos, "dave")
    assert fullname.phrase(name) == b"=?iso-8859-1?q?D=E4ve_Example?="
