from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

import pytest

from minimta.message.mime8to7 import convert
from minimta.message.mime_entity import MAX_DEPTH, NotConvertible

LATIN = "café\n".encode("latin-1")
NOTE = b"%s by lab1.campus id 6AM9jkoD005674"
TEXT = b"MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\nSubject: 8\n"


def parsed(header: bytes, body: bytes) -> EmailMessage:
    assert header.isascii() and body.isascii()
    message = email.message_from_bytes(header + b"\n" + body, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_a_text_with_many_8bit_octets_becomes_base64_as_recorded() -> None:
    header, body = convert(TEXT, LATIN, NOTE)
    assert header == TEXT + (
        b"Content-Transfer-Encoding: base64\n"
        b"X-MIME-Autoconverted: from 8bit to base64 by lab1.campus id 6AM9jkoD005674\n"
    )
    assert body == b"Y2Fm6Q0K\n"


def test_a_text_with_few_becomes_quoted_printable() -> None:
    text = b"plain words, plain words\n" * 3 + b".\nFrom here = there \n" + LATIN
    header, body = convert(TEXT, text, NOTE)
    assert b"Content-Transfer-Encoding: quoted-printable\n" in header
    assert b"from 8bit to quoted-printable by" in header
    assert parsed(header, body).get_payload(decode=True) == text
    assert max(map(len, body.split(b"\n"))) <= 76


@pytest.mark.parametrize("label", [b"8bit", b"8BIT", b"7bit", b"binary"])
def test_the_old_encoding_is_replaced(label: bytes) -> None:
    header, _ = convert(TEXT + b"Content-Transfer-Encoding: %b\n" % label, LATIN, NOTE)
    assert header.count(b"Content-Transfer-Encoding") == 1


def test_a_message_without_mime_says_that_its_charset_is_unknown() -> None:
    header, body = convert(b"Subject: 8\n", LATIN, NOTE)
    message = parsed(header, body)
    assert message["MIME-Version"] == "1.0"
    assert message["Content-Type"] == 'text/plain; charset="unknown-8bit"'
    assert message.get_payload(decode=True) == LATIN.replace(b"\n", b"\r\n")


MULTIPART = b"""This is the pr\xe9amble
--b1
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

caf\xc3\xa9 and other words that are plain enough to stay legible, mostly

--b1
Content-Type: multipart/alternative; boundary=b1a

--b1a

plain part
--b1a
Content-Type: text/html; charset=utf-8

<p>\xc3\xa9\xc3\xa9\xc3\xa9</p>
--b1a--

--b1
Content-Type: message/rfc822
Content-Transfer-Encoding: 8bit

Subject: inner
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

inn\xc3\xa9r
--b1--
epilogue \xe9
"""
OUTER = b'MIME-Version: 1.0\nContent-Type: multipart/mixed;\n\tboundary="b1"\n'


def test_a_multipart_is_converted_leaf_by_leaf() -> None:
    header, body = convert(OUTER + b"Content-Transfer-Encoding: 8bit\n", MULTIPART, b"")
    message = parsed(header, body)
    assert message["Content-Transfer-Encoding"] == "7bit"
    assert "Autoconverted" not in str(header) + str(body)
    text, alternative, attached = message.iter_parts()
    assert isinstance(text, EmailMessage) and isinstance(alternative, EmailMessage)
    assert isinstance(attached, EmailMessage)
    assert text["Content-Transfer-Encoding"] == "quoted-printable"
    assert text.get_content().startswith("café and other words")
    plain, html = alternative.iter_parts()
    assert isinstance(html, EmailMessage) and isinstance(plain, EmailMessage)
    assert plain.get_payload() == "plain part"
    assert html.get_content().strip() == "<p>ééé</p>"
    assert attached["Content-Transfer-Encoding"] == "7bit"
    inner = attached.get_content()
    assert inner.get_content().strip() == "innér"
    assert body.startswith(b"This is the pr?amble\n--b1\n")
    assert body.endswith(b"--b1--\nepilogue ?\n")


def test_parts_that_are_ascii_stay_as_they_are() -> None:
    _, body = convert(OUTER, b"--b1\nX-A:  b\n\n odd  \n--b1\n\n\xe9\n--b1--\n", b"")
    assert body.startswith(b"--b1\nX-A:  b\n\n odd  \n--b1\n")


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (b"Content-Type: multipart/signed; boundary=b\n", b"--b\n\n\xe9\n--b--\n"),
        (b"Content-Type: multipart/encrypted; boundary=b\n", b"--b\n\n\xe9\n--b--\n"),
        (b"Content-Type: multipart/mixed\n", b"--b\n\n\xe9\n--b--\n"),
        (b"Content-Type: multipart/mixed; boundary=c\n", b"--b\n\n\xe9\n--b--\n"),
        (b"Content-Type: message/partial\n", b"\xe9\n"),
        (b"Content-Type: nonsense\n", b"\xe9\n"),
        (b"Content-Transfer-Encoding: base64\n", b"\xe9\n"),
        (b"Content-Transfer-Encoding: x y\n", b"\xe9\n"),
        (b"no field\n", b"\xe9\n"),
        (b"Content-Type: text/plain; name=\xe9\n", b"\xe9\n"),
        (b"To: j\xfc@lab2.campus\n", b"\xe9\n"),
        (b"To: dave@b\xfccher.campus\n", b"\xe9\n"),
    ],
)
def test_what_may_not_or_cannot_be_taken_apart_is_not(header: bytes, body: bytes) -> None:
    with pytest.raises(NotConvertible):
        convert(b"MIME-Version: 1.0\n" + header, body, NOTE)


def test_signed_parts_in_ascii_are_left_alone() -> None:
    body = (
        b"--b\n\n\xe9\n--b\nContent-Type: multipart/signed; boundary=s\n\n--s\n\nx\n--s--\n--b--\n"
    )
    _, out = convert(b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n", body, NOTE)
    assert out.endswith(body[body.index(b"Content-Type") :])


def nested(depth: int) -> tuple[bytes, bytes]:
    body = b"\n\xe9\n"
    for level in range(depth):
        body = b"--x%dx\n%b--x%dx--\n" % (level, body, level)
        body = b"Content-Type: multipart/mixed; boundary=x%dx\n\n" % level + body
    header, _, rest = body.partition(b"\n\n")
    return b"MIME-Version: 1.0\n" + header + b"\n", rest


def test_nesting_is_followed_so_far_and_no_further() -> None:
    _, body = convert(*nested(MAX_DEPTH), NOTE)
    assert body.isascii()
    for depth in (MAX_DEPTH + 2, 3000):
        with pytest.raises(NotConvertible):
            convert(*nested(depth), NOTE)


@pytest.mark.parametrize(
    ("field", "subject"),
    [
        ("Subject: café".encode(), "café"),
        ("Subject: ein schöner größer Tag".encode(), "ein schöner größer Tag"),
        (("Subject: " + "é" * 200).encode(), "é" * 200),
        ('Subject: a: (b) é@x "ü"'.encode(), 'a: (b) é@x "ü"'),
        ("Subject: long\n é folded".encode(), "long é folded"),
    ],
)
def test_8bit_words_of_a_subject_become_encoded_words(field: bytes, subject: str) -> None:
    header, body = convert(TEXT.replace(b"Subject: 8", field), LATIN, NOTE)
    assert parsed(header, body)["Subject"] == subject
    assert max(map(len, header.split(b"\n"))) <= 90


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("From: Jürgen Müller <juergen@lab1.campus>".encode(), "Jürgen Müller"),
        ('From: "Müller, Jürgen" <juergen@lab1.campus>'.encode(), "Müller, Jürgen"),
    ],
)
def test_8bit_words_of_a_name_become_encoded_words(field: bytes, name: str) -> None:
    header, body = convert(TEXT + field + b"\n", LATIN, NOTE)
    (address,) = parsed(header, body)["From"].addresses
    assert (address.display_name, address.addr_spec) == (name, "juergen@lab1.campus")


def test_octets_that_are_not_utf8_are_marked_as_unknown() -> None:
    header, _ = convert(b"Subject: caf\xe9\n", b"x\n", NOTE)
    assert b"Subject: =?unknown-8bit?B?Y2Fm6Q==?=\n" in header


@pytest.mark.parametrize(
    "header",
    [
        b"From: " + b'\\"' * 100000 + b"\xe9\n",
        b"Subject: " + b"x" * 300000 + b"\xe9\n",
        b"X: \n" + b" \n" * 100000 + b"\xe9\n",
        b"A: b\n" * 100000 + b"\xe9\n",
    ],
)
def test_hostile_headers_cost_little(header: bytes) -> None:
    with pytest.raises(NotConvertible):
        convert(header, LATIN, NOTE)


def test_hostile_parts_cost_little() -> None:
    with pytest.raises(NotConvertible):
        convert(OUTER, b"--b1\n" * 100000 + b"\n\xe9\n", NOTE)
