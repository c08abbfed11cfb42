"""Messages that are removed, or given back to the runner, as files and not for what stands in them.

    remove      a Qf, which cannot be read, or a letter in the client queue, which only its adoption
                reads: the control file, then df and af; in between its removal is made durable
    take_back   Qf becomes qf, when its fault is mended; what is still wrong puts it aside again

The lock of the control file is held meanwhile. For who administers the queue, and in the client queue
for the letter's owner.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from minimta.queue.directory import READING, QueueDirectory, is_still


def remove(
    directory: QueueDirectory, qid: str, kind: str = "Qf", *, owner: int | None = None
) -> bool:
    """Remove a message. False if it is not there, another has it, or it is not the *owner*'s.

    Raise OSError.
    """
    lock = _lock(directory, kind + qid)
    if lock < 0:
        return False
    try:
        found = os.fstat(lock)
        if owner not in (None, found.st_uid):
            return False
        directory.unlink(kind + qid)
        # A df that a power cut leaves alone is swept; a qf that it brings back must find its df.
        os.fsync(directory.descriptor if directory.may_list else lock)
        for name in ("df" + qid, "af" + qid):
            data = directory.find(name)
            if data is not None and stat.S_ISREG(data.st_mode) and data.st_uid == found.st_uid:
                directory.unlink(name)
    finally:
        os.close(lock)
    return True


def take_back(directory: QueueDirectory, qid: str) -> bool:
    """Make it a message again. False if it is not there, or another has it. Raise OSError.

    Raise FileExistsError if there is another message of this id.
    """
    lock = _lock(directory, "Qf" + qid)
    if lock < 0:
        return False
    try:
        for kind in ("qf", "hf"):
            if directory.find(kind + qid):
                raise FileExistsError(errno.EEXIST, "another message has this id", kind + qid)
        os.utime(lock)  # due now
        directory.rename("Qf" + qid, "qf" + qid)
        directory.sync_names(lock)
    finally:
        os.close(lock)
    return True


def _lock(directory: QueueDirectory, name: str) -> int:
    """A locked descriptor; -1 if there is no such file, or somebody has it."""
    try:
        file = os.open(name, READING, dir_fd=directory.descriptor)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        opened = os.fstat(file)
        if stat.S_ISREG(opened.st_mode) and is_still(directory.descriptor, name, opened):
            return file
    except BlockingIOError:
        pass
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return -1
