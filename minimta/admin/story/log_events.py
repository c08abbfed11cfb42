"""What the mail log says of one message, and of those that it became or that tell of it.

    OLD: to=..., relay=[127.0.0.1], stat=Sent (NEW Message accepted for delivery)    taken over
    ID: NEW: DSN: User unknown                                                       a report about it

The log is read from the day before the message came: its id tells when that was. A log that cannot be
read is told; then nothing is concluded from what is not there.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from minimta.admin import mail_log
from minimta.admin.log_line import LoggedLine
from minimta.config.options import Options

_ID = r"[0-9A-Za-x]{8}[0-9]{6,12}"
#: what trace takes for an id
IS_ID = re.compile(_ID)
_TAKEN_OVER = re.compile(rf"Sent \(({_ID}) Message accepted for delivery\)")
_REPORT = re.compile(rf"({_ID}): (DSN|sender notify|return to sender|postmaster notify): (.*)")
#: lines of a story; a list of thousands has no more
_MOST = 2000
_DAY = 86400


@dataclass(frozen=True, slots=True)
class MessageLog:
    """The lines of a message, oldest first."""

    lines: tuple[LoggedLine, ...]
    #: what of the log could not be read
    gaps: tuple[str, ...]
    #: the id of the same message in the client queue, "" if it was not there
    before: str = ""
    #: its id in the MTA queue, if it was asked by the one before
    after: str = ""

    def reports(self) -> list[tuple[str, str, str]]:
        """(id, "DSN", what it says) of each report about it."""
        found = (_REPORT.match(line.text) for line in self.lines)
        return [(match[1], match[2], match[3]) for match in found if match]


def read(qid: str, options: Options, places: list[str], now: float) -> MessageLog:
    """All that the log says about *qid*; *places* are those of ``mail_log``."""
    since = created(qid, now) - _DAY
    gaps: list[str] = []
    mine, taken_over = _collect(qid, places, since, gaps.append)
    if taken_over and taken_over != qid:
        more, _ = _collect(taken_over, places, since, lambda text: None)
        return MessageLog(_ordered([*mine, *more]), tuple(gaps), after=taken_over)
    before = next((line.qid for line in mine if line.qid != qid), "")
    return MessageLog(_ordered(mine), tuple(gaps), before=before)


def _ordered(lines: list[LoggedLine]) -> tuple[LoggedLine, ...]:
    unique = {(line.time, line.pid, line.qid, line.text): line for line in lines}
    return tuple(sorted(unique.values(), key=lambda line: line.time))[:_MOST]


def _collect(
    qid: str, places: list[str], since: float, complain: Callable[[str], None]
) -> tuple[list[LoggedLine], str]:
    """Its lines with those that took it over into it, and what it was taken over as."""
    mine: list[LoggedLine] = []
    taken_over = ""
    for line in mail_log.read(places, since, complain):
        if qid not in line.qid and qid not in line.text:
            continue
        # Another program's number, or a subject, may have it in the middle of a line.
        match = _TAKEN_OVER.search(line.text)
        if line.qid == qid:
            mine.append(line)
            if match and "relay=[127.0.0.1]" in line.text:
                taken_over = match[1]
        elif match and match[1] == qid:
            mine.append(line)
    return mine, taken_over


_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx"


def created(qid: str, now: float) -> float:
    """When an id was made (see ``queue.qid``), epoch seconds; 0.0 if it says no time.

    *now* tells which 60 years are meant.
    """
    digits = [_DIGITS.find(letter) for letter in qid[:5]]
    year, month, day, hour, minute = digits
    if -1 in digits or month > 11 or not 1 <= day <= 31 or hour > 23:
        return 0.0
    this_year = time.gmtime(now).tm_year - 1900
    year = this_year - (this_year - year) % 60
    return float(calendar.timegm((year + 1900, month + 1, day, hour, minute, 0)))
