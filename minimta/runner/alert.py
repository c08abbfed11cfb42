"""AlertCommand: that mail does not go out is told by something that is not mail, once, and once that it does.

A resident runner looks once a minute, in a child of its own; a run by cron or by hand when it is through.
Whoever looks holds the lock of the state (``alert_state``), so that an outage is told by one of them; a
process that is killed between telling and remembering makes at most one alert more. Nothing here delays
mail: a child of the runner does it, which has its time, and what cannot be told is tried again later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from minimta.config.options import Options
from minimta.runner import alert_state, outage
from minimta.runner.alert_send import Alert, send
from minimta.runner.alert_state import AlertRecord, NotRemembered, StateFile, Trouble
from minimta.runner.outage import Outage
from minimta.system import hostnames, log
from minimta.system.safefile import Untrusted


def look(
    options: Options,
    names: Collection[str],
    *,
    tell: Callable[[Options, Alert], None] = send,
    clock: Callable[[], float] = time.time,
    find: Callable[[Options, Collection[str], float], Outage] = outage.look,
    run: str = "/run",
) -> bool:
    """Tell what is to be told; *names* are the ids in the queue. False: what was told is not remembered.

    *tell* does it; *clock* gives epoch seconds, *run* is where the state is if not beside the queue.
    Raises nothing.
    """
    if not options.alert_command:
        return True
    try:
        with alert_state.locked(options.queue_directory, run) as state:
            if state is not None:
                _act(options, state, find(options, names, clock()), tell, clock())
    except NotRemembered as error:
        _complain(f"alerts are not remembered: {error.strerror}")
        return False
    except OSError as error:
        _complain(f"no alert: {error.filename}: {error.strerror}")
    return True


def _act(
    options: Options,
    state: StateFile,
    found: Outage,
    tell: Callable[[Options, Alert], None],
    now: float,
) -> None:
    """Raise NotRemembered."""
    record = state.record
    if not alert_state.to_tell(record, found.trouble):
        better = alert_state.nothing_new(record, found.trouble)
        if better != record:
            state.write(better, now)
        return
    if alert_state.rests(record, now):
        return
    alert = _alert(options, record, found, now)
    try:
        tell(options, alert)
    except (OSError, Untrusted, ValueError) as error:
        why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        _complain(f"alert ({alert.event}) not sent: {log.clean(why)}")
        state.write(alert_state.could_not(record, now), now)
        return
    log.line("", f"alert ({alert.event}) sent: {alert.text}", level=1)
    state.write(alert_state.was_told(record, found.trouble, now), now)


def _alert(options: Options, record: AlertRecord, found: Outage, now: float) -> Alert:
    host = own_name(options)
    if found.trouble is Trouble.NONE:
        lasted = f" after {outage.spell(now - record.since)}" if 0 < record.since < now else ""
        return Alert("over", host, f"{host}: mail goes out again{lasted}")
    return Alert("trouble", host, f"{host}: mail does not go out: {found.text}")


def own_name(options: Options) -> str:
    """The name of this host, for people. Raises nothing."""
    try:
        return log.clean(hostnames.own_name(options))
    except OSError:
        return "localhost"


def _complain(text: str) -> None:
    log.line("", text, level=1, error=True)
