"""DATA, both ways: message text out of the octets of a session, and onto the wire.

Coming in (DataReader), the line end of the session's first command rules the whole session. With
CRLF only CRLF "." CRLF ends the message, and a bare CR or LF anywhere is a violation; with LF (what
nc(1) sends) only LF "." LF, and any CR is one. So no two servers can disagree about where a message
ends, and no mail can be smuggled in behind a false end: CVE-2023-51764 and its sisters.

Going out (DataWriter), LF becomes CRLF and a dot at the start of a line is doubled. The text is
stored without CR or NUL; both are looked for again, in every block, because a bare CR or LF that we
sent would open the same hole in the hosts behind us.

In bulk: find, count, replace. No loop over lines, no copy of more than a chunk (RFC 5321 section
4.5.2).

DIFFERS: Sendmail's esmtp mailer breaks lines longer than 990 octets with "!"; that would break
signatures (RFC 6376 section 5.3), so they go out as they are and the peer may refuse them.
"""

from __future__ import annotations


class Violation(Exception):
    """A line end of the other kind, or a NUL. The message may not be kept; ``text`` says what."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class BadText(ValueError):
    """Stored text that holds a CR or NUL may not be sent."""


def check(octets: bytes, eol: bytes) -> None:
    """Raise Violation if *octets* have a NUL, or a CR or LF that is no part of *eol*.

    *octets* must not end between a CR and its LF.
    """
    carriage_returns = octets.count(b"\r")
    if eol == b"\n":
        if carriage_returns:
            raise Violation("Carriage return (CR) not allowed in a session with bare linefeeds")
    else:
        pairs = octets.count(b"\r\n")
        if octets.count(b"\n") != pairs:
            raise Violation("Bare linefeed (LF) not allowed")
        if carriage_returns != pairs:
            raise Violation("Bare carriage return (CR) not allowed")
    if b"\0" in octets:
        # DIFFERS: Sendmail keeps a NUL. RFC 5322 section 3.5 has none in a message, and a program
        # that stops at one would see less of it than a filter that does not.
        raise Violation("NUL byte not allowed")


def stored(octets: bytes, eol: bytes) -> bytes:
    """*octets*, which end as for check(), with LF line ends. Raise Violation as check() does."""
    if eol == b"\n":
        check(octets, eol)
        return octets
    # Faster by a third than to count the line ends of three kinds, and then to replace them.
    lines = octets.split(b"\r\n")
    text = b"\n".join(lines)
    if b"\r" in text or b"\0" in text or text.count(b"\n") >= len(lines):
        check(octets, eol)
    return text


def check_stored(text: bytes) -> None:
    """Raise BadText if *text*, with LF line ends, has a CR or NUL."""
    if b"\r" in text or b"\0" in text:
        raise BadText("CR or NUL in the message")


class DataReader:
    """Incremental decoder: feed it chunks, take message text with LF line ends out."""

    __slots__ = ("_dot", "_end", "_eol", "_held", "_is_first", "done", "trailing")

    def __init__(self, eol: bytes) -> None:
        """*eol* is the line end of the session, b"\\r\\n" or b"\\n"."""
        self._eol = eol
        self._dot = eol + b"."
        self._end = self._dot + eol
        # What may be the beginning of the end is held back. Data begins at the start of a line,
        # as if a line end had come before it.
        self._held = eol
        self._is_first = True
        #: has the final dot come? Then feed() may not be called again
        self.done = False
        #: octets after the final dot, already sent by the client
        self.trailing = b""

    def feed(self, chunk: bytes) -> bytes:
        """Take *chunk*; return the text that is certain by now. Raise Violation."""
        assert not self.done, "feed() after the final dot"
        buffer = self._held + chunk
        # Few lines begin with a dot: where none does, it need be looked for but once.
        dot = buffer.find(self._dot)
        stop = buffer.find(self._end, dot) if dot >= 0 else -1
        if stop >= 0:
            self.done = True
            self.trailing = buffer[stop + len(self._end) :]
            return self._text(buffer[: stop + len(self._eol)], has_dots=dot < stop)
        keep = self._beginning_of_end(buffer)
        self._held = buffer[len(buffer) - keep :]
        return self._text(buffer[: len(buffer) - keep], has_dots=dot >= 0)

    def _beginning_of_end(self, buffer: bytes) -> int:
        """How many octets at the end of *buffer* may begin the final dot."""
        for length in range(len(self._end) - 1, 0, -1):
            if buffer.endswith(self._end[:length]):
                return length
        return 0

    def _text(self, octets: bytes, *, has_dots: bool) -> bytes:
        """Whole line ends only: no CR here has its LF in the next chunk, for it was held back."""
        if not octets:
            return b""
        text = stored(octets, self._eol)
        if has_dots:
            text = text.replace(b"\n.", b"\n")
        if self._is_first:
            self._is_first = False
            text = text[1:]  # the line end that was made up before the first line
        return text


class DataWriter:
    """Incremental encoder: feed it text with LF line ends in any blocks, then finish()."""

    __slots__ = ("_at_line_start",)

    def __init__(self) -> None:
        self._at_line_start = True

    def feed(self, block: bytes) -> bytes:
        """Encode one *block*. Raise BadText; then nothing of the block may go out."""
        check_stored(block)
        if not block:
            return b""
        wire = block.replace(b"\n.", b"\n..").replace(b"\n", b"\r\n")
        if self._at_line_start and block[:1] == b".":
            wire = b"." + wire
        self._at_line_start = block[-1:] == b"\n"
        return wire

    def finish(self) -> bytes:
        """The end of data; a last line without an end gets one."""
        return b".\r\n" if self._at_line_start else b"\r\n.\r\n"
