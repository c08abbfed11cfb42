"""What a message looks like that was encoded for the way."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from minimta.commands.mail import display, folder
from minimta.commands.mail.settings import Settings

LINE = b"From emma@lab1.campus  Sun Nov 22 09:37:57 2026\n"
TEXT = "Grüße,\nEmma\n".encode()
IN_BASE64 = (
    b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n"
    + base64.encodebytes(TEXT)
)
#: of a message that quotes a field; the encoding is none that anybody can know
QUOTING = b"It said\nContent-Type: multipart/mixed\nand Gr\xfc\xdfe.\n\n\n"


def part(kind: bytes, text: bytes) -> bytes:
    return b"--x\nContent-Type: text/" + kind + b"\n\n" + text + b"\n"


def shown(tmp_path: Path, letter: bytes, *, is_whole: bool = False) -> bytes:
    """The text of it, without the header."""
    box = tmp_path / "box"
    box.write_bytes(LINE + b"Subject: x\n" + letter)
    read = folder.read(str(box))
    try:
        (one,) = read.letters
        text = display.message(read, one, Settings(), is_whole=is_whole)
    finally:
        read.close()
    return text.partition(b"\n\n")[2]


@pytest.mark.parametrize(
    ("letter", "text"),
    [
        (b"\nhello\n\n", b"hello\n\n"),
        (b"\n" + QUOTING, QUOTING),
        (IN_BASE64 + b"\n", TEXT + b"\n"),
        (
            b"Content-Type: text/plain; charset=utf-8\n"
            b"Content-Transfer-Encoding: quoted-printable\n\nGr=C3=BC=C3=9Fe,\nEm=\nma\n\n",
            TEXT + b"\n",
        ),
        (IN_BASE64.replace(b": base64", b":\n base64") + b"\n", TEXT + b"\n"),
        (IN_BASE64.replace(b"base64", b"(RFC 2045)\n\tBASE64 ()", 1) + b"\n", TEXT + b"\n"),
        (
            b'Content-Type:\n multipart/mixed;\n boundary="x"\n\n--x\n'
            + IN_BASE64.replace(b": base64", b":\n base64")
            + b"--x--\n\n",
            TEXT + b"\n",
        ),
        (
            b"Content-Type: multipart/alternative; boundary=x\n\n"
            + part(b"html", b"<b>hello</b>")
            + part(b"plain", b"hello")
            + b"--x--\n\n",
            b"hello\n\n",
        ),
        # None that can be shown, or damaged: as it stands there.
        (b"Content-Type: multipart/mixed; boundary=x\n\nlost\n\n", b"lost\n\n"),
        (b"Content-Transfer-Encoding: base64\nContent-Type: image/png\n\nAAAA\n\n", b"AAAA\n\n"),
    ],
)
def test_text_is_shown_in_plain(tmp_path: Path, letter: bytes, text: bytes) -> None:
    assert shown(tmp_path, letter) == text


def test_the_whole_message_is_shown_as_it_is_stored(tmp_path: Path) -> None:
    assert (
        shown(tmp_path, IN_BASE64 + b"\n", is_whole=True) == IN_BASE64.partition(b"\n\n")[2] + b"\n"
    )
