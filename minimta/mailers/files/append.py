"""The end of a mailbox file: what is appended there, and what a killed delivery left there.

kill -9 cuts a write off at a page, a power cut where it likes. Whose message it was is in the queue
still and gets it again; the torn piece is cut off before that, whoever is next, but only where its
octets prove that it is ours:

    noted       all since our delivery began is, by its checksum, what it wrote, and it ends within a
                message. Where it began, and the checksum at each place where a kill may cut, stand in
                an extended attribute of the file while we write (user.minimta).
    resumed     from its last "From " line on the file is the beginning of one of the messages that
                are to be appended now.

Neither is true of a message that is whole, so nothing that was recorded as delivered is touched,
however old the note. Without attributes (NFS, old tmpfs) only the second finds it; in doubt the piece
stays, and an empty line ends it. The file is locked by who calls.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Protocol

#: octets of a message that are in memory at a time, and written at once
CHUNK = 1 << 20
#: a write that was killed ends at a multiple of this, or where it would have ended
PAGE = 4096
NOTE = "user.minimta"
#: where the delivery began, where this write begins and ends; first and last one of a message?
_HEAD = struct.Struct("!QQQ??")
#: a longer piece is not looked at for a note
_MOST = 1 << 28
_BLOCK = 1 << 16
_SEPARATOR = b"From "
_DATE = len("Sun Nov 22 09:37:07 2026")


class AppendedText(Protocol):
    """A message as it is written here: the same at every attempt, but for the date."""

    #: the separator line up to its date
    sender: bytes
    #: it is no longer than this, in octets
    limit: int

    def parts(self, date: bytes) -> Iterator[bytes]:
        """All of it, in parts of about CHUNK octets. Raise OSError."""
        ...


class Tail:
    """The end of an open, locked file, between two "From " lines or wherever it was torn."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._start = self.size()
        #: checksum of what was written since
        self._sum = 0
        self._noted = False

    def size(self) -> int:
        return os.fstat(self._file).st_size

    # --- writing ----------------------------------------------------------------------------------

    def append(self, parts: Iterable[bytes]) -> None:
        """Add one message, after an empty line; a small one in a single write: whole or not there.

        Raise OSError: a piece of it may be there; cut() takes it back.
        """
        pending, octets, first = [self._missing_end()], 0, True
        for part in parts:
            if octets >= CHUNK:
                self._write(pending, first=first, last=False)
                pending, octets, first = [], 0, False
            pending.append(part)
            octets += len(part)
        self._write(pending, first=first, last=True)

    def _missing_end(self) -> bytes:
        """What is lacking for the next message to be one of its own."""
        last = self._last_two()
        if not last or last == b"\n\n":
            return b""
        return b"\n" if last.endswith(b"\n") else b"\n\n"

    def _last_two(self) -> bytes:
        """Fewer if there are not so many, b"?" if we may only write."""
        size = self.size()
        start = max(0, size - 2)
        try:
            return os.pread(self._file, size - start, start)
        except OSError as error:
            if error.errno == errno.EBADF:
                return b"?"[:size]
            raise

    def _write(self, parts: list[bytes], *, first: bool, last: bool) -> None:
        text = memoryview(b"".join(parts))
        parts.clear()
        at = self.size()
        self._note(text, at, first=first, last=last)
        while text:
            text = text[os.writev(self._file, [text]) :]

    def _note(self, text: memoryview, at: int, *, first: bool, last: bool) -> None:
        """Write down what will prove that a piece of *text* is ours."""
        sums, position, end = [], at, at + len(text)
        for tear in tears(at, end, first=first, last=last):
            self._sum = zlib.crc32(text[position - at : tear - at], self._sum)
            sums.append(self._sum)
            position = tear
        self._sum = zlib.crc32(text[position - at :], self._sum)
        if sums:
            with suppress(OSError):  # no attributes here, or no room for this one
                head = _HEAD.pack(self._start, at, end, first, last)
                os.setxattr(self._file, NOTE, head + struct.pack(f"!{len(sums)}I", *sums))
                self._noted = True

    def cut(self, size: int) -> None:
        """Take back what was appended beyond *size*; durable on return, or an OSError."""
        try:
            os.ftruncate(self._file, size)
            os.fsync(self._file)
        except OSError:
            self._noted = False  # it stays: the next delivery may have better luck
            raise
        self._start, self._sum = size, 0

    def sync(self) -> None:
        os.fsync(self._file)

    def forget(self) -> None:
        """The delivery is over: remove its note."""
        if self._noted:
            self._noted = False
            with suppress(OSError):
                os.removexattr(self._file, NOTE)

    # --- mending ----------------------------------------------------------------------------------

    def mend(self, texts: Collection[AppendedText]) -> int:
        """Cut off the torn piece of a delivery that was killed; *texts* are appended next.

        Returns its octets, mostly 0. Raise OSError if it cannot be cut off.
        """
        size = self.size()
        try:
            start = self._noted_start(size)
            if start < 0:
                start = self._resumed_start(size, texts)
        except OSError:  # we may only write, or it cannot be read
            return 0
        if start < 0:
            return 0
        self.cut(start)
        return size - start

    def _noted_start(self, size: int) -> int:
        """Where the delivery began whose note is proven by the octets since; -1 if none is."""
        try:
            note = os.getxattr(self._file, NOTE)
            self._noted = True  # to be forgotten, whatever it is worth
            start, at, end, first, last = _HEAD.unpack_from(note)
            sums = struct.unpack(f"!{(len(note) - _HEAD.size) // 4}I", note[_HEAD.size :])
        except (OSError, struct.error):
            return -1
        # The owner of the file may have forged it: it must not cost more than it may be worth.
        if (end - at) // PAGE > len(sums) or not 0 < size - start <= _MOST:
            return -1
        noted = dict(zip(tears(at, end, first=first, last=last), sums, strict=False))
        return start if noted.get(size) == self._sum_of(start, size) else -1

    def _sum_of(self, start: int, end: int) -> int:
        total = 0
        while start < end:
            block = os.pread(self._file, min(CHUNK, end - start), start)
            if not block:
                return -1
            total, start = zlib.crc32(block, total), start + len(block)
        return total

    def _resumed_start(self, size: int, texts: Collection[AppendedText]) -> int:
        """Where the last message begins, if it is a beginning of one of *texts*; else -1."""
        start = self._last_separator(size, max((text.limit for text in texts), default=0))
        if start >= 0 and any(self._is_beginning(text, start, size) for text in texts):
            return start
        return -1

    def _last_separator(self, size: int, reach: int) -> int:
        """Where a line begins with "From " within *reach* octets of the end; -1 if none does."""
        low, end = max(0, size - reach - 1), size
        while end > low:
            begin = max(low, end - _BLOCK)
            found = os.pread(self._file, end + len(_SEPARATOR) - begin, begin)
            at = found.rfind(b"\n" + _SEPARATOR)
            if at >= 0:
                return begin + at + 1
            if begin == 0 and found.startswith(_SEPARATOR):
                return 0
            end = begin
        return -1

    def _is_beginning(self, text: AppendedText, start: int, size: int) -> bool:
        """Is what is between *start* and *size* a beginning of *text* that lacks more than line ends?"""
        opening = os.pread(self._file, len(text.sender) + _DATE, start)
        parts = text.parts(opening[len(text.sender) :])
        try:
            for part in parts:
                left = size - start
                found = os.pread(self._file, min(left, len(part)), start)
                if found != part[:left]:
                    return False
                if left <= len(part):
                    return any(rest.strip(b"\n") for rest in chain([part[left:]], parts))
                start += len(part)
        except OSError:  # the message is not what it was
            pass
        return False


def tears(at: int, end: int, *, first: bool, last: bool) -> list[int]:
    """Where a file may end in the middle of a message after a kill while it was written from *at*.

    Up to *end*, as the *first* or *last* write of the message. That it lacks no more than the line
    ends of the last one does not count: it is whole.
    """
    pages = range(at // PAGE * PAGE + PAGE, end - 2 if last else end, PAGE)
    return [*([] if first else [at]), *pages, *([] if last else [end])]
