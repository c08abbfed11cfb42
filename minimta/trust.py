"""May a file be believed? Walks from / by descriptors; nothing that others could have written counts.

Every directory on the way must belong to root or to the one whose file it is, and be closed to
others' writing. The words of a refusal are Sendmail's: "Group writable file".
"""

from __future__ import annotations

import errno
import os
import stat


class Untrusted(Exception):
    """The file is there, but others could have written it. The text says why."""


def read_trusted(path: str, uid: int, limit: int) -> bytes:
    """The content of *path*, which must be *uid*'s or root's and safe all the way from /."""
    owners = (0, uid) if os.geteuid() == 0 else (0, uid, os.geteuid())
    # DIFFERS from the plain rule "no links": people keep a .forward that points into a directory
    # of theirs, and Sendmail follows it. The way to where it points is walked as strictly.
    try:
        file = _open_walking(os.path.realpath(path, strict=True), owners)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # links in a circle; a socket
            raise Untrusted("Regular files only") from error
        raise
    try:
        _check_file(os.fstat(file), owners, limit)
        return _read_up_to(file, limit)
    finally:
        os.close(file)


def _open_walking(path: str, owners: tuple[int, ...]) -> int:
    directory = walk(os.path.dirname(path), owners)
    try:
        # Nonblocking: a fifo must not make us wait. No link: the path was resolved a moment ago.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return os.open(os.path.basename(path), flags, dir_fd=directory)
    finally:
        os.close(directory)


def _check_file(found: os.stat_result, owners: tuple[int, ...], limit: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Untrusted("Regular files only")
    reason = why_untrusted(found, owners)
    if reason:
        raise Untrusted(f"{reason} file" if reason.endswith("writable") else reason)
    if found.st_size > limit:
        raise Untrusted(f"Larger than {limit} octets")


def _read_up_to(file: int, limit: int) -> bytes:
    text = b""
    while len(text) <= limit:
        part = os.read(file, limit + 1 - len(text))
        if not part:
            return text
        text += part
    raise Untrusted(f"Larger than {limit} octets")


def walk(directory: str, owners: tuple[int, ...]) -> int:
    """Open an absolute *directory* step by step from /; the caller closes the descriptor.

    Raise Untrusted if one of the steps does not belong to *owners* or others may write there (a
    sticky directory is safe: nobody can replace what is not his); OSError as open(2).
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    here = os.open("/", flags)
    try:
        for name in directory.split("/"):
            if not name:
                continue
            # O_PATH: a directory that we may pass but not list is enough.
            below = os.open(name, flags | os.O_PATH, dir_fd=here)
            os.close(here)
            here = below
            found = os.fstat(here)
            reason = why_untrusted(found, owners)
            if reason and not (found.st_mode & stat.S_ISVTX and reason.endswith("writable")):
                raise Untrusted(f"{reason} directory" if reason.endswith("writable") else reason)
    except BaseException:
        os.close(here)
        raise
    return here


def why_untrusted(found: os.stat_result, owners: tuple[int, ...]) -> str:
    """Sendmail's words for what is wrong with who owns it and who may write it;  if nothing.

    Without root our own primary group counts as ourselves: a checkout under umask 002.
    """
    if found.st_uid not in owners:
        return "Wrong owner"
    private = os.geteuid() != 0 and found.st_gid == os.getegid()
    if found.st_mode & stat.S_IWGRP and not private:
        return "Group writable"
    return "World writable" if found.st_mode & stat.S_IWOTH else ""
