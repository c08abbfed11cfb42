"""One message as an mbox file has it (RFC 4155, variant mboxo), in parts.

From emma@lab1.campus  Sun Nov 22 09:37:07 2026     MAILER-DAEMON for the null reverse-path
header fields, LF line ends
                                                    an empty line
body, "From " at the start of a line written ">From "
                                                    an empty line
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from minimta.mailers.job import Job

#: octets of a message that are read and written at a time; some copies of them are in memory. Larger
#: ones are not faster, and memory of this size is used again instead of given back and asked for
CHUNK = 1 << 16


class MboxText:
    """A message as it is appended: the same at every attempt, but for the date."""

    def __init__(self, job: Job, blanks: bytes = b"  ") -> None:
        """*blanks* are between sender and date."""
        self._job = job
        #: the separator line up to its date
        self.sender = separator(job.reverse_path, blanks)
        self._header = quote(job.header)
        #: it is no longer than this, in octets: a line of a body grows most if it is "From " alone
        self.limit = len(self.sender) + 25 + len(self._header) + job.size * 7 // 6 + 4

    def parts(self, date: bytes) -> Iterator[bytes]:
        """All of it, in parts of about CHUNK octets; *date* is asctime. Raise OSError."""
        yield self.sender + date + b"\n" + self._header
        yield from quoted_body(self._job.body, self._job.size)
        yield b"\n"


def separator(reverse_path: bytes, blanks: bytes) -> bytes:
    """The line before a message up to its date: "From emma@lab1.campus" and *blanks*."""
    # A line end in a sender would forge a header, or a whole message.
    return b"From " + (reverse_path.translate(None, b"\r\n\0") or b"MAILER-DAEMON") + blanks


def quote(header: bytes) -> bytes:
    """A header block in which no line begins with "From " (none should: it is no field)."""
    return (b"\n" + header).replace(b"\nFrom ", b"\n>From ")[1:]


def quoted_body(body: int, size: int) -> Iterator[bytes]:
    """The empty line after the header, then the body, quoted, its last line ended.

    In parts of about CHUNK octets. Raise OSError if *body* has fewer than *size* octets.
    """
    # "carry" begins with the line end before what was not yet written, so that a "\nFrom " is
    # never cut in two. The first one is the empty line itself.
    carry, position = b"\n", 0
    while position < size:
        chunk = os.pread(body, min(CHUNK, size - position), position)
        if not chunk:
            raise OSError(errno.EIO, "data file is shorter than recorded")
        position += len(chunk)
        text = carry + chunk
        cut = text.rfind(b"\n")
        if cut <= 0:  # a line longer than a chunk; its line end, if any, is the first octet
            cut = len(text) if len(text) >= len(b"\nFrom ") else 0
        carry = text[cut:]
        yield text[:cut].replace(b"\nFrom ", b"\n>From ")
    last = carry.replace(b"\nFrom ", b"\n>From ")
    yield last if last.endswith(b"\n") else last + b"\n"
