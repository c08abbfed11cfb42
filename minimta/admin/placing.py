"""Files of the configuration, written beside their place and renamed into it, several together.

    with Placing() as placing:
        placing.add("/etc/mail/authinfo", octets, 0o600)
        ...                              what is beside may be tried: placing.aside(path)
        placing.commit()                 and without it nothing has changed

A file that is there keeps its mode and owner; a new one has the mode that add() is told, before there
is anything in it. A link stays a link: what it leads to is replaced. What is beside has a name that
nobody else gives, and is replaced by the next run if a run was killed; ``alone`` keeps two runs apart.
What fails is an OSError.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from types import TracebackType

from minimta.maps.cdbwriter import write_cdb
from minimta.maps.table import SUFFIX
from minimta.maps.text_table import numbered_rows
from minimta.system import files

#: what would end a process between two files of one change
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def alone(path: str) -> Iterator[None]:
    """Nobody else changes *path*, and what is changed with it, meanwhile.

    The lock is a file beside it, which is gone afterwards; what a killed process leaves is no lock.
    Raise BlockingIOError if another process is at it, OSError.
    """
    final = os.path.realpath(path)
    directory, name = os.path.split(final)
    os.makedirs(directory, 0o755, exist_ok=True)
    place = os.path.join(directory, f".{name}.minimta-lock")
    file = os.open(place, _LOCK_FLAGS, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its holder may have removed it, and somebody may have the next.
            if not _is_still(file, place):
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        except BlockingIOError as error:
            text = "another minimta setup or import is at work: try again when it is done"
            raise BlockingIOError(errno.EAGAIN, text, path) from error
        try:
            yield
        finally:
            os.unlink(place)
    finally:
        os.close(file)


def _is_still(file: int, place: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.lstat(place))
    except FileNotFoundError:
        return False


class Placing:
    """Files that are to change together."""

    def __init__(self) -> None:
        #: path -> (file beside it, path that it is renamed to)
        self._added: dict[str, tuple[str, str]] = {}

    def __enter__(self) -> Placing:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for aside, _ in self._added.values():
            with contextlib.suppress(OSError):
                os.unlink(aside)
        self._added.clear()

    @property
    def paths(self) -> list[str]:
        """What commit() will replace or make, in that order."""
        return list(self._added)

    def aside(self, path: str) -> str:
        """Where the new *path* is until commit(); *path* itself if it does not change."""
        return self._added[path][0] if path in self._added else path

    def add(self, path: str, octets: bytes, mode: int, *, is_secret: bool = False) -> None:
        """Write the new *path* beside it, durably. A secret file that is there has *mode*, too."""
        final = os.path.realpath(path)
        aside = "{}/.{}.minimta-new".format(*os.path.split(final))
        os.makedirs(os.path.dirname(final), 0o755, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)  # of a run that was killed
        self._added[path] = aside, final
        file = os.open(aside, _FLAGS, 0o600)
        try:
            self._as_before(file, final, mode, is_secret=is_secret)
            files.write_all(file, octets)
            os.fsync(file)
        finally:
            os.close(file)

    @staticmethod
    def _as_before(file: int, final: str, mode: int, *, is_secret: bool) -> None:
        try:
            found = os.stat(final)
        except FileNotFoundError:
            os.fchmod(file, mode)
            return
        if os.geteuid() == 0:
            os.fchown(file, found.st_uid, found.st_gid)
        os.fchmod(file, mode if is_secret else stat.S_IMODE(found.st_mode))

    def commit(self) -> None:
        """All of them take their places; a database that makemap had made of one is made anew."""
        with _undisturbed():
            for aside, final in self._added.values():
                os.rename(aside, final)
            for _, final in self._added.values():
                files.sync_directory(os.path.dirname(final))
                _renew_database(final)
            self._added.clear()


def _renew_database(path: str) -> None:
    """PATH.cdb counts before its text, and would hide the change. An alias file has its own way."""
    try:
        found = os.stat(path + SUFFIX)
    except FileNotFoundError:
        return
    if os.path.basename(path) == "aliases":
        return
    rows = [(key, value) for _, key, value in numbered_rows(path)]
    owner = (found.st_uid, found.st_gid) if os.geteuid() == 0 else None
    write_cdb(path + SUFFIX, rows, stat.S_IMODE(found.st_mode), owner)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
