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
from minimta.listener.limits import ConnectionLimits
from minimta.listener.stream import plain_address
from minimta.system import log


class Server(socketserver.TCPServer):
    """A listening socket. Bound when made; accepts in accept_forever()."""

    allow_reuse_address = True
    request_queue_size = 1024

    def __init__(self, name: str, address: str, port: int) -> None:
        """Raise OSError if *address* cannot be had."""
        self.name = name
        self.limits: ConnectionLimits | None = None
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), socketserver.BaseRequestHandler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            # 0.0.0.0 is another socket, perhaps another option.
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()

    def accept_forever(self) -> None:
        """Until the socket is shut down. serve_forever() would poll before every accept."""
        limits = self.limits
        assert limits is not None
        while not limits.is_stopping():
            try:
                request, client = self.get_request()
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.EBADF):
                    return  # shut down: see stop()
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.line("", f"SYSERR(root): accept: {error.strerror}", level=1, error=True)
                    time.sleep(0.2)  # until some connections have ended
                continue
            self.process_request(request, client)

    def process_request(self, request: object, client_address: object) -> None:
        assert self.limits is not None
        assert isinstance(request, socket.socket)
        assert isinstance(client_address, tuple)
        self.limits.admit(request, plain_address(client_address[0]), self.name)

    def stop(self) -> None:
        """From another thread: no more connections."""
        with contextlib.suppress(OSError):  # it was never listening
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes accept(2)


def bind(options: Options) -> list[Server]:
    """A server for each DaemonPortOptions. Raise OSError, whose ``filename`` names the daemon.

    A host without IPv6 does without ::1, if there is something else to listen to.
    """
    servers: list[Server] = []
    try:
        for name, address, port in options.daemon_ports:
            try:
                servers.append(Server(name, address, int(port)))
            except OSError as error:
                absent = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
                if absent and address == "::1" and servers:
                    log.line("", f"daemon {name}: no IPv6 here")
                    continue
                raise OSError(error.errno, error.strerror, name) from error
    except BaseException:
        for server in servers:
            server.server_close()
        raise
    return servers
