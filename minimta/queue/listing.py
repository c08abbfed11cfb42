"""A queue directory as mailq shows it: read without locks, and fast.

Of each control file only the lines before the first header field are looked at, and nothing is
decoded that is not printed; 20,000 messages take less than half a second. Nothing here decides anything: to
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
        "name",
        "priority",
        "qid",
        "quarantine",
        "recipients",
        "sender",
        "size",
    )

    def __init__(
        self, qid: str, text: bytes = b"", *, size: int = -1, locked: bool = False
    ) -> None:
        """*text* is the beginning of its control file, at least what stands before the header.

        Before the sender no letter stands twice but macros, which are not shown; what follows it says
        something of a recipient.
        """
        self.qid = qid
        #: what a run calls it: see ``directories``
        self.name = qid
        self.locked = locked
        #: the control file has no content (yet)
        self.is_empty = not text
        #: octets of the df, -1 if there is none
        self.size = size
        before, _, after = text.partition(b"\nH")[0].partition(b"\nS")
        value = {line[:1]: line[1:] for line in before.split(b"\n")}.get
        self.created = _number(value(b"T", b""))
        self.last_attempt = _number(value(b"K", b""))
        self.attempts = _number(value(b"N", b""))
        self.priority = _number(value(b"P", b""))
        self.flags = value(b"F", b"")
        self.message = value(b"M", b"")
        self.body_type = value(b"B", b"")
        self.quarantine = value(b"q", b"")
        self.sender, _, rest = after.partition(b"\n")
        #: (address, its own status, controlling user if it changes here)
        self.recipients = list(_recipients(rest))


def _recipients(text: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    status = controlling_user = b""
    for line in text.split(b"\n"):
        letter = line[:1]
        if letter == b"R":
            yield line.partition(b":")[2], status, controlling_user
            status = controlling_user = b""
        elif letter == b"M":
            status = line[1:]
        elif letter == b"C":
            controlling_user = line[1:]


def _number(value: bytes) -> int:
    digits = value[:20]
    return int(digits) if digits.isdigit() or digits.removeprefix(b"-").isdigit() else 0


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
        if only is not None:
            names = [kind + qid for qid in only if valid(qid)]
            yield from filter(None, (_read(folder, name, None, locked, owner) for name in names))
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                # The directory itself knows what is a file: a look at each would cost a tenth.
                if name[:2] == kind and valid(name[2:]) and entry.is_file(follow_symlinks=False):
                    listed = _read(folder, name, entry.inode(), locked, owner)
                    if listed:
                        yield listed
    finally:
        os.close(folder)


_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def _read(
    folder: int, name: str, inode: int | None, locked: set[int] | None, owner: int | None
) -> Listed | None:
    """One message; *inode* if the name is known to be that of a regular file."""
    try:
        file = os.open(name, _FLAGS, dir_fd=folder)
    except OSError:
        return None  # delivered meanwhile, or no file
    try:
        if inode is None or owner is not None:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or owner not in (None, found.st_uid):
                return None
            inode = found.st_ino
        text = os.read(file, _ENOUGH)
        if len(text) == _ENOUGH and b"\nH" not in text:
            text += files.read_to_limit(file, _MOST, len(text))
        is_locked = _is_locked(file) if locked is None else inode in locked
    except OSError:
        return None
    finally:
        os.close(file)
    try:
        size = os.stat("df" + name[2:], dir_fd=folder, follow_symlinks=False).st_size
    except OSError:
        size = -1
    return Listed(name[2:], text, size=size, locked=is_locked)


#: PROC_PID_INIT_INO of the kernel's include/linux/proc_ns.h
_FIRST_PID_NAMESPACE = 0xEFFFFFFC


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


def _is_locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False
