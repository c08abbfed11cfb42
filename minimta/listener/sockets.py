"""The listening sockets of the daemon: one for each DaemonPortOptions, one accepting thread each.

The accepting thread itself answers 421 to a connection over the limits (limits.py): a flood of
connections costs no threads.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import socketserver
import time

from minimta.config.options import Options
from minimta.config.ports import Port
from minimta.listener.limits import ConnectionLimits
from minimta.listener.stream import plain_address
from minimta.system import log


class Server(socketserver.TCPServer):
    """A listening socket. Bound when made; accepts in accept_forever()."""

    allow_reuse_address = True

    def __init__(self, port: Port) -> None:
        """Raise OSError if the address cannot be had."""
        self.port = port
        self.limits: ConnectionLimits | None = None
        self.address_family = socket.AF_INET6 if port.family == "inet6" else socket.AF_INET
        self.request_queue_size = port.backlog
        super().__init__((port.address, port.port), socketserver.BaseRequestHandler)

    def server_bind(self) -> None:
        """Called by TCPServer before listen(2). Raise OSError if the address cannot be had."""
        # Accepted sockets inherit these, but only what was set before listen(2).
        for option, size in (
            (socket.SO_RCVBUF, self.port.receive_size),
            (socket.SO_SNDBUF, self.port.send_size),
        ):
            if size:
                self.socket.setsockopt(socket.SOL_SOCKET, option, size)
        if self.address_family == socket.AF_INET6:
            # 0.0.0.0 is another socket, perhaps another option.
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()

    def accept_forever(self) -> None:
        """Admit clients until stop(). serve_forever() would poll before every accept."""
        while True:
            try:
                request, client = self.get_request()
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.EBADF):
                    return  # shut down: see stop()
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

    def stop(self) -> None:
        """From another thread: no more connections; accept_forever() returns."""
        with contextlib.suppress(OSError):  # it is not listening
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes accept(2)


def bind(options: Options) -> list[Server]:
    """A server for each DaemonPortOptions. Raise OSError, whose ``filename`` names the daemon.

    What can be done without, while one port remains: a port with the modifier O, and those of an
    address family that the host does not have.
    """
    servers: list[Server] = []
    missing: OSError | None = None
    try:
        for port in options.daemon_ports:
            try:
                servers.append(Server(port))
            except OSError as error:
                missing = OSError(error.errno, error.strerror, port.name)
                why = _why_without(port, error)
                if not why:
                    raise missing from error
                log.line("", f"daemon {port.name}: cannot bind: {error.strerror}; {why}", level=1)
        if missing and not servers:
            raise missing
    except BaseException:
        for server in servers:
            server.server_close()
        raise
    return servers


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
