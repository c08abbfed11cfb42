"""Connections over real sockets, in threads of this process."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from minimta.config.options import Options
from minimta.config.ports import Port
from minimta.listener import connection, limits
from minimta.listener.limits import ConnectionLimits
from minimta.listener.sockets import Server, bind
from minimta.system import hostnames
from tests.support.smtphost import SmtpHost

PATIENCE = 10.0


class Listening:
    """A listener on a port of 127.0.0.1."""

    def __init__(
        self,
        host: SmtpHost,
        address: str = "127.0.0.1",
        port: Port | None = None,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self.host = host
        host.options.refuse_la = 10_000
        self.server = Server(port or Port(address=address, port=0))
        self.port = int(self.server.server_address[1])
        self.server.limits = self.limits = limits or ConnectionLimits(host.shared_state())
        self._thread = threading.Thread(target=self.server.accept_forever, daemon=True)
        self._thread.start()
        self.address = address
        self._peers: list[Peer] = []

    def connect(self) -> Peer:
        self._peers.append(Peer(socket.create_connection((self.address, self.port), PATIENCE)))
        return self._peers[-1]

    def stop(self) -> None:
        self.server.stop()
        self.limits.close(0.1)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self.server.server_close()
        for peer in self._peers:
            peer.close()


class Peer:
    """A client's socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._read = sock.makefile("rb")

    def answer(self) -> str:
        """The last line of the next reply; "" at the end of the connection."""
        while True:
            try:
                line = self._read.readline()
            except ConnectionResetError:
                return ""
            if line[3:4] != b"-":
                return line.decode().removesuffix("\r\n")

    def says(self, line: str) -> str:
        self.socket.sendall(line.encode() + b"\r\n")
        return self.answer()

    def close(self) -> None:
        self._read.close()
        self.socket.close()


@pytest.fixture
def start(host: SmtpHost) -> Iterator[Callable[..., Listening]]:
    """Start a listener when the options are as the test wants them."""
    started: list[Listening] = []

    def begin(port: Port | None = None, limits: ConnectionLimits | None = None) -> Listening:
        started.append(Listening(host, port=port, limits=limits))
        return started[-1]

    yield begin
    for one in started:
        one.stop()


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.01)


def dialogue(peer: Peer) -> str:
    assert peer.answer().startswith("220 lab2.campus ESMTP minimta ")
    for line in ("EHLO x", "MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave@lab2.campus>"):
        assert peer.says(line).startswith("250")
    assert peer.says("DATA").startswith("354")
    assert peer.says("Subject: x\r\n\r\nHi\r\n.").startswith("250 2.0.0 ")
    return peer.says("QUIT")


def test_a_message_comes_in(host: SmtpHost, start: Callable[[], Listening]) -> None:
    peer = start().connect()
    assert dialogue(peer) == "221 2.0.0 lab2.campus closing connection"
    assert peer.answer() == ""
    [(control, body)] = host.queued()
    assert control.macros[b"_"] == b"localhost [127.0.0.1]"
    assert b"{if_addr}" not in control.macros
    assert body == b"Hi\n"


def test_many_clients_at_once_are_served(host: SmtpHost, start: Callable[[], Listening]) -> None:
    listening = start()
    peers = [listening.connect() for _ in range(30)]
    for peer in reversed(peers):
        dialogue(peer)
    assert len(host.queued()) == 30


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_ipv6_loopback_is_served(host: SmtpHost) -> None:
    try:
        listening = Listening(host, "::1")
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            pytest.skip("no IPv6 on this host")
        raise
    try:
        dialogue(listening.connect())
        assert host.queued()[0][0].macros[b"_"] == b"localhost [IPv6:::1]"
    finally:
        listening.stop()


def test_replies_to_a_group_of_commands_come_in_order(start: Callable[[], Listening]) -> None:
    peer = start().connect()
    peer.answer()
    peer.says("EHLO x")
    peer.socket.sendall(b"MAIL FROM:<a@b>\r\n" + b"RCPT TO:<dave>\r\n" * 1000 + b"NOOP\r\n")
    answers = [peer.answer()[:9] for _ in range(1002)]
    assert answers == ["250 2.1.0", *["250 2.1.5"] * 1000, "250 2.0.0"]


def test_who_talks_before_the_greeting_is_rejected(
    start: Callable[[], Listening], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def slowly(ip: str) -> tuple[str, bool, bool]:
        asked.wait(PATIENCE)
        return "localhost", True, True

    monkeypatch.setattr(hostnames, "client_name", slowly)
    peer = start().connect()
    peer.socket.sendall(b"EHLO x\r\n")
    asked.set()
    assert peer.answer() == "554 lab2.campus ESMTP not accepting messages"
    assert peer.answer().startswith("250")
    assert peer.says("MAIL FROM:<a@b>") == "550 5.0.0 Command rejected"


# --- limits ---------------------------------------------------------------------------------------


def test_over_max_daemon_children_is_421(
    host: SmtpHost, start: Callable[[], Listening], lines: list[str]
) -> None:
    host.options.max_daemon_children = 2
    listening = start()
    inside = [listening.connect() for _ in range(2)]
    assert all(peer.answer().startswith("220") for peer in inside)
    for _ in range(2):
        turned_away = listening.connect()
        assert turned_away.answer().startswith("421 4.3.2")
        assert turned_away.answer() == ""
    assert lines == ["rejecting connections on daemon MTA: 2 children, max 2"]
    inside[0].says("QUIT")
    wait_for(lambda: len(listening.limits._inside) < 2)
    assert listening.connect().answer().startswith("220")


def test_over_refuse_la_is_421(
    host: SmtpHost,
    start: Callable[[], Listening],
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listening = start()
    host.options.refuse_la = 12
    monkeypatch.setattr(os, "getloadavg", lambda: (30.2, 0.0, 0.0))
    assert listening.connect().answer().startswith("421 4.3.2")
    assert lines == ["rejecting connections on daemon MTA: load average: 30"]


def test_one_client_may_not_take_all(
    host: SmtpHost,
    start: Callable[[], Listening],
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host.options.max_connections_per_client = 2
    monkeypatch.setattr("minimta.listener.relay.may_relay", lambda ip: False)
    listening = start()
    for _ in range(2):
        assert listening.connect().answer().startswith("220")
    assert listening.connect().answer() == "421 4.3.2 Too many open connections."
    assert lines == [
        "ruleset=check_relay, arg1=[127.0.0.1], arg2=127.0.0.1, relay=[127.0.0.1],"
        " reject=421 4.3.2 Too many open connections."
    ]


def test_loopback_may_have_as_many_as_there_are(
    host: SmtpHost, start: Callable[[], Listening]
) -> None:
    host.options.max_connections_per_client = 1
    listening = start()
    peers = [listening.connect() for _ in range(3)]
    assert all(peer.answer().startswith("220") for peer in peers)


def test_a_port_has_children_of_its_own(
    host: SmtpHost, start: Callable[..., Listening], lines: list[str]
) -> None:
    small = start(Port(name="MSA", address="127.0.0.1", port=0, children=1))
    other = start(Port(name="MTA", address="127.0.0.1", port=0, children=1), small.limits)
    assert small.connect().answer().startswith("220")
    assert small.connect().answer().startswith("421 4.3.2")
    assert lines == ["rejecting connections on daemon MSA: 1 children, max 1"]
    assert other.connect().answer().startswith("220")


@pytest.mark.parametrize(
    ("limit", "option", "answer"),
    [(5, 12, "421"), (50, 12, "220"), (0, 12, "220"), (None, 12, "421"), (None, 0, "220")],
)
def test_a_port_has_a_load_of_its_own_from_which_on_it_refuses(
    host: SmtpHost,
    start: Callable[..., Listening],
    monkeypatch: pytest.MonkeyPatch,
    limit: int | None,
    option: int,
    answer: str,
) -> None:
    listening = start(Port(address="127.0.0.1", port=0, refuse_la=limit))
    host.options.refuse_la = option
    monkeypatch.setattr(os, "getloadavg", lambda: (20.0, 0.0, 0.0))
    assert listening.connect().answer()[:3] == answer


def test_from_its_delay_la_on_a_port_lets_connections_and_commands_wait(
    host: SmtpHost,
    start: Callable[..., Listening],
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept, waits = list[float](), list[float]()
    monkeypatch.setattr("minimta.listener.limits.time.sleep", slept.append)
    monkeypatch.setattr(connection.Connection, "_wait", lambda self, seconds: waits.append(seconds))
    monkeypatch.setattr(os, "getloadavg", lambda: (5.0, 0.0, 0.0))
    for limit, seconds in ((6, 0), (0, 0), (5, 1)):
        listening = start(Port(address="127.0.0.1", port=0, delay_la=limit))
        for _ in range(2):
            slept.clear()
            waits.clear()
            assert dialogue(listening.connect()).startswith("221")
            assert slept == [1] * seconds
            # EHLO, MAIL, RCPT, DATA, QUIT; the message itself may come at once.
            assert waits == [1] * 5 * seconds
    told = [line for line in lines if line.startswith("delaying")]
    assert told == ["delaying connections on daemon MTA: load average=5 >= 5"]


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
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_an_ipv6_client_is_a_network(one: str, other: str, same: bool) -> None:
    assert (limits._network(one) == limits._network(other)) is same


# --- time -----------------------------------------------------------------------------------------


def test_an_idle_client_is_sent_away(host: SmtpHost, start: Callable[[], Listening]) -> None:
    host.options.timeout_command = 1
    peer = start().connect()
    assert peer.answer().startswith("220")
    assert peer.answer().startswith("421 4.4.2 lab2.campus ")
    assert peer.answer() == ""


def test_one_who_stops_in_the_text_is_sent_away_and_nothing_stays(
    host: SmtpHost, start: Callable[[], Listening]
) -> None:
    host.options.timeout_datablock = 1
    peer = start().connect()
    peer.answer()
    for line in ("MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>", "DATA"):
        peer.says(line)
    peer.socket.sendall(b"Subject: x\r\n\r\nhalf\r\n")
    text = "collect: relay=localhost, from=<emma@lab1.campus>, info=read timeout"
    assert peer.answer() == f"421 4.4.1 {text}"
    assert peer.answer() == ""
    assert host.files() == []


@pytest.mark.parametrize(
    ("deadline", "slow_after"), [(0.0, 60.0), (1800.0, 0.0)], ids=["deadline", "rate"]
)
def test_one_who_crawls_is_sent_away(
    start: Callable[[], Listening],
    monkeypatch: pytest.MonkeyPatch,
    deadline: float,
    slow_after: float,
) -> None:
    monkeypatch.setattr(connection, "TRANSACTION_DEADLINE", deadline)
    monkeypatch.setattr(connection, "_SLOW_AFTER", slow_after)
    monkeypatch.setattr(connection, "_MIN_RATE", 1 << 40)
    peer = start().connect()
    peer.answer()
    peer.socket.sendall(b"MAIL FROM:<a@b>\r\nRCPT TO:<dave>\r\nDATA\r\n")
    for _ in range(3):
        assert peer.answer()[:3] in ("250", "354")
    peer.socket.sendall(b"x")
    peer.socket.sendall(b"y")
    assert peer.answer().startswith("421 4.4.2")


def test_bad_commands_are_answered_late(
    start: Callable[[], Listening], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(connection.Connection, "_wait", lambda self, seconds: waits.append(seconds))
    peer = start().connect()
    peer.answer()
    answers = [peer.says("FOO")[:3] for _ in range(26)]
    assert answers == ["500"] * 25 + ["421"]
    assert sum(waits) == 16
    assert peer.answer() == ""


def test_a_last_reply_arrives_though_the_client_goes_on_talking(
    start: Callable[[], Listening],
) -> None:
    peer = start().connect()
    peer.answer()
    peer.socket.sendall(b"GET / HTTP/1.1\r\n" + b"x" * 200_000)
    assert peer.answer().startswith("421 4.7.0")
    # An orderly end: a reset may take the reply along before the client has read it.
    assert peer.socket.recv(1) == b""


# --- the end --------------------------------------------------------------------------------------


def test_the_idle_are_told_and_a_message_at_hand_is_finished(
    host: SmtpHost, start: Callable[[], Listening]
) -> None:
    listening = start()
    idle, busy = listening.connect(), listening.connect()
    idle.answer()
    busy.answer()
    for line in ("MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>", "DATA"):
        busy.says(line)
    ended: list[bool] = []
    listening.server.stop()
    closing = threading.Thread(target=lambda: ended.append(listening.limits.close(PATIENCE)))
    closing.start()
    assert idle.answer() == "421 4.3.2 lab2.campus Shutting down"
    assert not ended
    assert busy.says("Subject: x\r\n\r\nHi\r\n.").startswith("250 2.0.0")
    assert busy.answer() == "421 4.3.2 lab2.campus Shutting down"
    closing.join(PATIENCE)
    assert ended == [True]
    assert len(host.queued()) == 1
    with pytest.raises(ConnectionRefusedError):
        listening.connect()


def test_a_message_that_does_not_come_to_its_end_is_dropped(
    host: SmtpHost, start: Callable[[], Listening]
) -> None:
    listening = start()
    peer = listening.connect()
    peer.answer()
    for line in ("MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>", "DATA"):
        peer.says(line)
    peer.socket.sendall(b"Subject: x\r\n\r\nhalf\r\n")
    assert listening.limits.close(0.05)
    assert peer.answer() in ("", "421 4.3.2 lab2.campus Shutting down")
    assert host.files() == []


def test_a_bug_costs_one_connection(
    start: Callable[[], Listening], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listening = start()
    peer = listening.connect()
    peer.answer()
    monkeypatch.setattr("minimta.listener.handler.Handler.mail", lambda self, mail: 1 // 0)
    assert peer.says("MAIL FROM:<a@b>").startswith("421 4.3.0")
    assert peer.answer() == ""
    assert any("ZeroDivisionError" in line for line in lines)
    assert listening.connect().answer().startswith("220")


# --- binding --------------------------------------------------------------------------------------


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
