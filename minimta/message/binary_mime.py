"""A message with binary parts (RFC 3030 section 3) as text that can be stored: binary to base64.

What came after BODY=BINARYMIME has CRLF line ends outside its parts, and any octets inside those
that say ``Content-Transfer-Encoding: binary``. They become base64, once and at the door: so nothing
stored holds a bare CR or LF or a NUL, mailboxes and every other host can take it, and it cannot be
read as something else behind a host that treats line ends otherwise.

    the entity                     becomes
    a leaf that is binary          base64, of exactly its octets
    multipart or message, binary   the same with its parts converted, labelled 8bit
    signed or encrypted            as it is: another encoding would break it
    any other                      as it is

What has other line ends than CRLF, or a NUL, in a part that may not be converted is NotConvertible.

In one pass, in memory of a header at most: between the header and the delimiter that ends a part its
octets come and go in pieces of any size.
"""

from __future__ import annotations

import binascii
import enum
import re

from minimta.message.mime_entity import MAX_DEPTH, MAX_PARTS, NotConvertible, is_named, parse

#: octets of the header of one part
MAX_HEADER = 65536
#: octets of base64 text for one line are made of so many (RFC 2045 section 6.8)
_LINE = 57
#: longest delimiter with its line ends and blanks, which may stand across two pieces
_LONGEST = 320
_COMPOSITE = (b"multipart/", b"message/")
_MESSAGES = (b"message/rfc822", b"message/global", b"message/news")
_UNTOUCHABLE = (b"multipart/signed", b"multipart/encrypted")


class _Mode(enum.Enum):
    HEADER = enum.auto()
    TEXT = enum.auto()
    BINARY = enum.auto()


class BinaryMime:
    """Incremental converter: feed it the octets as they came, take text with LF line ends out."""

    def __init__(self, note: bytes) -> None:
        """*note* is the text of X-MIME-Autoconverted, with "%s" for "from binary to base64"."""
        self._note = note
        self._mode = _Mode.HEADER
        # Every region, header or body, begins with the line end before it; so does the first one.
        self._buffer = b"\r\n"
        self._is_first = True
        #: of the multiparts around what comes now, the innermost last
        self._boundaries: list[bytes] = []
        #: messages around each of them, and around what comes now
        self._around: list[int] = []
        self._messages = 0
        #: finds the end of what comes now
        self._delimiter: re.Pattern[bytes] | None = None
        #: inside what is signed or encrypted: how many multiparts are around that
        self._untouchable: int | None = None
        self._parts = 0
        #: octets that do not yet fill a line of base64, and what stands before the next line
        self._rest = b""
        self._glue = b""
        self._is_new = False

    def feed(self, octets: bytes) -> bytes:
        """Take *octets*; return the text that is certain by now. Raise NotConvertible."""
        self._buffer += octets
        return self._take(is_last=False)

    def finish(self) -> bytes:
        """All was given: the rest of the text. Raise NotConvertible."""
        out = self._take(is_last=True)
        return out + self._glue if self._mode is _Mode.BINARY else out

    def _take(self, *, is_last: bool) -> bytes:
        out: list[bytes] = []
        while True:
            end = self._header_end() if self._mode is _Mode.HEADER else -1
            match = self._delimiter.search(self._buffer) if self._delimiter else None
            is_certain = match and (match.end() < len(self._buffer) or is_last)
            if match and is_certain and not 0 <= end < match.start():
                out.append(self._at_delimiter(match))
                continue
            if end >= 0:
                out.append(self._at_header_end(end))
                continue
            out.append(self._rest_of_region(is_last))
            text = b"".join(out)
            if self._is_first and text:
                self._is_first = False
                text = text[1:]  # the line end that was made up before the first line
            return text

    def _header_end(self) -> int:
        end = self._buffer.find(b"\r\n\r\n")
        if end > MAX_HEADER or (end < 0 and len(self._buffer) > MAX_HEADER):
            raise NotConvertible("the header of a part is too long")
        return end

    def _rest_of_region(self, is_last: bool) -> bytes:
        """What is certainly no delimiter, nor half a line end."""
        if self._mode is _Mode.HEADER and not is_last:
            return b""
        keep = 0 if is_last else _LONGEST if self._delimiter else 1
        stop = max(len(self._buffer) - keep, 0)
        if self._buffer[stop - 1 : stop] == b"\r" and not is_last:
            stop -= 1
        region, self._buffer = self._buffer[:stop], self._buffer[stop:]
        return self._region(region, is_over=is_last)

    def _region(self, octets: bytes, *, is_over: bool) -> bytes:
        """A piece of a header without end, or of a body; is it the last of it?"""
        return self._base64(octets, is_over) if self._mode is _Mode.BINARY else _text(octets)

    # --- structure --------------------------------------------------------------------------------

    def _at_header_end(self, end: int) -> bytes:
        header = self._buffer[:end]
        self._buffer = self._buffer[end + 2 :]  # the line end of the empty line begins the body
        return self._enter(_text(header))

    def _enter(self, header: bytes) -> bytes:
        """Decide by its *header*, which begins with a line end, what the entity is."""
        self._mode = _Mode.TEXT
        try:
            entity = parse(header[1:], b"")
        except NotConvertible:
            return header + b"\n"
        is_binary = entity.encoding == b"binary"
        main = entity.kind.partition(b"/")[0] + b"/"
        if entity.kind in _MESSAGES:
            self._mode = _Mode.HEADER
            self._messages += 1
        elif main == b"multipart/" and entity.boundary:
            self._push(entity.boundary, is_untouchable=entity.kind in _UNTOUCHABLE)
        if self._messages + len(self._boundaries) > MAX_DEPTH:
            raise NotConvertible("parts within parts within parts")
        fields = entity.fields
        if is_binary and main in _COMPOSITE:
            fields = self._relabelled(fields, b"8bit", b"")
        elif is_binary:
            self._mode, self._is_new, self._glue = _Mode.BINARY, True, b""
            fields = self._relabelled(fields, b"base64", self._note)
        return b"\n" + b"".join(fields)

    @staticmethod
    def _relabelled(fields: list[bytes], encoding: bytes, note: bytes) -> list[bytes]:
        kept = [f for f in fields if not is_named(f, b"content-transfer-encoding")]
        kept.append(b"Content-Transfer-Encoding: %b\n" % encoding)
        if note:
            change = b"from binary to " + encoding
            kept.append(b"X-MIME-Autoconverted: %b\n" % note.replace(b"%s", change))
        return kept

    def _push(self, boundary: bytes, *, is_untouchable: bool) -> None:
        self._boundaries.append(boundary)
        self._around.append(self._messages)
        if is_untouchable and self._untouchable is None:
            self._untouchable = len(self._boundaries)
        self._look_for_boundaries()

    def _look_for_boundaries(self) -> None:
        """RFC 2046 section 5.1.1: a delimiter of any multipart around ends what is inside it."""
        if not self._boundaries:
            self._delimiter = None
            return
        either = b"|".join(re.escape(boundary) for boundary in reversed(self._boundaries))
        self._delimiter = re.compile(rb"\r\n--(%b)(--)?[ \t]{0,80}(?=\r\n|\Z)" % either)

    def _at_delimiter(self, match: re.Match[bytes]) -> bytes:
        region = self._region(self._buffer[: match.start()], is_over=True)
        self._buffer = self._buffer[match.end() :]
        level = len(self._boundaries) - self._boundaries[::-1].index(match[1])
        self._messages = self._around[level - 1]
        left = level - 1 if match[2] else level
        del self._boundaries[left:], self._around[left:]
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise NotConvertible("too many parts")
        if self._untouchable is not None and len(self._boundaries) < self._untouchable:
            self._untouchable = None
        is_part = not match[2] and self._untouchable is None
        self._mode = _Mode.HEADER if is_part else _Mode.TEXT
        self._look_for_boundaries()
        return region + _text(match[0])

    # --- octets -----------------------------------------------------------------------------------

    def _base64(self, octets: bytes, is_over: bool) -> bytes:
        """Each line without its end, for the one behind the last belongs to the delimiter."""
        out = []
        if self._is_new and octets:
            self._is_new = False
            out.append(b"\n")  # the empty line behind the header
            octets = octets[2:]
        octets = self._rest + octets
        stop = len(octets) if is_over else len(octets) - len(octets) % _LINE
        self._rest = octets[stop:]
        for start in range(0, stop, _LINE):
            piece = octets[start : min(start + _LINE, stop)]
            out += (self._glue, binascii.b2a_base64(piece, newline=False))
            self._glue = b"\n"
        return b"".join(out)


def _text(octets: bytes) -> bytes:
    """Canonical text. Raise NotConvertible if it is none."""
    pairs = octets.count(b"\r\n")
    if octets.count(b"\n") != pairs or octets.count(b"\r") != pairs or b"\0" in octets:
        raise NotConvertible("Bare CR or LF, or NUL, in a part that is not binary")
    return octets.replace(b"\r\n", b"\n")
