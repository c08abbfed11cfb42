"""``minimta status``: what runs, what waits, what is free; one screen, and a Nagios plugin's exit codes.

    OK: 3 waiting, oldest 00:10:00 | waiting=3;100;1000;0 oldest=600s;14400;86400;0 held=0;;;0 ...

The first line is for Nagios and its kin (0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN), with what --warn and
--crit say of numbers and ages; mail that would be refused for want of space is critical without them.
--prometheus writes the same for node_exporter's textfile collector.
"""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass

from minimta.admin import ledger, prometheus
from minimta.admin.arguments import parsed
from minimta.admin.checkout import AdminError
from minimta.admin.mail_status import STATES, Status, look, read_log
from minimta.admin.output import say, unwritable_file
from minimta.config import quantities
from minimta.message import dates

OK, WARNING, CRITICAL, UNKNOWN = range(4)
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
# --- thresholds -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Threshold:
    """More than so many messages, or an oldest of more than so many seconds; None: never."""

    count: int | None = None
    age: int | None = None

    def is_passed(self, found: Status) -> bool:
        """Is one of them passed?"""
        return (self.count is not None and found.waiting > self.count) or (
            self.age is not None and found.age > self.age
        )


def threshold(words: list[str]) -> Threshold:
    """Of "100" (messages) and "4h" (age). Raise ValueError."""
    made = Threshold()
    for word in words:
        if word.isascii() and word.isdigit():
            made.count = int(word)
        else:
            made.age = quantities.interval(word, "")
    return made


def verdict(found: Status, warn: Threshold, crit: Threshold) -> int:
    """The exit code."""
    if not found.has_space or crit.is_passed(found):
        return CRITICAL
    return WARNING if warn.is_passed(found) else OK


# --- words ------------------------------------------------------------------------------------------


def told(found: Status, warn: Threshold, crit: Threshold) -> list[str]:
    """The screen; the first line is that of a Nagios plugin."""
    word = _WORDS[verdict(found, warn, crit)]
    oldest = f", oldest {dates.duration(found.age)}" if found.oldest else ""
    space = "" if found.has_space else ", no space (MinFreeBlocks): mail is refused"
    figures = [
        _figure("waiting", found.waiting, "", warn.count, crit.count),
        _figure("oldest", found.age, "s", warn.age, crit.age),
        _figure("held", found.states["held"]),
        _figure("put_aside", found.states["put aside"]),
        _figure("free", found.free_octets, "B"),
    ]
    first = f"{word}: {found.waiting} waiting{oldest}{space} | {' '.join(figures)}"
    rows = [
        ("daemon", f"running, pid {found.daemon}" if found.daemon else "none is running"),
        ("queue runner", "resident" if found.has_runner else "none is resident"),
        ("queue", ", ".join(f"{found.states[state]} {state}" for state in STATES)),
        ("oldest came", _moment(found.oldest, "nothing waits")),
        ("last attempt", _moment(found.last_attempt, "at what waits: none yet")),
        ("next is due", _due(found)),
        ("free", f"{found.free_octets >> 20} MiB, {found.free_inodes} inodes"),
    ]
    if found.totals:
        total = found.totals
        came, went = total["msgsfr"], total["msgsto"]
        rows.append(("counted", f"{came} came, {went} deliveries, {total['msgsrej']} rejected"))
    if found.refusals is not None:
        codes = ", ".join(f"{count} x {code}" for code, count in sorted(found.refusals.items()))
        rows.append(("last 24 hours", f"{found.deliveries} done; refused: {codes or 'none'}"))
    elif found.no_log:
        rows.append(("last 24 hours", f"unknown: no log could be read: {found.no_log}"))
    return [first, *(f"{name:<14} {text}" for name, text in rows)]


def _figure(
    name: str, value: int, unit: str = "", warn: int | None = None, crit: int | None = None
) -> str:
    marks = ("" if mark is None else str(mark) for mark in (warn, crit))
    return f"{name}={value}{unit};{';'.join(marks)};0"


def _moment(seconds: float, otherwise: str) -> str:
    return ledger.date(seconds) if seconds else otherwise


def _due(found: Status) -> str:
    if found.next_due and found.next_due <= found.now:
        return "at the next queue run"
    return _moment(found.next_due, "nothing")


# --- the command ------------------------------------------------------------------------------------


def run(arguments: list[str]) -> int:
    """A Nagios plugin's exit code. Raise AdminError for arguments, a file; for its writer, a configuration."""
    given, warn, crit = _parse(arguments)
    try:
        options = ledger.load(given.C)
    except AdminError as error:
        if given.prometheus:
            raise
        # A plugin is heard on standard output, and a sysexits code would be none of its four.
        say(f"UNKNOWN: {error}")
        return UNKNOWN
    try:
        found = look(options, time.time())
    except OSError as error:
        trouble = _unreadable(error, options.queue_directory)
        if given.prometheus:
            raise trouble from error
        say(f"UNKNOWN: {trouble}")
        return UNKNOWN
    if not given.no_log:
        read_log(found, options)
    if given.prometheus == "-":
        say(prometheus.text(found).removesuffix("\n"))
    elif given.prometheus:
        try:
            prometheus.write(given.prometheus, prometheus.text(found))
        except OSError as error:
            raise unwritable_file(error, given.prometheus) from error
    else:
        for line in told(found, warn, crit):
            say(line)
    return verdict(found, warn, crit)


def _unreadable(error: OSError, queue: str) -> AdminError:
    is_forbidden = isinstance(error, PermissionError)
    remedy = "root sees it; mailq shows what is yours" if is_forbidden else "see minimta check"
    text = f"{error.filename or queue}: {error.strerror}: {remedy}"
    return AdminError(text, os.EX_NOPERM if is_forbidden else os.EX_OSFILE)


def _parse(arguments: list[str]) -> tuple[Namespace, Threshold, Threshold]:
    """Raise AdminError, with UNKNOWN: a plugin's wrong arguments are no alarm."""
    parser = ArgumentParser(prog="minimta status", exit_on_error=False)
    parser.add_argument("-C", metavar="FILE", help="configuration, instead of /etc/mail/minimta.cf")
    for name in ("--warn", "--crit"):
        parser.add_argument(
            name, "-" + name[2], action="append", default=[], metavar="LIMIT",
            help='more messages than "100", or an oldest of more than "4h"; both may be given',
        )  # fmt: skip
    parser.add_argument("--no-log", action="store_true", help="do not read the log")
    parser.add_argument(
        "--prometheus",
        metavar="FILE",
        help="write metrics there, - for standard output",
    )
    try:
        given = parsed(parser, arguments)
        if given.prometheus == "":
            raise ValueError("--prometheus names nothing")
        return given, threshold(given.warn), threshold(given.crit)
    except AdminError as error:
        raise AdminError(
            str(error), UNKNOWN if error.exit_code == os.EX_USAGE else error.exit_code
        ) from error
    except ValueError as error:
        raise AdminError(f"{error}; see --help", UNKNOWN) from error
