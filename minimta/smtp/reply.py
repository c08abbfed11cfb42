"""SMTP replies: the value, its wire form, and nothing else (RFC 5321 section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

#: RFC 5321 section 4.5.3.1.5 allows a reply line of 512 octets; what is quoted from a command is cut
_MAX_QUOTED = 300


@dataclass(frozen=True, slots=True)
class Reply:
    """One complete reply, possibly of several lines.

    ``enhanced`` is the RFC 3463 status ("5.7.1"), or "" where RFC 2034 forbids
    one (the 220 greeting, EHLO's 250, and 354).
    """

    code: int
    enhanced: str
    lines: tuple[str, ...]

    def __post_init__(self) -> None:
        if not all(line.isprintable() for line in self.lines):
            raise ValueError(f"a control character would forge a reply line: {self.lines}")

    def __bytes__(self) -> bytes:
        """Return the wire form: every line ends in CRLF, all but the last use "-"."""
        prefix = f"{self.enhanced} " if self.enhanced else ""
        if len(self.lines) == 1:
            wire = f"{self.code} {prefix}{self.lines[0]}\r\n"
            return wire.encode("ascii", "backslashreplace")
        separators = ["-"] * (len(self.lines) - 1) + [" "]
        pairs = zip(separators, self.lines, strict=True)
        wire = "".join(f"{self.code}{mark}{prefix}{text}\r\n" for mark, text in pairs)
        return wire.encode("ascii", "backslashreplace")

    def __str__(self) -> str:
        """As a log line quotes it: "550 5.7.1 <x@y>... Relaying denied"."""
        prefix = f"{self.enhanced} " if self.enhanced else ""
        return f"{self.code} {prefix}{' '.join(self.lines)}"


def reply(code: int, enhanced: str, text: str) -> Reply:
    """A reply of one line."""
    return Reply(code, enhanced, (text,))


def quoted(octets: bytes) -> str:
    """What a client said, fit to be said back: printable ASCII, not too long."""
    text = octets.decode("ascii", "replace")
    if not (text.isascii() and text.isprintable()):
        text = "".join(c if " " <= c <= "~" else "?" for c in text)
    return text if len(text) <= _MAX_QUOTED else text[: _MAX_QUOTED - 3] + "..."
