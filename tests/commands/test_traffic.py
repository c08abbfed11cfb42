"""sendmail -X: what is read and said, and no password."""

from __future__ import annotations

import os
import re
import stat
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.system import locks, traffic
from tests.support.commandhost import Host
from tests.support.fakesmtp import FakeSmtp


@pytest.fixture
def host(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Host]:
    yield Host(tmp_path, capfd)
    traffic.close_log()


def lines(host: Host) -> list[str]:
    """Of the log, without their numbers."""
    text = (host.root / "log").read_text()
    found = [re.fullmatch(r"\d{5,} (<<<|>>>|===) (.*)", line) for line in text.splitlines()]
    assert all(found), text
    return [line.partition(" ")[2] for line in text.splitlines()]


def run(host: Host, *words: str, stdin: bytes = b"Subject: t\n\nhello\n") -> int:
    return host.run(f"-C{host.root}/cf", f"-X{host.root}/log", *words, stdin=stdin).code


def test_a_message_is_written_down_as_recorded(host: Host) -> None:
    assert run(host, "emma") == 0
    assert lines(host) == ["<<< Subject: t", "<<< ", "<<< hello", "<<< [EOF]"]
    assert stat.S_IMODE((host.root / "log").stat().st_mode) == 0o600


def test_a_line_that_comes_in_pieces_is_one_line(host: Host) -> None:
    text = b"Subject: t\n\n" + b"x" * 200_000 + b"\nno end"
    assert run(host, "-i", "emma", stdin=text) == 0
    assert [len(line) for line in lines(host)] == [14, 4, 200_004, 10, 9]


def test_a_log_is_added_to(host: Host) -> None:
    run(host, "emma")
    run(host, "emma")
    assert lines(host).count("<<< [EOF]") == 2


def test_the_dialogue_with_another_host_is_in_it(host: Host) -> None:
    with FakeSmtp(keywords=("PIPELINING",)) as server:
        host.configure(
            SmartHost=f"[127.0.0.1]:{server.port}", DeliveryMode="interactive", RunAsUser=""
        )
        assert run(host, "-Am", "x@lab2.campus") == 0
    told = lines(host)
    assert told.index("<<< [EOF]") < told.index(f"=== CONNECT [127.0.0.1] port {server.port}")
    assert ">>> EHLO lab1.campus" in told
    assert any(line.startswith("<<< 250 ") for line in told)
    assert not any("[127.0.0.1]" in line for line in host.run("-bp").out.splitlines())


@pytest.mark.parametrize("verbose", [False, True])
def test_though_a_runner_lives_the_attempt_is_waited_for_and_shown_to_who_wants_it(
    host: Host, verbose: bool
) -> None:
    held = locks.resident(locks.beside(str(host.root / "mqueue")))
    assert held is not None
    with held, FakeSmtp() as server:
        host.configure(
            SmartHost=f"[127.0.0.1]:{server.port}", DeliveryMode="background", RunAsUser=""
        )
        words = [f"-C{host.root}/cf", f"-X{host.root}/log", *["-v"] * verbose]
        ran = host.run(*words, "x@lab2.campus")
    assert ran.code == 0 and ">>> EHLO lab1.campus" in lines(host)
    assert (">>> EHLO lab1.campus" in ran.out.splitlines()) is verbose


def test_a_queue_run_is_in_it(host: Host) -> None:
    with FakeSmtp() as server:
        host.configure(SmartHost=f"[127.0.0.1]:{server.port}", RunAsUser="")
        host.run(f"-C{host.root}/cf", "x@lab2.campus")
        assert run(host, "-q") == 0
    assert ">>> EHLO lab1.campus" in lines(host)
    assert host.queued() == []


SECRET = b64encode(b"\0emma\0very secret").decode()
SESSION = [
    "EHLO x",
    f"AUTH PLAIN {SECRET}",
    "AUTH LOGIN",
    SECRET,
    f"auth plain {SECRET}",
    "MAIL FROM:<emma>",
    "RCPT TO:<emma>",
    "DATA",
    "Subject: t",
    "",
    "hello",
    ".",
    "QUIT",
]


def test_a_session_on_stdio_is_in_it_and_no_login(host: Host) -> None:
    assert run(host, "-bs", "-odq", stdin=("\r\n".join(SESSION) + "\r\n").encode()) == 0
    told = lines(host)
    assert SECRET not in "\n".join(told)
    assert (
        "<<< AUTH PLAIN ***" in told and "<<< AUTH LOGIN" in told and "<<< auth plain ***" in told
    )
    assert "<<< hello" in told and "<<< QUIT" in told
    assert any(line.startswith(">>> 354 ") for line in told)


def test_challenges_and_their_answers_are_hidden(tmp_path: Path) -> None:
    traffic.open_log(str(tmp_path / "log"))
    try:
        session = traffic.SmtpTraffic()
        for said, answer in (
            (b"AUTH LOGIN\r\n", b"334 VXNlcm5hbWU6\r\n"),
            (b"ZW1t", b""),
            (b"YQ==\r\n", b"334 UGFzc3dvcmQ6\r\n"),
            (b"c2VjcmV0\r\n", b"235 2.7.0 OK\r\n"),
            (b"NOOP\r\n", b"250 2.0.0 OK\r\n"),
        ):
            session.received(said)
            session.sent(answer)
    finally:
        traffic.close_log()
    text = (tmp_path / "log").read_text()
    assert [line.partition(" ")[2] for line in text.splitlines()] == [
        "<<< AUTH LOGIN", ">>> 334 ***", "<<< ***", ">>> 334 ***", "<<< ***",
        ">>> 235 2.7.0 OK", "<<< NOOP", ">>> 250 2.0.0 OK",
    ]  # fmt: skip


def test_a_log_that_cannot_be_opened_stops_the_command(host: Host) -> None:
    os.symlink("elsewhere", host.root / "link")
    for name, why in (("no/log", "No such file"), ("link", "Too many levels")):
        ran = host.run(f"-C{host.root}/cf", f"-X{host.root}/{name}", "emma")
        assert ran.code == 73 and f"sendmail: cannot open {host.root}/{name}: {why}" in ran.err
    assert host.queued() == []


def test_a_log_that_is_full_stops_no_mail(host: Host) -> None:
    assert host.run(f"-C{host.root}/cf", "-X/dev/full", "emma").code == 0
    assert len(host.queued()) == 1


@pytest.mark.parametrize("trap", ["link", "second name", "somebody else's"])
def test_nothing_is_said_to_who_laid_the_file_there(
    host: Host, trap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, log = host.root / "other", host.root / "log"
    other.write_bytes(b"mine\n")
    if trap == "link":
        log.symlink_to(other)
    else:
        log.hardlink_to(other)
    if trap == "somebody else's":
        other.unlink()
        uid = os.geteuid()
        with monkeypatch.context() as changed, pytest.raises(PermissionError):
            changed.setattr(os, "geteuid", lambda: uid + 1)
            traffic.open_log(str(log))
    else:
        assert run(host, "emma") == os.EX_CANTCREAT
    assert (log if trap == "somebody else's" else other).read_bytes() == b"mine\n"
    assert not traffic.is_open()


def test_a_line_that_never_ends_fills_no_memory(tmp_path: Path) -> None:
    traffic.open_log(str(tmp_path / "log"))
    session = traffic.SmtpTraffic()
    for _ in range(40):
        session.received(b"AUTH PLAIN " + b"x" * (1 << 16))
    assert len(session._rest) < 1 << 20
    session.received(b"\nNOOP\n")
    traffic.close_log()
    said = (tmp_path / "log").read_text().splitlines()
    assert [line.partition(" ")[2] for line in said] == ["<<< AUTH PLAIN ***", "<<< NOOP"]
