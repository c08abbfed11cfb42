"""Connections over real sockets, in threads of this process."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.listener import connection
from minimta.system import hostnames
from tests.support.listening import PATIENCE, Listening, dialogue
from tests.support.smtphost import SmtpHost


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


def slow_to_greet(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let the name of the client be looked up until the event is set."""
    asked = threading.Event()

    def slowly(ip: str) -> tuple[str, bool, bool]:
        asked.wait(PATIENCE)
        return "localhost", True, True

    monkeypatch.setattr(hostnames, "client_name", slowly)
    return asked


PASTED = (
    b"EHLO x\r\nMAIL FROM:<emma@lab1.campus>\r\nRCPT TO:<dave>\r\nDATA\r\n"
    b"Subject: x\r\n\r\nHi\r\n.\r\nQUIT\r\n"
)


@pytest.mark.parametrize("pause", [0, 5000])
def test_a_client_of_this_host_may_say_everything_at_once(
    host: SmtpHost, start: Callable[[], Listening], monkeypatch: pytest.MonkeyPatch, pause: int
) -> None:
    host.options.greet_pause = pause
    asked = slow_to_greet(monkeypatch)
    peer = start().connect()
    peer.socket.sendall(PASTED)
    asked.set()
    answers = [peer.answer()[:3] for _ in range(7)]
    assert answers == ["220", "250", "250", "250", "354", "250", "221"]
    assert len(host.queued()) == 1


def test_without_greet_pause_strangers_may_talk_early(
    host: SmtpHost, start: Callable[[], Listening], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minimta.listener.rights.may_relay", lambda ip: False)
    monkeypatch.setattr("minimta.listener.stream.Stream.own_address", lambda self: "10.0.3.135")
    asked = slow_to_greet(monkeypatch)
    peer = start().connect()
    peer.socket.sendall(b"EHLO x\r\n")
    asked.set()
    assert peer.answer().startswith("220")
    assert peer.answer().startswith("250")


def test_greet_pause_lets_the_silent_wait(
    host: SmtpHost, start: Callable[[], Listening], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.options.greet_pause = 400
    monkeypatch.setattr("minimta.listener.rights.may_relay", lambda ip: False)
    monkeypatch.setattr("minimta.listener.stream.Stream.own_address", lambda self: "10.0.3.135")
    begin = time.monotonic()
    peer = start().connect()
    assert peer.answer().startswith("220")
    assert time.monotonic() - begin > 0.35


def test_who_talks_in_the_greet_pause_is_rejected(
    host: SmtpHost, start: Callable[[], Listening], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.options.greet_pause = 5000
    monkeypatch.setattr("minimta.listener.rights.may_relay", lambda ip: False)
    monkeypatch.setattr("minimta.listener.stream.Stream.own_address", lambda self: "10.0.3.135")
    peer = start().connect()
    peer.socket.sendall(b"EHLO x\r\n")
    assert peer.answer() == "554 lab2.campus ESMTP not accepting messages"
    assert peer.answer().startswith("250")
    assert peer.says("MAIL FROM:<a@b>") == "550 5.0.0 Command rejected"


def test_a_row_says_how_long_strangers_must_be_silent(
    host: SmtpHost, start: Callable[[], Listening], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.options.trust_loopback = False
    Path(host.options.access_file).write_text("GreetPause:127.0.0.1 5000\n")
    peer = start().connect()
    peer.socket.sendall(b"EHLO x\r\n")
    assert peer.answer() == "554 lab2.campus ESMTP not accepting messages"


def test_a_row_may_exempt_one_from_the_greet_pause(
    host: SmtpHost, start: Callable[[], Listening], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.options.trust_loopback, host.options.greet_pause = False, 5000
    Path(host.options.access_file).write_text("GreetPause:localhost 0\n")
    asked = slow_to_greet(monkeypatch)
    peer = start().connect()
    peer.socket.sendall(b"EHLO x\r\n")
    asked.set()
    assert peer.answer().startswith("220")


def test_a_refusal_with_421_comes_instead_of_the_greeting(
    host: SmtpHost, start: Callable[[], Listening]
) -> None:
    Path(host.options.access_file).write_text("Connect:127.0.0.1 ERROR:4.3.2:421 Not today\n")
    peer = start().connect()
    assert peer.answer() == "421 4.3.2 Not today"
    assert peer.answer() == ""


@pytest.mark.parametrize(("trust", "code"), [(True, "250"), (False, "550")])
def test_loopback_is_a_stranger_where_it_is_not_trusted(
    host: SmtpHost, start: Callable[[], Listening], trust: bool, code: str
) -> None:
    host.options.trust_loopback = trust
    peer = start().connect()
    peer.answer()
    peer.says("MAIL FROM:<emma@lab1.campus>")
    assert peer.says("RCPT TO:<henry@lab3.campus>").startswith(code)


def test_without_a_least_rate_one_may_crawl(
    host: SmtpHost, start: Callable[[], Listening], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_SLOW_AFTER", 0.0)
    host.options.min_data_rate = 0
    peer = start().connect()
    peer.answer()
    for line in ("MAIL FROM:<a@b>", "RCPT TO:<dave>", "DATA", "x", "y"):
        if line in "xy":
            peer.socket.sendall(line.encode())
        else:
            peer.says(line)
    assert peer.says("\r\n.").startswith("250")


@pytest.mark.parametrize(
    ("text", "greeting"),
    [
        ("$j", "220 lab2.campus ESMTP"),
        ("$j Post Office", "220 lab2.campus ESMTP Post Office"),
        ("mail.campus ready", "220 mail.campus ESMTP ready"),
    ],
)
def test_the_greeting_need_not_tell_who_we_are(
    host: SmtpHost, start: Callable[[], Listening], text: str, greeting: str
) -> None:
    """RFC 5321 section 7.5, SmtpGreetingMessage."""
    host.options.greeting = text
    assert start().connect().answer() == greeting


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
    host: SmtpHost,
    start: Callable[[], Listening],
    monkeypatch: pytest.MonkeyPatch,
    deadline: float,
    slow_after: float,
) -> None:
    monkeypatch.setattr(connection, "TRANSACTION_DEADLINE", deadline)
    monkeypatch.setattr(connection, "_SLOW_AFTER", slow_after)
    host.options.min_data_rate = 1 << 40
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


@pytest.mark.parametrize(
    "line", ["NOOP", "VRFY dave", "EXPN staff", "HELO x", "FOO", "RCPT TO:<nobody>"]
)
def test_who_hangs_up_after_a_burst_leaves_its_place(
    start: Callable[[], Listening], host: SmtpHost, line: str
) -> None:
    host.options.max_daemon_children = 1
    host.options.bad_rcpt_throttle = 1
    listening = start()
    peer = listening.connect()
    peer.answer()
    peer.says("MAIL FROM:<emma@lab1.campus>")
    peer.socket.sendall(f"{line}\r\n".encode() * 3000)
    time.sleep(0.2)
    peer.close()
    end = time.monotonic() + 4
    while not listening.connect().answer().startswith("220"):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_who_only_stops_to_talk_still_gets_its_replies_after_a_short_pause(
    start: Callable[[], Listening],
) -> None:
    peer = start().connect()
    peer.answer()
    peer.socket.sendall(b"FOO\r\n" * 11 + b"NOOP\r\nQUIT\r\n")
    peer.socket.shutdown(socket.SHUT_WR)
    assert [peer.answer()[:3] for _ in range(13)] == ["500"] * 11 + ["250", "221"]


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
    listening.stop()
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
