"""A message of so many recipients that it becomes several, each with its own df: all of them or none.

    df, tf        written and fsynced, part by part; each tf is locked, for no runner shall take one
                  part before the last is there
    tf -> qf      all of them, then made durable

What fails on the way removes all names again, as far as the disk obeys.
"""

from __future__ import annotations

import fcntl
import os

from minimta.queue import commit
from minimta.queue import qid as queue_id
from minimta.queue.control import Control, encode
from minimta.queue.directory import close
from minimta.queue.spool import Spool
from minimta.system import files

_BLOCK = 1 << 18


def accept(spool: Spool, qid: str, data: int, parts: list[Control], *, now: float) -> list[str]:
    """End a message whose df *data* is written, as *parts*: durable on return. Returns their ids.

    The first part is *qid*. Raise OSError or ValueError as Spool.accept: none is accepted, and *data*
    is still open.
    """
    ids, copies, locks = [qid], [], []
    try:
        for _ in parts[1:]:
            _, part, copy = spool.begin(queue_id.new(now), now)
            ids.append(part)
            copies.append(copy)
            _copy(data, copy)
        for part, file, control in zip(ids, [data, *copies], parts, strict=True):
            control.size = os.fstat(file).st_size
            text = encode(control)
            os.fsync(file)
            locks.append(spool.create_file("tf" + part))
            fcntl.flock(locks[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            files.write_all(locks[-1], text)
            os.fsync(locks[-1])
        for part in ids:
            commit.rename(spool, part)
        for renamed in locks:
            spool.sync_names(renamed)
    except BaseException:
        for part in ids:
            spool.withdraw(part)
        raise
    finally:
        for file in (*locks, *copies):
            close(file)
    close(data)
    return ids


def _copy(source: int, target: int) -> None:
    position = 0
    while block := os.pread(source, _BLOCK, position):
        files.write_all(target, block)
        position += len(block)
