"""What could not be sent is kept for the user who sent it: ``dead.letter`` in their home directory.

It is appended to with the caller's own rights and made with mode 0600. It must be the caller's plain
file with one name: a link that somebody else put there would make them write into another file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import contextmanager, suppress

from minimta.message import address, dates
from minimta.message.printable import printable
from minimta.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minimta.queue.collect import Incoming

#: seconds between two looks whether another program is done with its letter, and how many looks
_PAUSE, _LOOKS = 0.05, 100


def save(incoming: Incoming, home: str, drop: str, now: float) -> str:
    """Append the message to dead.letter in *home*, else to the file *drop* (option DeadLetterDrop).

    Either may be "", for none. *now*, seconds since the epoch, stands in the From_ line. Returns the
    path, when the text is on disk. Raise OSError if neither can be written.
    """
    places = [os.path.join(home, "dead.letter")] if home else []
    reason = OSError("no home directory to save it in")
    for path in [*places, drop] if drop else places:
        try:
            _append(incoming, path, now)
            return path
        except OSError as error:
            reason = error
    raise reason


def _append(incoming: Incoming, path: str, now: float) -> None:
    with opened(path) as file:
        sender = printable(address.bare(incoming.envelope.reverse_path))
        from_line = b"From %b %b\n" % (
            sender or b"MAILER-DAEMON",
            dates.asctime(now).encode("ascii"),
        )
        files.write_all(file, from_line + incoming.text(sender) + b"\n")
        incoming.copy_body(file)
        files.write_all(file, b"\n")


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A file of the caller's that letters are appended to, open for one; on disk when it is left.

    Raise OSError, too if it is not what the head of this module asks for; then nothing of a letter stays.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(path, flags, 0o600)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise OSError(errno.EINVAL, "is not a plain file with one name", path)
        if status.st_uid != os.geteuid():
            raise OSError(errno.EPERM, "belongs to somebody else", path)
        is_locked = _wait_for_others(file)
        start = os.fstat(file).st_size
        try:
            yield file
            os.fsync(file)
        except BaseException:
            # A piece would swallow the letter that is appended next. Unlocked it may be behind us already.
            if is_locked:
                with suppress(OSError):
                    os.ftruncate(file, start)
            raise
        if not status.st_size:
            with suppress(PermissionError):  # no right to list it: then the journal has the name
                files.sync_directory(os.path.dirname(path) or ".")
    finally:
        os.close(file)


def _wait_for_others(file: int) -> bool:
    """A letter is written in pieces, and another's must not come between them: False if it may.

    But for a lock that somebody keeps, or that there cannot be, no letter is lost.
    """
    for _ in range(_LOOKS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
        except OSError:
            return False
        else:
            return True
    return False
