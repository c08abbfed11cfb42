"""mailstats: how much mail came and went, by mailer, as recorded from Sendmail 8.17.

    mailstats [-C cffile] [-c] [-P] [-f stfile] [-o] [-p]

-p prints for programs and begins anew, -P for programs alone, -o leaves out the names. Exit status 66:
there are no statistics.
"""

from __future__ import annotations

import os
from getopt import GetoptError, gnu_getopt

from minimta.config import file as config_file
from minimta.message import dates
from minimta.system import log, safefile, statistics
from minimta.system.statistics import Statistics
from minimta.system.terminal import complain, printed, say, wrong_option

USAGE = "usage: mailstats [-C cffile] [-c] [-P] [-f stfile] [-o] [-p]"
_HEAD = " M   msgsfr  bytes_from   msgsto    bytes_to  msgsrej msgsdis msgsqur"
_LINE = "=" * 69


def main(argv: list[str]) -> int:
    """Run the command; its exit code (sysexits)."""
    try:
        given, words = gnu_getopt(argv[1:], "cC:f:oPp")
        flags = dict(given)
        if words:
            complain(USAGE)
            return os.EX_USAGE
        path = flags["-f"] if "-f" in flags else _configured(flags.get("-C"))
    except GetoptError as error:
        return wrong_option("mailstats", error, USAGE)
    except config_file.ConfigError as error:
        complain(f"mailstats: {error}")
        return os.EX_NOINPUT if error.exit_code == os.EX_OSFILE else error.exit_code
    return _show(path, flags)


def _configured(file: str | None) -> str:
    """Raise ConfigError."""
    options = config_file.load(file, [], safefile.why_untrusted)
    return statistics.path_of(options.status_file, options.queue_directory)


def _show(path: str, flags: dict[str, str]) -> int:
    try:
        found = statistics.reset(path) if "-p" in flags else statistics.read(path)
    except BlockingIOError:
        complain(f"mailstats: {log.clean(path)}: another process keeps its lock; try again later")
        return os.EX_TEMPFAIL
    except OSError as error:
        complain(f"mailstats: {log.clean(path)}: {error.strerror}")
        return os.EX_NOPERM if isinstance(error, PermissionError) else os.EX_NOINPUT
    except statistics.NoStatistics as error:
        complain(f"mailstats: {log.clean(path)}: {error}")
        return os.EX_OSERR
    lines = told(found, programs="-p" in flags or "-P" in flags, names="-o" not in flags)
    say("\n".join(lines))
    return printed("mailstats", os.EX_OK)


def told(found: Statistics, *, programs: bool, names: bool) -> list[str]:
    """The lines; for *programs* without headings and units."""
    unit = "" if programs else "K"
    since = dates.asctime(found.since)
    lines = (
        [f"{found.since:.0f} {found.written:.0f}"]
        if programs
        else [f"Statistics from {since}", _HEAD + ("  Mailer" if names else "")]
    )
    for number, mailer in enumerate(statistics.MAILERS):
        row = found.of(mailer)
        if any(row):
            lines.append(_row(f"{number:2}", row, unit) + (f"  {mailer}" if names else ""))
    if not programs:
        lines.append(_LINE)
    lines.append(_row(" T", found.of(""), unit))
    into, out, rejected = found.connections()
    lines.append(
        f" C {into:8} {out:8} {rejected:6}"
        if programs
        else f" C {into:8}{'':12} {out:8}{'':12} {rejected:8}"
    )
    return lines


def _row(name: str, row: list[int], unit: str) -> str:
    came, came_in, went, went_out, *others = row
    first = f"{name} {came:8} {came_in:10}{unit} {went:8} {went_out:10}{unit}"
    return f"{first}   {others[0]:6}  {others[1]:6}  {others[2]:6}"
