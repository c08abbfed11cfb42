"""``sendmail -q...``: which runner is started, and for which messages.

-q             one run in the background; with -v, or as -qf, in the foreground
-qI915 -q!Rx   one run for chosen messages: see queue/selectors
-qGmqueue      one run for the one queue group that there is
-q15m -qp15m   a resident runner: it tries what comes at once, and what is due every 15 minutes
"""

from __future__ import annotations

import os

from minimta.config.commandline import UsageError
from minimta.config.quantities import interval
from minimta.system import log, processes
from minimta.system.terminal import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minimta.config.commandline import Command
    from minimta.config.options import Options
    from minimta.queue.selectors import Selection

_SELECTORS = "!IRSQL"
#: the only queue group there is
_GROUP = "mqueue"


def interval_of(run: str) -> int | None:
    """Seconds between the runs that a -q value asks for, None for a single one.

    *run* is "15m", "p15m", "f", "" or a selection. Raise UsageError for what is no interval.
    """
    text = run.removeprefix("p")
    if not text or text in ("f", "0") or run[:1] in (*_SELECTORS, "G"):
        return None
    try:
        return interval(text)
    except ValueError as error:
        unit = next((c for c in text if not c.isdigit()), text[-1])
        raise UsageError(f"Invalid time unit `{unit}'") from error


def selections_of(runs: list[str]) -> list[Selection]:
    """Which messages the values of -q choose; no selection is all. Raise UsageError."""
    chosen = [run for run in runs if run[:1] and run[0] in _SELECTORS]
    if not chosen:
        return []
    from minimta.queue.selectors import SelectionError, parse_selection

    try:
        return [parse_selection(run) for run in chosen]
    except SelectionError as error:
        raise UsageError(str(error)) from error


def start(command: Command, options: Options) -> int:
    """Do what the values of -q ask for. Returns the exit code. Raise UsageError for a bad one.

    A single run in the background has not failed yet: 0, whatever becomes of it. A resident one has
    begun: 0, or there is one already: 75.
    """
    runs = command.queue_runs
    for run in runs:
        if run.startswith("G") and run[1:] != _GROUP:
            say(f"Queue group {log.clean(run[1:])} unknown")
            return os.EX_OK
    intervals = [interval for interval in map(interval_of, runs) if interval]
    if intervals:
        return processes.start_daemon(
            "queue runner", lambda ready: _reside(options, intervals[-1], command.argv, ready)
        )
    selections = selections_of(runs)  # what is wrong with them is told before anybody forks
    if command.verbose or "f" in runs:
        return _run(options, selections, verbose=command.verbose)
    processes.in_background("queue runner", lambda: _run(options, selections, verbose=False))
    return os.EX_OK


def _run(options: Options, selections: list[Selection], *, verbose: bool) -> int:
    from minimta.runner import queue_run

    return queue_run.run(options, selections, say=say, verbose=verbose)


def _reside(options: Options, interval: int, argv: list[str], ready: Callable[[], None]) -> int:
    """The resident runner itself: returns when it is told to end. *argv* is for the PidFile."""
    import signal

    from minimta.runner import resident
    from minimta.system import pidfile

    processes.ignore_strays()
    ended = processes.signal_flag(signal.SIGTERM, signal.SIGINT)

    def begins() -> None:
        pidfile.write(options.pid_file, argv)
        ready()

    def ends() -> None:
        pidfile.remove(options.pid_file)

    try:
        return resident.stay(options, interval, ended, begins=begins, ends=ends)
    finally:
        ends()
