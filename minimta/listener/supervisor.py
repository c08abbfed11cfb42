"""The parent of the listener: owns the sockets, and at SIGHUP puts a new listener in the old one's place.

    SIGHUP    the options are read anew; a wrong file is logged, and nothing changes
              sockets that the new options want as well stay, others are opened
              a new listener is forked, and reads tables, certificate and key; if it cannot, it is
              logged, and nothing changes
              when it accepts, the old one is told to retire (see process), and when that accepts no
              more the log says so

A listener that says that it is stale is replaced in the same way, by one with the same options.

The sockets are never closed in between: a connection that comes meanwhile is accepted by either.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence

from minimta.config.commandline import UsageError
from minimta.config.file import ConfigError
from minimta.config.option import OptionError
from minimta.config.options import Options
from minimta.config.reload import refuse_changes
from minimta.listener.orders import CLOSED, ENDING, READY, RETIRE, STALE
from minimta.listener.sockets import Server, bind, close_all_but, take
from minimta.runner import asked_runs
from minimta.runner.asked_runs import AskedRuns
from minimta.system import log, processes
from minimta.system.activation import PassedSocket
from minimta.system.waiting import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.queue.directories import Queue

#: gives the options as they are now, and lets the log follow them. Raises ConfigError, OptionError
Reread = Callable[[], Options]

#: seconds for a listener to end when it was told to
PATIENCE = 10.0
#: seconds for a new listener to read what it needs: a certificate may be on a server that does not answer
_BEGINNING = 60.0
#: seconds between listeners that are replaced because they say so: who took one over would say it always
_RENEWAL = 30.0
#: listeners that retire at the same time; the oldest are ended
_MOST_RETIRED = 5
#: octets that are heard of a listener at a time, and orders of its clients
_READ, _MOST_ORDERS = 4096, 50


def _nothing() -> None:
    """Nobody waits to hear of it."""


class Supervisor:
    """All listeners of this daemon: one that accepts, perhaps one to come, and those that retire."""

    def __init__(
        self,
        options: Options,
        servers: list[Server],
        spool: Queue,
        reread: Reread,
        *,
        passed: Sequence[PassedSocket] = (),
        hands_over: bool = False,
    ) -> None:
        """*servers* are bound as *options* want it, or of sockets that were *passed* to this process.

        *spool* is for the first listener. What clients ask for is handed to the resident runner if this
        process *hands_over*: it may not deliver.
        """
        self.exit_code = 0
        self._options = options
        self._servers = servers
        self._spool: Queue | None = spool
        self._reread = reread
        self._passed = passed
        self._hands_over = hands_over
        self._current: _Child | None = None
        self._retired: list[_Child] = []
        #: the next one, until it accepts; with what it was given
        self._next: tuple[_Child, Options, list[Server]] | None = None
        #: the last one, until it accepts no more
        self._closing: _Child | None = None
        self._is_wanted = False
        self._news: Options | None = None
        self._forks_listener = False
        self._runs = AskedRuns()
        #: when a listener was replaced that said it was stale (monotonic seconds)
        self._renewed = -_RENEWAL
        #: where the log went before the configuration was read anew
        self._log = log.settings()
        signal.signal(signal.SIGHUP, self._note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def _let_go(self) -> None:
        """In any child but a listener: the sockets are not for it."""
        if not self._forks_listener:
            for server in (*self._servers, *(self._next[2] if self._next else ())):
                server.server_close()

    def start(self, inherits: Callable[[], None] = _nothing) -> None:
        """Fork the first listener, in which inherits() is called first. Raise OSError."""
        self._current = self._fork(self._options, self._servers, self._spool, inherits)
        assert self._spool is not None
        self._spool.close()
        # A delivery that outlives us would keep the ports, and nobody would answer there.
        os.register_at_fork(after_in_child=self._let_go)

    def _note(self, *unused: object) -> None:
        self._is_wanted = True

    def _fork(
        self,
        options: Options,
        servers: list[Server],
        spool: Queue | None,
        inherits: Callable[[], None] = _nothing,
    ) -> _Child:
        ours, theirs = socket.socketpair()
        parent = os.getpid()

        def be_child() -> int:
            inherits()
            ours.close()
            close_all_but(self._servers, servers)
            # What serves clients is not for the parent to keep, who does not.
            from minimta.listener import process

            return process.be_listener(options, servers, spool, theirs, parent)

        # It is told to end as soon as it can obey in good order.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        self._forks_listener = True
        try:
            return _Child(processes.fork("listener", be_child), ours)
        finally:
            self._forks_listener = False
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()

    # --- while it runs ----------------------------------------------------------------------------

    def awaited(self) -> Wait:
        """When look() is due again; after a signal, which the end of a child is, it is in any case."""
        due = math.inf
        if self._next is not None:
            due = _BEGINNING - self._next[0].age
        elif self._closing is None and self._is_wanted:
            due = 0.0
        elif self._closing is None and self._current is not None and self._current.says_stale:
            due = self._renewed + _RENEWAL - time.monotonic()
        heard = [child.descriptor for child in self._children()]
        return Wait([descriptor for descriptor in heard if descriptor >= 0], due)

    def look(self) -> None:
        """What has happened? To be called when what is awaited() has come. Raises nothing."""
        self._retired = [child for child in self._retired if not child.has_ended()]
        self._obey_clients()
        if self._next is not None:
            self._await_next(*self._next)
        elif self._closing is not None:
            self._await_closing(self._closing)
        elif self._is_wanted:
            self._is_wanted = False
            self._begin_reload()
        elif self._current is not None and self._may_renew() and self._current.is_stale():
            self._begin_renewal()

    def _obey_clients(self) -> None:
        """See that the queue runs are begun that clients have asked for (ETRN)."""
        self._runs.look()
        for child in (self._current, *self._retired):
            for order in child.orders() if child is not None else ():
                if self._hands_over:
                    asked_runs.hand_over(self._options.queue_directory, order)
                else:
                    self._runs.begin(order, self._options)

    def has_ended(self) -> bool:
        """Has the listener that accepts ended by itself?"""
        if self._current is None or not self._current.has_ended():
            return False
        self.exit_code = self._current.exit_code
        return True

    def renewed(self) -> Options | None:
        """The options that a new listener has brought, once; None if there are none."""
        news, self._news = self._news, None
        return news

    def _begin_reload(self) -> None:
        log.line("", "reload: reading the configuration anew, due to a signal", level=1)
        self._log = log.settings()
        try:
            options = self._reread()
            refuse_changes(self._options, options)
            servers = (
                take(options, self._passed) if self._passed else bind(options, kept=self._servers)
            )
        except (ConfigError, OptionError, UsageError) as error:
            for line in str(error).split("\n"):
                self._keep_old(line)
            return
        except OSError as error:
            where = f"daemon {error.filename}: " if error.filename else ""
            return self._keep_old(f"{where}{error.strerror or error}")
        self._start_next(options, servers)

    def _may_renew(self) -> bool:
        return time.monotonic() - self._renewed >= _RENEWAL

    def _begin_renewal(self) -> None:
        self._renewed = time.monotonic()
        text = "reload: a link or directory that the listener reads is new"
        log.line("", f"{text}; another one begins", level=1)
        self._log = log.settings()
        self._start_next(self._options, self._servers)

    def _start_next(self, options: Options, servers: list[Server]) -> None:
        try:
            self._next = (self._fork(options, servers, None), options, servers)
        except OSError as error:
            close_all_but(servers, self._servers)
            self._keep_old(f"cannot fork: {error.strerror}")

    def _keep_old(self, why: str) -> None:
        log.configure(*self._log)
        text = f"reload: nothing is changed: {log.clean(why, 400)}"
        log.line("", text, level=1, error=True)

    def _await_next(self, child: _Child, options: Options, servers: list[Server]) -> None:
        if child.is_ready():
            old, self._current = self._current, child
            assert old is not None
            old.retire()
            self._retired.append(old)
            close_all_but(self._servers, servers)
            self._options, self._servers, self._news = options, servers, options
            self._closing = old
            for one in self._retired[:-_MOST_RETIRED]:
                one.tell()
        elif child.has_ended():
            close_all_but(servers, self._servers)
            self._keep_old("the new listener could not begin; the lines before say why")
        elif child.age > _BEGINNING:
            child.kill()
            self._retired.append(child)  # which is where it is waited for
            close_all_but(servers, self._servers)
            why = f"the new listener has not begun in {_BEGINNING:g} seconds"
            self._keep_old(f"{why}; a file that it reads must be where nothing answers")
        else:
            return
        self._next = None

    def _await_closing(self, old: _Child) -> None:
        if old.has_closed() or old.has_ended():
            log.line("", "reload: done, the old listener ends its sessions", level=1)
            self._closing = None

    # --- the end ----------------------------------------------------------------------------------

    def _children(self) -> list[_Child]:
        following = [self._next[0]] if self._next else []
        return [child for child in (self._current, *following, *self._retired) if child]

    def tell(self) -> None:
        """Send SIGTERM to all listeners, once; nobody is accepted any more."""
        for server in self._servers:
            server.server_close()
        for child in self._children():
            child.tell()

    def end(self) -> None:
        """The same, and SIGKILL when it takes too long; returns when all have ended."""
        self.tell()
        end = time.monotonic() + PATIENCE
        for child in self._children():
            child.end(end)


class _Child:
    """A listener, as its parent sees it."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self._pid = pid
        self._control = control
        #: READY, CLOSED and STALE, if they were said; what else was, up to the end of a line
        self._heard = b""
        self._said = b""
        self._orders: list[bytes] = []
        self._is_silent = False
        self._told = False
        self._born = time.monotonic()
        self.exit_code = 0

    @property
    def age(self) -> float:
        """Seconds since it was forked."""
        return time.monotonic() - self._born

    @property
    def descriptor(self) -> int:
        """Where it speaks, -1 if it has said its last word."""
        return -1 if self._is_silent or not self._pid else self._control.fileno()

    @property
    def says_stale(self) -> bool:
        """Has it said that another is wanted, and nobody has asked is_stale() since?"""
        return STALE in self._heard

    def is_ready(self) -> bool:
        """Does it accept connections?"""
        return READY in self._listen()

    def has_closed(self) -> bool:
        """Does it accept no more?"""
        return CLOSED in self._listen()

    def is_stale(self) -> bool:
        """Has it said that another is wanted? Once each time that it has."""
        was_said = self.says_stale
        self._heard = self._heard.replace(STALE, b"")
        return was_said

    def _listen(self) -> bytes:
        """What it has said of itself."""
        said = b""
        try:
            said = self._control.recv(_READ, socket.MSG_DONTWAIT)
            self._is_silent = not said
        except BlockingIOError:
            pass
        except OSError:
            self._is_silent = True  # it has ended
        for word in (READY, CLOSED, STALE):
            # Both may stand between orders, but in none of them.
            if word in said:
                self._heard += word
                said = said.replace(word, b"")
        found, self._said = asked_runs.orders(self._said + said)
        self._orders += list(found)[: _MOST_ORDERS - len(self._orders)]
        return self._heard

    def orders(self) -> list[bytes]:
        """What clients have asked it for since the last time."""
        if self._pid:
            self._listen()
        found, self._orders = self._orders, []
        return found

    def retire(self) -> None:
        """Let it end its sessions, and then itself."""
        with contextlib.suppress(OSError):  # it has ended
            self._control.send(RETIRE)

    def has_ended(self) -> bool:
        """Has it? Then it was waited for."""
        if self._pid:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._pid, self.exit_code = 0, abs(os.waitstatus_to_exitcode(status))
                self._control.close()
        return not self._pid

    def tell(self) -> None:
        """Send SIGTERM, once."""
        if not self._told and not self.has_ended():
            self._told = True
            os.kill(self._pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL; has_ended() says when that has come about."""
        if not self.has_ended():
            os.kill(self._pid, signal.SIGKILL)

    def end(self, deadline: float) -> None:
        """Wait for it, until *deadline* (time.monotonic()) without force."""
        self.tell()
        while not self.has_ended():
            if time.monotonic() > deadline:
                self.kill()
            time.sleep(0.02)
