"""A log file and its rotated ones, oldest first, line by line: memory stays flat.

    mail.log  mail.log.1  mail.log.2.gz  mail.log-20261122  mail.log-20261122.gz  (also .bz2, .xz)

All are opened before the first is read, so that a rotation meanwhile neither hides nor doubles lines.
A compressed file that is cut short gives what it has. A last line without its end is being written,
and is left out.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from typing import IO, cast

from minimta.admin import log_dates, log_line
from minimta.admin.log_line import LONGEST, LoggedLine
from minimta.system import log

_ROTATED = re.compile(r"(?:\.\d{1,6}|[-.]\d{8}(?:[-_.]?\d{1,10})?)(?P<packed>\.gz|\.bz2|\.xz)?")
_NUMBER = re.compile(r"\.(\d{1,6})(?!\d)")
#: seconds between the writing of a line and that of its file: not all clocks are one
_SLACK = 60.0


def lines(
    path: str, since: float, complain: Callable[[str], None], *, to_end: bool = False
) -> Iterator[LoggedLine]:
    """Of *path* and its rotated files those lines that are not older than *since* (epoch seconds); with
    *to_end* all that stand behind the first of them, too.

    *complain* gets a sentence for each file that cannot be read, or not to its end.
    """
    opened = _open_all(path, since, complain)
    try:
        begin = _Begin(since, to_end=to_end)
        for name, file, changed in opened:
            yield from _lines_of(name, file, changed, begin, complain)
    finally:
        for _, file, _ in opened:
            file.close()


class _Begin:
    """From where on lines count."""

    def __init__(self, since: float, *, to_end: bool) -> None:
        self._since = since
        self._to_end = to_end

    def is_before(self, when: float) -> bool:
        """Does a line of then (0.0: it has no date) not count? Asked in the order of the lines."""
        if not when or when < self._since:
            return bool(when)
        if self._to_end:
            self._since = 0.0
        return False


def newest(path: str) -> float:
    """When the file was last written, epoch seconds; 0.0 if there is none or that cannot be known."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _open_all(
    path: str, since: float, complain: Callable[[str], None]
) -> list[tuple[str, IO[bytes], float]]:
    folder, base = os.path.split(path)
    try:
        names = [n for n in os.listdir(folder or ".") if _is_of(base, n)]
    except OSError as error:
        complain(f"{log.clean(folder)}: {error.strerror}")
        return []
    if not names:
        complain(f"{log.clean(path)}: there is no such file")
    opened: dict[tuple[int, int], tuple[str, IO[bytes], float]] = {}
    for name in sorted(names):  # of two names of one file the one without a number counts
        whole = os.path.join(folder, name)
        try:
            file = os.fdopen(os.open(whole, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        except OSError as error:
            complain(f"{log.clean(whole)}: {error.strerror}{_remedy(error)}")
            continue
        found = os.fstat(file.fileno())
        key = found.st_dev, found.st_ino
        if not stat.S_ISREG(found.st_mode) or found.st_mtime < since - _SLACK or key in opened:
            file.close()
            continue
        opened[key] = (whole, file, found.st_mtime)
    return sorted(opened.values(), key=lambda one: _order(base, one[0], one[2]))


def _order(base: str, path: str, changed: float) -> tuple[bool, int, float]:
    """Oldest first, as logrotate numbers them: the clock by which they were written may have been wrong."""
    end = os.path.basename(path)[len(base) :]
    number = _NUMBER.match(end)
    return not end, -int(number[1]) if number else 0, changed


def _is_of(base: str, name: str) -> bool:
    return name == base or (
        name.startswith(base) and _ROTATED.fullmatch(name[len(base) :]) is not None
    )


def _remedy(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return " (root and the group adm may read it)"
    return ""


def _unpacked(path: str, file: IO[bytes]) -> IO[bytes]:
    """*file* as it was before it was compressed."""
    if path.endswith(".gz"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if path.endswith(".bz2"):
        return bz2.BZ2File(file)
    return lzma.LZMAFile(file) if path.endswith(".xz") else file


def _lines_of(
    path: str, file: IO[bytes], changed: float, begin: _Begin, complain: Callable[[str], None]
) -> Iterator[LoggedLine]:
    year = 0
    try:
        first = next(_octets(_unpacked(path, file)), b"")
        if not first[:4].isdigit():
            file.seek(0)
            year = log_dates.first_year(_octets(_unpacked(path, file)), changed)
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        pass  # told below, where it is met again
    dates = log_dates.Dates(year or 1970)
    try:
        file.seek(0)
        for octets in _octets(_unpacked(path, file)):
            yield from _dated(octets, dates, begin)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        complain(f"{log.clean(path)}: read up to where it is damaged ({log.clean(str(error))})")


def _octets(file: IO[bytes]) -> Iterator[bytes]:
    """Lines without their ends; what is longer than LONGEST is none, nor is a last one without end."""
    while line := file.readline(LONGEST):
        if line[-1:] == b"\n":
            yield line[:-1]
            continue
        while line and line[-1:] != b"\n":
            line = file.readline(LONGEST)


def _dated(octets: bytes, dates: log_dates.Dates, begin: _Begin) -> Iterator[LoggedLine]:
    found = log_line.split(octets)
    if found is None:
        return
    when = (
        dates.of_bsd(found.bsd) if found.bsd else log_dates.of_iso(found.iso) if found.iso else 0.0
    )
    if begin.is_before(when):
        return
    qid, text = log_line.identified(found.text)
    for _ in range(found.times):
        yield LoggedLine(when, found.host, found.tag, found.pid, qid, text)
