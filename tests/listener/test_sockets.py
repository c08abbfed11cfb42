"""The listening sockets: bound or not, and what a port has of its own."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

import pytest

from minimta.config.options import Options
from minimta.config.ports import Port, read
from minimta.listener import sockets
from minimta.listener.sockets import Server, bind
from minimta.system.activation import PassedSocket
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


_BOTH = [("127.0.0.1", 0), ("::1", 0)]


@pytest.mark.parametrize("places", [_BOTH, _BOTH[::-1], [("0.0.0.0", 0), ("::", 0)]])
@pytest.mark.parametrize(
    ("family", "lacking"),
    [
        (socket.AF_INET6, errno.EADDRNOTAVAIL),  # switched off by sysctl; IPv4 cannot be
        (socket.AF_INET6, errno.EAFNOSUPPORT),
        (socket.AF_INET, errno.EAFNOSUPPORT),
    ],
)
def test_a_host_that_lacks_an_address_family_does_without(
    monkeypatch: pytest.MonkeyPatch,
    lines: list[str],
    places: list[tuple[str, int]],
    lacking: int,
    family: int,
) -> None:
    real = socket.socket.bind

    def bind_other(self: socket.socket, address: tuple[str, int]) -> None:
        if self.family == family:
            raise OSError(lacking, os.strerror(lacking))
        real(self, address)

    monkeypatch.setattr(socket.socket, "bind", bind_other)
    [server] = bind(ports(*places))
    assert server.address_family != family
    server.server_close()
    [line] = lines
    assert line.startswith(f"daemon MTA: cannot bind: {os.strerror(lacking)}; this host has no ")
    with pytest.raises(OSError) as caught:
        bind(
            ports(*(place for place in places if (":" in place[0]) == (family == socket.AF_INET6)))
        )
    assert caught.value.errno == lacking


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_an_address_of_another_host_is_an_error_where_the_family_is_there(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(sockets, "_has_ipv6", lambda: True)
    real = Server.server_bind

    def no_such_address(self: Server) -> None:
        if self.port.address == address:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        real(self)

    monkeypatch.setattr(Server, "server_bind", no_such_address)
    with pytest.raises(OSError) as caught:
        bind(ports(("127.0.0.1", 0), (address, 0)))
    assert caught.value.errno == errno.EADDRNOTAVAIL


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


def test_a_connection_that_cannot_be_served_does_not_close_the_port(
    start: Callable[..., Listening], monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    listening = start()
    real, calls = listening.limits.admit, list[int]()

    def fails_once(sock: socket.socket, ip: str, port: Port) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise OSError(errno.EINVAL, "Invalid argument")
        real(sock, ip, port)

    monkeypatch.setattr(listening.limits, "admit", fails_once)
    assert listening.connect().answer() == ""
    assert listening.connect().answer().startswith("220")
    assert "Invalid argument" in lines[0]


def test_a_port_is_asked_only_when_somebody_has_come(
    start: Callable[..., Listening], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = Server.get_request, list[Server]()

    def counted(self: Server) -> tuple[socket.socket, object]:
        asked.append(self)
        return real(self)

    monkeypatch.setattr(Server, "get_request", counted)
    listening = start()
    for number in (1, 2):
        assert listening.connect().answer().startswith("220")
        assert len(asked) == number


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


@pytest.mark.parametrize(
    ("row", "name", "modifiers"),
    [
        ("Name=X, Addr=127.0.0.1, Port=%d, M=E", "odd", "E"),  # its address and port
        ("Name=MSA, Addr=192.0.2.1, Port=1, M=E", "MSA", "E"),  # its name
        ("Name=X, Addr=0.0.0.0, Port=%d, M=E", "odd", "E"),  # its port alone
        ("Name=X, Addr=127.0.0.1, Port=1, M=E", "odd", ""),
    ],
)
def test_a_port_of_the_service_manager_is_what_its_row_says(
    row: str, name: str, modifiers: str
) -> None:
    options = Options()
    with socket.create_server(("127.0.0.1", 0)) as bound:
        number = bound.getsockname()[1]
        options.daemon_ports = read(row % number if "%" in row else row)
        (server,) = sockets.take(options, [PassedSocket(name, bound)])
        found = server.port
        assert (found.address, found.port, found.modifiers) == ("127.0.0.1", number, modifiers)
        assert found.name == ("odd" if not modifiers else row[5:].partition(",")[0])
        assert options.daemon_ports == (found,)
        server.server_close()
