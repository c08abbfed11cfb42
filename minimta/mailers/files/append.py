"""Messages at the end of an mbox file: appended, taken back, mended after a kill.

kill -9 cuts a write off at a page, a power cut where it likes. The message concerned is in the queue
still and is appended again; the torn piece is cut off before that, whatever is appended next, but
only where its octets prove that it is ours:

    noted       all since our delivery began is, by its checksum, what it wrote, and it ends within a
                message. Where it began, and the checksum at each place where a kill may cut, stand in
                an extended attribute of the file while we write (user.minimta).
    resumed     from its last "From " line on the file is the beginning of one of the messages that
                are to be appended now.

Neither is true of a message that is whole, so nothing that was recorded as delivered is touched,
however old the note. Without attributes (NFS, old tmpfs) only the second finds it; in doubt the piece
stays, and an empty line ends it. The caller has locked the file. All may raise OSError.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import zlib
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from itertools import chain

from minimta.mailers.files import mbox_format
from minimta.mailers.files.mbox_format import MboxText
from minimta.message import dates

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


class CannotCut(OSError):
    """What was appended from ``size`` on cannot be taken back: it stays until it is mended."""

    def __init__(self, error: OSError, size: int) -> None:
        super().__init__(error.errno, error.strerror)
        self.size = size


class Tail:
    """The end of an open, locked file, between two "From " lines or wherever it was torn."""

    def __init__(self, file: int) -> None:
        """*file* is open for writing with O_APPEND, better for reading too."""
        self._file = file
        #: where the delivery began
        self._start = self.size()
        #: checksum of what was written since
        self._sum = 0
        self._noted = False

    def size(self) -> int:
        """Octets of the file now. Raise OSError."""
        return os.fstat(self._file).st_size

    # --- writing ----------------------------------------------------------------------------------

    def append_all(
        self, texts: Sequence[MboxText], clock: Callable[[], float]
    ) -> list[OSError | None]:
        """Append *texts* and make them durable; for each the error that kept it out, or None.

        One that fails is cut off again, those before it stay. Raise OSError if nobody knows what is
        on the disk: then none of them is there; CannotCut if that is not sure either.
        """
        start = self._start
        try:
            errors = [self._appended(text, clock()) for text in texts]
            self.sync()
        except BaseException:
            # None of them has been recorded, and all will be sent again: what stayed would be there
            # twice. After a failed fsync(2) nobody knows what the disk has, whatever is read here.
            self.cut(start)
            raise
        return errors

    def _appended(self, text: MboxText, now: float) -> OSError | None:
        end = self.size()
        try:
            self.append(text.parts(dates.asctime(now).encode("ascii")))
        except OSError as error:
            self.cut(end)
            return error
        return None

    def append(self, parts: Iterable[bytes]) -> None:
        """Add one message, after an empty line; a small one in a single write: whole or not there.

        Raise OSError: a piece of it may be there; cut() takes it back.
        """
        pending, octets, first = [self._missing_end()], 0, True
        for part in parts:
            if octets >= mbox_format.CHUNK:
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
        # Before the write: of a piece without a note nobody could prove later that it is ours.
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
        """Take back what was appended beyond *size*; durable on return. Raise CannotCut."""
        try:
            os.ftruncate(self._file, size)
            os.fsync(self._file)
        except OSError as error:
            self._noted = False  # the note stays: the next delivery may have better luck
            raise CannotCut(error, size) from error
        self._start, self._sum = size, 0

    # --- for who rewrites the file: mail(1) -------------------------------------------------------

    def read(self, start: int, length: int) -> bytes:
        """At most *length* octets from *start* on. Raise OSError."""
        return os.pread(self._file, length, start)

    def overwrite(self, start: int, text: bytes) -> None:
        """Write *text* over what stands from *start* on. Raise OSError."""
        flags = fcntl.fcntl(self._file, fcntl.F_GETFL)
        fcntl.fcntl(self._file, fcntl.F_SETFL, flags & ~os.O_APPEND)  # it rules pwrite(2), too
        try:
            rest = memoryview(text)
            while rest:
                written = os.pwrite(self._file, rest, start)
                rest, start = rest[written:], start + written
        finally:
            fcntl.fcntl(self._file, fcntl.F_SETFL, flags)

    def resize(self, size: int) -> None:
        """Make it *size* octets long; what is new is zeros. Raise OSError."""
        os.ftruncate(self._file, size)

    def sync(self) -> None:
        """Make the file durable. Raise OSError: it may be or not, and another try says nothing."""
        os.fsync(self._file)

    def forget(self) -> None:
        """The delivery is over: remove its note."""
        if self._noted:
            self._noted = False
            with suppress(OSError):
                os.removexattr(self._file, NOTE)

    # --- mending ----------------------------------------------------------------------------------

    def mend(self, texts: Collection[MboxText]) -> int:
        """Cut off the torn piece of a delivery that was killed; *texts* are appended next.

        Returns its octets, mostly 0. Raise OSError if it cannot be cut off.
        """
        size = self.size()
        try:
            # The note first: it is exact, and costs one call if there is none. Without it a piece is
            # found only when its own message comes again.
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
            self._noted = True  # to be removed at the end, whatever it is worth
            start, at, end, first, last = _HEAD.unpack_from(note)
            sums = struct.unpack(f"!{(len(note) - _HEAD.size) // 4}I", note[_HEAD.size :])
        except (OSError, struct.error):
            return -1
        # The owner of the file may have forged it. It can only make us cut off what has these
        # checksums, in their own file; but it must not make us read a terabyte to see that.
        if (end - at) // PAGE > len(sums) or not 0 < size - start <= _MOST:
            return -1
        noted = dict(zip(tears(at, end, first=first, last=last), sums, strict=False))
        return start if noted.get(size) == self._sum_of(start, size) else -1

    def _sum_of(self, start: int, end: int) -> int:
        total = 0
        while start < end:
            block = os.pread(self._file, min(mbox_format.CHUNK, end - start), start)
            if not block:
                return -1
            total, start = zlib.crc32(block, total), start + len(block)
        return total

    def _resumed_start(self, size: int, texts: Collection[MboxText]) -> int:
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
            # A few octets more than the block: the separator may lie across its end.
            found = os.pread(self._file, end + len(_SEPARATOR) - begin, begin)
            at = found.rfind(b"\n" + _SEPARATOR)
            if at >= 0:
                return begin + at + 1
            if begin == 0 and found.startswith(_SEPARATOR):
                return 0
            end = begin
        return -1

    def _is_beginning(self, text: MboxText, start: int, size: int) -> bool:
        """Is what is between *start* and *size* a beginning of *text* that lacks more than line ends?"""
        # The date is that of the attempt which was killed: taken from the file, not compared.
        opening = os.pread(self._file, len(text.sender) + _DATE, start)
        parts = text.parts(opening[len(text.sender) :])
        try:
            for part in parts:
                left = size - start
                found = os.pread(self._file, min(left, len(part)), start)
                if found != part[:left]:
                    return False
                if left <= len(part):
                    # Here the file ends. If only line ends are lacking the message is whole: it may
                    # have been recorded, and a mail reader may have stripped them.
                    return any(rest.strip(b"\n") for rest in chain([part[left:]], parts))
                start += len(part)
        except OSError:  # the message is not what it was
            pass
        return False


def tears(at: int, end: int, *, first: bool, last: bool) -> list[int]:
    """Where a file may end in the middle of a message after a kill while it was written from *at*.

    Up to *end*, as the *first* or *last* write of the message. Lacking no more than the line ends of
    its last line it is whole, and such a place is none of these.
    """
    pages = range(at // PAGE * PAGE + PAGE, end - 2 if last else end, PAGE)
    return [*([] if first else [at]), *pages, *([] if last else [end])]
