"""Who is let in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.config.ports import Port
from minimta.listener import connection
from minimta.listener.limits import ConnectionLimits
from minimta.listener.peer import network
from tests.support.listening import PATIENCE, Listening, dialogue
from tests.support.smtphost import SmtpHost


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.01)


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


def test_without_a_thread_it_is_421_and_told(
    start: Callable[[], Listening], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system has no more processes (pids.max, RLIMIT_NPROC)."""
    listening = start()

    def fails(job: Callable[[], None]) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(listening.limits._threads, "start", fails)
        peer = listening.connect()
        assert peer.answer() == "421 4.3.2 lab2.campus Too busy"
        assert peer.answer() == ""
    assert lines == ["SYSERR(root): cannot start thread: can't start new thread"]
    assert listening.limits.is_empty()
    assert listening.connect().answer().startswith("220")


def test_over_refuse_la_is_421(
    host: SmtpHost,
    start: Callable[[], Listening],
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listening = start()
    host.options.refuse_la = 12
    monkeypatch.setattr("minimta.system.load.average", lambda: 30.2)
    assert listening.connect().answer().startswith("421 4.3.2")
    assert lines == ["rejecting connections on daemon MTA: load average: 30"]


def test_without_a_thread_for_it_a_client_is_turned_away_and_forgotten(
    start: Callable[[], Listening], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(job: object) -> None:
        raise RuntimeError("can't start new thread")

    listening = start()
    with monkeypatch.context() as context:
        context.setattr(listening.limits._threads, "start", fails)
        peer = listening.connect()
        assert peer.answer() == "421 4.3.2 lab2.campus Too busy"
        assert peer.answer() == ""
    assert listening.limits.is_empty()
    assert lines == ["SYSERR(root): cannot start thread: can't start new thread"]
    assert listening.connect().answer().startswith("220")


def test_connections_are_counted_and_so_are_those_that_are_refused(
    host: SmtpHost, start: Callable[[], Listening], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[tuple[str, str]] = []
    monkeypatch.setattr("minimta.system.statistics.count", lambda *what: counted.append(what))
    host.options.max_daemon_children = 1
    listening = start()
    answers = [listening.connect().answer()[:3] for _ in range(3)]
    assert answers == ["220", "421", "421"]
    assert counted == [("", "from"), ("", "rejected"), ("", "rejected")]


def test_one_client_may_not_take_all(
    host: SmtpHost,
    start: Callable[[], Listening],
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host.options.max_connections_per_client = 2
    monkeypatch.setattr("minimta.listener.rights.may_relay", lambda ip: False)
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
    monkeypatch.setattr("minimta.system.load.average", lambda: 20.0)
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
    monkeypatch.setattr("minimta.system.load.average", lambda: 5.0)
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
    assert (network(one) == network(other)) is same


# --- rows of the access table ---------------------------------------------------------------------


def table(host: SmtpHost, text: str) -> None:
    Path(host.options.access_file).write_text(text)


def test_over_client_rate_is_421_and_the_end(
    host: SmtpHost, start: Callable[[], Listening], lines: list[str]
) -> None:
    table(host, "ClientRate:127.0.0.1 2\nClientRate: 1\n")
    listening = start()
    for _ in range(2):
        peer = listening.connect()
        assert peer.answer().startswith("220")
        assert peer.says("QUIT").startswith("221")
    refused = listening.connect()
    assert refused.answer() == "421 4.3.2 Connection rate limit exceeded."
    assert refused.answer() == ""
    assert (
        "ruleset=check_relay, arg1=[127.0.0.1], arg2=127.0.0.1, relay=[127.0.0.1],"
        " reject=421 4.3.2 Connection rate limit exceeded."
    ) in lines


def test_over_client_conn_is_421_until_one_leaves(
    host: SmtpHost, start: Callable[[], Listening]
) -> None:
    table(host, "ClientConn:127 1\n")
    listening = start()
    inside = listening.connect()
    assert inside.answer().startswith("220")
    assert listening.connect().answer() == "421 4.3.2 Too many open connections."
    inside.says("QUIT")
    wait_for(lambda: not listening.limits._inside)
    assert listening.connect().answer().startswith("220")


@pytest.mark.parametrize(
    ("rows", "limits"),
    [
        ("", (0, 20)),
        ("ClientConn: 5\nClientRate: 7\n", (7, 5)),
        ("ClientConn:10.0.3.4 0\nClientConn: 5\n", (0, 0)),
        ("ClientConn:IPv6:2001:db8 3\n", (0, 20)),
        ("ClientConn: many\n", (0, 20)),
    ],
)
def test_a_row_of_its_own_counts_before_the_options(
    host: SmtpHost, rows: str, limits: tuple[int, int]
) -> None:
    table(host, rows)
    assert ConnectionLimits(host.shared_state())._limits_of("10.0.3.4") == limits


def test_a_network_of_ipv6_is_one_client(host: SmtpHost, lines: list[str]) -> None:
    table(host, "ClientRate: 1\n")
    found = ConnectionLimits(host.shared_state())
    assert found._too_much_of("2001:db8::1") == ""
    assert found._too_much_of("2001:db8::2").startswith("421 4.3.2 Connection rate")
    assert found._too_much_of("2001:db8:0:1::1") == ""
    assert lines == [
        "ruleset=check_relay, arg1=[IPv6:2001:db8::2], arg2=2001:db8::2, relay=[IPv6:2001:db8::2],"
        " reject=421 4.3.2 Connection rate limit exceeded."
    ]


def test_a_table_that_cannot_be_read_sets_no_limits(host: SmtpHost) -> None:
    Path(host.options.access_file).write_bytes(b"x\0")
    assert ConnectionLimits(host.shared_state())._limits_of("10.0.3.4") == (0, 20)


def test_over_connection_rate_throttle_they_wait(
    host: SmtpHost, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.options.connection_rate_throttle = 2
    slept, clock = list[float](), [1000.25]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    found, port, other = ConnectionLimits(host.shared_state()), Port(), Port(name="MSA")
    for one in (port, port, other, port, port, port):
        found._delay(one)
    assert slept == [0.75, 1.0]
    assert lines == ["deferring connections on daemon MTA: 2 per second"]


def test_that_connections_wait_is_told_again_after_a_while(
    host: SmtpHost, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    found = ConnectionLimits(host.shared_state())
    for clock[0] in (1000.0, 1030.0, 1089.0, 1091.0, 1092.0):
        found._note_delay(f"waiting at {clock[0]:.0f}")
    assert lines == ["waiting at 1000", "waiting at 1091"]


@pytest.mark.parametrize(("port", "option", "waits"), [(0, 5, 1), (0, 6, 0), (6, 5, 0), (5, 0, 1)])
def test_delay_la_is_for_ports_that_say_nothing_else(
    host: SmtpHost,
    start: Callable[..., Listening],
    monkeypatch: pytest.MonkeyPatch,
    port: int,
    option: int,
    waits: int,
) -> None:
    slept = list[float]()
    monkeypatch.setattr("minimta.listener.limits.time.sleep", slept.append)
    monkeypatch.setattr("minimta.system.load.average", lambda: 5.0)
    host.options.delay_la = option
    listening = start(Port(address="127.0.0.1", port=0, delay_la=port))
    assert listening.connect().answer().startswith("220")
    assert slept == [1] * waits


def test_that_connections_are_still_refused_is_told_again(
    host: SmtpHost,
    start: Callable[..., Listening],
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [float(int(time.monotonic()) + 60)]  # whole seconds: no sum is rounded down
    monkeypatch.setattr("minimta.listener.limits.time.monotonic", lambda: now[0])
    monkeypatch.setattr("minimta.system.load.average", lambda: 30.0)
    listening = start()
    host.options.refuse_la = 12
    for seconds in (0, 3 * 3600 - 1, 1, 60, 3 * 3600):
        now[0] += seconds
        assert listening.connect().answer().startswith("421 4.3.2")
    assert lines == [
        "rejecting connections on daemon MTA: load average: 30",
        "have been refusing connections for 03:00:00 on daemon MTA: load average: 30",
        "have been refusing connections for 06:01:00 on daemon MTA: load average: 30",
    ]


def test_with_a_rejectloginterval_of_0_it_is_told_once(
    host: SmtpHost,
    start: Callable[..., Listening],
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("minimta.system.load.average", lambda: 30.0)
    listening = start()
    host.options.refuse_la, host.options.reject_log_interval = 12, 0
    for _ in range(3):
        assert listening.connect().answer().startswith("421 4.3.2")
    assert lines == ["rejecting connections on daemon MTA: load average: 30"]


def test_a_refusal_after_one_was_let_in_is_told_anew(
    host: SmtpHost, start: Callable[[], Listening], lines: list[str]
) -> None:
    host.options.max_daemon_children = 1
    listening = start()
    for _ in range(2):
        inside = listening.connect()
        assert inside.answer().startswith("220")
        for _ in range(2):
            assert listening.connect().answer().startswith("421")
        inside.says("QUIT")
        wait_for(lambda: not listening.limits._inside)
    told = [line for line in lines if "rejecting" in line]
    assert told == ["rejecting connections on daemon MTA: 1 children, max 1"] * 2
