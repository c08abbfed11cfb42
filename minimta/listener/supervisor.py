"""The parent of the listener: owns the sockets, and puts a new listener in the place of one that is old or dead.

    SIGHUP    the options are read anew; a wrong file is logged, and nothing changes
              sockets that the new options want as well stay, others are opened
              a new listener is forked, and reads tables, certificate and key; if it cannot, it is
              logged, and nothing changes
              when it accepts, the old one is told to retire (see process), and when that accepts no
              more the log says so

A listener that says that it is stale is replaced in the same way, by one with the same options.

One that has died (kill -9, out of memory) takes only its own sessions along: that is logged, and another is
forked, again and again but not for ever (see ``restarts``). If the first one cannot begin there is no daemon.

The sockets are never closed in between: a connection that comes meanwhile is accepted by either, or waits.
"""

from __future__ import annotations

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
from minimta.listener.listener_child import ListenerChild
from minimta.listener.orders import ENDING
from minimta.listener.restarts import Restarts
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
#: seconds for an old one to accept no more: after that nobody waits for its word
_CLOSING = 30.0
#: seconds between listeners that are replaced because they say so: who took one over would say it always
_RENEWAL = 30.0
#: listeners that retire at the same time; the oldest are ended
_MOST_RETIRED = 5


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
        self._current: ListenerChild | None = None
        self._retired: list[ListenerChild] = []
        #: the next one, until it accepts; with what it was given
        self._next: tuple[ListenerChild, Options, list[Server]] | None = None
        #: the last one, until it accepts no more
        self._closing: ListenerChild | None = None
        #: when it was told to (monotonic seconds)
        self._told_to_close = 0.0
        self._is_wanted = False
        self._news: Options | None = None
        self._forks_listener = False
        self._inherits = _nothing
        self._restarts = Restarts()
        #: has any listener begun, and shall there be no more?
        self._has_begun = self._is_given_up = False
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
            close_all_but(self._all_servers(), ())

    def _all_servers(self) -> list[Server]:
        return [*self._servers, *(self._next[2] if self._next else ())]

    def start(self, inherits: Callable[[], None] = _nothing) -> None:
        """Fork the first listener, in which inherits() is called first, as in all others. Raise OSError."""
        self._inherits = inherits
        assert self._spool is not None
        self._current = self._fork(
            self._options, self._servers, spool=self._spool, has_to_listen=True
        )
        self._spool.close()
        self._spool = None
        # A delivery that outlives us would keep the ports, and nobody would answer there.
        os.register_at_fork(after_in_child=self._let_go)

    def _note(self, *unused: object) -> None:
        self._is_wanted = True

    def _fork(
        self,
        options: Options,
        servers: list[Server],
        *,
        spool: Queue | None = None,
        has_to_listen: bool = False,
    ) -> ListenerChild:
        """One that *has_to_listen* because nobody else does; it opens a queue itself without *spool*."""
        ours, theirs = socket.socketpair()
        parent = os.getpid()

        def be_child() -> int:
            self._inherits()
            for server in servers:
                server.forget()
            # Strangers talk with this one: it has no say in what others do, and no door to the runner's places.
            opened = [one.descriptor for one in spool.spools] if spool else []
            ports = map(Server.fileno, servers)
            processes.keep_only({theirs.fileno(), *ports, *opened, *log.descriptors()})
            log.configure(*log.settings())  # a new file of that name, as long as it may open that
            # What serves clients is not for the parent to keep, who does not.
            from minimta.listener import process

            return process.be_listener(
                options, servers, spool, theirs, parent, has_to_listen=has_to_listen
            )

        # It is told to end as soon as it can obey in good order.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        self._forks_listener = True
        try:
            return ListenerChild(processes.fork("listener", be_child), ours)
        finally:
            self._forks_listener = False
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()

    # --- while it runs ----------------------------------------------------------------------------

    def awaited(self) -> Wait:
        """When look() is due again; after a signal, which the end of a child is, it is in any case."""
        in_place_of_dead = 0.0 if self._is_given_up else self._restarts.due - time.monotonic()
        due = math.inf
        if self._next is not None:
            due = _BEGINNING - self._next[0].age
        elif self._closing is not None:
            due = self._told_to_close + _CLOSING - time.monotonic()
        elif self._is_wanted:
            due = 0.0
        elif self._current is not None and self._current.says_stale:
            due = self._renewed + _RENEWAL - time.monotonic()
        heard = [child.descriptor for child in self._children()]
        return Wait(
            [descriptor for descriptor in heard if descriptor >= 0], min(due, in_place_of_dead)
        )

    def look(self) -> None:
        """What has happened? To be called when what is awaited() has come. Raises nothing."""
        ended = [child for child in self._retired if child.has_ended()]
        if self._current is not None and self._current.has_ended() and not self._is_replaced():
            self._note_death(self._current)
        self._obey_clients()  # those that have ended may have said something, too
        self._retired = [child for child in self._retired if child not in ended]
        if self._restarts.is_due():
            self._restart()
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
        """Is there no listener, and shall there be none? Then ``exit_code`` is that of the last one."""
        return self._is_given_up

    def _is_replaced(self) -> bool:
        """Is it known that the listener has died, and another will come, or none?"""
        return self._is_given_up or self._restarts.is_wanted

    def _note_death(self, child: ListenerChild) -> None:
        """The listener that accepts has ended by itself; until there is another one connections wait."""
        self.exit_code = child.exit_code
        self._has_begun = self._has_begun or child.is_ready()
        pause = self._restarts.note_death() if self._has_begun else math.inf
        if pause < math.inf:
            then = "; another one begins" + (f" in {pause:g} seconds" if pause else "")
        else:
            self._is_given_up = True
            then = ", once more within a minute, and so does the daemon" if self._has_begun else ""
        text = f"the listener has ended {child.end_told}{then}"
        log.line("", text, level=1, error=True)

    def _restart(self) -> None:
        """Put another one in the place of the dead."""
        try:
            self._current = self._fork(self._options, self._servers, has_to_listen=True)
            self._restarts.note_start()
        except OSError as error:
            self._restarts.put_off()
            log.line("", f"no listener can be forked: {error.strerror}", level=1, error=True)

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
            self._next = (self._fork(options, servers), options, servers)
        except OSError as error:
            close_all_but(servers, self._servers)
            self._keep_old(f"cannot fork: {error.strerror}")

    def _keep_old(self, why: str) -> None:
        log.configure(*self._log)
        text = f"reload: nothing is changed: {log.clean(why, 400)}"
        log.line("", text, level=1, error=True)

    def _await_next(self, child: ListenerChild, options: Options, servers: list[Server]) -> None:
        if child.is_ready():
            old, self._current = self._current, child
            assert old is not None
            old.retire()
            self._retired.append(old)
            self._restarts.note_start()  # the old one may be dead
            close_all_but(self._servers, servers)
            self._options, self._servers, self._news = options, servers, options
            self._closing, self._told_to_close = old, time.monotonic()
            for one in self._retired[:-_MOST_RETIRED]:
                one.tell()
            self._await_closing(old)  # or nothing may happen for long: the dead say nothing
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

    def _await_closing(self, old: ListenerChild) -> None:
        if old.has_closed() or old.has_ended():
            log.line("", "reload: done, the old listener ends its sessions", level=1)
            self._closing = None
        elif time.monotonic() - self._told_to_close > _CLOSING:
            # It is stopped, or waits for a disk. What comes next is not for it to hold up.
            text = f"reload: done, but the old listener still accepts after {_CLOSING:g} seconds"
            log.line("", text, level=1, error=True)
            self._closing = None

    # --- the end ----------------------------------------------------------------------------------

    def _children(self) -> list[ListenerChild]:
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
