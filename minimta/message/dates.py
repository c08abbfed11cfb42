"""Dates as mail writes them, from seconds since the epoch, which the caller brings: no clock here.

Names of days and months are English whatever the locale, as RFC 5322 wants them.
"""

from __future__ import annotations

import time

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


#: the first and the last second that a date is written for: years 1 and 9999 in any zone
_FIRST, _LAST = -62135510400.0, 253402214400.0


def local(seconds: float) -> time.struct_time:
    """The local time, for people; what lies beyond the calendar is its first or last day.

    A user may write any number into a letter of the client queue, and a log any date.
    """
    return time.localtime(min(max(seconds, _FIRST), _LAST))


def rfc5322(seconds: float) -> str:
    """RFC 5322 section 3.3 in local time: "Sun, 22 Nov 2026 09:36:57 +0000".

    DIFFERS: Sendmail writes the obsolete zone name "GMT" in UTC; a generator may not (section 4.3).
    """
    t = local(seconds)
    minutes = t.tm_gmtoff // 60
    zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday} {_MONTHS[t.tm_mon - 1]} {t.tm_year}"
        f" {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} {zone}"
    )


def asctime(seconds: float) -> str:
    """The date of a From_ line, local time: "Sun Nov 22 09:37:07 2026" (RFC 4155)."""
    t = local(seconds)
    return (
        f"{_DAYS[t.tm_wday]} {_MONTHS[t.tm_mon - 1]} {t.tm_mday:2}"
        f" {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} {t.tm_year}"
    )


def from_asctime(text: str) -> float | None:
    """The inverse of asctime(); None if *text* is no such date: anybody may have written the From_ line."""
    words = text.replace(":", " ").split()
    numbers = [int(word) for word in words[2:] if word.isascii() and word.isdigit()]
    if len(words) != 7 or len(numbers) != 5 or words[1] not in _MONTHS:
        return None
    day, hour, minute, second, year = numbers
    try:
        return time.mktime((year, _MONTHS.index(words[1]) + 1, day, hour, minute, second, 0, 0, -1))
    except (OverflowError, ValueError):
        return None


def queue_time(seconds: float) -> str:
    """The Q-Time of mailq, 16 columns of local time: "Sun Nov 22 09:37"."""
    return asctime(seconds)[:16]


def queue_time_verbose(seconds: float) -> str:
    """The Q-Time of ``mailq -v``: "Nov 22 09:37"."""
    return asctime(seconds)[4:16]


def compact(seconds: float) -> str:
    """The beginning of a Message-Id, UTC as the queue id: "202611220937"."""
    t = time.gmtime(seconds)
    return f"{t.tm_year}{t.tm_mon:02}{t.tm_mday:02}{t.tm_hour:02}{t.tm_min:02}"


def duration(seconds: float) -> str:
    """A delay as Sendmail's log writes it: "00:00:31", "1+02:03:04"."""
    total = max(0, int(seconds))
    days, rest = divmod(total, 86400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}+{clock}" if days else clock
