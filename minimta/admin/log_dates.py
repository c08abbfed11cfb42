"""The dates of a log file as seconds since the epoch. RFC 3164 has neither a year nor a zone.

A file's last line was written before the file was last changed; from there back a year ends wherever
December comes before January. RFC 3164 is local time, RFC 3339 says its zone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime

_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: number for number, name in enumerate(_NAMES, 1)}
_IN_OCTETS = {name.encode("ascii"): number for name, number in _MONTHS.items()}
#: seconds that a line may be younger than its file: clocks are set
_DAY = 86400.0


def first_year(lines: Iterable[bytes], changed: float) -> int:
    """The year of the first of *lines*, a file that was last changed at *changed* (epoch seconds)."""
    ends, last, before = 0, b"", 0
    for line in lines:
        month = _IN_OCTETS.get(line[:3])
        if month is None:
            continue
        if month != before:
            day = last[4:6].decode("ascii", "replace")
            ends += _years_between(before, day, month, line[4:6].decode("ascii", "replace"))
        before, last = month, line
    year = time.localtime(changed).tm_year
    if before and _moment(year, last[:12].decode("ascii", "replace")) > changed + _DAY:
        year -= 1
    return year - ends


class Dates:
    """Of one file, asked line by line from its first to its last."""

    def __init__(self, year: int) -> None:
        """*year* is that of the first line."""
        self._year = year
        self._month, self._day = 0, ""
        #: the minute that was asked for last
        self._known: tuple[str, float] = ("", 0.0)

    def of_bsd(self, text: str) -> float:
        """ "Nov 22 09:12:41"; 0.0 if there is no such moment."""
        if self._known[0] != text[:12]:
            self._known = (text[:12], self._minute(text[:12]))
        minute = self._known[1]
        return minute + int(text[13:15]) if minute else 0.0

    def _minute(self, text: str) -> float:
        month = _MONTHS.get(text[:3], 0)
        if month != self._month:
            self._year += _years_between(self._month, self._day, month, text[4:6])
        if month:
            self._month, self._day = month, text[4:6]
        return _moment(self._year, text)


def of_iso(text: str) -> float:
    """ "2026-11-22T09:12:41.003127+01:00"; 0.0 if there is no such moment."""
    try:
        return datetime.fromisoformat(text.replace(",", ".")).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _years_between(before: int, day_before: str, month: int, day: str) -> int:
    """How many years end from one line to the next; months from 1, 0 is none.

    Lines of two processes change places: December 1 and November 30, January 1 and December 31.
    """
    if not before or not month:
        return 0
    if (before, day_before.strip(), month, day) == (1, "1", 12, "31"):
        return -1
    return 1 if month < before - 1 else 0


def _moment(year: int, text: str) -> float:
    """Of "Nov 22 09:12" in our own zone; 0.0 if there is no such moment."""
    try:
        month, day = _MONTHS[text[:3]], int(text[4:6])
        return time.mktime((year, month, day, int(text[7:9]), int(text[10:12]), 0, 0, 0, -1))
    except (KeyError, OverflowError, ValueError):
        return 0.0
