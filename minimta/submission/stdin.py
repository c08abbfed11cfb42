"""The message as it comes on standard input, made canonical: LF line ends, no NUL.

CR LF and LF end a line. Without IgnoreDots (-i) a lone dot ends the message, and of two dots at
the beginning of a line one goes (Sendmail does that too). A CR anywhere else becomes a blank: it
could be taken for a line end further on (RFC 5321 section 2.3.8), and progress bars in cron's mail
are full of them.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 65536
#: an unfinished line longer than this is passed on as it stands
_UNDECIDED = 1024


class CanonicalText:
    """Pieces of any size in, canonical text out."""

    def __init__(self, *, ignore_dots: bool) -> None:
        #: a lone dot was seen: whatever follows is not part of the message
        self.ended = False
        #: a NUL was seen (and taken out)
        self.has_nul = False
        self._ignore_dots = ignore_dots
        self._rest = b""
        self._at_line_start = True

    def feed(self, piece: bytes, *, last: bool = False) -> bytes:
        """What of the message is certain after *piece*; with *last* all of it."""
        if self.ended:
            return b""
        if b"\0" in piece:
            self.has_nul = True
            piece = piece.replace(b"\0", b"")
        text, self._rest = self._rest + piece, b""
        if not last:
            text, self._rest = self._split_undecided(text)
        text = self._undot(_line_ends(text), last)
        if text:
            self._at_line_start = text.endswith(b"\n")
        return text

    def _split_undecided(self, text: bytes) -> tuple[bytes, bytes]:
        """Hold back an unfinished line: its end may decide what its beginning means."""
        begin = text.rfind(b"\n") + 1
        if len(text) - begin > _UNDECIDED:
            # Too long to be a dot or a From_ line. Only the CRs at its end are still undecided: an LF
            # may follow; but not for any number of them.
            begin = max(len(text.rstrip(b"\r")), len(text) - _UNDECIDED)
        return text[:begin], text[begin:]

    def _undot(self, text: bytes, last: bool) -> bytes:
        if self._ignore_dots or b"." not in text:
            return text
        # One LF in front makes the first line like all others.
        lines = b"\n" + text if self._at_line_start else text
        end = lines.find(b"\n.\n")
        if end < 0 and last and lines.endswith(b"\n."):
            end = len(lines) - 2
        if end >= 0:
            self.ended = True
            lines = lines[: end + 1]
        lines = lines.replace(b"\n..", b"\n.")
        return lines[1:] if self._at_line_start else lines


def _line_ends(text: bytes) -> bytes:
    if b"\r" not in text:
        return text
    lines = text.split(b"\n")
    # The last one has not ended: what looks like its end may be the middle of it.
    ended = [line.rstrip(b"\r") for line in lines[:-1]]
    return b"\n".join([*ended, lines[-1]]).replace(b"\r", b" ")


def pieces(canonical: CanonicalText, descriptor: int = 0) -> Iterator[bytes]:
    """Read *descriptor* to its end, or to the lone dot: canonical text, no piece empty.

    Raise OSError; what was read so far is then not the whole message.
    """
    while not canonical.ended:
        try:
            piece = os.read(descriptor, _PIECE)
        except BlockingIOError:  # who started us has left O_NONBLOCK on it
            import select

            # Not select(2), which knows no descriptor above 1023.
            waiting = select.poll()
            waiting.register(descriptor, select.POLLIN)
            waiting.poll()
            continue
        text = canonical.feed(piece, last=not piece)
        if text:
            yield text
        if not piece:
            return
