"""Whom a PidFile names, and who may take it away."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from minimta.system import log, pidfile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pid"


def dead() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def test_it_names_the_process_and_its_command(path: Path) -> None:
    pidfile.write(str(path), ["/usr/sbin/sendmail", "-bd", "-q15m"])
    assert path.read_text() == f"{os.getpid()}\n/usr/sbin/sendmail -bd -q15m\n"
    assert path.stat().st_mode & 0o777 == 0o644


def test_where_it_cannot_be_written_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: lines.append(text))
    path = tmp_path / "nowhere" / "pid"
    pidfile.write(str(path), ["sendmail"])
    assert lines == [f"unable to write pid to {path}: No such file or directory"]


def test_only_a_living_process_is_another(path: Path) -> None:
    def names_another(text: str) -> bool:
        path.write_text(text)
        return pidfile.names_another(str(path))

    assert not pidfile.names_another(str(path))
    assert names_another(f"{os.getppid()}\nsendmail -q15m\n")
    assert not names_another(f"{os.getpid()}\nsendmail -bd\n")
    assert not names_another(f"{dead()}\nsendmail -q15m\n")
    assert not names_another("")
    assert not names_another("sendmail\n")


def test_only_ones_own_is_removed(path: Path) -> None:
    for text in (f"{os.getppid()}\n", f"{dead()}\n", "", f"{os.getpid()}0\n"):
        path.write_text(text)
        pidfile.remove(str(path))
        assert path.read_text() == text
    path.write_text(f"{os.getpid()}\n")
    pidfile.remove(str(path))
    assert not path.exists()
    pidfile.remove(str(path))


def test_a_link_that_was_planted_is_replaced_and_not_followed(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_text("x")
    path.symlink_to(victim)
    pidfile.write(str(path), ["sendmail"])
    assert (victim.read_text(), path.is_symlink()) == ("x", False)
