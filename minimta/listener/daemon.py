"""``sendmail -bd``, ``-bD`` and ``-bs``: processes, privileges, signals.

    started as        processes
    root, -bd -q15m   the runner, root, which the PidFile names; its child, the listener, RunAsUser
    root, -bd         one that only looks after the listener, root; the same child
    beside a -q15m    the same two; the first becomes the runner, and writes the PidFile, when that ends
    anyone            the same, all as the caller

The ports are bound by the first, or by the service manager that started it (system/activation); the first
keeps them, for listeners to come (see supervisor: SIGHUP).
The listener ends with the first. If it dies alone the first starts another (see supervisor).
"""

from __future__ import annotations

import errno
import math
import os
import signal
import time

import minimta
from minimta.config.options import Options
from minimta.listener.incoming_queue import open_spool
from minimta.listener.sockets import Server, bind, take
from minimta.listener.supervisor import Supervisor
from minimta.message import dates
from minimta.milter import input_filters
from minimta.system import activation, hostnames, locks, log, notify, pidfile, processes
from minimta.system.terminal import complain
from minimta.system.wakeup import WakeUp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minimta.listener.supervisor import Reread
    from minimta.system.activation import PassedSocket

#: seconds for the ports of a daemon that is ending
_RESTART = 2.0
_ENDING = {signal.SIGTERM, signal.SIGINT}


def run(
    options: Options,
    *,
    interval: int | None,
    queue_runner: bool,
    foreground: bool,
    command: list[str],
    reread: Reread,
) -> int:
    """Listen, and with *queue_runner* run the queue each *interval* seconds and for new messages.

    Returns the exit code when told to end (SIGTERM, SIGINT); without *foreground* once a child has
    taken over, else the service manager is told when all ports are open. *command* is the command
    line, for the PidFile; *reread* gives the options anew at each SIGHUP.
    """
    if why_not := input_filters.why_not(options):
        complain(f"sendmail: {why_not}")
        return os.EX_CONFIG
    _hold_signals()
    try:
        passed = activation.sockets()
        # Who listens as a service of its own is confined, or no root: it can run no queue.
        listeners = _opened(
            options, reread, passed, hands_over=not queue_runner and notify.is_awaited()
        )
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        complain(f"sendmail: {error.filename}: {error.strerror}")
        # DIFFERS: the code says that there is no daemon; Sendmail has gone to the background by now.
        return os.EX_OSERR

    def serve(ready: Callable[[], None]) -> int:
        mode = f"SMTP+queueing@{dates.duration(interval or 0)}" if queue_runner else "SMTP"
        log.line("", f"starting daemon ({minimta.__version__}): {mode}", level=1)
        begun = _Begun(options, command, ready)
        try:
            if queue_runner:
                return _run_both(options, listeners, interval, begun)
            # A service manager that opens our ports knows us.
            begun.listens_alone(writes_pid=not passed and not _names_the_runner(options))
            return _only_listen(listeners, options.pid_file)
        finally:
            pidfile.remove(options.pid_file)

    return serve(notify.ready) if foreground else processes.start_daemon("daemon", serve)


def _opened(
    options: Options, reread: Reread, passed: Sequence[PassedSocket], *, hands_over: bool
) -> Supervisor:
    """Who has queue and sockets, of which some may be *passed* to us. Raise OSError: no daemon can be."""
    hostnames.own_name(options)  # whoever greets must have one
    spool = open_spool(options)
    servers = take(options, passed) if passed else _bind(options)
    return Supervisor(options, servers, spool, reread, passed=passed, hands_over=hands_over)


def _nothing() -> None:
    """Nobody waits to hear that we have begun."""


def _names_the_runner(options: Options) -> bool:
    """Does the PidFile name a living runner? Then it is not for one who only listens."""
    is_resident = locks.is_resident(locks.beside(options.queue_directory))
    return is_resident and pidfile.names_another(options.pid_file)


class _Begun:
    """What is done when a daemon has begun."""

    def __init__(self, options: Options, command: list[str], ready: Callable[[], None]) -> None:
        """*command* is for the PidFile; ready() lets the command that started us return."""
        self._options = options
        self._command = command
        self._ready = ready
        self._is_in_foreground = ready is notify.ready

    def runs(self) -> None:
        """The queue is ours: the PidFile names us; scripts read it once the command has returned."""
        pidfile.write(self._options.pid_file, self._command)
        self.listens()

    def is_inherited(self) -> None:
        """In the listener, which is forked before that: nobody reads what it says."""
        if not self._is_in_foreground:
            processes.silence()

    def listens(self) -> None:
        """Another runner has the queue; until it ends we only listen."""
        ready, self._ready = self._ready, _nothing
        ready()

    def listens_alone(self, *, writes_pid: bool) -> None:
        """The queue is not for us to run; the PidFile may be for who does."""
        if self._options.redirect_all:
            from minimta.runner import redirect  # few hosts have the option

            redirect.announce(self._options)
        if writes_pid:
            pidfile.write(self._options.pid_file, self._command)
        self.listens()


def _hold_signals() -> None:
    """SIGHUP, SIGTERM and SIGINT wait until they can be obeyed in good order."""
    processes.ignore_strays()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, *_ENDING})


def _bind(options: Options) -> list[Server]:
    try:
        return _bind_in_time(options)
    except OSError as error:
        where = f"opendaemonsocket: daemon {error.filename}: cannot bind: {error.strerror}"
        log.line("NOQUEUE", f"SYSERR(root): {where}", level=1, error=True)
        log.line("", f"daemon {error.filename}: problem creating SMTP socket", level=1)
        raise OSError(
            error.errno, f"cannot bind: {error.strerror}", f"daemon {error.filename}"
        ) from error


def _bind_in_time(options: Options) -> list[Server]:
    """A daemon that was just told to end has its ports for a moment."""
    end = time.monotonic() + _RESTART
    while True:
        try:
            return bind(options)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > end:
                raise
        time.sleep(0.1)


# --- runner and listener ---------------------------------------------------------------------------


def _run_both(options: Options, listeners: Supervisor, interval: int | None, begun: _Begun) -> int:
    # Before a client is answered: who came first is the runner, whatever it has yet to load.
    try:
        held = _free_places(options)
    except OSError as error:
        complain(f"sendmail: cannot lock {error.filename}: {error.strerror or error}")
        return os.EX_OSERR
    _load_for_both()
    listeners.start(begun.is_inherited)
    told = processes.signal_flag(*_ENDING)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)

    def stop() -> bool:
        if told():
            listeners.tell()
        else:
            listeners.look()
        return told() or listeners.has_ended()

    try:
        code = _run_queue(options, interval, stop, begun, listeners, held)
    finally:
        listeners.end()
    return code or _ended(listeners, was_told=told())


def _load_for_both() -> None:
    """Import once what runner and listener would else import each for itself: a fork shares it, 2 MB."""
    import minimta.listener.process  # noqa: F401
    from minimta.system import tls

    tls.load()


def _free_places(options: Options) -> list[locks.Lock]:
    """That of the daemon and that of the runner, as far as they are free. Raise OSError, with its path."""
    held: list[locks.Lock] = []
    queue = options.queue_directory
    for path in (locks.of_daemon(queue), locks.beside(queue)):
        try:
            lock = locks.resident(path)
        except OSError as error:  # flock(2) names no file
            raise OSError(error.errno, error.strerror, path) from error
        if lock is None:
            break  # its end is waited for when clients are answered
        held.append(lock)
    return held


def _ended(listeners: Supervisor, *, was_told: bool) -> int:
    """Log why the daemon ends; the exit code."""
    reason = "signal" if was_told else "the listener has ended"
    log.line("", f"stopping daemon, reason={reason}", level=1)
    return os.EX_OK if was_told else listeners.exit_code or os.EX_SOFTWARE


def _only_listen(listeners: Supervisor, pid_file: str) -> int:
    """Look after the listener until told to end."""
    listeners.start()
    told = processes.signal_flag(*_ENDING)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    try:
        with WakeUp() as wake:
            while not told() and not listeners.has_ended():
                listeners.look()
                wake.wait([listeners.awaited()], math.inf)
    finally:
        pidfile.remove(pid_file)  # while the ports are ours: then comes another's
        listeners.end()
    return _ended(listeners, was_told=told())


def _run_queue(
    options: Options,
    interval: int | None,
    stop: Callable[[], bool],
    begun: _Begun,
    listeners: Supervisor,
    held: list[locks.Lock],
) -> int:
    """Be the runner until stop(), as soon as a runner without a listener is gone; the exit code.

    75 if another daemon runs the queue, or waits to. *held* is what _free_places() found.
    """
    from minimta.runner import resident

    lock, place = (*held, None, None)[:2]
    path = locks.of_daemon(options.queue_directory)
    try:
        lock = lock or locks.wait_for(path, stop, resident.RESTART)
    except OSError as error:
        complain(f"sendmail: cannot lock {path}: {error.strerror or error}")
        return os.EX_OSERR
    if lock is None:
        if stop():
            return os.EX_OK
        text = f"another daemon runs the queue {options.queue_directory}"
        log.line("", text, level=1, error=True)
        complain(f"sendmail: {text}")
        return os.EX_TEMPFAIL

    def ends() -> None:
        pidfile.remove(options.pid_file)
        lock.release()

    with lock:
        return resident.stay(
            options,
            interval,
            stop,
            begins=begun.runs,
            waits=begun.listens,
            ends=ends,
            renewed=listeners.renewed,
            also=listeners.awaited,
            place=place,
        )


def session_on_stdio(options: Options) -> int:
    """-bs: one session on standard input and output, for the user who runs it; the exit code."""
    from minimta.listener import stdio

    return stdio.serve(options)
