"""minimta status: the screen, the exit codes of a Nagios plugin, and Prometheus' text."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from minimta.admin import mail_log, mail_status, prometheus, report, status, verbs
from minimta.admin.status import Threshold
from minimta.system import locks, pidfile, statistics
from tests.support.privatehost import BUSY, Elsewhere, PrivateHost

#: exposition format 0.0.4: a comment, or a sample
SAMPLE = re.compile(
    r'# (HELP|TYPE) minimta_[a-z_]+ \S.*|minimta_[a-z_]+(\{[a-z]+="[a-z0-9_]+"\})? -?\d+'
)


class Place:
    """A host with one message that is delayed and one that is new, and a log."""

    def __init__(self, root: Path) -> None:
        self.host = host = PrivateHost(root, now=time.time() - 7200)
        x = b"<x@lab2.campus>"
        qid = host.submit(b"<emma@lab1.campus>", x)
        host.deliverer(esmtp=Elsewhere({x[1:-1]: BUSY})).attempt([qid])
        host.now = None
        host.submit(b"<emma@lab1.campus>", b"<dave@lab1.campus>")
        self.log = root / "log"
        reject = "reject={} 5.7.1 <y@y>... Relaying denied"
        head = "sm-mta[9]: 6AU9aaaa000001: ruleset=check_rcpt, arg1=<y@y>, relay=h [10.0.0.1], "
        self.log.write_text("".join(head + reject.format(c) + "\n" for c in ("550", "550", "451")))
        self.cf = root / "cf"
        self.configure()

    def configure(self, **more: str) -> None:
        options = self.host.options
        settings = {
            "QueueDirectory": options.queue_directory,
            "ClientQueueDirectory": options.client_queue_directory,
            "PidFile": self.host.root / "pid",
            "MinFreeBlocks": "0",
            "RunAsUser": "",
            **more,
        }
        self.cf.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        self.cf.chmod(0o644)

    def run(self, *words: str) -> int:
        return verbs.main(["status", "-C", str(self.cf), *words])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    statistics.forget()
    made = Place(tmp_path)
    monkeypatch.setattr(mail_log, "places", lambda options: [str(made.log)])
    return made


def test_the_screen(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.run() == status.OK
    out = capsys.readouterr().out
    assert re.match(
        r"OK: 2 waiting, oldest 02:00:\d\d \| waiting=2;;;0 oldest=72\d\ds;;;0 held=0", out
    )
    assert "daemon         none is running\n" in out
    assert "queue          1 new, 1 delayed, 0 held, 0 put aside, 0 in client queue\n" in out
    assert "next is due    at the next queue run\n" in out
    assert "last 24 hours  0 done; refused: 1 x 451, 2 x 550\n" in out
    assert "counted        1 came, 0 deliveries, 0 rejected\n" in out
    assert len(out.splitlines()) <= 24
    assert place.run("--no-log") == status.OK
    assert "last 24" not in capsys.readouterr().out


def test_a_log_that_cannot_be_read_is_no_empty_one(
    place: Place, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    place.log = place.log / "none"
    assert place.run() == status.OK
    out = capsys.readouterr().out
    why = f"{place.log.parent}: Not a directory"
    assert f"last 24 hours  unknown: no log could be read: {why}\n" in out
    target = tmp_path / "minimta.prom"
    assert place.run("--prometheus", str(target)) == 0
    assert "_last_day" not in target.read_text()


def test_what_is_older_than_24_hours_counts_no_more(place: Place) -> None:
    now = 1764590400.0  # 2025-12-01 12:00
    text = ""
    for day, done in (
        ("2025-11-30T11:59:59", "done; delay=00:00:01, ntries=1"),
        ("2025-11-30T11:59:59", "ruleset=check_rcpt, arg1=<y@y>, reject=451 4.7.1 later"),
        ("2025-11-30T12:00:00", "done; delay=00:00:02, ntries=1"),
        ("2025-11-30T12:00:00", "ruleset=check_rcpt, arg1=<y@y>, reject=550 5.7.1 no"),
    ):
        text += f"{day}+00:00 lab1 sm-mta[9]: 6AU9aaaa000001: {done}\n"
    place.log.write_text(text)
    found = mail_status.Status(now)
    mail_status.read_log(found, place.host.options)
    assert (found.deliveries, found.refusals) == (1, {"550": 1})


@pytest.mark.parametrize(
    ("words", "code", "word"),
    [
        (("--warn", "2"), status.OK, "OK"),
        (("--warn", "1"), status.WARNING, "WARNING"),
        (("-w", "1", "-c", "1"), status.CRITICAL, "CRITICAL"),
        (("--warn", "1h", "--crit", "1d"), status.WARNING, "WARNING"),
        (("--warn", "3h"), status.OK, "OK"),
        (("--warn", "100", "--warn", "1h", "--crit", "1h"), status.CRITICAL, "CRITICAL"),
    ],
)
def test_limits_give_the_codes_of_a_plugin(
    place: Place, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, word: str
) -> None:
    assert place.run("--no-log", *words) == code
    assert capsys.readouterr().out.startswith(f"{word}: ")


def test_no_space_is_critical(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.configure(MinFreeBlocks="999999999999")
    assert place.run("--no-log") == status.CRITICAL
    assert "no space (MinFreeBlocks): mail is refused" in capsys.readouterr().out


def test_a_queue_that_cannot_be_read_is_unknown(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.configure(QueueDirectory="/nonexistent/q")
    assert place.run("--no-log") == status.UNKNOWN
    said = "/nonexistent/q: No such file or directory: see minimta check\n"
    assert capsys.readouterr().out == f"UNKNOWN: {said}"
    # What a collector gets is metrics, or nothing.
    assert place.run("--no-log", "--prometheus", "-") == os.EX_OSFILE
    assert capsys.readouterr().out == ""


def test_who_may_not_read_the_queue_is_told_who_may(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def look(options: object, now: float) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", "/var/spool/mqueue")

    monkeypatch.setattr(status, "look", look)
    assert place.run() == status.UNKNOWN
    said = "/var/spool/mqueue: Permission denied: root sees it; mailq shows what is yours"
    assert capsys.readouterr().out == f"UNKNOWN: {said}\n"
    assert place.run("--prometheus", "-") == os.EX_NOPERM


def test_a_wrong_configuration_is_unknown_to_a_plugin(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nagios takes a code beyond 3 for CRITICAL, and reads standard output alone."""
    place.cf.write_text("NoSuchOption = 1\n")
    assert place.run("--no-log") == status.UNKNOWN
    assert capfd.readouterr().out.startswith(f"UNKNOWN: {place.cf}: line 1: ")
    assert place.run("--no-log", "--prometheus", "/nonexistent/m.prom") == os.EX_CONFIG
    place.cf.unlink()
    assert place.run("--no-log") == status.UNKNOWN


def test_wrong_arguments_are_unknown(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    for words in (("--prometheus", ""), ("--warn", "soon"), ("--nonsense",)):
        assert place.run(*words) == status.UNKNOWN
    told = capfd.readouterr().err
    assert "soon" in told
    assert "--prometheus names nothing; see --help" in told


def test_who_runs_is_seen(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    words = Path("/proc/self/cmdline").read_bytes().split(b"\0")[1:-1]
    pidfile.write(str(place.host.root / "pid"), [os.fsdecode(word) for word in words])
    lock = locks.resident(locks.beside(place.host.options.queue_directory))
    assert lock
    with lock:
        place.run("--no-log")
    out = capsys.readouterr().out
    assert f"running, pid {os.getpid()}" in out and "resident" in out


def test_metrics_are_prometheus_text(place: Place) -> None:
    path = place.host.root / "minimta.prom"
    mask = os.umask(0o077)
    try:
        assert place.run("--prometheus", str(path)) == status.OK
    finally:
        os.umask(mask)
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
    assert text.endswith("\n")
    assert [line for line in text.splitlines() if not SAMPLE.fullmatch(line)] == []
    assert 'minimta_queue_messages{state="delayed"} 1\n' in text
    assert 'minimta_refusals_last_day{code="550"} 2\n' in text
    assert re.search(r"^minimta_queue_oldest_seconds 72\d\d$", text, re.MULTILINE)
    assert [name for name in os.listdir(place.host.root) if "new" in name] == []


@pytest.mark.debian("prometheus")
@pytest.mark.long
def test_promtool_finds_nothing(place: Place) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool")
    found = mail_status.look(place.host.options, time.time())
    text = prometheus.text(found)
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_unwritable_place_is_told(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    assert place.run("--no-log", "--prometheus", "/nonexistent/m.prom") == os.EX_CANTCREAT
    said = "cannot write /nonexistent/m.prom (No such file or directory): name another place\n"
    assert capfd.readouterr().err.endswith(said)


def test_metrics_go_to_standard_output_for_a_dash(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place.host.root)
    before = sorted(os.listdir())
    assert place.run("--no-log", "--prometheus", "-") == status.OK
    out = capfd.readouterr().out
    assert out.startswith("# HELP ")
    assert re.search(r"\nminimta_discarded_total 0\n\Z", out)
    assert sorted(os.listdir()) == before


def test_a_limit_is_a_number_or_an_age() -> None:
    assert status.threshold(["100", "4h"]) == Threshold(100, 4 * 3600)
    with pytest.raises(ValueError, match="unit"):
        status.threshold(["4x"])


@pytest.mark.parametrize("write", [prometheus.write, report.write])
def test_what_a_killed_one_left_is_in_nobodys_way(
    tmp_path: Path, write: Callable[[str, str], None]
) -> None:
    other, path = tmp_path / "other", tmp_path / "metrics"
    other.write_text("mine")
    (tmp_path / f"metrics.{os.getpid()}.new").symlink_to(other)
    write(str(path), "text\n")
    assert (path.read_text(), other.read_text()) == ("text\n", "mine")
    assert sorted(os.listdir(tmp_path)) == ["metrics", "other"]
