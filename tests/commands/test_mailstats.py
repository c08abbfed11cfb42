"""mailstats in the formats recorded from Sendmail, and what is counted."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from minimta.commands import mailstats
from minimta.message import dates
from minimta.system import statistics
from tests.listener.test_daemon import Daemon, send, wait_for
from tests.support.privatehost import BUSY, Elsewhere, PrivateHost

#: as samples of munin's plugins have it
PROGRAMS = """\
 0        1          1        2          3        4       0       0  prog
 3        2          4        5          6        1       1       0  local
 T        3          5        7          9        5       1       0
 C        3        7      5
"""
#: recorded from Sendmail 8.17.1.9
PEOPLE = """\
 M   msgsfr  bytes_from   msgsto    bytes_to  msgsrej msgsdis msgsqur  Mailer
 3        1          0K        1          0K        0       0       0  local
=====================================================================
 T        1          0K        1          0K        0       0       0
 C        0                    0                    0
"""


@pytest.fixture(autouse=True)
def nothing_pending() -> None:
    statistics.forget()


def count(path: Path, *rows: tuple[str, list[int]]) -> None:
    for mailer, numbers in rows:
        names = statistics.COLUMNS if mailer else statistics.CONNECTIONS
        for name, number in zip(names, numbers, strict=True):
            statistics.count(mailer, name, number)
    statistics.flush_to(str(path))


def run(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = mailstats.main(["mailstats", *words])
    out, err = capfd.readouterr()
    return code, out, err


def test_for_programs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "st"
    prog, local = [1, 1, 2, 3, 4, 0, 0], [2, 4, 5, 6, 1, 1, 0]
    count(path, ("prog", prog), ("local", local), ("", [3, 7, 5]))
    found = statistics.read(str(path))
    head = f"{found.since:.0f} {found.written:.0f}\n"
    assert run(capfd, "-P", "-f", str(path)) == (0, head + PROGRAMS, "")
    assert run(capfd, "-p", "-f", str(path)) == (0, head + PROGRAMS, "")
    _, out, _ = run(capfd, "-P", "-f", str(path))
    assert out.splitlines()[1:] == [
        " T        0          0        0          0        0       0       0",
        " C        0        0      0",
    ]


def test_for_people(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "st"
    count(path, ("local", [1, 0, 1, 0, 0, 0, 0]))
    since = dates.asctime(statistics.read(str(path)).since)
    head = f"Statistics from {since}\n"
    assert run(capfd, "-f", str(path)) == (0, head + PEOPLE, "")
    short = PEOPLE.replace("  Mailer", "").replace("  local", "")
    assert run(capfd, "-o", "-f", str(path)) == (0, head + short, "")


def test_what_is_wrong_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "st"
    told = f"mailstats: {path}: No such file or directory\n"
    assert run(capfd, "-f", str(path)) == (os.EX_NOINPUT, "", told)
    code, _, err = run(capfd, "-x")
    assert code == os.EX_USAGE
    assert err == f"mailstats: invalid option -- 'x'\n{mailstats.USAGE}\n"
    path.write_text("else\n")
    assert run(capfd, "-f", str(path))[0] == os.EX_OSERR


def test_who_keeps_the_lock_keeps_nobody_from_reading(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "st"
    statistics.count("local", "msgsto")
    statistics.flush_to(str(path))
    monkeypatch.setattr(statistics, "_MANY", 2)
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run(capfd, "-f", str(path))[0] == os.EX_OK
        code, _, error = run(capfd, "-p", "-f", str(path))
    assert (code, error.endswith("keeps its lock; try again later\n")) == (os.EX_TEMPFAIL, True)


def test_the_configuration_says_where(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cf = tmp_path / "cf"
    cf.write_text(f"QueueDirectory = {tmp_path}/q\nLogTo = none\n")
    cf.chmod(0o644)
    assert f"{tmp_path}/q.statistics: No such" in run(capfd, "-C", str(cf))[2]
    cf.write_text(f"StatusFile = {tmp_path}/other\nLogTo = none\n")
    assert f"{tmp_path}/other: No such" in run(capfd, "-C", str(cf))[2]


def test_an_attempt_counts_messages_once_and_recipients_when_they_have_it(tmp_path: Path) -> None:
    host = PrivateHost(tmp_path)
    dave, x = b"<dave@lab1.campus>", b"<x@lab2.campus>"
    qid = host.submit(b"<emma@lab1.campus>", dave, x)
    host.deliverer(esmtp=Elsewhere({x[1:-1]: BUSY})).attempt([qid])
    host.deliverer(esmtp=Elsewhere({})).attempt([qid])
    found = statistics.read(f"{host.options.queue_directory}.statistics")
    assert found.of("esmtp") == [1, 1, 1, 1, 0, 0, 0]
    assert found.of("local") == [0, 0, 1, 1, 0, 0, 0]


def test_the_listener_counts_connections_and_refusals(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    path = f"{daemon.host.options.queue_directory}.statistics"
    try:
        daemon.start("-bD", "-q15m")
        send(daemon)
        sock, answer = daemon.connect()
        for line in ("HELO x", "MAIL FROM:<emma@lab1.campus>", "RCPT TO:<nosuch@lab2.campus>"):
            sock.sendall(line.encode() + b"\r\n")
            answer()
        sock.close()
        wait_for(lambda: os.path.exists(path) and statistics.read(path).of("")[4] == 1)
        wait_for(lambda: statistics.read(path).of("local")[2] == 1)
    finally:
        daemon.stop()
    found = statistics.read(path)
    assert found.of("esmtp")[0] == 1
    assert found.connections()[0] >= 2
