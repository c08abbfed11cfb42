"""``sendmail -bd``, ``-bD`` and ``-bs``: processes, privileges, signals.

    started as        processes
    root, -bd -q15m   the runner, root, which the PidFile names; its child, the listener, RunAsUser
    root, -bd         the listener, RunAsUser
    beside a -q15m    the same two; the first becomes the runner, and writes the PidFile, when that ends
    anyone            the same, all as the caller

The ports are bound and the queue directory is opened as root; then the listener becomes RunAsUser
for good before its first thread is started, so that none can be left with root's rights. When one of
the two processes ends, so does the other.
"""

from __future__ import annotations

import errno
import importlib
import os
import resource
import select
import signal
import time
from _thread import start_new_thread

import minimta
from minimta.config.options import Options
from minimta.listener import starttls
from minimta.listener.limits import ConnectionLimits
from minimta.listener.shared_state import SharedState
from minimta.listener.sockets import Server, bind
from minimta.message import dates
from minimta.queue import commit
from minimta.queue.spool import Spool
from minimta.runner.redirect import announce
from minimta.system import dns, hostnames, locks, log, notify, pidfile, privileges, processes, users
from minimta.system.terminal import complain
from minimta.system.tls import TlsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: seconds for the messages at hand when the end has been ordered, and for the other process
GRACE, PATIENCE = 8.0, 10.0
#: seconds for the ports of a daemon that is ending
_RESTART = 2.0
_MOST_FILES = 65536
_ENDING = {signal.SIGTERM, signal.SIGINT}


def run(
    options: Options,
    *,
    interval: int | None,
    queue_runner: bool,
    foreground: bool,
    command: list[str],
) -> int:
    """Listen, and with *queue_runner* run the queue each *interval* seconds and for new messages.

    Returns the exit code when told to end (SIGTERM, SIGINT); without *foreground* once a child has
    taken over, else the service manager is told when all ports are open. *command* is the command
    line, for the PidFile.
    """
    _hold_signals()
    try:
        hostnames.own_name(options)  # whoever greets must have one
        spool = _open_spool(options)
        servers = _bind(options)
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        complain(f"sendmail: {error.filename}: {error.strerror}")
        # DIFFERS: the code says that there is no daemon; Sendmail has gone to the background by now.
        return os.EX_OSERR

    def serve(ready: Callable[[], None]) -> int:
        mode = f"SMTP+queueing@{dates.duration(interval or 0)}" if queue_runner else "SMTP"
        log.line("", f"starting daemon ({minimta.__version__}): {mode}", level=1)
        try:
            if queue_runner:
                return _run_both(options, servers, spool, interval, _Begun(options, command, ready))
            announce(options)
            if not _names_the_runner(options):
                pidfile.write(options.pid_file, command)
            ready()
            return _listen(options, servers, spool, parent=0)
        finally:
            pidfile.remove(options.pid_file)

    return serve(notify.ready) if foreground else processes.start_daemon("daemon", serve)


def _nothing() -> None:
    """Nobody waits to hear that we have begun."""


def _names_the_runner(options: Options) -> bool:
    """Does the PidFile name a living runner? Then it is not for one who only listens."""
    is_resident = locks.is_resident(locks.beside(options.queue_directory))
    return is_resident and pidfile.names_another(options.pid_file)


class _Begun:
    """What is done when a daemon that is to run the queue has begun."""

    def __init__(self, options: Options, command: list[str], ready: Callable[[], None]) -> None:
        """*command* is for the PidFile; ready() lets the command that started us return."""
        self._options = options
        self._command = command
        self._ready = ready

    def runs(self) -> None:
        """The queue is ours: the PidFile names us; scripts read it once the command has returned."""
        pidfile.write(self._options.pid_file, self._command)
        self.listens()

    def is_inherited(self) -> None:
        """In the listener, which is forked before that: nobody reads what it says."""
        if self._ready is not notify.ready:
            processes.silence()

    def listens(self) -> None:
        """Another runner has the queue; until it ends we only listen."""
        ready, self._ready = self._ready, _nothing
        ready()


def _hold_signals() -> None:
    """SIGHUP means nothing; SIGTERM and SIGINT wait until they can be obeyed in good order."""
    processes.ignore_strays()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)


def _open_spool(options: Options) -> Spool:
    """The MTA queue, for many threads. Raise OSError, also if RunAsUser cannot be used."""
    if os.geteuid() == 0 and options.run_as_user:
        user = users.Users("").find(options.run_as_user.encode())
        if user is None or not user.uid:
            why = "is root; leave the option empty to keep root" if user else "no such user"
            raise OSError(0, why, f"RunAsUser {options.run_as_user}")
    return Spool(options.queue_directory, commit=commit.committer(options.group_commit))


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


def _run_both(
    options: Options, servers: list[Server], spool: Spool, interval: int | None, begun: _Begun
) -> int:
    runner = os.getpid()

    def listen() -> int:
        begun.is_inherited()
        return _listen(options, servers, spool, parent=runner)

    child = processes.fork("listener", listen)
    for server in servers:
        server.server_close()
    spool.close()
    listener = _Child(child)
    told = processes.signal_flag(*_ENDING)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)

    def stop() -> bool:
        if told():
            listener.tell()
        return told() or listener.has_ended()

    try:
        code = _run_queue(options, interval, stop, begun)
    finally:
        listener.end()
    if not code:
        log.line("", "stopping daemon, reason=signal" if told() else _REASON, level=1)
    return code or (os.EX_OK if told() else listener.exit_code or os.EX_SOFTWARE)


def _run_queue(
    options: Options, interval: int | None, stop: Callable[[], bool], begun: _Begun
) -> int:
    """Be the runner until stop(), as soon as a runner without a listener is gone; the exit code.

    75 if another daemon runs the queue, or waits to.
    """
    from minimta.runner import resident

    path = locks.of_daemon(options.queue_directory)
    try:
        lock = locks.wait_for(path, stop, resident.RESTART)
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
    with lock:
        return resident.stay(
            options, interval, stop, begins=begun.runs, waits=begun.listens, ends=lock.release
        )


_REASON = "stopping daemon, reason=the listener has ended"


class _Child:
    """The listener, as seen by the runner."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._told = False
        self.exit_code = 0

    def has_ended(self) -> bool:
        if self._pid:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._pid, self.exit_code = 0, abs(os.waitstatus_to_exitcode(status))
        return not self._pid

    def tell(self) -> None:
        """Send SIGTERM, once."""
        if not self._told and not self.has_ended():
            self._told = True
            os.kill(self._pid, signal.SIGTERM)

    def end(self) -> None:
        """SIGTERM, and SIGKILL when it takes too long; returns when it has ended."""
        end = time.monotonic() + PATIENCE
        self.tell()
        while not self.has_ended():
            if time.monotonic() > end:
                os.kill(self._pid, signal.SIGKILL)
            time.sleep(0.02)


# --- listener --------------------------------------------------------------------------------------


def _listen(options: Options, servers: list[Server], spool: Spool, *, parent: int) -> int:
    """Serve until told to end, or until the process *parent* (0: none) is gone."""
    _raise_file_limit()
    _load_all(options)
    shared = SharedState(options, spool, resolves=dns.resolves, tls=_server_tls(options))
    _read_tables(shared)
    privileges.become(options.run_as_user)
    limits = ConnectionLimits(shared)
    for server in servers:
        server.limits = limits
        start_new_thread(server.accept_forever, ())
    was_told = _wait_until_told(parent)
    for server in servers:
        server.stop()
    if not limits.close(GRACE):
        log.line("", "some connections did not end in time", level=1)
    if not parent:
        log.line("", "stopping daemon, reason=signal", level=1)
    return os.EX_OK if was_told else os.EX_SOFTWARE


def _wait_until_told(parent: int) -> bool:
    """Until SIGTERM or SIGINT; False when the process *parent* (0: none) was gone before."""
    # Every other thread has these signals blocked. Not sigtimedwait(2): that of CPython before 3.12
    # returns garbage when a stop (SIGSTOP, docker pause, a debugger) outlasts its time.
    woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    told = processes.signal_flag(*_ENDING)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    while not told():
        if parent and os.getppid() != parent:
            log.line("", "the queue runner is gone", level=1, error=True)
            return False
        select.select([woken], (), (), 0.5)
    return True


def _server_tls(options: Options) -> starttls.ServerTls | None:
    """Our certificate and its key, while we are root; without it mail goes on in clear."""
    try:
        return starttls.from_options(options)
    except TlsError as error:
        why = f"{log.clean(error.reason, 400)}; STARTTLS is not offered"
        log.line("", f"STARTTLS=server, error: {why}", level=1, error=True)
        return None


def _read_tables(shared: SharedState) -> None:
    """Our names, the mailer table, who may do what, while we are root: RunAsUser may have no right to read them.

    What cannot be read now is asked for again by every session; until then it answers 451.
    """
    try:
        shared.read_tables()
    except OSError as error:
        where = log.clean(f"{error.filename}: {error.strerror or error}")
        log.line("", f"SYSERR(root): {where}; mail is refused for now", level=1, error=True)


def _raise_file_limit() -> None:
    """A connection is up to three descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if 0 <= soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _load_all(options: Options) -> None:
    """Import what sessions will want: RunAsUser may have no right to read our installation."""
    # text files, name lookups; syncfs(2) and getpwnam_r(3)
    for module in ("encodings.ascii", "encodings.idna", "ctypes"):
        importlib.import_module(module)
    if any(port.address not in ("127.0.0.1", "::1") for port in options.daemon_ports):
        dns.load()  # asked only about senders of clients from elsewhere


def session_on_stdio(options: Options) -> int:
    """-bs: one session on standard input and output, for the user who runs it; the exit code."""
    from minimta.listener import stdio

    return stdio.serve(options)
