"""SMTP replies: the value and its wire form, and the reader that takes a peer's off the wire.

RFC 5321 section 4.2: lines of a code, "-" (more lines follow) or a blank, and text; the text may
begin with an enhanced status (RFC 2034 section 4).

    250-lab2.campus Hello
    250 DSN                         Reply(250, "", ("lab2.campus Hello", "DSN"))
    550 5.1.1 User unknown          Reply(550, "5.1.1", ("User unknown",))

Of a peer's reply only the digits count (section 4.3.2). Its text is kept for people, and whatever
is not printable ASCII in it becomes "?": a peer cannot forge a line in our log or in a bounce.
Lines without a code, which some hosts add to their banners and replies, are left out, as Sendmail
leaves them out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from minimta.message.printable import shown

#: octets of a peer's line. RFC 5321 section 4.5.3.1.5 says 512; real hosts send longer ones
MAX_LINE = 4096
#: lines of a peer's reply, and lines that are left out on the way to one
MAX_LINES = 300
#: octets of a line of ours, without its CRLF
_MOST_SAID = 510
#: what is quoted from a command is cut, so that there is room for what is said about it
_MAX_QUOTED = 300

# RFC 2034 section 4: class "." subject "." detail SP text
_ENHANCED = re.compile(r" *([245]\.\d{1,3}\.\d{1,3})(?: |$)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reply:
    """One complete reply, possibly of several lines. Raise ValueError for a control character.

    ``enhanced`` is the RFC 3463 status ("5.7.1"), or "" where RFC 2034 forbids
    one (the 220 greeting, EHLO's 250, and 354).
    """

    code: int
    enhanced: str
    lines: tuple[str, ...]
    #: may it hold more than ASCII? Only to a client that has said so (RFC 6531 section 3.7.4.2)
    utf8: bool = False

    def __post_init__(self) -> None:
        if not "".join(self.lines).isprintable():
            raise ValueError(f"a control character would forge a reply line: {self.lines}")

    def __bytes__(self) -> bytes:
        """Return the wire form: every line ends in CRLF, all but the last use "-".

        A line that would be longer than section 4.5.3.1.5 allows is cut; no challenge of a login
        (RFC 4954 section 4) is, as it is not for people.
        """
        prefix = f"{self.enhanced} " if self.enhanced else ""
        most = None if self.code == 334 else _MOST_SAID
        if len(self.lines) == 1:  # as nearly all
            return _octets(f"{self.code} {prefix}{self.lines[0]}", most, utf8=self.utf8) + b"\r\n"
        marks = "-" * (len(self.lines) - 1) + " "
        wire = [
            _octets(f"{self.code}{mark}{prefix}{text}", most, utf8=self.utf8)
            for mark, text in zip(marks, self.lines, strict=True)
        ]
        return b"".join(line + b"\r\n" for line in wire)

    def __str__(self) -> str:
        """As a log line quotes it: "550 5.7.1 <x@y>... Relaying denied"."""
        prefix = f"{self.enhanced} " if self.enhanced else ""
        return f"{self.code} {prefix}{' '.join(self.lines)}"


def temporary(answer: Reply) -> Reply:
    """*answer*, or a 5yz as the 4yz that it would be if it were not for good (SoftBounce)."""
    if answer.code < 500:
        return answer
    status = f"4{answer.enhanced[1:]}" if answer.enhanced else ""
    return replace(answer, code=answer.code - 100, enhanced=status)


def _octets(line: str, most: int | None, *, utf8: bool) -> bytes:
    """At most so many, and no half character."""
    if not utf8:
        return line.encode("ascii", "backslashreplace")[:most]
    return line.encode("utf-8")[:most].decode("utf-8", "ignore").encode("utf-8")


def reply(code: int, enhanced: str, text: str) -> Reply:
    """A reply of one line."""
    return Reply(code, enhanced, (text,))


def quoted(octets: bytes) -> str:
    """What a client said, fit to be said back: printable ASCII, not too long."""
    return shown(octets, _MAX_QUOTED)


class CommandError(Exception):
    """A command that cannot be obeyed as it stands; ``reply`` is the answer."""

    def __init__(self, answer: Reply) -> None:
        super().__init__(str(answer))
        self.reply = answer


def refusal(code: int, enhanced: str, text: str) -> CommandError:
    """The exception whose answer is a reply of one line."""
    return CommandError(reply(code, enhanced, text))


# --- off the wire ---------------------------------------------------------------------------------


class ReplyError(Exception):
    """What came is no reply, or too much of one; the text says what."""


class ReplyReader:
    """Incremental decoder: feed it what the socket gives, take whole replies out."""

    __slots__ = ("_buffer", "_code", "_left_out", "_lines")

    def __init__(self) -> None:
        self._buffer = b""
        self._code = b""
        self._lines: list[bytes] = []
        self._left_out = 0

    @property
    def has_leftover(self) -> bool:
        """Is there anything behind the last whole reply?"""
        return bool(self._buffer or self._lines)

    def feed(self, octets: bytes) -> Iterator[Reply]:
        """Yield the replies that *octets* complete. Raise ReplyError; then the stream is lost.

        A reply is out before what stands behind it is judged: if a host has said 250 to a message,
        it has the message, whatever else it says.
        """
        lines = (self._buffer + octets).split(b"\n")
        self._buffer = lines.pop()
        for line in lines:
            reply = self._line(line[:-1] if line[-1:] == b"\r" else line)
            if reply is not None:
                yield reply
        if len(self._buffer) > MAX_LINE:
            raise ReplyError("reply line too long")

    def _line(self, line: bytes) -> Reply | None:
        code, mark = line[:3], line[3:4]
        if len(line) > MAX_LINE or max(len(self._lines), self._left_out) >= MAX_LINES:
            raise ReplyError("reply too long")
        has_code = len(code) == 3 and code.isdigit() and b"2" <= code[:1] <= b"5"
        if not has_code or mark not in (b"", b" ", b"-", b"\t", b"\r"):
            self._left_out += 1
            return None
        if self._lines and code[:1] != self._code[:1]:
            raise ReplyError("codes of a reply differ")
        self._code = code
        self._lines.append(line[4:])
        if mark == b"-":
            return None
        texts, self._lines, self._left_out = self._lines, [], 0
        return _parse(int(code), texts)


def _parse(code: int, texts: list[bytes]) -> Reply:
    """A Reply from the texts behind the code; an enhanced status of the same class is taken off."""
    lines = [shown(text) for text in texts]
    found = _ENHANCED.match(lines[-1])
    if found is None or found[1][0] != str(code)[0]:
        return Reply(code, "", tuple(lines))
    return Reply(code, found[1], tuple(_without(found[1], line) for line in lines))


def _without(enhanced: str, line: str) -> str:
    found = _ENHANCED.match(line)
    return line[found.end() :] if found and found[1] == enhanced else line


def verbatim(reply: Reply) -> list[str]:
    """The lines as they were sent: ["250-lab2.campus", "250 SIZE"]."""
    prefix = f"{reply.enhanced} " if reply.enhanced else ""
    head = [f"{reply.code}-{prefix}{text}" for text in reply.lines[:-1]]
    return [*head, f"{reply.code} {prefix}{reply.lines[-1]}".rstrip(" ")]
