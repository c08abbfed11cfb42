"""Replies off the wire: octets to ``Reply``, in any chunking, within bounds (RFC 5321 section 4.2).

Only the digits count (section 4.3.2); the text is kept for people, with everything that is not
printable ASCII made a "?", so that a peer cannot forge a line of ours (threats T6, T36).
"""

from __future__ import annotations

import re

from minimta.smtp.reply import Reply

#: RFC 5321 section 4.5.3.1.5 says 512 octets a line; real hosts send longer ones
MAX_LINE = 4096
MAX_LINES = 300

# RFC 2034 section 4: class "." subject "." detail SP text
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: +|$)", re.ASCII)


class ReplyError(Exception):
    """What came is no reply, or too much of one; the text says what."""


class ReplyReader:
    """Feed it what the socket gives, take whole replies out."""

    __slots__ = ("_buffer", "_code", "_lines")

    def __init__(self) -> None:
        self._buffer = b""
        self._code = b""
        self._lines: list[bytes] = []

    @property
    def has_leftover(self) -> bool:
        """Is there anything behind the last whole reply?"""
        return bool(self._buffer or self._lines)

    def feed(self, octets: bytes) -> list[Reply]:
        """Return the replies that *octets* complete. Raise ReplyError; then the stream is lost."""
        lines = (self._buffer + octets).split(b"\n")
        self._buffer = lines.pop()
        if len(self._buffer) > MAX_LINE:
            raise ReplyError("reply line too long")
        replies = []
        for line in lines:
            reply = self._line(line[:-1] if line[-1:] == b"\r" else line)
            if reply is not None:
                replies.append(reply)
        return replies

    def _line(self, line: bytes) -> Reply | None:
        code, mark = line[:3], line[3:4]
        if not (len(code) == 3 and code.isdigit() and b"2" <= code[:1] <= b"5") or mark not in (
            b"",
            b" ",
            b"-",
        ):
            raise ReplyError("not a reply")
        if len(line) > MAX_LINE or len(self._lines) >= MAX_LINES:
            raise ReplyError("reply too long")
        if self._lines and code[:1] != self._code[:1]:
            raise ReplyError("codes of a reply differ")
        self._code = code
        self._lines.append(line[4:])
        if mark == b"-":
            return None
        texts, self._lines = self._lines, []
        return parse(int(code), texts)


def parse(code: int, texts: list[bytes]) -> Reply:
    """A Reply from the texts behind the code; an enhanced status of the same class is taken off."""
    shown = [_printable(text) for text in texts]
    found = _ENHANCED.match(shown[-1])
    if found is None or found[1][0] != str(code)[0]:
        return Reply(code, "", tuple(shown))
    prefix = found[0]
    return Reply(code, found[1], tuple(text.removeprefix(prefix) for text in shown))


def _printable(text: bytes) -> str:
    shown = text.decode("ascii", "replace")
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(c if " " <= c <= "~" else "?" for c in shown)


def verbatim(reply: Reply) -> list[str]:
    """The lines as they were sent: ["250-lab2.campus", "250 SIZE"]."""
    prefix = f"{reply.enhanced} " if reply.enhanced else ""
    head = [f"{reply.code}-{prefix}{text}" for text in reply.lines[:-1]]
    return [*head, f"{reply.code} {prefix}{reply.lines[-1]}".rstrip(" ")]
