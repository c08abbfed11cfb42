"""The listening sockets of the daemon: one for each DaemonPortOptions, one accepting thread each.

The accepting thread itself answers 421 to a connection over the limits (limits.py): a flood of
connections costs no threads.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import socketserver
import time
from collections.abc import Callable, Sequence

from minimta.config.options import Options
from minimta.config.ports import Port
from minimta.listener.addresses import plain_address
from minimta.system import log
from minimta.system.activation import PassedSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.listener.limits import ConnectionLimits


class Server(socketserver.TCPServer):
    """A listening socket. Bound when made; accepts in accept_forever()."""

    allow_reuse_address = True

    def __init__(self, port: Port, bound: socket.socket | None = None) -> None:
        """Raise OSError if the address cannot be had. *bound* is a socket that has it already."""
        self.port = port
        #: written to when it is to stop
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._is_stopping = False
        self.limits: ConnectionLimits | None = None
        self.address_family = socket.AF_INET6 if port.family == "inet6" else socket.AF_INET
        self.request_queue_size = port.backlog
        address = (port.address, port.port)
        super().__init__(address, socketserver.BaseRequestHandler, bind_and_activate=False)
        try:
            if bound is None:
                self.server_bind()
            else:
                self.socket.close()
                self.socket = bound
            self.server_activate()
        except BaseException:
            os.close(self._wake)
            self.socket.close()
            raise

    def server_activate(self) -> None:
        """Listen. Raise OSError."""
        # Accepted sockets inherit these, but only what was set before listen(2).
        for option, size in (
            (socket.SO_RCVBUF, self.port.receive_size),
            (socket.SO_SNDBUF, self.port.send_size),
        ):
            if size:
                self.socket.setsockopt(socket.SOL_SOCKET, option, size)
        super().server_activate()

    def server_bind(self) -> None:
        """Raise OSError if the address cannot be had."""
        if self.address_family == socket.AF_INET6:
            # 0.0.0.0 is another socket, perhaps another option.
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()

    def accept_forever(self) -> None:
        """Admit clients until stop()."""
        # Other processes may accept by the same socket: whoever comes too late must not hang.
        self.socket.setblocking(False)
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            poll.poll()
            if self._is_stopping:
                return
            try:
                request, client = self.get_request()
            except BlockingIOError:
                continue  # another process has it
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.EBADF):
                    return  # it is closed
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.line("", f"SYSERR(root): accept: {error.strerror}", level=1, error=True)
                    time.sleep(0.2)  # until some connections have ended
                continue
            try:
                self.process_request(request, client)
            except Exception:  # of one connection; the port stays
                log.bug("", "accept")
                request.close()

    def process_request(self, request: object, client_address: object) -> None:
        """Hand an accepted socket over to the limits."""
        assert self.limits is not None
        assert isinstance(request, socket.socket)
        assert isinstance(client_address, tuple)
        self.limits.admit(request, plain_address(client_address[0]), self.port)

    def wake_alone(self) -> None:
        """In a process that was forked: stop() of another one's is not for us. Raise OSError."""
        self.forget()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def stop(self) -> None:
        """From another thread: accept no more; accept_forever() returns. Others still may."""
        self._is_stopping = True
        os.eventfd_write(self._wake, 1)

    def forget(self) -> None:
        """Close all but the socket, which is another Server's as well."""
        if self._wake >= 0:
            wake, self._wake = self._wake, -1
            os.close(wake)

    def server_close(self) -> None:
        """Close it; may be called twice. Where no other process has it, nobody can connect any more."""
        self.forget()
        super().server_close()

    def is_for(self, port: Port) -> bool:
        """Is it bound to what *port* wants?"""
        ours = self.port
        mine, wanted = ((one.address, one.port, one.family) for one in (ours, port))
        return mine == wanted


def bind(options: Options, kept: Sequence[Server] = ()) -> list[Server]:
    """A server for each DaemonPortOptions. Raise OSError, whose ``filename`` names the daemon.

    The sockets of *kept* are taken over where they fit, and closed in no case.

    What can be done without, while one port remains: a port with the modifier O, and those of an
    address family that the host does not have.
    """
    servers: list[Server] = []
    bound = {server.socket: server for server in kept}
    missing: OSError | None = None
    try:
        for port in options.daemon_ports:
            try:
                found = next((one for one, server in bound.items() if server.is_for(port)), None)
                servers.append(Server(port, found))
                bound.pop(found, None)  # type: ignore[arg-type]
            except OSError as error:
                missing = OSError(error.errno, error.strerror, port.name)
                why = _why_without(port, error)
                if not why:
                    raise missing from error
                log.line("", f"daemon {port.name}: cannot bind: {error.strerror}; {why}", level=1)
        if missing and not servers:
            raise missing
    except BaseException:
        close_all_but(servers, kept)
        raise
    return servers


def take(options: Options, passed: Sequence[PassedSocket]) -> list[Server]:
    """A server for each socket that the service manager has opened; no other port is.

    A row of DaemonPortOptions is for the socket of its address and port, else of its name, else of its
    port alone; a socket that none is for is a port without modifiers. *options* then say the same.
    Raise OSError.
    """
    rows = list(options.daemon_ports)
    servers = []
    for one in passed:
        here = _place_of(one)
        row = next((row for like in _LIKE for row in rows if like(row, here)), None)
        if row is not None:
            rows.remove(row)
        servers.append(Server(here if row is None else row.at(here), one.socket))
    for row in rows:
        text = f"daemon {row.name}: the service manager has opened no port {row.port} for it"
        log.line("", log.clean(text), level=9)
    options.daemon_ports = tuple(server.port for server in servers)
    return servers


def _place_of(passed: PassedSocket) -> Port:
    address, port = passed.socket.getsockname()[:2]
    family = "inet6" if passed.socket.family == socket.AF_INET6 else "inet"
    return Port(name=passed.name or "MTA", address=address, port=port, family=family)


def _is_same_place(row: Port, here: Port) -> bool:
    return (row.address, row.port, row.family) == (here.address, here.port, here.family)


#: which row is for a socket, in this order
_LIKE: tuple[Callable[[Port, Port], bool], ...] = (
    _is_same_place,
    lambda row, here: row.name == here.name,
    lambda row, here: row.port == here.port and row.family == here.family,
)


def close_all_but(servers: Sequence[Server], kept: Sequence[Server]) -> None:
    """Close *servers*, but not the sockets that *kept* have as well."""
    sockets = {server.socket for server in kept}
    for server in servers:
        if server in kept:
            continue
        if server.socket in sockets:
            server.forget()
        else:
            server.server_close()


def _why_without(port: Port, error: OSError) -> str:
    """Why the daemon does without *port*, which could not be had; "" if it must not."""
    if "O" in port.modifiers:
        return "it is optional"
    if error.errno in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
        return "this host has no such addresses"
    if error.errno == errno.EADDRNOTAVAIL and port.family == "inet6" and not _has_ipv6():
        return "this host has no IPv6"
    return ""


def _has_ipv6() -> bool:
    """Not where it is switched off by sysctl: then sockets can be made, and bound to nothing."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
