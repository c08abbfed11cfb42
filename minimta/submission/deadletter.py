"""What could not be sent is kept for the user who sent it: ``dead.letter`` in their home directory.

It is appended to with the caller's own rights and made with mode 0600. It must be the caller's plain
file with one name: a link that somebody else put there would make them write into another file.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress

from minimta.message import address, dates
from minimta.message.printable import printable
from minimta.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minimta.queue.collect import Incoming


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

    Raise OSError, too if it is not what the head of this module asks for.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(path, flags, 0o600)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise OSError(errno.EINVAL, "is not a plain file with one name", path)
        if status.st_uid != os.geteuid():
            raise OSError(errno.EPERM, "belongs to somebody else", path)
        yield file
        os.fsync(file)
        if not status.st_size:
            with suppress(PermissionError):  # no right to list it: then the journal has the name
                files.sync_directory(os.path.dirname(path) or ".")
    finally:
        os.close(file)
