"""The text of a Job as one peer can take it: read in blocks, measured, converted if need be."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator

from minimta.mailers.job import Job
from minimta.message import mime8to7
from minimta.smtp.data import BadText, DataWriter, check_stored

#: octets read and sent at once; what is smaller goes out in one write
BLOCK = 256 * 1024
#: largest message that is converted to 7 bits, which needs it in memory
MAX_CONVERTED = 64 * 1024 * 1024


class Unsendable(Exception):
    """This peer cannot be given this message, ever; ``status`` is RFC 3463."""

    def __init__(self, status: str, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.exit_code = exit_code


class Unreadable(Exception):
    """The data file is not what it was; the message has to wait for somebody to look."""


class Letter:
    """The header and body to send, with their size on the wire."""

    __slots__ = ("_body", "_header", "_job", "_whole", "converted", "wire_size")

    def __init__(self, job: Job, header: bytes, body: bytes | None = None) -> None:
        """*body* replaces that of the Job. Raise BadText or Unreadable."""
        self._job = job
        self._header = header
        self._body = body
        self._whole = b""
        self.converted = body is not None
        #: octets with CRLF line ends (RFC 1870 section 5)
        self.wire_size = 0
        blocks = 0
        for block in self._blocks():
            check_stored(block)
            self.wire_size += len(block) + block.count(b"\n")
            self._whole, blocks = block, blocks + 1
        if blocks > 1:
            self._whole = b""

    def wire(self) -> Iterator[bytes]:
        """The octets to send after the 354, final dot included. Raise Unreadable."""
        writer = DataWriter()
        if self._whole:
            yield writer.feed(self._whole) + writer.finish()
            return
        try:
            for block in self._blocks():
                yield writer.feed(block)
        except BadText as error:
            raise Unreadable("the data file changed") from error
        yield writer.finish()

    def _blocks(self) -> Iterator[bytes]:
        first = self._header + b"\n"
        if self._body is not None:
            yield first + self._body
            return
        for block in read_body(self._job):
            yield first + block
            first = b""
        if first:
            yield first


def read_body(job: Job) -> Iterator[bytes]:
    """The body in blocks. Raise Unreadable."""
    offset = 0
    while offset < job.size:
        try:
            block = os.pread(job.body, min(BLOCK, job.size - offset), offset)
        except OSError as error:
            raise Unreadable(f"data file: {error.strerror}") from error
        if not block:
            raise Unreadable("data file is cut short")
        offset += len(block)
        yield block


def prepare(job: Job, extensions: Container[str], mode: str, own_name: str) -> Letter:
    """What to send of *job* to a peer with *extensions*; *mode* is option EightBitMode.

    Raise Unsendable or Unreadable.
    """
    try:
        if not job.eight_bit or "8BITMIME" in extensions or mode == "pass8":
            return Letter(job, job.header)
        if mode == "mimify" and job.size <= MAX_CONVERTED:
            note = f"%s by {own_name} id {job.qid}".encode("ascii")
            body = b"".join(read_body(job))
            return Letter(job, *mime8to7.convert(job.header, body, note))
    except BadText as error:
        raise Unsendable("5.6.0", "Data format error", os.EX_DATAERR) from error
    except mime8to7.NotConvertible:
        pass
    # RFC 6152 section 3: convert or return, never send 8 bits to a host that did not ask for them.
    text = "8-bit message cannot be sent to a host without 8BITMIME"
    raise Unsendable("5.6.3", text, os.EX_DATAERR)
