"""The listening sockets: bound or not, and what a port has of its own."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import pytest

from minimta.config.options import Options
from minimta.config.ports import Port
from minimta.listener.sockets import Server, bind
from tests.support.listening import Listening


def ports(*addresses: tuple[str, int]) -> Options:
    options = Options()
    options.daemon_ports = tuple(Port(address=address, port=port) for address, port in addresses)
    return options


def test_an_address_in_use_is_an_error_that_names_the_daemon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError) as caught:
            bind(ports(("127.0.0.1", 0), ("127.0.0.1", port)))
    assert (caught.value.errno, caught.value.filename) == (errno.EADDRINUSE, "MTA")


def test_a_host_without_ipv6_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Server.server_bind

    def no_ipv6(self: Server) -> None:
        if self.address_family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        real(self)

    monkeypatch.setattr(Server, "server_bind", no_ipv6)
    servers = bind(ports(("127.0.0.1", 0), ("::1", 0)))
    assert len(servers) == 1
    servers[0].server_close()
    with pytest.raises(OSError):
        bind(ports(("::1", 0)))


def test_an_optional_port_that_cannot_be_opened_is_left_out(lines: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        optional = Port(name="MSA", address="127.0.0.1", port=port, modifiers="O")
        options = ports()
        options.daemon_ports = (optional, Port(address="127.0.0.1", port=0))
        servers = bind(options)
        assert [server.port.name for server in servers] == ["MTA"]
        servers[0].server_close()
        assert lines == ["daemon MSA: cannot bind: Address already in use; it is optional"]
        options.daemon_ports = (optional,)
        with pytest.raises(OSError) as caught:  # nothing at all to listen to
            bind(options)
        assert (caught.value.errno, caught.value.filename) == (errno.EADDRINUSE, "MSA")


def test_a_port_that_cannot_be_opened_leaves_no_other_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        with pytest.raises(OSError):
            bind(ports(("127.0.0.1", port), ("127.0.0.1", taken.getsockname()[1])))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)


def test_sizes_of_buffers_are_those_of_the_port(start: Callable[..., Listening]) -> None:
    listening = start(Port(address="127.0.0.1", port=0, receive_size=5000, send_size=6000))
    assert listening.connect().answer().startswith("220")
    [inside] = listening.limits._inside
    sock = inside._stream._socket
    # The kernel doubles what was asked for, for its own bookkeeping: socket(7).
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 10000
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 12000


def test_so_many_connections_may_wait_as_the_port_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(socket.socket, "listen", lambda self, backlog: asked.append(backlog))
    for port in (Port(address="127.0.0.1", port=0, backlog=7), Port(address="127.0.0.1", port=0)):
        Server(port).server_close()
    assert asked == [7, 1024]
