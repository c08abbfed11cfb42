"""``minimta ledger``: every accepted message, and where it ended; what does not add up is named.

The queue is looked at first, then the log is read: what came after that look is left out, and what
was done meanwhile has its line. Exit status 0: all is accounted for; 1: something is unknown; 66: no
log could be read; 77: not root.
"""

from __future__ import annotations

import calendar
import json
import os
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from minimta.admin import mail_log, when
from minimta.admin.arguments import parsed
from minimta.admin.checkout import AdminError
from minimta.admin.ledger_accounts import Ending, LedgerEntries, LedgerEntry, ending
from minimta.admin.log_line import LoggedLine
from minimta.admin.output import say
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.message import dates
from minimta.message.outcome import Fate
from minimta.queue import listing, pattern, permission
from minimta.system import log, safefile
from minimta.system.users import Users

#: exit status if something is unknown
UNBALANCED = 1
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx"
#: of the unknown so many are named
_NAMED = 1000
#: seconds by which the clock of whoever writes the log may differ from ours
_SLACK = 60.0


@dataclass(slots=True)
class Unknown:
    """A message of which it cannot be said where it ended."""

    qid: str
    time: float
    sender: str
    why: str


@dataclass(slots=True)
class Ledger:
    """The sums. Times are seconds since the epoch."""

    since: float
    #: when the queue was looked at
    until: float
    endings: Counter[Ending] = field(default_factory=Counter)
    #: recipients, by the words of their fates
    recipients: Counter[str] = field(default_factory=Counter)
    #: "smtp", "local", "report"
    origins: Counter[str] = field(default_factory=Counter)
    #: waiting ones by kind: "qf", "hf", "Qf", "client"
    waiting: Counter[str] = field(default_factory=Counter)
    unknown: list[Unknown] = field(default_factory=list)
    #: recipients who got a message once more, after a crash
    again: int = 0
    #: messages without a from= line
    without_begin: int = 0
    lines: int = 0
    complaints: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        """All messages."""
        return self.endings.total()

    @property
    def is_blind(self) -> bool:
        """Was no log read at all, because it could not be?"""
        return not self.lines and bool(self.complaints)

    def add(self, account: LedgerEntry) -> Ending:
        """Count a message; returns where it ended."""
        where, why = ending(account)
        self.endings[where] += 1
        self.again += account.again
        self.without_begin += not account.has_from
        self.origins[origin(account)] += 1
        if where is Ending.WAITING:
            self.waiting[account.queued] += 1
        elif where is Ending.UNKNOWN:
            told = Unknown(account.qid, account.time, account.sender, why)
            self.unknown.append(told)
        self.recipients.update(recipient_sums(account, where))
        return where


def recipient_sums(account: LedgerEntry, where: Ending) -> dict[str, int]:
    """Its recipients by what became of them."""
    failed = len(account.failed)
    found = {"delivered": account.sent, "discarded": account.thrown}
    if where is Ending.WAITING:
        lost = sum(fate is Fate.FAILED for fate in account.failed.values())
        found |= {"waiting": account.left, "returned": min(lost, failed)}
    elif where is Ending.UNKNOWN:
        found["unknown"] = max(1, account.done - account.sent, failed)
    elif where is Ending.DEAD_LETTER:
        found["dead-lettered"] = failed
    elif where is Ending.DISCARDED:
        found["discarded"] += max(1, failed) if not account.thrown else failed
    else:
        found |= {"returned": failed - account.untold if account.is_returned else 0}
        found["discarded"] += account.untold
    return {name: count for name, count in found.items() if count > 0}


def origin(account: LedgerEntry) -> str:
    """Where it came from: "report" if we wrote it, "local" from a user of this host, else "smtp"."""
    if account.relay == "localhost":
        return "report"
    return "local" if account.relay.endswith("@localhost") else "smtp"


def time_of(qid: str, now: float) -> float:
    """When the id was made, epoch seconds (see queue.qid); 0.0 if it says nothing sensible."""
    try:
        numbers = [_DIGITS.index(digit) for digit in qid[:6]]
        year = time.gmtime(now).tm_year
        # The nearest: the clock may have been ahead.
        year += (numbers[0] - (year - 1900) + 30) % 60 - 30
        return float(calendar.timegm((year, numbers[1] + 1, *numbers[2:6])))
    except (ValueError, OverflowError):
        return 0.0


def make(
    options: Options,
    places: Sequence[str],
    *,
    since: float = 0.0,
    now: float,
    host: str = "",
    watch: Callable[[LoggedLine], None] = lambda line: None,
    counted: Callable[[LedgerEntry, Ending], None] = lambda account, where: None,
) -> Ledger:
    """Add up. *places* are those of mail_log, *host* the only machine whose lines count.

    *watch* gets every line, *counted* every message. Raise OSError if a queue cannot be read.
    """
    ledger = Ledger(since, now)
    begun = time.monotonic()
    queued = _queued(options)
    accounts = LedgerEntries(_trusted(options))
    # A clock that was set back makes what became of a message older than it is.
    for line in mail_log.read(places, since, ledger.complaints.append, to_end=True):
        if host and line.host.partition(".")[0] != host.partition(".")[0]:
            continue
        if not line.time or line.time >= since:
            watch(line)
        accounts.take(line)
    for kind, one in queued:
        account = accounts.get(one.qid)
        # What "done" was written of after that look is over.
        if account.done < 0 and not account.is_discarded:
            account.queued, account.left = kind, len(one.recipients)
            account.time = account.time or float(one.created)
            account.sender = account.sender or log.clean(one.sender)
    ledger.lines = accounts.lines
    for account in _messages(accounts, since, now, time.monotonic() - begun + _SLACK):
        counted(account, ledger.add(account))
    return ledger


def _messages(
    accounts: LedgerEntries, since: float, now: float, reading: float
) -> Iterable[LedgerEntry]:
    """Those that count: accepted in that time, and not gone on under another id.

    From *now* on, epoch seconds, queue and log were read for so many seconds.
    """
    for account in accounts:
        if account.parts and account.qid not in account.parts and not account.queued:
            continue
        account.time = account.time or time_of(account.qid, now)
        # What waits is there whatever its time says. What is from later than we read did not come
        # meanwhile: the clock was ahead when it came.
        is_early = account.time <= now or account.time > now + reading or account.queued
        if account.is_message and since <= account.time and is_early:
            yield account


def _queued(options: Options) -> list[tuple[str, listing.Listed]]:
    """All messages with their kinds. Raise OSError."""
    found: list[tuple[str, listing.Listed]] = []
    own = {"qf": "qf", "hf": "hf", "Qf": "Qf"}
    for directory, kinds in (
        *((path, own) for path in pattern.paths(options)),
        (options.client_queue_directory, {"qf": "client", "Qf": "Qf"}),
    ):
        for kind, name in kinds.items():
            try:
                found += [(name, one) for one in listing.scan(directory, kind)]
            except FileNotFoundError:
                break
    return found


def _trusted(options: Options) -> set[int]:
    """Who may say what became of mail: root, the owner of the queue, RunAsUser."""
    uids = {0}
    try:
        uids.add(os.stat(options.queue_directory).st_uid)
        user = Users("").find(options.run_as_user.encode()) if options.run_as_user else None
        uids |= {user.uid} if user else set()
    except OSError:
        pass
    return uids


# --- the command ------------------------------------------------------------------------------------


def run(arguments: list[str]) -> int:
    """See above for the exit code. Raise AdminError."""
    given = parse("ledger", arguments)
    options = load(given.C)
    now = time.time()
    ledger = made(options, given, now)
    if given.json:
        say(json.dumps(as_json(ledger), indent=1))
    else:
        for line in told(ledger):
            say(line)
    return exit_code(ledger)


def exit_code(ledger: Ledger) -> int:
    """What ledger and report exit with."""
    if ledger.is_blind:
        return os.EX_NOINPUT
    return UNBALANCED if ledger.unknown else os.EX_OK


def made(
    options: Options,
    given: Namespace,
    now: float,
    watch: Callable[[LoggedLine], None] = lambda line: None,
    counted: Callable[[LedgerEntry, Ending], None] = lambda account, where: None,
) -> Ledger:
    """The ledger that arguments ask for. Raise AdminError."""
    if not permission.may_administer(options):
        raise AdminError(
            "only root may read the whole queue and the log of all; mailq shows what is yours",
            os.EX_NOPERM,
        )
    since, places, host = given.since, given.log, given.host
    try:
        begin = when.moment(since, now) if since else 0.0
    except ValueError as error:
        raise AdminError(f"--since: {error}", os.EX_USAGE) from error
    where = mail_log.places(options, places)
    return make(options, where, since=begin, now=now, host=host, watch=watch, counted=counted)


def parse(verb: str, arguments: list[str], **more: dict[str, str]) -> Namespace:
    """What ledger and report have in common, and options that take a value (name -> help). Raise AdminError."""
    parser = ArgumentParser(prog=f"minimta {verb}", exit_on_error=False)
    parser.add_argument("-C", metavar="FILE", help="configuration, instead of /etc/mail/minimta.cf")
    parser.add_argument("--since", default="", metavar="WHEN", help='"2h", "7d", "today", a date')
    parser.add_argument(
        "--log", action="append", default=[], metavar="PLACE", help='a log file, or "journal"'
    )
    parser.add_argument("--host", default="", metavar="NAME", help="of a log of many machines")
    parser.add_argument("--json", action="store_true", help="for programs")
    for name, settings in more.items():
        parser.add_argument(f"--{name}", **settings)  # type: ignore[arg-type]
    given = parsed(parser, arguments)
    for name in more:
        if getattr(given, name) == "":
            raise AdminError(f"--{name} names nothing", os.EX_USAGE)
    return given


def load(file: str | None) -> Options:
    """The configuration. Raise AdminError."""
    try:
        return config_file.load(file, [], safefile.why_untrusted)
    except config_file.ConfigError as error:
        raise AdminError(str(error), error.exit_code) from error


# --- words ------------------------------------------------------------------------------------------

_KINDS = {"qf": "queued", "hf": "held", "Qf": "put aside", "client": "in the client queue"}
_ORIGINS = {"smtp": "by SMTP", "local": "from this host", "report": "from minimta itself"}


def told(ledger: Ledger) -> list[str]:
    """What the command prints."""
    rows = [f"{'accepted':<14}{ledger.accepted:>8}{_among(ledger.origins, _ORIGINS)}"]
    for one in Ending:
        among = _among(ledger.waiting, _KINDS) if one is Ending.WAITING else ""
        rows.append(f"{one.value:<14}{ledger.endings[one]:>8}{among}")
    people = ", ".join(f"{count} {word}" for word, count in sorted(ledger.recipients.items()))
    rows.append(f"recipients: {people or 'none'}")
    if ledger.again:
        rows.append(f"{ledger.again} recipients got a message once more, as after a crash")
    if ledger.without_begin:
        rows.append(f"{ledger.without_begin} messages have no from= line: it is older, or was lost")
    rows += [f"{one.qid}: unknown: {_about(one)}{one.why}" for one in ledger.unknown[:_NAMED]]
    if (more := len(ledger.unknown) - _NAMED) > 0:
        rows.append(f"and {more} more")
    return [*rows, *(f"not read: {text}" for text in ledger.complaints), verdict(ledger)]


def verdict(ledger: Ledger) -> str:
    """The last line."""
    if ledger.is_blind:
        return "unknown: no log could be read, and what was in no queue is not in these figures"
    began = f"since {date(ledger.since)}" if ledger.since else "in the log and in the queue"
    if ledger.unknown:
        return (
            f"NOT balanced: {len(ledger.unknown)} of {ledger.accepted} messages {began} are unknown"
        )
    return f"balanced: all {ledger.accepted} messages {began} are accounted for"


def _about(one: Unknown) -> str:
    return f"accepted {date(one.time)} from {log.clean(one.sender) or '?'}: "


def date(seconds: float) -> str:
    """ "2026-11-30 10:00:00", local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", dates.local(seconds))


def _among(counts: Counter[str], words: dict[str, str]) -> str:
    told = ", ".join(f"{counts[key]} {word}" for key, word in words.items() if counts[key])
    return f"  ({told})" if told else ""


def as_json(ledger: Ledger) -> dict[str, object]:
    """What --json prints: counts by name, and the unknown ones; times are epoch seconds."""
    return {
        "since": ledger.since,
        "until": ledger.until,
        "balanced": not ledger.unknown and not ledger.is_blind,
        "accepted": ledger.accepted,
        "endings": {one.value: ledger.endings[one] for one in Ending},
        "recipients": dict(ledger.recipients),
        "origins": dict(ledger.origins),
        "waiting": {_KINDS[kind]: count for kind, count in ledger.waiting.items()},
        "delivered_again": ledger.again,
        "without_from_line": ledger.without_begin,
        "unknown": [
            {"id": one.qid, "time": one.time, "from": one.sender, "why": one.why}
            for one in ledger.unknown
        ],
        "log_lines": ledger.lines,
        "not_read": ledger.complaints,
    }
