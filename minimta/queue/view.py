"""One message, looked at without its lock: for people, who decide nothing by it.

What is read may be gone or rewritten in the next moment. What cannot be acted on is shown all the
same, with what is wrong with it.
"""

from __future__ import annotations

import os
import stat

from minimta.queue.control import Control, CorruptControlFile, decode
from minimta.queue.directory import READING, QueueDirectory
from minimta.queue.locked import MAX_CONTROL
from minimta.system import files


class QueueView:
    """A control file as it was a moment ago."""

    def __init__(
        self, kind: str, text: bytes, found: os.stat_result, control: Control | None, problem: str
    ) -> None:
        """*control* is what *text* means, None if it means nothing: then *problem* says why."""
        #: "qf", "hf", "Qf"
        self.kind = kind
        self.text = text
        self.control = control
        self.problem = problem
        self.owner = found.st_uid
        self.mode = stat.S_IMODE(found.st_mode)
        #: when it is due (epoch seconds)
        self.mtime = found.st_mtime


def look(
    directory: QueueDirectory, qid: str, kind: str, owner: int | None = None
) -> QueueView | None:
    """The message, None if it is not there. *owner*: it must be theirs. Raise OSError."""
    try:
        file = os.open(kind + qid, READING, dir_fd=directory.descriptor)
    except FileNotFoundError:
        return None
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or owner not in (None, found.st_uid):
            return None
        text = files.read_to_limit(file, MAX_CONTROL)
    finally:
        os.close(file)
    try:
        return QueueView(kind, text, found, decode(text), "")
    except CorruptControlFile as error:
        return QueueView(kind, text, found, None, str(error))


def open_body(directory: QueueDirectory, qid: str, owner: int | None = None) -> int:
    """The df, open for reading, which the caller closes; -1 if it is no such file. Raise OSError."""
    try:
        file = os.open("df" + qid, READING, dir_fd=directory.descriptor)
    except FileNotFoundError:
        return -1
    found = os.fstat(file)
    if stat.S_ISREG(found.st_mode) and owner in (None, found.st_uid):
        return file
    os.close(file)
    return -1
