"""A message as one peer can take it: read in blocks, measured, converted if need be, and announced.

    the peer         then
    has less SIZE    the message is returned (5.2.3)
    no 8BITMIME      a message with 8 bits by option EightBitMode: "pass8" sends it as it is,
                     "mimify" converts it; else, and where that fails, it is returned (5.6.3)

What has a key is signed when nothing more is done to it (``dkim``).

Unsendable: never to this peer. Unreadable: the data file cannot be read, or is not what it was.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping

from minimta.mailers.job import Job
from minimta.mailers.remote import dkim
from minimta.mailers.remote.dkim import BadKey, SigningKey, Unsignable
from minimta.message import mime8to7
from minimta.message.mime_entity import NotConvertible
from minimta.smtp.client_command import Utf8Needed, mail_line
from minimta.smtp.data import BadText, DataWriter, check_stored

#: octets read and sent at once; what is smaller goes out in one write
BLOCK = 256 * 1024
#: largest message that is sent before the peer has taken a recipient
MAX_CHUNK = 32 * 1024
#: largest message that is converted to 7 bits or signed, which needs it in memory
MAX_CONVERTED = 64 * 1024 * 1024


class Unsendable(Exception):
    """This peer cannot be given this message, ever."""

    def __init__(self, status: str, text: str, exit_code: int) -> None:
        """*status* is RFC 3463, "5.6.3", *exit_code* one of sysexits(3)."""
        super().__init__(text)
        self.status = status
        self.text = text
        self.exit_code = exit_code


class Unreadable(Exception):
    """The data file is not what it was; the message has to wait for somebody to look."""


class Content:
    """The header and body to send, with their size on the wire.

    A message of one block is kept in memory, a larger one is read again when it is sent.
    """

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
        # Most messages are one block: what was read to be measured is sent from memory.
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
            # It was checked when it was measured.
            raise Unreadable("the data file changed") from error
        yield writer.finish()

    def chunk(self) -> bytes:
        """The octets of a small message as BDAT takes them, CRLF line ends; b"" for a larger one."""
        if not self._whole or self.wire_size > MAX_CHUNK:
            return b""
        text = self._whole.replace(b"\n", b"\r\n")
        return text if text.endswith(b"\r\n") else text + b"\r\n"

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


def prepare(
    job: Job,
    extensions: Container[str],
    mode: str,
    own_name: str,
    key: SigningKey | None = None,
    charset: str = "",
) -> Content:
    """What to send of *job* to a peer with *extensions*; *mode* is option EightBitMode.
    Text that does not say its *charset* has this one (DefaultCharSet), if it must be converted.

    It is signed if there is a *key*. Raise Unsendable or Unreadable.
    """
    try:
        if not job.eight_bit or "8BITMIME" in extensions or mode == "pass8":
            return Content(job, job.header) if key is None else _signed(job, key)
        if mode == "mimify" and job.size <= MAX_CONVERTED:
            note = f"%s by {own_name} id {job.qid}".encode("ascii")
            body = b"".join(read_body(job))
            header, body = mime8to7.convert(
                job.header, body, note, charset.encode("ascii") or mime8to7.UNKNOWN
            )
            return Content(job, header if key is None else _with_signature(key, header, body), body)
    except BadText as error:
        raise Unsendable("5.6.0", "Data format error", os.EX_DATAERR) from error
    except NotConvertible:
        pass
    # RFC 6152 section 3: convert or return, never send 8 bits to a host that did not ask for them.
    text = "8-bit message cannot be sent to a host without 8BITMIME"
    raise Unsendable("5.6.3", text, os.EX_DATAERR)


def _signed(job: Job, key: SigningKey) -> Content:
    """Raise BadText, Unsendable or Unreadable."""
    if job.size > MAX_CONVERTED:
        text = f"Message is too large to be signed (DKIM); {MAX_CONVERTED} bytes max"
        raise Unsendable("5.3.4", text, os.EX_UNAVAILABLE)
    header = _with_signature(key, job.header, b"".join(read_body(job)))
    return Content(job, header)


def _with_signature(key: SigningKey, header: bytes, body: bytes) -> bytes:
    """The header with a signature on top. Raise Unsendable or Unreadable."""
    try:
        return dkim.signed(key, header, body)
    except Unsignable as error:
        raise Unsendable("5.6.0", f"DKIM: {error}", os.EX_DATAERR) from error
    except BadKey as error:
        raise Unreadable(f"DKIM: {key.path}: no key that signs ({error})") from error


def mail_command(
    job: Job,
    content: Content,
    extensions: Mapping[str, str],
    *,
    logged_in: bool = False,
    utf8: bool = False,
) -> bytes:
    """The MAIL command, to a peer where we may have *logged_in*; *utf8*: a recipient needs SMTPUTF8.

    Raise Unsendable if the peer's SIZE or the address forbids it.
    """
    limit = extensions.get("SIZE", "")
    if limit.isascii() and limit.isdigit() and 0 < int(limit) < content.wire_size:
        # RFC 1870 section 5: the client may bounce without asking.
        text = f"Message is too large; {int(limit)} bytes max"
        raise Unsendable("5.2.3", text, os.EX_UNAVAILABLE)
    body_type = b"8BITMIME" if job.eight_bit and not content.converted else job.body_type
    try:
        return mail_line(
            job.reverse_path,
            extensions,
            size=content.wire_size,
            body_type=body_type,
            envid=job.envid,
            ret=job.ret,
            logged_in=logged_in,
            utf8=utf8,
        )
    except Utf8Needed as error:
        raise Unsendable("5.6.7", str(error), os.EX_DATAERR) from error
    except ValueError as error:
        raise Unsendable("5.1.7", "Bad sender address", os.EX_DATAERR) from error
