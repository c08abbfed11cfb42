"""The values of AlertCommand and AlertFormat.

    /PROGRAM ARGUMENTS     quotes as in a shell; |/PROGRAM, too
    file:/PATH             a file of root's, mode 600, whose first line is an https URL

A URL by itself is refused: who has it can post there, and everybody may read minimta.cf.
"""

from __future__ import annotations


def command(text: str) -> str:
    """ "file:/PATH", "/PROGRAM ARGUMENTS" or "". Raise ValueError."""
    text = text.strip()
    kind, _, path = text.partition(":")
    if kind.lower() == "file" and path.strip()[:1] == "/":
        return f"file:{path.strip()}"
    if kind.lower() in ("http", "https"):
        remedy = "write it (https) into a file of mode 600, and here file:/PATH"
        raise ValueError(f"a URL is a secret, and everybody may read this file: {remedy}")
    if not text:
        return ""
    words(text)
    return text.removeprefix("|").strip()


def words(text: str) -> list[str]:
    """The words of "/PROGRAM ARGUMENTS". Raise ValueError."""
    import shlex  # 5 ms

    try:
        found = shlex.split(text.removeprefix("|"))
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from error
    if not found or found[0][:1] != "/":
        raise ValueError(f"{text!r} is none of /PROGRAM ARGUMENTS, file:/PATH")
    return found
