"""What may be shown to people or stand in a line of ours: printable ASCII, all else as "?".

A line end in a stranger's text would forge a line of the log, of a header or of a reply, ESC would
command the terminal that shows it, and octets beyond ASCII mean what their reader's locale says.
"""

from __future__ import annotations

_OTHERS = bytes(range(32)) + bytes(range(127, 256))
_TABLE = bytes.maketrans(_OTHERS, b"?" * len(_OTHERS))


def is_printable(octets: bytes) -> bool:
    """No control character, no 8-bit octet: what may stand in an envelope (RFC 5321 section 4.1.2)."""
    return octets.isascii() and octets.decode("ascii").isprintable()


def is_text(octets: bytes) -> bool:
    """The same, or UTF-8 without control characters and what shows nothing (RFC 6531 section 3.3)."""
    if octets.isascii():
        return octets.decode("ascii").isprintable()
    try:
        return octets.decode("utf-8").isprintable()
    except UnicodeDecodeError:
        return False


def as_text(octets: bytes) -> bytes:
    """*octets* if they are text, ASCII or UTF-8; else what printable() gives."""
    return octets if is_text(octets) else printable(octets)


def printable(octets: bytes) -> bytes:
    """*octets*, with "?" for each that is not printable ASCII: the length stays."""
    return octets.translate(_TABLE)


def shown(value: str | bytes, limit: int | None = None) -> str:
    """*value* with "?" for each octet or character that is not printable ASCII.

    At most *limit* characters: what is cut ends in "...".
    """
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    if not (text.isascii() and text.isprintable()):
        # Characters one by one: of text in UTF-8 each is one "?", not one for each of its octets.
        text = "".join(c if " " <= c <= "~" else "?" for c in text)
    return text if limit is None or len(text) <= limit else text[: limit - 3] + "..."
