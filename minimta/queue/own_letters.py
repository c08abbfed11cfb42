"""Which letters of one's own wait in clientmqueue: a hint for ``mailq``, and for nothing else.

Users may put files into clientmqueue and open their own, but not list it (mode 1733). So who leaves a
letter there notes its id in a file beside it, ``own.UID``, a line each, that only they can read. It is
written after the letter is durable, and not fsynced: what is lost or wrong in it loses no mail. The
runner removes it when nothing waits any more.

Whatever has that name is judged before it is touched: somebody else may have put it there, a link to
a file of ours, a fifo. Such a thing costs its user the listing until the next queue run removes it.
The file has at most _MOST octets or so: of more than 4,000 waiting letters the oldest are left out.
"""

from __future__ import annotations

import os
import stat

from minimta.queue.directory import READING
from minimta.queue.qid import valid
from minimta.system import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.queue.directory import QueueDirectory

_PREFIX = "own."
#: octets of the file that are read
_MOST = 1 << 16
#: octets after which it is looked whose letters are gone
_STEP = 1 << 14


def note(directory: int, qid: str) -> None:
    """Note that the letter *qid* of this process's user waits. What fails is left."""
    try:
        file = _open(directory, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    except OSError:
        return
    try:
        before = os.fstat(file).st_size
        os.write(file, f"{qid}\n".encode("ascii"))
        if before // _STEP != os.fstat(file).st_size // _STEP:
            _forget_the_gone(directory, file)
    except OSError:
        pass  # no space for a hint
    finally:
        os.close(file)


def read(directory: int) -> list[str]:
    """The ids that were noted for this process's user, whether they still wait or not.

    Raise OSError if that cannot be known.
    """
    try:
        file = _open(directory, os.O_RDONLY)
    except FileNotFoundError:
        return []
    try:
        return _ids(file)
    finally:
        os.close(file)


def sweep(client: QueueDirectory) -> None:
    """Remove what stands in the place of another user's file, and all once no letter waits. For root.

    Raise OSError. A letter that comes at that moment may go without its hint.
    """
    names, misplaced, stuck = client.files(), list[str](), list[str]()
    is_empty = not any(name[:2] in ("qf", "Qf", "tf") and valid(name[2:]) for name in names)
    for name in names:
        uid = name.removeprefix(_PREFIX)
        if name == uid or not uid.isdigit():
            continue
        try:
            maker = _clear(client, name, uid, is_empty)
        except OSError as error:  # they arranged more than that; the other files still count
            stuck.append(f"{name} ({error.strerror})")
            continue
        if maker:
            misplaced.append(f"{name} (made by uid {maker})")
    for verb, some in ("removed", misplaced), ("cannot remove", stuck):
        if some:  # one line, however many somebody makes
            log.line("", f"{verb} {len(some)} misplaced: {', '.join(some[:5])}")


def _clear(client: QueueDirectory, name: str, uid: str, is_empty: bool) -> str:
    """Remove what has this *name* if it is no file of *uid*, or *is_empty*. Who made it, if not they."""
    found = client.find(name)
    if found is None:
        return ""
    is_theirs = stat.S_ISREG(found.st_mode) and str(found.st_uid) == uid
    if stat.S_ISDIR(found.st_mode):
        client.rename(name, f"stray.{found.st_ino}")
    elif is_empty or not is_theirs:
        client.unlink(name)
    return "" if is_theirs else str(found.st_uid)


def _open(directory: int, flags: int) -> int:
    name = f"{_PREFIX}{os.geteuid()}"
    file = os.open(name, flags | READING, 0o600, dir_fd=directory)
    found = os.fstat(file)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1:
        return file
    os.close(file)
    raise PermissionError(f"{name} was made by somebody else")


def _ids(file: int) -> list[str]:
    start = max(0, os.fstat(file).st_size - _MOST)
    lines = os.pread(file, _MOST, start).decode("ascii", "replace").split("\n")
    return list(dict.fromkeys(line for line in lines if valid(line)))


def _forget_the_gone(directory: int, file: int) -> None:
    kept = [qid for qid in _ids(file) if _is_there(directory, "qf" + qid, "Qf" + qid)]
    os.ftruncate(file, 0)
    os.write(file, "".join(f"{qid}\n" for qid in kept).encode("ascii"))


def _is_there(directory: int, *names: str) -> bool:
    for name in names:
        try:
            os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            continue
        return True
    return False
