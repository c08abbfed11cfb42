"""Octets to and from open files, and names made durable: what read(2), write(2) and fsync(2) leave to do.

Everything here goes by descriptor and raises OSError as the call below it does.
"""

from __future__ import annotations

import errno
import os
from codecs import BOM_UTF8

#: octets that are asked for at a time: a limit of 16 MB shall not allocate 16 MB for a short file
_PIECE = 1 << 16


def write_all(file: int, octets: bytes | memoryview) -> None:
    """Write all of *octets*: write(2) may take less than it was given. Raise OSError."""
    rest = memoryview(octets)
    while rest:
        rest = rest[os.write(file, rest) :]


def read_to_limit(file: int, limit: int, start: int = 0) -> bytes:
    """A regular file's content from *start*, at most *limit* octets and one more: that one says
    that the file is too long. Where the descriptor stands does not matter. Raise OSError.
    """
    pieces, left = list[bytes](), limit + 1
    while left > 0:
        # To the end, whatever st_size said: the file may grow while we read.
        piece = os.pread(file, min(left, _PIECE), start + limit + 1 - left)
        if not piece:
            break
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def words(path: str) -> list[bytes]:
    """The words of a class file (local-host-names, trusted-users): one a line, or with blanks between.

    "#" begins a comment, as Sendmail reads its F lines. Raise OSError, also for what is no text.
    """
    text = _whole(path).removeprefix(BOM_UTF8)
    if b"\0" in text:
        raise OSError(errno.EINVAL, "is no text", path)
    lines = text.split(b"\n")
    return [word for line in lines for word in line.partition(b"#")[0].split()]


def numbered_words(path: str) -> list[tuple[int, bytes]]:
    """words() with the lines, from 1, where they stand. Raise OSError."""
    lines = _whole(path).removeprefix(BOM_UTF8).split(b"\n")
    if any(b"\0" in line for line in lines):
        raise OSError(errno.EINVAL, "is no text", path)
    return [
        (number, word)
        for number, line in enumerate(lines, 1)
        for word in line.partition(b"#")[0].split()
    ]


def read_if_there(path: str) -> bytes:
    """The whole of a file, b"" if it does not exist; every other trouble is an OSError.

    A file that cannot be read now is not a file that is not there: who took it for that would send
    local mail away because a disk had a bad moment.
    """
    try:
        return _whole(path)
    except FileNotFoundError:
        return b""


def _whole(path: str) -> bytes:
    """All of a file. Raise OSError, with the path."""
    # open() asks and says five things more of each file, and every submission reads four.
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(file, _PIECE):
            pieces.append(piece)
        return b"".join(pieces)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(file)


def may_exist(*paths: str) -> bool:
    """Is there one of these files, or can that not be known now? "" is none."""
    for path in paths:
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            pass
        return True
    return False


def sync_directory(path: str, dir_fd: int | None = None) -> None:
    """Make names in a directory durable that were made, changed or removed before. Raise OSError.

    *path* "." with *dir_fd* is for a directory that was opened with O_PATH, to pass only: fsync(2)
    does not take such a descriptor. PermissionError means that we may write there, but not list.
    """
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
