"""How many connections are served: in all, for each port and client, and under load.

    421 because of                     until
    MaxDaemonChildren, children        fewer are open, of all or of the port
    RefuseLA, refuseLA                 the load average is below it
    ClientConn: row, or                fewer are open from its address, or its /64
    MaxConnectionsPerClient
    ClientRate: row                    it has connected less often in ConnectionRateWindowSize

ConnectionRateThrottle lets connections wait, so that no second brings more than so many.
The accepting threads ask, and turn away by themselves: a flood of connections costs no threads.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from minimta.config.ports import Port
from minimta.listener import proxy, rights
from minimta.listener.connection import Connection
from minimta.listener.peer import network
from minimta.listener.proxy import BadHeader
from minimta.listener.rates import ClientRates, PortThrottle
from minimta.listener.shared_state import SharedState
from minimta.listener.stream import Stream
from minimta.listener.threads import ThreadPool
from minimta.message import dates
from minimta.system import log, statistics

#: seconds until it is told again that connections are delayed
_DELAY_SILENCE = 90.0


class ConnectionLimits:
    """Who may connect, and who is connected. For all threads."""

    def __init__(self, shared: SharedState) -> None:
        self._shared = shared
        self._options = shared.options
        self._threads = ThreadPool()
        #: guards _inside; told when a connection leaves, once the end has begun
        self._changed = threading.Condition(threading.Lock())
        self._inside: set[Connection] = set()
        self._rates = ClientRates(self._options.connection_rate_window)
        self._throttles: dict[Port, PortThrottle] = {}
        self._refusing = ""
        #: when that began, and when it was told last (time.monotonic())
        self._refusing_since = self._told_refusing = 0.0
        self._silent_until = 0.0

    def admit(self, sock: socket.socket, ip: str, port: Port) -> None:
        """Serve a connection that came by *port* in a thread, or turn it away here."""
        self._delay(port)
        why_not = self._why_not(ip, port)
        if why_not:
            statistics.count("", "rejected")
            return _turn_away(sock, why_not)
        statistics.count("", "from")
        connection = Connection(Stream(sock), ip, port, self._shared)
        # Before its thread runs: close() must not miss it.
        with self._changed:
            self._inside.add(connection)
        self._shared.activity.note()
        try:
            self._threads.start(lambda: self._serve(connection))
        except RuntimeError as error:  # no more threads
            log.line("", f"SYSERR(root): cannot start thread: {error}", level=1, error=True)
            self._leave(connection)
            _turn_away(sock, f"421 4.3.2 {self._shared.host} Too busy")
        return None

    def _serve(self, connection: Connection) -> None:
        try:
            if not connection.port.proxies or self._is_told(connection):
                connection.run()
        finally:
            self._leave(connection)

    def _is_told(self, connection: Connection) -> bool:
        """Has the proxy told who the client is, and may that come in?"""
        balancer = connection.ip
        try:
            connection.hear_proxy()
            text = self._too_much_of(connection.ip, connection)
        except (BadHeader, OSError) as error:
            why = error.strerror or "" if isinstance(error, OSError) else ""
            text = f"421 4.7.0 {self._shared.host} PROXY header: {log.clean(why or str(error))}"
            self._note_proxy(balancer, connection.port, text)
        if text:
            connection.turn_away(text)
        return not text

    def _note_proxy(self, ip: str, port: Port, text: str) -> None:
        log.line("", f"daemon {port.name}: relay=[{ip}], reject={text}")

    def _leave(self, connection: Connection) -> None:
        with self._changed:
            self._inside.discard(connection)
            if self._shared.is_stopping:
                self._changed.notify_all()

    # --- limits -----------------------------------------------------------------------------------

    def _delay(self, port: Port) -> None:
        """ConnectionRateThrottle; DelayLA, DaemonPortOptions delayLA: this port takes one a second."""
        most = self._options.connection_rate_throttle
        if most and (pause := self._throttle(port, most).pause(time.monotonic())):
            self._note_delay(f"deferring connections on daemon {port.name}: {most} per second")
            time.sleep(pause)
        limit = port.delay_la or self._options.delay_la
        if not limit or (load := self._shared.load_average()) < limit:
            return
        facts = f"load average={load:.0f} >= {limit}"
        self._note_delay(f"delaying connections on daemon {port.name}: {facts}")
        time.sleep(1)

    def _throttle(self, port: Port, most: int) -> PortThrottle:
        return self._throttles.setdefault(port, PortThrottle(most))

    def _note_delay(self, text: str) -> None:
        """Log *text*, not more often than each minute or so."""
        if time.monotonic() > self._silent_until:
            self._silent_until = time.monotonic() + _DELAY_SILENCE
            log.line("", text, level=9)

    def _why_not(self, ip: str, port: Port) -> str:
        """The 421 for a client that may not come in now, "" if it may."""
        options = self._options
        for count, most in (
            (len(self._inside), options.max_daemon_children),
            (self._count(port) if port.children else 0, port.children),
        ):
            if most and count >= most:
                self._note_refusing(f"{port.name}: {count} children, max {most}")
                return f"421 4.3.2 {self._shared.host} Too many open connections; try again later"
        load = self._shared.load_average()
        limit = options.refuse_la if port.refuse_la is None else port.refuse_la
        if 0 < limit <= load:
            self._note_refusing(f"{port.name}: load average: {load:.0f}")
            return f"421 4.3.2 {self._shared.host} Load average too high; try again later"
        self._refusing = ""
        if not port.proxies:
            return self._too_much_of(ip)
        if proxy.is_named(ip, port.proxies):
            return ""  # the client is another, who is counted when it is known
        text = f"421 4.7.0 {self._shared.host} This port is for proxies (DaemonPortOptions HAProxy)"
        self._note_proxy(ip, port, text)
        return text

    def _count(self, port: Port) -> int:
        with self._changed:
            return sum(connection.port is port for connection in self._inside)

    def _too_much_of(self, ip: str, connection: Connection | None = None) -> str:
        """The 421 for a client that has connected too often, or has too many connections.

        Its own *connection*, if it is one already, does not count.
        """
        most_rate, most_open = self._limits_of(ip, is_direct=connection is None)
        if not (most_rate or most_open):
            return ""
        place, rate, text = network(ip), 0, ""
        if most_rate:
            with self._changed:
                rate = self._rates.count(place, time.monotonic())
        if rate > most_rate:
            text = "421 4.3.2 Connection rate limit exceeded."
        elif most_open and self._open(place, connection, at_least=most_open):
            text = "421 4.3.2 Too many open connections."
        if text:
            shown = f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"
            facts = f"arg1={shown}, arg2={ip}, relay={shown}, reject={text}"
            log.line("", f"ruleset=check_relay, {facts}")
        return text

    def _limits_of(self, ip: str, *, is_direct: bool = True) -> tuple[int, int]:
        """(connections a minute, open connections) of a client at *ip*, 0: no limit."""
        rate, most = None, None
        try:
            rows = self._shared.access_rows()
            rate, most = rows.number("clientrate", ip), rows.number("clientconn", ip)
        except (OSError, ValueError):
            pass  # its session will hear of it, and the log
        if most is None:
            is_here = is_direct and rights.may_relay(ip)
            most = 0 if is_here else self._options.max_connections_per_client
        return rate or 0, most

    def _open(self, place: str, but: Connection | None, *, at_least: int) -> bool:
        if len(self._inside) < at_least:
            return False
        with self._changed:
            others = (one for one in self._inside if one is not but)
            return sum(network(one.ip) == place for one in others) >= at_least

    def _note_refusing(self, why: str) -> None:
        """Log it once, not for every client, and then each RejectLogInterval."""
        now = time.monotonic()
        if not self._refusing:
            self._refusing_since = self._told_refusing = now
            log.line("", f"rejecting connections on daemon {why}", level=8)
        elif (every := self._options.reject_log_interval) and now - self._told_refusing >= every:
            self._told_refusing = now
            lasts = dates.duration(now - self._refusing_since)
            log.line("", f"have been refusing connections for {lasts} on daemon {why}", level=8)
        self._refusing = why

    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._inside)

    # --- the end ----------------------------------------------------------------------------------

    def is_empty(self) -> bool:
        """Is nobody connected?"""
        return not self._inside

    def begin_to_close(self) -> None:
        """421 to the idle; who is in the middle of a message may finish it."""
        with self._changed:
            self._shared.is_stopping = True
            inside = list(self._inside)
        for connection in inside:
            connection.wake()

    def close(self, seconds: float) -> bool:
        """421 to the idle, an end to the messages at hand; have all left after *seconds*?

        Those that have not are cut off, and get another second.
        """
        self.begin_to_close()
        if self._wait_until_empty(seconds):
            return True
        with self._changed:
            inside = list(self._inside)
        for connection in inside:
            connection.drop()
        return self._wait_until_empty(1.0)

    def _wait_until_empty(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._inside, seconds)


def _turn_away(sock: socket.socket, text: str) -> None:
    # The accepting thread does not wait until the client can take it.
    with contextlib.suppress(OSError):
        sock.send(text.encode("ascii", "replace") + b"\r\n", socket.MSG_DONTWAIT)
    sock.close()
