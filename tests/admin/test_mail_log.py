"""The reader of the mail log: both dates of syslog, rotated files, the journal, and lines that lie."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import time
import tracemalloc
from pathlib import Path

import pytest

from minimta.admin import journal, log_dates, log_line, mail_log
from minimta.admin.log_line import LoggedLine
from minimta.config.options import Options

NOVEMBER = time.mktime((2026, 11, 22, 9, 12, 41, 0, 0, -1))
LINE = "6AM9CfOn000096: to=<dave@lab2.campus>, delay=00:00:01, mailer=local, dsn=2.0.0, stat=Sent"


def read(*places: Path | str, since: float = 0.0) -> tuple[list[LoggedLine], list[str]]:
    complaints: list[str] = []
    found = list(mail_log.read([str(place) for place in places], since, complaints.append))
    return found, complaints


def write(path: Path, octets: bytes | str, changed: float = NOVEMBER) -> Path:
    whole = octets.encode() if isinstance(octets, str) else octets
    packed = {
        ".gz": lambda: gzip.compress(whole),
        ".bz2": lambda: bz2.compress(whole),
        ".xz": lambda: lzma.compress(whole),
    }
    path.write_bytes(packed.get(path.suffix, lambda: whole)())
    os.utime(path, (changed, changed))
    return path


@pytest.mark.parametrize(
    ("head", "when", "host"),
    [
        ("Nov 22 09:12:41 lab2 sm-mta[96]: ", NOVEMBER, "lab2"),
        ("<22>Nov 22 09:12:41 lab2 sm-mta[96]: ", NOVEMBER, "lab2"),
        ("Nov 22 09:12:41 sm-mta[96]: ", NOVEMBER, ""),
        ("2026-11-22T09:12:41.003127+01:00 lab2 sm-mta[96]: ", 1795335161.003127, "lab2"),
        ("2026-11-22T08:12:41Z lab2.campus sm-mta[96]: ", 1795335161.0, "lab2.campus"),
        ("sm-mta[96]: ", 0.0, ""),
    ],
)
def test_a_line_is_read_in_every_form(tmp_path: Path, head: str, when: float, host: str) -> None:
    (line,), complaints = read(write(tmp_path / "mail.log", f"{head}{LINE}\n"))
    assert line.time == pytest.approx(when)
    assert (line.host, line.tag, line.pid, line.qid) == (host, "sm-mta", 96, "6AM9CfOn000096")
    assert line.fields()["stat"] == "Sent"
    assert not complaints


def test_facts_end_where_the_next_begins_and_the_first_of_a_name_counts() -> None:
    text = "to=<a@x>,<b@y>, stat=Deferred: 451 no, really, relay=[192.0.2.1], relay=[192.0.2.9]"
    fields = LoggedLine(0.0, "", "sendmail", 1, "6AM9CfOn000096", text).fields()
    assert fields == {
        "to": "<a@x>,<b@y>",
        "stat": "Deferred: 451 no, really",
        "relay": "[192.0.2.1]",
    }
    assert not LoggedLine(0.0, "", "sendmail", 1, "", "done, it=seems").fields()


@pytest.mark.parametrize(
    ("text", "qid", "rest"),
    [
        ("6AM9CfOn000096: done", "6AM9CfOn000096", "done"),
        ("6AM9CfOn4194303: done", "6AM9CfOn4194303", "done"),
        ("NOQUEUE: SYSERR(root)", "NOQUEUE", "SYSERR(root)"),
        ("4f9Xk22qLsz1hT: to=<a@x>", "", "4f9Xk22qLsz1hT: to=<a@x>"),
        ("starting daemon (1): SMTP", "", "starting daemon (1): SMTP"),
    ],
)
def test_an_id_is_one_of_ours(text: str, qid: str, rest: str) -> None:
    assert log_line.identified(text) == (qid, rest)


def test_lines_that_are_none_are_left_out(tmp_path: Path) -> None:
    good = f"Nov 22 09:12:41 lab2 sm-mta[96]: {LINE}\n".encode()
    bad = [
        b"\0" * 4096 + b"\n",
        b"garbage\n",
        b"\xff\xfe\n",
        b"Nov 22 09:12:41 lab2 sm-mta[96]: " + b"x" * 300_000 + b"\n",
        b"Nov 22 09:1\0\0:41 lab2 sm-mta[96]: x\n",
        b"2026-99-99T08:12:41Z\n",
        b"\n",
    ]
    text = b"".join(one + good for one in bad) + b"Nov 22 09:12:42 lab2 sm-mta[96]: half a li"
    found, complaints = read(write(tmp_path / "mail.log", text))
    assert [line.qid for line in found] == ["6AM9CfOn000096"] * len(bad)
    assert not complaints


def test_a_line_behind_the_zeros_of_a_power_cut_counts(tmp_path: Path) -> None:
    found, _ = read(
        write(tmp_path / "m", b"\0" * 500 + f"Nov 22 09:12:41 h s[1]: {LINE}\n".encode())
    )
    assert len(found) == 1


def test_a_line_that_syslog_repeated_is_there_as_often(tmp_path: Path) -> None:
    text = f"Nov 22 09:12:41 h s[1]: message repeated 3 times: [ {LINE}]\n"
    found, _ = read(write(tmp_path / "m", text))
    assert [line.text for line in found] == [LINE.partition(": ")[2]] * 3


def test_rotated_files_are_read_from_the_oldest(tmp_path: Path) -> None:
    names = ["mail.log", "mail.log.1", "mail.log.2.gz", "mail.log.3.xz", "mail.log.4.bz2"]
    for age, name in enumerate(names):
        write(tmp_path / name, f"Nov {22 - age} 09:12:41 h s[{age}]: x\n", NOVEMBER - age * 86400)
    for name in ("mail.log.old", "mail.logs", "mail.err", "mail.log.1.bak"):
        write(tmp_path / name, "Nov 22 09:12:41 h s[77]: x\n")
    found, complaints = read(tmp_path / "mail.log")
    assert [line.pid for line in found] == [4, 3, 2, 1, 0]
    assert [line.time for line in found] == sorted(line.time for line in found)
    assert not complaints
    found, _ = read(tmp_path / "mail.log", since=NOVEMBER - 86400)
    assert [line.pid for line in found] == [1, 0]


@pytest.mark.parametrize("is_backward", [False, True])
def test_files_rotated_by_date_and_hard_links_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_backward: bool
) -> None:
    listed = os.listdir  # each file system has an order of its own
    monkeypatch.setattr(os, "listdir", lambda path: sorted(listed(path), reverse=is_backward))
    write(tmp_path / "mail.log-20261121.gz", "Nov 21 09:12:41 h s[1]: x\n", NOVEMBER - 86400)
    write(tmp_path / "mail.log", "Nov 22 09:12:41 h s[2]: x\n")
    os.link(tmp_path / "mail.log", tmp_path / "mail.log.1")
    found, _ = read(tmp_path / "mail.log")
    assert [line.pid for line in found] == [1, 2]


def test_years_are_found_from_the_end(tmp_path: Path) -> None:
    days = ["Mar 01", "Nov 30", "Dec 31", "Jan 01", "Dec 31", "Jan 01", "Feb 10", "Dec 24"]
    text = "".join(f"{day} 12:00:00 h s[1]: x\n" for day in days)
    changed = time.mktime((2026, 1, 3, 12, 0, 0, 0, 0, -1))
    found, _ = read(write(tmp_path / "m", text, changed))
    got = [time.strftime("%Y-%m-%d", time.localtime(line.time)) for line in found]
    assert got == [
        *("2023-03-01", "2023-11-30", "2023-12-31", "2024-01-01", "2024-12-31"),
        *("2025-01-01", "2025-02-10", "2025-12-24"),
    ]


def test_two_processes_at_new_year_are_a_moment_apart(tmp_path: Path) -> None:
    hours = ["Dec 31 23:59:59", "Jan  1 00:00:00", "Dec 31 23:59:59", "Jan  1 00:00:01"]
    changed = time.mktime((2026, 1, 1, 0, 0, 1, 0, 0, -1))
    found, _ = read(write(tmp_path / "m", "".join(f"{h} h s[1]: x\n" for h in hours), changed))
    assert [line.time - changed for line in found] == [-2, -1, -2, 0]


def test_a_leap_day_and_a_day_that_is_none_do_no_harm() -> None:
    dates = log_dates.Dates(2024)
    assert time.localtime(dates.of_bsd("Feb 29 12:00:00"))[:3] == (2024, 2, 29)
    assert dates.of_bsd("Foo 12 12:00:00") == 0.0
    assert log_dates.of_iso("2026-13-01T00:00:00Z") == 0.0


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    text = "".join(f"Nov 22 09:12:41 h s[{n}]: {os.urandom(20).hex()}\n" for n in range(5000))
    whole = gzip.compress(text.encode())
    (tmp_path / "mail.log.2.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "mail.log.1.gz").write_bytes(b"no gzip")
    (tmp_path / "mail.log").symlink_to("nowhere")
    found, complaints = read(tmp_path / "mail.log")
    assert 1000 < len(found) < 5000
    assert len(complaints) == 3
    assert "No such file" in complaints[0]
    assert "damaged" in complaints[1] + complaints[2]
    found, complaints = read(tmp_path / "gone" / "mail.log")
    assert not found and "No such file" in complaints[0]


def test_a_fifo_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mail.log")
    assert read(tmp_path / "mail.log")[0] == []


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    path = write(tmp_path / "m", f"Nov 22 09:12:41 h s[1]: {LINE}\n" * 60_000)  # 7 MB
    tracemalloc.start()
    try:
        count = sum(1 for _ in mail_log.read([str(path)], 0.0, pytest.fail))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 60_000
    assert peak < 1 << 20


# --- the journal ------------------------------------------------------------------------------------

ENTRY = {
    "__REALTIME_TIMESTAMP": "1795335161003127",
    "SYSLOG_IDENTIFIER": "sm-mta",
    "SYSLOG_PID": "96",
    "_UID": "0",
    "_HOSTNAME": "lab2",
    "MESSAGE": LINE,
}


def entry(**changes: object) -> bytes:
    return json.dumps({n: v for n, v in (ENTRY | changes).items() if v is not None}).encode()


def test_a_line_of_the_journal_is_one_like_any_other() -> None:
    line = journal.parse(entry())
    assert line == LoggedLine(
        1795335161.003127, "lab2", "sm-mta", 96, "6AM9CfOn000096", LINE.partition(": ")[2], 0
    )


def test_what_a_unit_says_on_standard_error_is_a_line_too() -> None:
    said = entry(MESSAGE=f"sendmail[12]: {LINE}", _TRANSPORT="stdout", SYSLOG_PID=None, _PID="11")
    line = journal.parse(said)
    assert line and (line.tag, line.pid, line.qid) == ("sendmail", 12, "6AM9CfOn000096")


def test_octets_that_are_no_text_come_as_numbers() -> None:
    line = journal.parse(entry(MESSAGE=list(b"6AM9CfOn000096: done\xff")))
    assert line and line.text == "done\ufffd"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"[" * 100_000,
        entry(MESSAGE=None),
        entry(MESSAGE={"a": 1}),
        entry(MESSAGE="x" * 100_000),
        entry(__REALTIME_TIMESTAMP="soon"),
    ],
    ids=str,
)
def test_what_is_no_entry_is_left_out(octets: bytes) -> None:
    assert journal.parse(octets) is None


def journalctl(place: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place / "journalctl"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")


def test_the_journal_is_asked_by_its_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "entries").write_bytes(entry() + b"\n" + b"x" * 200_000 + b"\n" + entry() + b"\n")
    journalctl(tmp_path, f'echo "$@" >{tmp_path}/asked; cat {tmp_path}/entries', monkeypatch)
    found, complaints = read(mail_log.JOURNAL, since=1795335161.5)
    assert len(found) == 2 and not complaints
    asked = (tmp_path / "asked").read_text()
    assert "--since=@1795335161 " in asked and "SYSLOG_FACILITY=2" in asked


@pytest.mark.parametrize(
    ("script", "told"),
    [("exec sleep 1000", "silent"), ("exit 1", "exit code 1"), ("kill -9 $$", "exit code -9")],
)
def test_a_journal_that_fails_or_hangs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, told: str
) -> None:
    journalctl(tmp_path, script, monkeypatch)
    complaints: list[str] = []
    patience = 0.2 if "sleep" in script else 60.0
    assert list(journal.lines(0.0, complaints.append, patience=patience)) == []
    assert told in complaints[0]


def test_no_journal_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read(mail_log.JOURNAL) == ([], ["journalctl: No such file or directory"])


# --- where it is ------------------------------------------------------------------------------------


def test_the_fresher_of_file_and_journal_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(write(tmp_path / "mail.log", "x", NOVEMBER))
    monkeypatch.setattr(mail_log, "USUAL", (path, "/nonexistent/maillog"))
    monkeypatch.setattr(journal, "newest", lambda: NOVEMBER + 60)
    assert mail_log.places(Options()) == [path]
    monkeypatch.setattr(journal, "newest", lambda: NOVEMBER + 86400)
    assert mail_log.places(Options()) == [mail_log.JOURNAL]
    monkeypatch.setattr(mail_log, "USUAL", ("/nonexistent/maillog",))
    monkeypatch.setattr(journal, "newest", lambda: 0.0)
    assert mail_log.places(Options()) == [mail_log.JOURNAL]
    assert mail_log.places(Options(), ["a", "journal"]) == ["a", "journal"]
