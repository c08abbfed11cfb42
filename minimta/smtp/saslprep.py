"""SASLprep: one form for user names and passwords that look the same (RFC 4013, RFC 3454).

The tables are those of the standard library, of Unicode 3.2 as RFC 3454 wants them.
"""

from __future__ import annotations

import stringprep
from unicodedata import ucd_3_2_0

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str, *, stored: bool = False) -> str:
    """The prepared form. What is *stored* has no characters that Unicode 3.2 does not know.

    Raise ValueError for what cannot be in a user name or password.
    """
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in text
        if not stringprep.in_table_b1(char)
    )
    prepared = ucd_3_2_0.normalize("NFKC", mapped)
    for char in prepared:
        if any(is_in(char) for is_in in _PROHIBITED):
            raise ValueError(f"U+{ord(char):04X} is not allowed (RFC 4013 section 2.3)")
        if stored and stringprep.in_table_a1(char):
            raise ValueError(f"U+{ord(char):04X} is not assigned (RFC 4013 section 2.5)")
    _check_direction(prepared)
    return prepared


def _check_direction(text: str) -> None:
    """RFC 3454 section 6: what runs from right to left does so from its first to its last letter."""
    if not any(stringprep.in_table_d1(char) for char in text):
        return
    mixed = any(stringprep.in_table_d2(char) for char in text)
    if mixed or not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
        raise ValueError("left-to-right and right-to-left letters mixed (RFC 4013 section 2.4)")
