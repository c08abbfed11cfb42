"""``minimta report``: what the mail system did, as text or as one HTML file without scripts.

The sums are the ledger's. --html writes beside the file and renames, so that a web server never shows
half of it; the file is for whoever may read the mail log, mode 0640.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter

from minimta.admin import ledger, report_html
from minimta.admin.checkout import AdminError
from minimta.admin.ledger import Ledger
from minimta.admin.output import say, unwritable_file
from minimta.admin.report_figures import DELAYS, Figures, top

#: rows of a table
ROWS = 20


def run(arguments: list[str]) -> int:
    """The exit codes of ``minimta ledger``. Raise AdminError."""
    more = {
        "html": {
            "metavar": "FILE",
            "help": "write a page for browsers instead, - for standard output",
        }
    }
    given = ledger.parse("report", arguments, **more)
    if given.html and given.json:
        raise AdminError("either --html or --json, not both", os.EX_USAGE)
    options = ledger.load(given.C)
    figures, now = Figures(), time.time()
    sums = ledger.made(options, given, now, figures.watch, figures.counted)
    name = options.host_name or os.uname().nodename
    if given.json:
        say(json.dumps(ledger.as_json(sums) | as_json(figures), indent=1))
    elif given.html == "-":
        say(report_html.page(sums, figures, name, ROWS).removesuffix("\n"))
    elif given.html:
        try:
            write(given.html, report_html.page(sums, figures, name, ROWS))
        except OSError as error:
            raise unwritable_file(error, given.html) from error
    else:
        for line in told(sums, figures, name):
            say(line)
    return ledger.exit_code(sums)


def write(path: str, text: str) -> None:
    """Put *text* in the place of the file, whole or not at all. Raise OSError."""
    new = f"{path}.{os.getpid()}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)  # of one that was killed: in a container numbers of processes come again
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
    try:
        with os.fdopen(file, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise


def sections(figures: Figures) -> list[tuple[str, str, list[tuple[str, int]]]]:
    """(title, what is counted, rows) in their order."""
    delays = [(name, figures.delays[name]) for _, name in DELAYS]
    return [
        ("Mail by hour", "messages accepted", sorted(figures.hours.items())),
        ("Senders", "messages", top(figures.senders, ROWS)),
        ("Senders by size", "octets", top(figures.octets, ROWS)),
        ("Destinations", "recipients delivered", top(figures.destinations, ROWS)),
        ("Delays", "recipients delivered", delays if any(figures.delays.values()) else []),
        ("Delayed, by destination", "attempts", top(figures.deferred, ROWS)),
        ("Failed, by destination", "recipients", top(figures.failed, ROWS)),
        ("Refused", "commands", top(figures.refused, ROWS)),
    ]


def told(sums: Ledger, figures: Figures, name: str) -> list[str]:
    """The text."""
    lines = [f"Mail of {name} until {ledger.date(sums.until)}", "", *ledger.told(sums)]
    for title, unit, rows in sections(figures):
        if not rows:
            continue
        lines += ["", f"{title} ({unit})", "-" * (len(title) + len(unit) + 3)]
        lines += [f"{count:>10}  {label}" for label, count in rows]
    return lines


def as_json(figures: Figures) -> dict[str, object]:
    """What --json adds to the ledger's."""
    counts: dict[str, Counter[str]] = {
        "hours": figures.hours,
        "senders": figures.senders,
        "octets_by_sender": figures.octets,
        "destinations": figures.destinations,
        "delays": figures.delays,
        "delayed": figures.deferred,
        "failed": figures.failed,
        "refused": figures.refused,
    }
    return {name: dict(counter) for name, counter in counts.items()}
