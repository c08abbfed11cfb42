"""What a report may quote."""

from __future__ import annotations

import pytest

from minimta.dsn.multipart import clean


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Zürich is full", "Z?rich is full"),  # one "?" a character, as in the log
        (b"Z\xc3\xbcrich", "Z??rich"),
        ("250 ok\r\nBcc: all", "250 ok??Bcc: all"),
        ("\x1b[2J\0\u2028", "?[2J??"),
        ("x" * 2000, "x" * 900),
    ],
)
def test_what_is_quoted_is_printable_and_fits_into_a_line(text: str | bytes, cleaned: str) -> None:
    assert clean(text) == cleaned
