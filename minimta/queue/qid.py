"""Queue ids, 14 characters or more, as Sendmail makes them: ``YMDhmsSSPPPPPP``.

``6AM9CfOn000096`` is year 2026 (6), November (A), day 22 (M), 9 h (9), 12 min (C), 41 s (f), in
UTC; sequence ``On``; process 96. The sequence begins anywhere and goes up by one for every further
message of the process. Digits are of base 60: ``0-9A-Za-x``.

An id is unique among the files of a queue, because whoever makes one creates its df with O_EXCL and
takes the next id if that is there.
"""

from __future__ import annotations

import os
from time import gmtime

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx"
_ROUND = len(_DIGITS) ** 2

# next() is one step for the interpreter: threads never get the same number, and no lock can be left
# held in a forked child. The child goes on counting, under its own pid.
_sequence = iter(range(int.from_bytes(os.urandom(2), "big") % _ROUND, 1 << 62))
#: sequence -> second in which it was last used
_used: dict[int, int] = {}


def new(now: float) -> str:
    """The next id; *now* is epoch seconds. The caller takes another if a file of it exists."""
    sequence = next(_sequence) % _ROUND
    second = int(now)
    last = _used.get(sequence, 0)
    if second <= last <= second + 60:
        # The sequence went round within a second, or the clock was set back a little.
        second = last + 1
    _used[sequence] = second
    t = gmtime(second)
    moment = ((t.tm_year - 1900) % 60, t.tm_mon - 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec % 60)
    digits = (*moment, sequence // 60, sequence % 60)
    return "".join([_DIGITS[digit] for digit in digits]) + f"{os.getpid():06}"


def valid(name: str) -> bool:
    """Is it a queue id? Nothing else becomes part of a file name: no "/", no "..", no option."""
    return 14 <= len(name) <= 20 and name.isascii() and name.isalnum()
