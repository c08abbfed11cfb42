"""Message text to the wire: LF to CRLF and the added dot (RFC 5321 section 4.5.2), in bulk.

The text is stored with LF line ends and without CR or NUL. Both are looked for again here, in
every block: a bare CR or LF that we sent would be the smuggling hole of CVE-2023-51764 for hosts
behind us (threats T2).

DIFFERS: Sendmail's esmtp mailer breaks lines longer than 990 octets with "!"; that would break
signatures (RFC 6376 section 5.3), so they go out as they are and the peer may refuse them.
"""

from __future__ import annotations


class BadText(ValueError):
    """The text holds a CR or NUL; nothing of the block was given out."""


class DataWriter:
    """Incremental encoder: feed it the text in any blocks, then finish()."""

    __slots__ = ("_at_line_start",)

    def __init__(self) -> None:
        self._at_line_start = True

    def feed(self, block: bytes) -> bytes:
        """Encode one *block*. Raise BadText."""
        if b"\r" in block or b"\0" in block:
            raise BadText("CR or NUL in the message")
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
