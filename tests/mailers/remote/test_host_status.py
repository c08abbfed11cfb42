"""The memory of hosts that were not reached: whole files, believed for a while, written by one side."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.mailers.remote.host_status import (
    HostMemory,
    HostStatus,
    beside,
    forget_old,
    of_queue,
)
from minimta.system import log

REFUSED = HostStatus("mx.lab2.campus", errno.ECONNREFUSED, "4.4.1", 75)
TIMED_OUT = HostStatus("mx.lab2.campus", errno.ETIMEDOUT, "4.4.1", 75)
REACHED = HostStatus("mx.lab2.campus", 0, "2.0.0", 0)


def memory(tmp_path: Path, since: float = 0.0, *, is_run: bool = True) -> HostMemory:
    made = HostMemory(str(tmp_path / "hosts"), since, is_run=is_run)
    made.open()
    return made


def found(tmp_path: Path, age: float) -> None:
    """What was written down was so many seconds ago."""
    when = time.time() - age
    os.utime(tmp_path / "hosts/campus./lab2./mx", (when, when))


def test_the_file_is_as_recorded_from_sendmail(tmp_path: Path) -> None:
    memory(tmp_path).note(REFUSED)
    path = tmp_path / "hosts/campus./lab2./mx"
    lines = path.read_text().split("\n")
    assert lines[:5] == ["V0", "E111", "H0", "S75", "D4.4.1"]
    assert abs(int(lines[5].removeprefix("U")) - time.time()) < 60
    assert lines[6:] == [".", ""]
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.parent.stat().st_mode & 0o777 == 0o755
    assert os.listdir(path.parent) == ["mx"]


def test_what_one_notes_the_others_know_until_it_is_reached(tmp_path: Path) -> None:
    one, other = memory(tmp_path), memory(tmp_path)
    assert other.trouble("mx.lab2.campus") is None
    one.note(REFUSED)
    assert other.trouble("MX.lab2.campus.") == HostStatus("MX.lab2.campus.", 111, "4.4.1", 75)
    assert other.trouble("lab2.campus") is None
    other.note(REACHED)
    assert one.trouble("mx.lab2.campus") is None
    assert one.known("mx.lab2.campus") == REACHED


def test_a_run_believes_what_was_found_since_it_began(tmp_path: Path) -> None:
    memory(tmp_path).note(TIMED_OUT)
    now = time.time()
    found(tmp_path, 2)
    assert memory(tmp_path, now - 3).trouble("mx.lab2.campus")
    assert memory(tmp_path, now - 1).trouble("mx.lab2.campus") is None
    assert memory(tmp_path, now - 1).known("mx.lab2.campus", ever=True) == TIMED_OUT


@pytest.mark.parametrize(
    ("status", "age", "believed"),
    [
        (REFUSED, 25, True),
        (REFUSED, 40, False),
        (TIMED_OUT, 40, True),
        (TIMED_OUT, 290, True),
        (TIMED_OUT, 310, False),
    ],
)
def test_new_messages_believe_for_a_while(
    tmp_path: Path, status: HostStatus, age: float, believed: bool
) -> None:
    memory(tmp_path).note(status)
    found(tmp_path, age)
    asked = memory(tmp_path, time.time(), is_run=False).trouble("mx.lab2.campus")
    assert bool(asked) is believed


def test_nobody_believes_the_future(tmp_path: Path) -> None:
    memory(tmp_path).note(REFUSED)
    found(tmp_path, -100)
    assert memory(tmp_path).trouble("mx.lab2.campus") is None


@pytest.mark.parametrize(
    "host",
    [
        *("", ".", "..", "a..b", "../x", "x/../../y", "a/b", ".hidden", "a b", "ä.campus"),
        *("x\0y", "a" * 300, "a." * 51 + "b", "-x.campus", "\n.campus"),
    ],
)
def test_a_name_that_could_lead_elsewhere_is_not_remembered(tmp_path: Path, host: str) -> None:
    one = memory(tmp_path)
    one.note(HostStatus(host, 111, "4.4.1", 75))
    assert one.trouble(host) is None
    assert os.listdir(tmp_path / "hosts") == []
    assert os.listdir(tmp_path) == ["hosts"]


@pytest.mark.parametrize(
    "host", ["10.0.3.9", "2001:db8::1", "lab2.campus:2525", "localhost", "_x.y"]
)
def test_addresses_and_ports_have_files_too(tmp_path: Path, host: str) -> None:
    one = memory(tmp_path)
    one.note(HostStatus(host, 111, "4.4.1", 75))
    assert one.trouble(host)
    assert one.trouble(f"x.{host}") is None


@pytest.mark.parametrize(
    "text",
    [b"", b"V1\nE111\nS75\nD4.4.1\n.\n", b"V0\nE111\nS75\n", b"V0\nEx\nS75\n.\n", b"\xff" * 2000],
)
def test_what_is_no_status_says_nothing(tmp_path: Path, text: bytes) -> None:
    one = memory(tmp_path)
    one.note(REFUSED)
    (tmp_path / "hosts/campus./lab2./mx").write_bytes(text)
    assert one.trouble("mx.lab2.campus") is None


def test_a_link_is_neither_read_nor_written_through(tmp_path: Path) -> None:
    one = memory(tmp_path)
    one.note(REFUSED)
    path = tmp_path / "hosts/campus./lab2./mx"
    precious = tmp_path / "precious"
    path.rename(precious)
    path.symlink_to(precious)
    assert one.trouble("mx.lab2.campus") is None
    one.note(REACHED)
    assert b"E111" in precious.read_bytes()
    assert not path.is_symlink()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: lines.append(text))
    return lines


def test_a_directory_of_somebody_else_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    memory(tmp_path).note(REFUSED)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    one = memory(tmp_path)
    assert one.trouble("mx.lab2.campus") is None
    one.note(REACHED)
    assert "belongs to somebody else" in lines[0]


@pytest.mark.parametrize("what", ["link", "file", "nowhere"])
def test_without_a_directory_nothing_is_known_and_mail_goes_on(
    tmp_path: Path, lines: list[str], what: str
) -> None:
    path = tmp_path / "hosts"
    if what == "link":
        (tmp_path / "elsewhere").mkdir()
        path.symlink_to(tmp_path / "elsewhere")
    elif what == "file":
        path.touch()
    else:
        path = tmp_path / "no" / "hosts"
    one = HostMemory(str(path), 0.0)
    one.open()
    one.note(REFUSED)
    assert one.trouble("mx.lab2.campus") is None
    assert "cannot keep host status" in lines[0]


def test_what_is_old_is_removed_with_its_directories(tmp_path: Path) -> None:
    one = memory(tmp_path)
    one.note(REFUSED)
    one.note(HostStatus("b.campus", 111, "4.4.1", 75))
    found(tmp_path, 4000)
    forget_old(str(tmp_path / "hosts"))
    forget_old(str(tmp_path / "nowhere"))
    assert sorted(os.listdir(tmp_path / "hosts/campus.")) == ["b"]
    assert one.trouble("b.campus")


def test_it_is_not_in_the_queue_where_others_may_make_files() -> None:
    assert beside("/var/spool/mqueue/") == "/var/spool/mqueue.hosts"


# --- HostStatusDirectory -----------------------------------------------------------------------------------


def chosen(tmp_path: Path, directory: str) -> Options:
    options = Options()
    options.queue_directory = str(tmp_path / "mqueue")
    options.host_status_directory = directory
    return options


@pytest.mark.parametrize(
    ("directory", "path"),
    [("", "mqueue.hosts"), (".hoststat", "mqueue/.hoststat"), ("{0}/hs", "hs")],
)
def test_the_option_says_where_it_is(tmp_path: Path, directory: str, path: str) -> None:
    (tmp_path / "mqueue").mkdir()
    made = of_queue(chosen(tmp_path, directory.format(tmp_path)), time.time(), is_run=True)
    made.open()
    assert (tmp_path / path).is_dir()
    made.close()


@pytest.mark.parametrize(("age", "believed"), [(1700, True), (1900, False)])
@pytest.mark.parametrize("is_run", [True, False])
def test_with_it_all_believe_for_as_long_as_the_option_says(
    tmp_path: Path, age: float, believed: bool, is_run: bool
) -> None:
    memory(tmp_path).note(REFUSED)
    found(tmp_path, age)
    made = of_queue(chosen(tmp_path, f"{tmp_path}/hosts"), time.time(), is_run=is_run)
    made.open()
    assert bool(made.trouble("mx.lab2.campus")) is believed
    made.close()


def test_with_it_hosts_that_were_reached_are_kept_too(tmp_path: Path) -> None:
    lasting = HostMemory(str(tmp_path / "hosts"), 0.0, lasting=1800)
    assert lasting.wants(REACHED)
    assert not memory(tmp_path).wants(REACHED)
    memory(tmp_path).note(REFUSED)
    assert memory(tmp_path).wants(REACHED)


def test_a_reply_is_kept_as_recorded_and_cannot_forge_a_line(tmp_path: Path) -> None:
    one = memory(tmp_path)
    one.note(HostStatus("mx.lab2.campus", 0, "2.0.0", 0, "250 2.0.0 Ok\nE111\nS75" + "x" * 100))
    lines = (tmp_path / "hosts/campus./lab2./mx").read_text().split("\n")
    assert lines[:3] == ["V0", "E0", "H0"]
    assert lines[5].startswith("R250 2.0.0 Ok?E111?S75x") and len(lines[5]) == 81
    assert one.trouble("mx.lab2.campus") is None
