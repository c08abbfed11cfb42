"""ETRN (RFC 1985): from a client to a queue run, through the parent of the listener."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.config.ports import Port
from minimta.listener.listener_child import ListenerChild
from minimta.listener.orders import CLOSED, READY
from minimta.queue.directory import QueueDirectory
from minimta.queue.selectors import Selection
from minimta.runner import asked_runs
from minimta.runner.asked_runs import MAX_ORDER, ORDER, AskedRuns, HandedRuns
from tests.listener.test_daemon import Daemon, wait_for
from tests.support.smtphost import STRANGER, ClientEnd, SmtpHost


def asking(host: SmtpHost, ip: str = "127.0.0.1") -> tuple[ClientEnd, list[bytes]]:
    peer = host.connect(ip, "localhost")
    told: list[bytes] = []

    def ask(order: bytes) -> bool:
        told.append(order)
        return True

    peer.handler._shared.ask_parent = ask
    return peer, told


@pytest.mark.parametrize(
    ("node", "order"),
    [
        ("lab3.campus", b"e@lab3.campus\n"),
        ("LAB3.Campus.", b"e@lab3.campus\n"),
        ("@lab3.campus", b"e.lab3.campus\n"),
        ("#mqueue", b"e#\n"),
    ],
)
def test_what_the_parent_is_asked(host: SmtpHost, node: str, order: bytes) -> None:
    peer, told = asking(host)
    assert peer.says(f"ETRN {node}") == [f"250 2.0.0 Queuing for node {node} started"]
    assert told == [order]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("ETRN", "500 5.5.2"),
        ("ETRN #other", "459 4.5.4 Queue other unknown"),
        ("ETRN a b", "458 4.5.4"),
        ("ETRN -f/etc/passwd;x", "458 4.5.4"),
        ("ETRN ..", "458 4.5.4"),
        ("ETRN " + "x" * 400, "458 4.5.4"),
    ],
)
def test_what_is_no_node_asks_nothing(host: SmtpHost, line: str, code: str) -> None:
    peer, told = asking(host)
    assert peer.says(line)[0].startswith(code)
    assert told == []


def test_strangers_may_not_ask(host: SmtpHost) -> None:
    peer, told = asking(host, STRANGER[0])
    assert peer.says("ETRN lab3.campus")[0].startswith("459 4.7.1")
    assert told == []


def test_a_port_may_refuse_it(host: SmtpHost) -> None:
    """M=E, as a submission port has it."""
    host.options.daemon_ports = (Port(address="127.0.0.1", modifiers="E"),)
    peer, told = asking(host)
    assert not any("ETRN" in line for line in peer.says("EHLO x"))
    assert peer.says("ETRN lab3.campus")[0].startswith("502 ")
    assert told == []


def test_a_parent_that_does_not_hear_is_told(host: SmtpHost) -> None:
    peer, _ = asking(host)
    peer.handler._shared.ask_parent = lambda order: False
    assert peer.says("ETRN lab3.campus")[0].startswith("458 4.3.0")
    peer.handler._shared.ask_parent = None
    assert peer.says("ETRN lab3.campus")[0].startswith("458 4.3.0")


# --- the parent -----------------------------------------------------------------------------------


def test_orders_are_read_and_all_else_is_dropped() -> None:
    said = b"e@lab3.campus\ne.x.y\nrm -rf\ne@a;b\ne#\ne@" + b"x" * 1000
    found, rest = asked_runs.orders(said)
    assert list(found) == [b"@lab3.campus", b".x.y", b"#"]
    assert len(rest) <= MAX_ORDER
    assert not ORDER.fullmatch(b"e@\n") and not ORDER.fullmatch(b"e@../x\n")


def test_no_order_is_taken_for_what_the_listener_says_of_itself() -> None:
    """A hyphen in a domain once said that it accepts no more, and was lost."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = ListenerChild(os.getpid(), ours)
        for said in (b"e@my-host.campus\n", READY, b"e#\n", b"e.a_b.campus\n"):
            theirs.send(said)
        assert child.orders() == [b"@my-host.campus", b"#", b".a_b.campus"]
        assert child.is_ready()
        assert not child.has_closed()
        theirs.send(b"e@x--1.campus\n" + CLOSED)
        assert child.has_closed()
        assert child.orders() == [b"@x--1.campus"]
    for word in (READY, CLOSED):
        assert not ORDER.fullmatch(b"e@a" + word + b"a\n")


def test_which_messages_are_meant() -> None:
    assert asked_runs.selections(b"@lab3.campus") == [Selection("R", "@lab3.campus")]
    assert asked_runs.selections(b".x.y") == [Selection("R", "@x.y"), Selection("R", ".x.y")]
    assert asked_runs.selections(b"#") == []


class Runs:
    """Runs whose children write a line each, and wait for nothing."""

    def __init__(self, directory: Path) -> None:
        self.now = 1000.0
        self.path = directory / "runs"
        self.path.touch()
        self.held = directory / "held"
        self.runs = AskedRuns(lambda: self.now, self._run)
        self.options = Options()
        self.options.queue_directory = str(directory)

    def _run(self, options: Options, wanted: list[Selection]) -> int:
        with self.path.open("a") as file:
            file.write(" ".join(one.text for one in wanted) + "\n")
        while self.held.exists():
            time.sleep(0.01)
        return 0

    def begin(self, order: bytes) -> bool:
        return self.runs.begin(order, self.options)

    def has_ended(self) -> bool:
        self.runs.look()
        return not self.runs._children

    def begun(self) -> list[str]:
        return self.path.read_text().splitlines()


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    one = Runs(tmp_path)
    yield one
    one.held.unlink(missing_ok=True)
    wait_for(one.has_ended)


def test_a_domain_is_run_once_in_a_while(runs: Runs) -> None:
    assert runs.begin(b"@lab3.campus")
    assert not runs.begin(b"@lab3.campus")
    runs.now += 59
    assert not runs.begin(b"@lab3.campus")
    assert runs.begin(b".lab3.campus")
    runs.now += 2
    assert runs.begin(b"@lab3.campus")
    wait_for(lambda: len(runs.begun()) == 3)


def test_so_many_runs_go_on_and_no_more(runs: Runs) -> None:
    runs.held.touch()
    assert [runs.begin(b"@x%d" % n) for n in range(5)] == [True] * 3 + [False] * 2
    runs.held.unlink()
    wait_for(lambda: runs.begin(b"@y"))


def test_who_asks_for_everything_fills_no_memory(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minimta.system.processes.fork", lambda name, act: 2**22)
    monkeypatch.setattr(os, "waitpid", lambda pid, flags: (pid, 0))
    for number in range(3000):
        runs.begin(b"@x%d" % number)
    assert len(runs.runs._begun) <= 1000


@pytest.mark.parametrize("words", [("-bD",), ("-bD", "-q1h")])
def test_a_client_of_this_host_has_its_mail_tried(tmp_path: Path, words: tuple[str, ...]) -> None:
    daemon = Daemon(tmp_path)
    with daemon.cf.open("a") as cf:
        cf.write("DeliveryMode = queueonly\n")
    try:
        daemon.start(*words)
        sock, answer = daemon.connect()
        with sock:
            for line in ("MAIL FROM:<>", "RCPT TO:<dave@lab2.campus>", "DATA"):
                sock.sendall(line.encode() + b"\r\n")
                answer()
            sock.sendall(b"Subject: x\r\n\r\nHi\r\n.\r\n")
            assert answer().startswith("250")
            box = tmp_path / "mail" / "dave"
            assert not box.exists()
            sock.sendall(b"ETRN lab2.campus\r\n")
            assert answer().startswith("250 2.0.0 Queuing for node lab2.campus started")
            wait_for(box.exists)
    finally:
        daemon.stop()


# --- a listener that may not deliver --------------------------------------------------------------


def test_what_is_handed_over_is_found_by_the_runner_once(runs: Runs, tmp_path: Path) -> None:
    queue = str(tmp_path)
    for order in (b"@lab3.campus", b"#", b"@lab3.campus"):
        assert asked_runs.hand_over(queue, order)
    (tmp_path / "qf6AM9CfOn000096").touch()
    (tmp_path / "ask@..").touch()  # no order of ours
    handed = HandedRuns(QueueDirectory(queue), runs.runs)
    assert handed.names() == ["6AM9CfOn000096"]
    handed.begin(runs.options)
    wait_for(lambda: sorted(runs.begun()) == ["", "@lab3.campus"])
    assert sorted(path.name for path in tmp_path.glob("ask*")) == ["ask@.."]
    handed.names()
    handed.begin(runs.options)
    wait_for(runs.has_ended)
    assert len(runs.begun()) == 2


def test_a_directory_that_was_moved_away_is_left_and_the_one_in_its_place_is_listed(
    tmp_path: Path,
) -> None:
    queue = tmp_path / "mqueue"
    queue.mkdir()
    (queue / "qf6AM9CfOn000096").touch()
    handed = HandedRuns(QueueDirectory(str(queue)))
    assert handed.names() == ["6AM9CfOn000096"]
    queue.rename(tmp_path / "away")
    assert handed.names() == ["6AM9CfOn000096"]  # it may come back
    queue.mkdir()
    (queue / "qf6AM9CfOn000097").touch()
    assert handed.names() == ["6AM9CfOn000097"]


def test_a_queue_that_takes_no_order_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("minimta.system.log.line", lambda qid, text, **more: told.append(text))
    assert not asked_runs.hand_over(str(tmp_path / "none"), b"#")
    assert told == ["ETRN: cannot be handed to the queue runner: No such file or directory"]
