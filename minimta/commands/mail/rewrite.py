"""A mailbox is written anew where it lies, and no moment of it loses a message.

Users may not make files in /var/mail, so nothing can be renamed into place. The new text, from the
first octet that changes, is made durable beside the user's home first, with all that is needed to
write it once more:

    ~/.mail-rewrite.N   N is made from the path; a line of JSON, then the new text
        path, first     the mailbox, and where in it the new text begins
        before          checksum of all before that
        size            octets of the mailbox before
        old             checksum of the octets that only the cut takes away
        length, sum     of the new text

Then the mailbox is written, made as long as it is to be, and the copy goes. Whoever finds a copy
finishes that work: mail that came meanwhile stands behind ``size``, or behind the new text. If yet
another program has rewritten the mailbox since, the copy is kept for the user under another name.
All of it under the locks of ``locked_file``. What is rewritten is in memory.
"""

from __future__ import annotations

import itertools
import json
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass

from minimta.commands.mail.folder import Folder, FolderMessage
from minimta.mailers.files.append import Tail
from minimta.system import files

SAVED = "mail-rewrite.saved"
_BLOCK = 1 << 20
_HEAD = ("path", "first", "before", "size", "old")


class Changed(OSError):
    """Another program has rewritten the mailbox since it was read."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is written: *text* from octet *first* on, in a file of *size* octets."""

    path: str
    first: int
    #: checksum of what stands before it
    before: int
    size: int
    #: checksum of what lies behind the new text in the old file
    old: int
    text: bytes

    @property
    def end(self) -> int:
        """Where the new text ends, and the mailbox with it."""
        return self.first + len(self.text)


def check(folder: Folder, tail: Tail) -> None:
    """Raise Changed unless the locked mailbox begins with what was read."""
    if tail.size() < folder.size or _checksum(tail, 0, folder.size) != folder.checksum:
        raise Changed(f"{folder.path} was changed by another program; it is left as it is now")


def replace(folder: Folder, tail: Tail, stays: list[FolderMessage], home: str) -> bool:
    """Write the mailbox anew: the letters that stay, with their Status, and what came since.

    Returns whether anything came. Raise Changed, OSError: then the mailbox is what it was, or the copy in *home* finishes it.
    """
    check(folder, tail)
    has_new = tail.size() > folder.size
    plan = _plan(folder, tail, stays)
    if plan is None:
        return has_new
    copy = copy_of(folder.path, home)
    if plan.text:
        _keep(plan, copy)
    _carry_out(plan, tail)
    if plan.text:
        os.unlink(copy)
    return has_new


def finish(path: str, tail: Tail, home: str) -> bool:
    """Do what a session that was killed left undone to the mailbox at *path*. False: there is nothing.

    Raise Changed if the mailbox is another one by now: the copy is beside it, under SAVED. Raise
    OSError; ValueError for a copy that is none of ours.
    """
    copy = copy_of(path, home)
    try:
        plan = _kept(copy)
    except FileNotFoundError:
        return False
    if plan is None:  # killed while it was written: the mailbox was not touched yet
        os.unlink(copy)
        return False
    if plan.path != path:
        raise ValueError(f"{copy} is a copy of {plan.path}, not of {path}")
    if _checksum(tail, 0, plan.first) != plan.before or tail.size() < min(plan.size, plan.end):
        saved = _put_by(copy, home)
        raise Changed(
            f"{path} was changed by another program; what was to stay in it is in ~/{saved}"
        )
    arrived = _arrived(plan, tail)
    if arrived is not None:
        # Killed once more, the next one must know of what came meanwhile.
        whole = _plan_of(path, tail, plan.first, plan.text + arrived)
        _keep(whole, f"{copy}.new")
        os.rename(f"{copy}.new", copy)
        files.sync_directory(home)  # or a power cut brings back the copy that knows nothing of it
        _carry_out(whole, tail)
    os.unlink(copy)
    return True


def _put_by(copy: str, home: str) -> str:
    """Give a copy a name that none has yet: an earlier one is not overwritten. Raise OSError."""
    for name in itertools.chain([SAVED], (f"{SAVED}.{number}" for number in itertools.count(1))):
        try:
            os.link(copy, os.path.join(home, name))
        except FileExistsError:
            continue
        os.unlink(copy)
        return name
    raise AssertionError("there is always another number")


def copy_of(path: str, home: str) -> str:
    """Where the copy of the mailbox at *path* is while it is written."""
    return os.path.join(home, f".mail-rewrite.{zlib.crc32(os.fsencode(path)):08x}")


def with_status(header: bytes, status: str) -> bytes:
    """A header block with this Status field instead of its own; "" for none."""
    lines: list[bytes] = []
    skips = False
    for line in header.splitlines(keepends=True):
        skips = skips if line[:1] in b" \t" and line[:1] else line[:7].lower() == b"status:"
        if not skips:
            lines.append(line)
    field = b"Status: " + status.encode("ascii") + b"\n" if status else b""
    return b"".join(lines) + field


def text_of(folder: Folder, letter: FolderMessage, status: str) -> bytes:
    """A letter whole, with its From_ line, its Status and the empty line behind it. Raise OSError."""
    begin = letter.start + len(letter.separator)
    header = folder.octets(begin, begin + letter.header_size)
    rest = folder.octets(begin + letter.header_size, letter.end)
    if status == letter.status:
        return letter.separator + header + rest
    return letter.separator + with_status(header, status) + rest


def new_status(letter: FolderMessage) -> str:
    """What its Status field says from now on."""
    # Its sender may have written it: other octets could not be written, or would begin a field.
    others = "".join(c for c in letter.status if c.isascii() and c.isalpha() and c not in "RO")
    return ("R" if letter.is_read else "") + "O" + others


def _plan(folder: Folder, tail: Tail, stays: list[FolderMessage]) -> Plan | None:
    """None if nothing changes. Raise OSError."""
    preamble = folder.letters[0].start if folder.letters else folder.size
    first, position, parts = -1, preamble, []
    for letter in stays:
        is_same = letter.start == position and new_status(letter) == letter.status
        if first < 0 and is_same:
            position = letter.end
            continue
        first = position if first < 0 else first
        parts.append(text_of(folder, letter, new_status(letter)))
    first = position if first < 0 else first
    size = tail.size()
    if first == folder.size:
        return None
    parts.append(_piece(tail, folder.size, size))
    return _plan_of(folder.path, tail, first, b"".join(parts))


def _plan_of(path: str, tail: Tail, first: int, text: bytes) -> Plan:
    """Raise OSError."""
    size = tail.size()
    before, old = _checksum(tail, 0, first), _checksum(tail, first + len(text), size)
    return Plan(path, first, before, size, old, text)


def _piece(tail: Tail, start: int, end: int) -> bytes:
    parts = []
    while start < end:
        block = tail.read(start, min(_BLOCK, end - start))
        if not block:
            raise OSError("the mailbox became shorter while it was locked")
        parts.append(block)
        start += len(block)
    return b"".join(parts)


def _checksum(tail: Tail, start: int, end: int) -> int:
    """Of fewer octets if the mailbox is shorter. Raise OSError."""
    checksum = 0
    while start < end:
        block = tail.read(start, min(_BLOCK, end - start))
        if not block:
            break
        checksum, start = zlib.crc32(block, checksum), start + len(block)
    return checksum


def _keep(plan: Plan, copy: str) -> None:
    """Write the plan down, durable. Raise OSError."""
    head = {name: getattr(plan, name) for name in _HEAD}
    head |= {"length": len(plan.text), "sum": zlib.crc32(plan.text)}
    with suppress(FileNotFoundError):
        os.unlink(copy)  # of a session that was killed: we have the locks now
    file = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        files.write_all(file, json.dumps(head).encode("ascii") + b"\n" + plan.text)
        os.fsync(file)
    except BaseException:
        os.unlink(copy)
        raise
    finally:
        os.close(file)
    files.sync_directory(os.path.dirname(copy))


def _kept(copy: str) -> Plan | None:
    """The plan in a copy; None if it is not whole. Raise OSError; ValueError if it is not ours."""
    file = os.open(copy, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if os.fstat(file).st_uid != os.geteuid():
            raise ValueError(f"{copy} belongs to somebody else")
        with open(file, "rb", closefd=False) as stream:
            head, text = stream.readline(), stream.read()
    finally:
        os.close(file)
    try:
        told = json.loads(head)
        if (len(text), zlib.crc32(text)) != (told["length"], told["sum"]):
            return None
        return Plan(**{name: told[name] for name in _HEAD}, text=text)
    except (ValueError, KeyError, TypeError):
        return None


def _arrived(plan: Plan, tail: Tail) -> bytes | None:
    """Mail that came behind the mailbox while it was half written; None if all of it was written."""
    size = tail.size()
    if plan.end <= plan.size:
        is_cut = size < plan.size or _checksum(tail, plan.end, plan.size) != plan.old
        return None if is_cut else _piece(tail, plan.size, size)
    # Longer than before: it was lengthened with zeros first, durably, then written over.
    new, now = plan.text[plan.size - plan.first :], tail.read(plan.size, plan.end - plan.size)
    is_longer = len(now) == len(new) and all(a in (0, b) for a, b in zip(now, new, strict=True))
    return (
        _piece(tail, plan.end, size) if is_longer else _piece(tail, plan.size, size).lstrip(b"\0")
    )


def _carry_out(plan: Plan, tail: Tail) -> None:
    """Raise OSError."""
    if plan.end > tail.size():
        tail.resize(plan.end)
        tail.sync()
    tail.overwrite(plan.first, plan.text)
    tail.resize(plan.end)
    tail.sync()
