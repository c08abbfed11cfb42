"""The body of a message as filters see it, CRLF line ends, and as one of them may replace it.

    the file    0          size                    size + new
                | the body | what is to replace it |

What replaces it comes in pieces, and the filter may still fail: until finish() the body stands. Then
the pieces move down and the file is cut. Nobody but us has the file yet.
"""

from __future__ import annotations

import os
from binascii import crc32
from collections.abc import Iterator

from minimta.milter.protocol import FilterFailed

_BLOCK = 1 << 16


class MessageBody:
    """The body in an open file, LF line ends; the descriptor stays its owner's."""

    def __init__(self, descriptor: int, size: int, limit: int) -> None:
        """*size* octets from the beginning of the file; *limit*: MaxMessageSize, 0 is none."""
        self.descriptor = descriptor
        self.size = size
        self.is_replaced = False
        #: with is_replaced: has it octets beyond ASCII?
        self.eight_bit = False
        #: with is_replaced: CRC-32 of it, as it came
        self.checksum = 0
        self._limit = limit
        self._new = 0
        self._sum = 0
        self._has_new = False
        self._held = b""

    def pieces(self, octets: int) -> Iterator[bytes]:
        """All of it, CRLF line ends, cut every so many *octets*. Raise OSError."""
        held = bytearray()
        position = 0
        while position < self.size:
            block = self._block(min(_BLOCK, self.size - position), position)
            position += len(block)
            held += block.replace(b"\n", b"\r\n")
            while len(held) >= octets:
                yield bytes(held[:octets])
                del held[:octets]
        if held:
            yield bytes(held)

    def add(self, octets: bytes) -> None:
        """A piece of what replaces it, CRLF line ends. Raise FilterFailed or OSError."""
        self._has_new = True
        # A CR at the end of a piece may belong to the LF at the beginning of the next.
        octets = self._held + octets
        self._held = b"\r" if octets.endswith(b"\r") else b""
        text = octets.removesuffix(b"\r").replace(b"\r\n", b"\n")
        if b"\r" in text or b"\0" in text:
            raise FilterFailed("the new body has a bare carriage return or NUL")
        if self._limit and self._new + len(text) > self._limit:
            raise FilterFailed(f"the new body exceeds MaxMessageSize ({self._limit})")
        self.eight_bit = self.eight_bit or not text.isascii()
        self._sum = crc32(text, self._sum)
        view = memoryview(text)
        while view:
            written = os.pwrite(self.descriptor, view, self.size + self._new)
            self._new += written
            view = view[written:]

    def complete(self) -> None:
        """No more comes of what replaces it. Raise FilterFailed or OSError."""
        if self._held:
            raise FilterFailed("the new body has a bare carriage return")
        if self._new and os.pread(self.descriptor, 1, self.size + self._new - 1) != b"\n":
            self.add(b"\r\n")

    def finish(self) -> None:
        """What was added, and is complete(), is the body now, if anything was. Raise OSError."""
        if not self._has_new:
            return
        position = 0
        while position < self._new:
            block = self._block(_BLOCK, self.size + position)
            position += os.pwrite(self.descriptor, block, position)
        os.ftruncate(self.descriptor, self._new)
        self.size, self.checksum, self.is_replaced = self._new, self._sum, True
        self._new, self._sum, self._has_new = 0, 0, False

    def drop(self) -> None:
        """Forget what was added. Raise OSError."""
        if self._has_new:
            os.ftruncate(self.descriptor, self.size)
        self._new, self._sum, self._has_new, self._held = 0, 0, False, b""

    def _block(self, octets: int, position: int) -> bytes:
        block = os.pread(self.descriptor, octets, position)
        if not block:
            raise OSError(0, "the data file is shorter than it was")
        return block
