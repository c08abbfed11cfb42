"""The header of a message that is written: what its text is, if it is not plain ASCII."""

from __future__ import annotations

import locale

import pytest

from minimta.commands.mail.draft import Draft


@pytest.mark.parametrize(
    ("text", "preferred", "charset"),
    [
        ("grün".encode(), "ISO-8859-15", "utf-8"),
        (b"gr\xfcn", "ISO-8859-15", "iso-8859-15"),
        # It is not what the locale says, whatever it is.
        (b"gr\xfcn", "UTF-8", "unknown-8bit"),
        (b"gr\xfcn", "ANSI_X3.4-1968", "unknown-8bit"),
    ],
)
def test_text_that_is_not_ascii_names_its_character_set(
    monkeypatch: pytest.MonkeyPatch, text: bytes, preferred: str, charset: str
) -> None:
    monkeypatch.setattr(locale, "getpreferredencoding", lambda change: preferred)
    header = Draft(to=["dave"], text=text).header()
    assert f"\nContent-Type: text/plain; charset={charset}\n".encode() in header
    assert b"\nContent-Transfer-Encoding: 8bit\n" in header
