"""The process that listens: what the daemon forks, now and at each SIGHUP, and when it has died.

It opens the queue and reads what only root may read; then it becomes RunAsUser for good before its
first thread is started, so that none can be left with root's rights.

    the parent            the listener
                   "+"    accepts connections
    "?"                   wants another in its place: what it reads is where its sandbox forbids it
    "r"                   retires: accepts no more,
                   "!"    lets its sessions come to their end, and exits
    "e@lab3.campus\n"     a client wants the queue run for lab3.campus: see ``etrn``
    SIGTERM               exits soon: 421 to the idle, GRACE seconds for the messages at hand
    is gone               the same
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable

from minimta.config.options import Options
from minimta.config.ports import Port
from minimta.listener import cpu_affinity, name_questions, starttls
from minimta.listener.cpu_affinity import OneProcessor
from minimta.listener.incoming_queue import open_spool
from minimta.listener.limits import ConnectionLimits
from minimta.listener.orders import CLOSED, ENDING, READY, RETIRE, STALE
from minimta.listener.shared_state import SharedState
from minimta.listener.sockets import Server
from minimta.milter import input_filters
from minimta.system import (
    log,
    privileges,
    processes,
    sandbox,
    service_credentials,
    statistics,
    waiting,
)
from minimta.system.tls_values import TlsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.queue.directories import Queue

#: seconds for the messages at hand when the end has been ordered
GRACE = 8.0
#: seconds for the sessions of a listener that retires, and then for the messages at hand
_LAST_SESSIONS, _LAST_MESSAGES = 30.0, 1800.0
#: seconds between two looks while sessions are at work, and while none is
_BUSY, _AT_REST = 0.5, 60.0
#: the same where the kernel does not say when the parent has gone (Linux before 5.3)
_WITHOUT_PIDFD = 0.5
#: seconds until it is looked again where the files are that are read, and until STALE is said again
_LOOK, _ASK_AGAIN = 2.0, 60.0
#: seconds for an accepting thread to see that it is to stop
_PATIENCE = 5.0
_MOST_FILES = 65536
#: options that name files which sessions read again when they change
# fmt: off
_TABLES = (
    "passwd_file", "local_host_names", "mailer_table", "virtuser_table", "access_file",
    "relay_domains", "auth_backend", "login_senders", "srs_key_file", "ca_cert_file", "ca_cert_path",
)
# fmt: on


class Listener:
    """What is served, and by which rules."""

    def __init__(
        self, options: Options, servers: list[Server], spool: Queue, *, has_to_listen: bool
    ) -> None:
        """Read what must be read as root; then be RunAsUser. Raise OSError.

        The first listener *has to listen*, and one that takes the place of a dead one: it does without
        TLS, or tables, rather than not to. Another is not wanted without what *options* name: the one
        before it has something to go on with.
        """
        _raise_file_limit()
        for server in servers:
            server.wake_alone()
        _load_all(options)
        if why_not := input_filters.why_not(options):
            raise OSError(0, why_not)
        tls = _server_tls(options) if has_to_listen else starttls.from_options(options)
        shared = SharedState(
            options,
            spool,
            ask=name_questions.ipv4_addresses,
            resolves=name_questions.resolves,
            has_null_mx=name_questions.has_null_mx,
            tls=tls,
        )
        _read_tables(shared) if has_to_listen else shared.read_tables()
        # Only filters look at a letter once it is written.
        spool.reads_back = shared.has_filters
        for one in spool.spools:
            if one.may_list:
                one.learn_leftovers()
        # Now: RunAsUser may neither write beside the queue nor, in its sandbox, open anything there.
        self._statistics = _statistics(options)
        self._processor = cpu_affinity.one_processor()
        privileges.become(options.run_as_user, with_groups=True)
        _need_queue(options, spool, has_to_listen=has_to_listen)
        _confine(options, spool)
        self._servers = servers
        self._limits = ConnectionLimits(shared)
        self._shared = shared
        self._threads = [
            threading.Thread(target=one.accept_forever, daemon=True) for one in servers
        ]

    def serve(self, control: socket.socket, parent: int) -> bool:
        """Accept connections until told to end or to retire by *control*, or by a signal.

        False if the process *parent* was gone before.
        """
        self._shared.ask_parent = lambda order: _ask(control, order)
        # First: who has answered a client, and dies then, did begin.
        with contextlib.suppress(OSError):  # the parent is gone, which orders will say
            control.send(READY)
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.limits = self._limits
            thread.start()
        keeper = threading.Thread(target=statistics.keep, args=(self._statistics,), daemon=True)
        keeper.start()  # of its own: a disk that hangs holds nobody up
        orders = _Orders(control, parent)
        watch = _Watch(self._shared, self._limits, self._processor, control)
        while not (orders.ends() or orders.retires):
            orders.wait(watch.look(orders.wake))
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.stop()
            thread.join(_PATIENCE)
            server.server_close()
        if orders.retires:
            with contextlib.suppress(OSError):
                control.send(CLOSED)
            self._retire(orders)
        if not self._limits.close(GRACE):
            log.line("", "some connections did not end in time", level=1)
        statistics.flush(self._statistics)
        return not orders.is_orphaned

    def _retire(self, orders: _Orders) -> None:
        """Let the sessions end by themselves; after a while those end that are between messages."""
        for seconds, step in (
            (_LAST_SESSIONS, None),
            (_LAST_MESSAGES, self._limits.begin_to_close),
        ):
            if step is not None:
                step()
            end = time.monotonic() + seconds
            while not (self._limits.is_empty() or orders.ends() or time.monotonic() > end):
                orders.wait(0.2)


def _ask(control: socket.socket, order: bytes) -> bool:
    """Tell the parent what a client wants; False if it does not hear now."""
    try:
        # In one piece, or not at all: threads say it at the same time.
        return control.send(order, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) == len(order)
    except OSError:
        return False


class _Watch:
    """What is looked after beside the sessions: often while they are at work, seldom else."""

    def __init__(
        self,
        shared: SharedState,
        limits: ConnectionLimits,
        processor: OneProcessor | None,
        control: socket.socket,
    ) -> None:
        """The parent is asked by *control* for another listener when this one is stale."""
        self._activity = shared.activity
        self._spool = shared.spool
        self._limits = limits
        self._processor = processor
        self._control = control
        self._looked = time.monotonic()
        #: when it is to be asked again whether we are stale
        self._asks_at = self._looked + _LOOK

    def look(self, wake: Callable[[], None]) -> float:
        """Returns the seconds until the next look; wake() is called if it has to be earlier."""
        now, is_busy = time.monotonic(), self._activity.is_new()
        if self._processor is not None:
            connections = self._limits.connections() if is_busy else 0
            self._processor.look(connections, now - self._looked)
        self._looked = now
        if now >= self._asks_at:
            # What goes into a queue that was moved away is looked for by nobody.
            is_stale = sandbox.is_elsewhere() or not self._spool.is_in_place()
            has_asked = is_stale and _ask(self._control, STALE)
            self._asks_at = now + (_ASK_AGAIN if has_asked else _LOOK)
        if not is_busy:
            self._activity.rest(wake)
        return _BUSY if is_busy else _AT_REST


class _Orders:
    """What the listener was told."""

    def __init__(self, control: socket.socket, parent: int) -> None:
        self.retires = self.is_orphaned = False
        self._control = control
        self._parent = parent
        # Every other thread has these signals blocked. Not sigtimedwait(2): that of CPython before
        # 3.12 returns garbage when a stop (SIGSTOP, docker pause, a debugger) outlasts its time.
        self._woken, self._wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        self._parent_ends = _pidfd(parent)
        self._told = processes.signal_flag(*ENDING)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def ends(self) -> bool:
        """Is it to end now?"""
        if not self.is_orphaned and os.getppid() != self._parent:
            self.is_orphaned = True
            log.line("", "the process that owns the ports is gone", level=1, error=True)
        return self._told() or self.is_orphaned

    def wait(self, seconds: float) -> None:
        """Until something is told, at most *seconds*."""
        control = -1 if self.retires else self._control.fileno()
        heard = [one for one in (self._woken, control, self._parent_ends) if one >= 0]
        if self._parent_ends < 0:
            seconds = min(seconds, _WITHOUT_PIDFD)
        found = waiting.readable(heard, seconds)
        if self._woken in found:
            os.read(self._woken, 100)
        if control in found:
            self.retires = self._control.recv(1) == RETIRE

    def wake(self) -> None:
        """From another thread: let wait() return."""
        with contextlib.suppress(OSError):  # it is full: somebody else has
            os.write(self._wakes, b"\0")


def _pidfd(process: int) -> int:
    """What can be read from when *process* has ended; -1 if there is no such thing."""
    try:
        return os.pidfd_open(process)
    except OSError:
        return -1


def be_listener(
    options: Options,
    servers: list[Server],
    spool: Queue | None,
    control: socket.socket,
    parent: int,
    *,
    has_to_listen: bool,
) -> int:
    """In a child of *parent*: listen until the end; the exit code.

    Only the first one gets a *spool*. For *has_to_listen* see Listener.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        spool = spool or open_spool(options)
        listener = Listener(options, servers, spool, has_to_listen=has_to_listen)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        text = f"cannot listen: {where}{error.strerror or error}"
        log.line("", log.clean(text, 500), level=1, error=True)
        return os.EX_OSERR
    return os.EX_OK if listener.serve(control, parent) else os.EX_SOFTWARE


def _server_tls(options: Options) -> starttls.ServerTls | None:
    """Our certificate and its key, while we are root; without it mail goes on in clear."""
    try:
        return starttls.from_options(options)
    except TlsError as error:
        why = f"{log.clean(error.reason, 400)}; STARTTLS is not offered"
        log.line("", f"STARTTLS=server, error: {why}", level=1, error=True)
        return None


def _read_tables(shared: SharedState) -> None:
    """Names, mailer table, who may do what, while we are root: RunAsUser may have no right to read.

    What cannot be read now is asked for again by every session; until then it answers 451.
    """
    try:
        shared.read_tables()
    except OSError as error:
        where = log.clean(f"{error.filename}: {error.strerror or error}")
        log.line("", f"SYSERR(root): {where}; mail is refused for now", level=1, error=True)


def _need_queue(options: Options, spool: Queue, *, has_to_listen: bool) -> None:
    """Can we, who are RunAsUser now, put mail into the queue? One directory of several is enough.

    Else all of it is refused for now; who *has to listen* only tells, others leave it to the one before them:
    raise OSError.
    """
    if any(one.may_be_filled() for one in spool.spools):
        return
    why = f"uid {os.geteuid()} may make no files there: see RunAsUser"
    trouble = OSError(errno.EACCES, why, spool.directory)
    if not has_to_listen:
        raise trouble
    where = f"SYSERR(root): {log.clean(spool.directory)}: {trouble.strerror}"
    log.line("", f"{where}; mail is refused for now", level=1, error=True)


def _statistics(options: Options) -> int:
    """The open file; -1 if there is none, which is told: nobody else notices."""
    path = statistics.path_of(options.status_file, options.queue_directory)
    file = statistics.open_file(path)
    if file < 0 and path != os.devnull:
        text = f"statistics: {log.clean(path)} cannot be written; what clients bring is not counted"
        log.line("", text, error=True)
    return file


def _confine(options: Options, spool: Queue) -> None:
    """Enter the sandbox, and tell what is on. A later listener has one of its own: its parent has none."""
    confined = sandbox.enter(options, _needs(options, spool))
    # Which logwatch(8) knows, as all that begins so.
    log.line("", f"starting daemon: sandbox: {confined.text}", level=9)
    for problem in confined.problems:
        log.line("", f"sandbox: {log.clean(problem)}", level=1, error=True)


def _needs(options: Options, spool: Queue) -> sandbox.Needs:
    """What sessions will ask for: tables, users; of the queue only to put into it.

    Logins are checked by sockets of this host, which no rule is about, and DNS by UDP, or by TCP.
    """
    tables = [getattr(options, name) for name in _TABLES]
    rows = options.mail_filters if spool.reads_back else ()
    filters = (row.port for row in rows if row.family != "unix")
    return sandbox.Needs(
        reads=(
            *options.alias_files,
            *(path for path in tables if path),
            service_credentials.directory(),
        ),
        # Of several queue directories also that in which another may be made.
        fills=tuple(
            {options.queue_directory: None} | {one.directory: None for one in spool.spools}
        ),
        reads_back=spool.reads_back,
        connects=(sandbox.DNS_PORT, *filters),
    )


def _raise_file_limit() -> None:
    """A connection is up to three descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if 0 <= soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _has_strangers(port: Port) -> bool:
    """Do clients from elsewhere come to that port, perhaps by a balancer on this host?"""
    return port.address not in ("127.0.0.1", "::1") or bool(port.proxies)


def _load_all(options: Options) -> None:
    """Import what sessions will want: RunAsUser may have no right to read our installation."""
    # text files, name lookups; syncfs(2) and getpwnam_r(3)
    loaded = ("encodings.ascii", "encodings.idna", "ctypes", "minimta.message.internationalized")
    for module in loaded:
        importlib.import_module(module)
    if options.server_cert_file:
        for module in ("hashlib", "ipaddress"):  # certificates of clients; who is inside
            importlib.import_module(module)
    if not options.trust_loopback or any(map(_has_strangers, options.daemon_ports)):
        name_questions.load()  # asked only about senders of clients from elsewhere
