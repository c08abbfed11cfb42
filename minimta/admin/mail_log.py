"""The mail log of this machine, wherever it is kept: one reader for all who tell from it.

    --log PLACE         files, or "journal": these, in this order
    LogTo=/PATH         that file and the rotated ones
    /var/log/mail.log   (maillog) and its rotated ones, if they are as fresh as the journal
    the journal         else: Debian 12 comes without a syslog daemon that writes files

Lines come oldest first, one at a time. What could not be read is told, once a file: who adds up must
not take a log that cannot be read for one in which nothing stands.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from minimta.admin import journal, log_files
from minimta.admin.log_line import LoggedLine
from minimta.config.options import Options

#: where syslog daemons keep it
USUAL = ("/var/log/mail.log", "/var/log/maillog")
JOURNAL = "journal"
#: seconds by which a file may be behind the journal
_BEHIND = 3600.0


def places(options: Options, asked: Sequence[str] = ()) -> list[str]:
    """Paths, or JOURNAL; *asked* as named on the command line."""
    if asked:
        return list(asked)
    own = [place for place in options.log_to.split(",") if place.startswith("/")]
    if own:
        return own[:1]
    fresh, path = max((log_files.newest(path), path) for path in USUAL)
    if fresh and journal.newest() <= fresh + _BEHIND:
        return [path]
    return [JOURNAL]


def read(
    where: Sequence[str],
    since: float,
    complain: Callable[[str], None],
    *,
    to_end: bool = False,
) -> Iterator[LoggedLine]:
    """All lines in these places that are not older than *since* (epoch seconds; 0.0: all).

    With *to_end* also all that stand behind one of these in a file, whatever their dates: a clock that was
    set back makes later lines older. *complain* gets a sentence for whatever cannot be read.
    """
    return itertools.chain.from_iterable(
        journal.lines(since, complain)
        if place == JOURNAL
        else log_files.lines(place, since, complain, to_end=to_end)
        for place in where
    )
