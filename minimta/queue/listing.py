"""A queue directory as mailq shows it: read without locks, and fast.

Of each control file only the lines before the first header field are looked at, and nothing is
decoded that is not printed; 20,000 messages take half a second. Nothing here decides anything: to
act on a message lock it (``spool``). What vanishes, or is no queue file, is left out.
"""

from __future__ import annotations

import fcntl
import os
import stat

from minimta.queue.qid import valid
from minimta.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ENOUGH = 8192  # octets of a qf that nearly always hold all recipients
#: a qf is never longer; who plants one that is shall not fill our memory
_MOST = 16 << 20


class Listed:
    """One message as it is printed."""

    __slots__ = (
        "attempts",
        "body_type",
        "created",
        "flags",
        "is_empty",
        "last_attempt",
        "locked",
        "message",
        "priority",
        "qid",
        "quarantine",
        "recipients",
        "sender",
        "size",
    )

    def __init__(self, qid: str) -> None:
        self.qid = qid
        self.locked = False
        #: the control file has no content (yet)
        self.is_empty = False
        #: octets of the df, -1 if there is none
        self.size = -1
        self.created = self.last_attempt = self.attempts = self.priority = 0
        self.flags = self.message = self.sender = self.quarantine = self.body_type = b""
        #: (address, its own status, controlling user if it changes here)
        self.recipients: list[tuple[bytes, bytes, bytes]] = []


def scan(
    directory: str,
    kind: str = "qf",
    *,
    only: Iterable[str] | None = None,
    owner: int | None = None,
) -> Iterator[Listed]:
    """The messages in *directory*, in no order. Raise OSError if it cannot be read.

    *kind* "qf" are those that run, "hf" the quarantined, "Qf" the lost ones. *only* are the ids
    to look at, if not all: what is not opened costs nothing, and the directory need not be readable.
    *owner* is whose files they must be: somebody else may have put one under such a name.
    """
    locked = _locked_inodes()
    reading = os.O_RDONLY if only is None else os.O_PATH
    folder = os.open(directory, reading | os.O_DIRECTORY)
    try:
        for name in os.listdir(folder) if only is None else [kind + qid for qid in only]:
            if name[:2] == kind and valid(name[2:]):
                listed = _read(folder, name, locked, owner)
                if listed:
                    yield listed
    finally:
        os.close(folder)


def _read(folder: int, name: str, locked: set[int] | None, owner: int | None) -> Listed | None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = os.open(name, flags, dir_fd=folder)
    except OSError:
        return None  # delivered meanwhile, or no file
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or owner not in (None, found.st_uid):
            return None
        text = os.read(file, _ENOUGH)
        if len(text) == _ENOUGH and b"\nH" not in text:
            text += files.read_to_limit(file, _MOST, len(text))
        is_locked = _is_locked(file, locked)
    except OSError:
        return None
    finally:
        os.close(file)
    listed = Listed(name[2:])
    listed.locked = is_locked
    listed.is_empty = not text
    try:
        listed.size = os.stat("df" + name[2:], dir_fd=folder, follow_symlinks=False).st_size
    except OSError:
        pass
    _parse(listed, text)
    return listed


def _parse(listed: Listed, text: bytes) -> None:
    status = controlling_user = b""
    for line in text.partition(b"\nH")[0].split(b"\n"):
        letter = line[:1]
        if letter in _SKIPPED:
            continue  # most lines; also an empty one
        if letter == b"R":
            address = line.partition(b":")[2]
            listed.recipients.append((address, status, controlling_user))
            status = controlling_user = b""
        elif letter in _NUMBERS:
            digits = line[1:21]
            if digits.removeprefix(b"-").isdigit():
                setattr(listed, _NUMBERS[letter], int(digits))
        elif letter == b"S":
            listed.sender = line[1:]
        elif letter == b"F":
            listed.flags = line[1:]
        elif letter == b"M":
            if listed.sender:
                status = line[1:]
            else:
                listed.message = line[1:]
        elif letter == b"C":
            controlling_user = line[1:]
        elif letter == b"B":
            listed.body_type = line[1:]
        elif letter == b"q":
            listed.quarantine = line[1:]


_SKIPPED = b"V$rAQZI"
#: PROC_PID_INIT_INO of the kernel's include/linux/proc_ns.h
_FIRST_PID_NAMESPACE = 0xEFFFFFFC
_NUMBERS = {b"T": "created", b"K": "last_attempt", b"N": "attempts", b"P": "priority"}


def _locked_inodes() -> set[int] | None:
    """Inodes that somebody holds with flock, None if the kernel does not tell.

    Asking by trying to lock would make a queue run that comes at that instant skip the message.
    In a container the kernel hides locks whose taker has ended, so there it is tried all the same.
    """
    try:
        if os.stat("/proc/self/ns/pid").st_ino != _FIRST_PID_NAMESPACE:
            return None
        with open("/proc/locks", "rb") as file:
            lines = file.read().split(b"\n")
    except OSError:
        return None
    fields = [line.split() for line in lines if b" FLOCK " in line]
    return {int(words[-3].rpartition(b":")[2]) for words in fields if len(words) >= 8}


def _is_locked(file: int, locked: set[int] | None) -> bool:
    if locked is not None:
        return bool(locked) and os.fstat(file).st_ino in locked
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False
