"""hoststat and purgestat, as processes and as -bh and -bH."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import minimta
from minimta.commands import hoststat
from minimta.config.options import Options
from minimta.mailers.remote.host_status import HostMemory, HostStatus

HOME = Path(minimta.__file__).parent.parent
HEAD = " -------------- Hostname --------------- How long ago ---------Results---------\n"
#: as recorded, in another order
FOUND = [
    HostStatus("refused.campus", 111, "4.4.1", 75),
    HostStatus("blackhole.campus", 110, "4.4.1", 75),
    HostStatus("grey.campus", 0, "2.0.0", 0, "250 2.0.0 Ok: queued as FAKE1"),
    HostStatus("lab3.campus", 0, "2.0.0", 0),
    HostStatus("10.0.3.9", 0, "4.5.0", 75, "421 4.3.2 busy"),
    HostStatus("mx.x.campus:2525", 0, "5.0.0", 69),
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    (tmp_path / "mqueue").mkdir(0o700)
    lines = [f"QueueDirectory = {tmp_path}/mqueue", "LogTo = none", "RunAsUser ="]
    (tmp_path / "cf").write_text("\n".join([*lines, "HostStatusDirectory = .hoststat", ""]))
    (tmp_path / "cf").chmod(0o644)
    memory = HostMemory(str(tmp_path / "mqueue/.hoststat"), 0.0, lasting=1800.0)
    memory.open()
    for found in FOUND:
        memory.note(found)
    memory.close()
    return tmp_path


def run(place: Path, name: str, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-IS", f"{HOME}/bin/{name}", "-C", f"{place}/cf", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


def age(path: Path, seconds: float) -> None:
    when = time.time() - seconds
    os.utime(path, (when, when))


def test_a_listing_is_as_recorded(place: Path) -> None:
    hosts = place / "mqueue/.hoststat"
    age(hosts / "campus./refused", 3725)
    age(hosts / "campus./blackhole", 2 * 86400 + 5)
    code, shown, told = run(place, "hoststat")
    assert (code, told) == (0, "")
    lines = shown.removeprefix(HEAD).split("\n")
    assert lines == [
        " 10.0.3.9                                    00:00:00 421 4.3.2 busy",
        " blackhole.campus                          2+00:00:05 Deferred: Connection time",
        " grey.campus                                 00:00:00 250 2.0.0 Ok: queued as F",
        " lab3.campus                                 00:00:00 OK",
        " mx.x.campus:2525                            00:00:00 Service unavailable",
        " refused.campus                              01:02:05 Deferred: Connection refu",
        "",
    ]


@pytest.mark.parametrize("words", [("sendmail", "-bh", "-v"), ("hoststat", "-v")])
def test_v_shows_whole_results(place: Path, words: tuple[str, ...]) -> None:
    code, shown, _ = run(place, *words)
    assert code == 0
    assert "Deferred: Connection timed out\n" in shown
    assert "250 2.0.0 Ok: queued as FAKE1\n" in shown


@pytest.mark.parametrize("words", [("sendmail", "-bH"), ("purgestat",)])
def test_what_is_older_than_the_option_says_is_purged(place: Path, words: tuple[str, ...]) -> None:
    hosts = place / "mqueue/.hoststat"
    age(hosts / "campus./refused", 1900)
    assert run(place, *words) == (0, "", "")
    assert not (hosts / "campus./refused").exists()
    assert (hosts / "campus./lab3").exists()


def test_without_the_option_or_a_directory_there_is_nothing_to_tell(place: Path) -> None:
    for options in (("-O", "HostStatusDirectory="), ("-O", f"HostStatusDirectory={place}/none")):
        for name in ("hoststat", "purgestat"):
            assert run(place, name, *options) == (0, "", "")


def test_what_is_no_status_is_left_out(place: Path) -> None:
    (place / "mqueue/.hoststat/campus./junk").write_text("hello\n")
    (place / "mqueue/.hoststat/campus./link").symlink_to("/etc/passwd")
    _, shown, told = run(place, "hoststat")
    assert "junk" not in shown and "link" not in shown
    assert len(shown.split("\n")) == len(FOUND) + 2
    assert told == ""


@pytest.mark.parametrize("name", ["hoststat", "purgestat"])
def test_who_may_not_look_is_told(
    place: Path, name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    options = Options()
    options.host_status_directory = f"{place}/mqueue/.hoststat"
    monkeypatch.setattr(os, "access", lambda *_: False)
    command = {"hoststat": lambda: hoststat.show(options, verbose=False)}
    code = command.get(name, lambda: hoststat.purge(options))()
    assert code == os.EX_NOPERM
    assert capfd.readouterr() == ("", f"{name}: {place}/mqueue/.hoststat: Permission denied\n")
