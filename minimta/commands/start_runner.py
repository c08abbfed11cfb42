"""``sendmail -q...``: which runner is started, and for which messages.

-q             one run in the background; with -v, or as -qf, in the foreground
-qI915 -q!Rx   one run for chosen messages: see queue/selectors
-qGmqueue      one run for the one queue group that there is
-q15m -qp15m   a resident runner: it tries what comes at once, and what is due every 15 minutes
-qf15m         the same in the foreground, for a service manager
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

    *run* is "15m", "p15m", "f15m", "f", "" or a selection. Raise UsageError for what is no interval.
    """
    text = run.removeprefix("p").removeprefix("f")
    if text in ("", "0") or run[:1] in (*_SELECTORS, "G"):
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


def start(command: Command, options: Options, reread: Callable[[], Options]) -> int:
    """Do what the values of -q ask for. Returns the exit code. Raise UsageError for a bad one.

    A single run in the background has not failed yet: 0, whatever becomes of it. A resident one has
    begun: 0, or there is one already: 75. In the foreground it waits for the end of another, and
    its exit code is ours. *reread* gives the options anew at each SIGHUP.
    """
    runs = command.queue_runs
    for run in runs:
        if run.startswith("G") and run[1:] != _GROUP:
            say(f"Queue group {log.clean(run[1:])} unknown")
            return os.EX_OK
    intervals = [interval for interval in map(interval_of, runs) if interval]
    if intervals:
        resident = _Resident(options, intervals[-1], command.argv, reread)
        if any(run.startswith("f") and interval_of(run) for run in runs):
            return processes.tended("queue runner", resident.in_foreground)
        return processes.start_daemon("queue runner", resident.in_background)
    selections = selections_of(runs)  # what is wrong with them is told before anybody forks
    if command.verbose or command.traffic_log or "f" in runs:
        return _run(options, selections, _listener(command))
    processes.in_background("queue runner", lambda: _run(options, selections, None))
    return os.EX_OK


def _listener(command: Command) -> Callable[[str], None] | None:
    """Who gets the lines of the run: the caller with -v, the traffic log with -X, or nobody."""
    told = say if command.verbose else None
    if not command.traffic_log:
        return told
    from minimta.system import traffic

    def hear(line: str) -> None:
        traffic.heard(line)
        if told:
            told(line)

    return hear


def _run(options: Options, selections: list[Selection], hear: Callable[[str], None] | None) -> int:
    from minimta.runner import queue_run

    return queue_run.run(options, selections, say=hear or say, verbose=hear is not None)


class _Resident:
    """The resident runner itself, which returns when it is told to end."""

    def __init__(
        self, options: Options, interval: int, argv: list[str], reread: Callable[[], Options]
    ) -> None:
        """*argv* is for the PidFile."""
        self._options = options
        self._interval = interval
        self._argv = argv
        self._reread = reread

    def in_foreground(self) -> int:
        """The service manager is told when it has begun, or waits for the end of another."""
        from minimta.system import notify

        return self._stay(notify.ready, waits=notify.ready)

    def in_background(self, ready: Callable[[], None]) -> int:
        """ready() lets the command that started us return; another runner is an error (75)."""
        return self._stay(ready)

    def _stay(self, ready: Callable[[], None], waits: Callable[[], None] | None = None) -> int:
        import signal

        import minimta
        from minimta.message import dates
        from minimta.runner import resident
        from minimta.runner.reload import Reload
        from minimta.system import pidfile

        processes.ignore_strays()
        mode = f"queueing@{dates.duration(self._interval)}"
        log.line("", f"starting daemon ({minimta.__version__}): {mode}", level=1)
        ended = processes.signal_flag(signal.SIGTERM, signal.SIGINT)
        reload = Reload(self._options, self._reread)

        def begins() -> None:
            pidfile.write(self._options.pid_file, self._argv)
            ready()

        def ends() -> None:
            pidfile.remove(self._options.pid_file)

        try:
            return resident.stay(
                self._options,
                self._interval,
                ended,
                begins=begins,
                waits=waits,
                ends=ends,
                renewed=reload.renewed,
            )
        finally:
            ends()
