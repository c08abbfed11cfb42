from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.system import log


@pytest.mark.parametrize(
    "value",
    ["a\nb", "a\r\nb", "\x1b[2J", "\x07", "\u2028", "\u202e", b"\xff\xfe", b"a\0b"],
)
def test_nothing_but_printable_ascii_comes_out(value: str | bytes) -> None:
    assert log.clean(value).isascii()
    assert log.clean(value).isprintable()


def test_format_characters_stay_as_they_are() -> None:
    assert log.clean("%s%n{0.__class__}") == "%s%n{0.__class__}"


@pytest.mark.parametrize("length", [255, 256, 257, 5000])
def test_a_long_value_is_cut_and_says_so(length: int) -> None:
    cleaned = log.clean("x" * length)
    assert len(cleaned) == min(length, 256)
    assert cleaned.endswith("...") == (length > 256)


def test_a_line_begins_with_the_queue_id(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("sm-mta", "stderr", 9)
    try:
        log.line("6AM9CfOn000096", "to=<dave@lab2.campus>, stat=Sent")
        log.line("", "starting daemon")
        log.line("6AM9CfOn000096", "done", level=10)
    finally:
        log.configure("sendmail", "none", 9)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("sm-mta[")
    assert first.endswith("]: 6AM9CfOn000096: to=<dave@lab2.campus>, stat=Sent")
    assert second.endswith("]: starting daemon")


def test_a_bug_is_one_line_with_its_whole_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("sm-mta", "stderr", 9)
    try:
        raise KeyError("a\nb")
    except KeyError:
        log.bug("6AM9CfOn000096", "attempt")
    finally:
        log.configure("sendmail", "none", 9)
    (line,) = capsys.readouterr().err.splitlines()
    assert "6AM9CfOn000096: SYSERR(root): attempt: Traceback" in line
    assert "| KeyError: 'a\\nb'" in line


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("<dave@lab2.campus>", "<dave@lab2.campus>"),
        (b"<x, relay=[192.0.2.1]>", "<x,?relay=[192.0.2.1]>"),
        ("x, dsn=2.0.0, stat=Sent", "x,?dsn=2.0.0,?stat=Sent"),
        ("Smith, John <j=k@x>", "Smith, John <j=k@x>"),
        ("reply: a, b\n, c=d", "reply: a, b?,?c=d"),
    ],
)
def test_a_value_of_a_line_begins_no_fact_of_its_own(value: str | bytes, expected: str) -> None:
    assert log.fact(value) == expected


@pytest.fixture
def syslog_lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What goes to syslog, while the tests may configure the log as they like."""
    lines: list[str] = []
    monkeypatch.setattr("syslog.syslog", lambda level, text: lines.append(text))
    before = log.settings()
    yield lines
    log.forget_connection()
    log.configure(*before)


def test_a_line_goes_to_all_places_at_once(
    tmp_path: Path, syslog_lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mail.log"
    before = os.umask(0o077)
    try:
        log.configure("sm-mta", f"stderr,{file},syslog", 9)
    finally:
        os.umask(before)
    log.line("", "starting daemon")
    assert capsys.readouterr().err.endswith("]: starting daemon\n")
    assert re.fullmatch(
        r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ sm-mta\[\d+\]: starting daemon\n",
        file.read_text(),
    )
    assert file.stat().st_mode & 0o777 == 0o640
    assert syslog_lines == ["starting daemon"]


def test_a_new_file_of_that_name_is_found_by_itself(
    tmp_path: Path, syslog_lines: list[str]
) -> None:
    file = tmp_path / "mail.log"
    log.configure("sm-mta", str(file), 9)
    log.line("", "first")
    file.rename(tmp_path / "mail.log.1")
    log.line("", "second")
    assert file.read_text().endswith(": second\n")
    assert "second" not in (tmp_path / "mail.log.1").read_text()
    assert syslog_lines == []


def test_who_may_not_open_the_new_file_goes_on_with_the_old_one(
    tmp_path: Path, syslog_lines: list[str]
) -> None:
    file = tmp_path / "mail.log"
    log.configure("sm-mta", str(file), 9)
    file.rename(tmp_path / "mail.log.1")
    file.symlink_to("/dev/null")  # no link is followed
    log.line("", "still told")
    assert (tmp_path / "mail.log.1").read_text().endswith(": still told\n")
    assert syslog_lines == []


def test_what_no_file_takes_is_told_to_syslog(tmp_path: Path, syslog_lines: list[str]) -> None:
    log.configure("sendmail", str(tmp_path / "nosuchdirectory" / "mail.log"), 9)
    log.line("", "of a user")
    assert syslog_lines == ["of a user"]


def test_a_name_with_an_underscore_is_a_fact_too() -> None:
    assert log.fact("a, auth_id=root, x y=z") == "a,?auth_id=root, x y=z"


@pytest.mark.parametrize(
    ("to", "has_syslog", "missing"),
    [
        ("syslog", True, ""),
        ("syslog", False, "/dev/log"),
        ("stderr", False, ""),
        ("none", False, ""),
        ("{0}/log", False, ""),
        ("{0}/no/log", True, ""),
        ("{0}/no/log", False, "{0}/no/log or /dev/log"),
        ("{0},{0}/no/log", False, "{0} or {0}/no/log or /dev/log"),
        ("{0}/no/log,{0}/log", False, ""),
        ("{0}/no/log,stderr", False, ""),
    ],
)
def test_a_log_that_goes_nowhere_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, has_syslog: bool, missing: str
) -> None:
    exists = os.path.exists
    monkeypatch.setattr(
        os.path, "exists", lambda path: has_syslog if path == "/dev/log" else exists(path)
    )
    log.configure("sm-mta", to.format(tmp_path), 9)
    try:
        assert log.missing() == missing.format(tmp_path)
    finally:
        log.configure("sendmail", "none", 9)
