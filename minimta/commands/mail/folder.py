"""The messages of an mbox file, as a list of places in it: nothing but what is shown is in memory.

A message begins with a line "From SENDER DATE" behind an empty line (RFC 4155). What stands before
the first one belongs to none and stays where it is. The file is read without a lock: ``rewrite``
looks, under all locks, whether it is still what was read.
"""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.parser import BytesHeaderParser

from minimta.message import addresslist

_BLOCK = 1 << 20
#: what begins a message: sender (may be missing), then asctime, perhaps with a zone
_SEPARATOR = re.compile(
    rb"(?:\A|\n\n)(From [^\n]{0,1000}?(?:Sun|Mon|Tue|Wed|Thu|Fri|Sat) [A-Z][a-z][a-z] [ \d]\d"
    rb" [ \d]?\d:\d\d[^\n]{0,100}\n)"
)
#: no separator is longer: so much of a block is looked at again with the next one
_OVERLAP = 1200
#: octets of a header that are looked at
_HEADER = 1 << 18


@dataclass(slots=True, eq=False)
class FolderMessage:
    """One message: where it is, what its header says, and what is to become of it."""

    #: octets of the file: its From_ line, and what follows its last line
    start: int
    end: int
    lines: int
    separator: bytes
    #: decoded, its body empty
    header: EmailMessage
    #: octets of the header block after the separator, its empty line not among them
    header_size: int
    #: letters of its Status field: R read, O seen in a list by some program
    status: str = ""
    is_deleted: bool = False
    is_read: bool = False
    #: read in this session, so that it goes to mbox at the end
    is_touched: bool = False
    #: saved or written elsewhere: it goes at the end
    is_saved: bool = False
    #: preserve and mbox: the user said where it goes
    is_held: bool = False
    goes_to_mbox: bool = False
    #: it was added to mbox, and only has to be cut from here
    is_in_mbox: bool = False

    @property
    def size(self) -> int:
        """Octets, with separator and the empty line behind it."""
        return self.end - self.start

    @property
    def is_new(self) -> bool:
        """Had no program listed it before?"""
        return "O" not in self.status

    @property
    def sender(self) -> str:
        """The author's address; without a From field the envelope's."""
        for listed in self.addresses("from"):
            return listed
        words = self.separator.split()
        return words[1].decode("utf-8", "replace") if len(words) > 6 else ""

    @property
    def subject(self) -> str:
        """Decoded; "" without one."""
        return self.text_of("subject")

    def text_of(self, name: str) -> str:
        """The first field of this name, decoded, in one line; "" without one."""
        try:
            return " ".join(str(self.header[name] or "").split())
        except Exception:  # the library stumbles over what some spammers write
            return ""

    def addresses(self, name: str) -> list[str]:
        """The bare addresses in all fields of this name, in their order."""
        raw = [value.encode("utf-8", "surrogateescape") for value in self.raw_fields(name)]
        listed = (
            one.address for value in raw for one in addresslist.parse(value) if not one.problem
        )
        return [address.decode("utf-8", "replace") for address in listed if address]

    def raw_fields(self, name: str) -> list[str]:
        """The values of all fields of this name as they stand there, in their order."""
        return [
            value for field_name, value in self.header.raw_items() if field_name.lower() == name
        ]

    @property
    def date(self) -> str:
        """ "Sun Nov 22 09:37": when it was delivered."""
        found = re.search(rb"[A-Z][a-z][a-z] [A-Z][a-z][a-z] [ \d]\d [ \d]?\d:\d\d", self.separator)
        return found[0].decode("ascii") if found else ""


@dataclass(slots=True)
class Folder:
    """A mailbox as it was read."""

    path: str
    #: None if it could not be opened because it is not there
    file: int | None
    #: octets that were read, and their checksum
    size: int = 0
    checksum: int = 0
    letters: list[FolderMessage] = field(default_factory=list)

    def octets(self, start: int, end: int) -> bytes:
        """A piece of the file. Raise OSError."""
        parts = []
        while self.file is not None and start < end:
            part = os.pread(self.file, min(_BLOCK, end - start), start)
            if not part:
                raise OSError(f"{self.path} is shorter than it was")
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Let go of the file."""
        if self.file is not None:
            os.close(self.file)
            self.file = None


def read(path: str) -> Folder:
    """The folder at *path*; one that is not there has no messages. Raise OSError."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return Folder(path, None)
    folder = Folder(path, file)
    try:
        extend(folder)
    except BaseException:
        folder.close()
        raise
    return folder


def extend(folder: Folder) -> int:
    """Read on behind what was read: messages that have come since. Returns how many. Raise OSError."""
    if folder.file is None:
        return 0
    known, begin = len(folder.letters), folder.size
    starts = _starts(folder, begin)
    ends = [*starts[1:], folder.size]
    folder.letters += (_letter(folder, *place) for place in zip(starts, ends, strict=False))
    return len(folder.letters) - known


def _starts(folder: Folder, begin: int) -> list[int]:
    """Where messages begin from *begin* on; notes size and checksum of all that was read."""
    assert folder.file is not None
    starts: list[int] = []
    carry, position = (b"\n\n" if begin else b""), begin
    while block := os.pread(folder.file, _BLOCK, position):
        folder.checksum = zlib.crc32(block, folder.checksum)
        text, offset = carry + block, position - len(carry)
        for found in _SEPARATOR.finditer(text):
            if not starts or offset + found.start(1) > starts[-1]:
                starts.append(offset + found.start(1))
        position += len(block)
        carry = text[-_OVERLAP:]
        # A carry is no beginning of the file: \A must not match there.
        if not carry.startswith(b"\n\n"):
            carry = b"\0" + carry
            # the octet stands for one that was seen already
    folder.size = position
    return starts


def _letter(folder: Folder, start: int, end: int) -> FolderMessage:
    beginning = folder.octets(start, min(end, start + _HEADER))
    separator, _, rest = beginning.partition(b"\n")
    block = rest if rest.startswith(b"\n") else rest.partition(b"\n\n")[0] + b"\n"
    block = b"" if rest.startswith(b"\n") else block
    parser = BytesHeaderParser(policy=policy.default)
    header = parser.parsebytes(block)
    assert isinstance(header, EmailMessage)
    lines = _lines(folder, start, end)
    letter = FolderMessage(start, end, lines, separator + b"\n", header, len(block))
    letter.status = "".join(letter.raw_fields("status"))
    letter.is_read = "R" in letter.status
    return letter


def _lines(folder: Folder, start: int, end: int) -> int:
    count = 0
    while start < end:
        part = folder.octets(start, min(end, start + _BLOCK))
        count += part.count(b"\n")
        start += len(part)
    return count
