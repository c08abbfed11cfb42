"""Whom a PidFile names, and who may take it away."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minimta.system import files, log, pidfile


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


def test_what_a_process_of_the_same_number_has_left_is_in_nobodys_way(path: Path) -> None:
    """In a container the daemon has the same one after each start."""
    victim = path.with_name("victim")
    victim.write_text("x")
    half = path.with_name(f"pid.{os.getpid()}")
    for is_link in (False, True):
        if is_link:
            half.symlink_to(victim)
        else:
            half.touch()
        pidfile.write(str(path), ["sendmail"])
        assert path.read_text() == f"{os.getpid()}\nsendmail\n"
        assert sorted(os.listdir(path.parent)) == ["pid", "victim"]
    assert victim.read_text() == "x"


def test_of_one_that_cannot_be_written_nothing_is_left(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text("of the last one")
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: lines.append(text))

    def is_full(file: int, text: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write_all", is_full)
    pidfile.write(str(path), ["sendmail"])
    assert lines == [f"unable to write pid to {path}: No space left on device"]
    assert os.listdir(path.parent) == ["pid"]


def test_only_a_daemon_that_lives_is_another(path: Path) -> None:
    def names_another(text: str) -> bool:
        path.write_text(text)
        return pidfile.names_another(str(path))

    assert not pidfile.names_another(str(path))
    words = [sys.executable, "-c", "print(flush=True); input()", "/x/sendmail", "-bd", "-q15m"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline()  # it is no other program any more
        assert names_another(f"{other.pid}\n/x/sendmail -bd -q15m\n")
        assert pidfile.daemon(str(path)) == other.pid
        for command in (
            "sendmail -bd -q15m",
            "/x/sendmail -bd",
            "/x/sendmail -bd -q15m -v",
            "",
            "\n",
        ):
            assert not names_another(f"{other.pid}\n{command}\n")
        other.communicate(b"\n")
    assert not names_another(f"{other.pid}\n/x/sendmail -bd -q15m\n")
    assert not names_another(f"{dead()}\nsendmail -q15m\n")
    assert not names_another("")
    assert not names_another("sendmail\n")


def test_a_process_without_a_command_line_is_no_daemon(path: Path, tmp_path: Path) -> None:
    """One that has ended and was not waited for, or a thread of the kernel."""
    (tmp_path / "17").mkdir()
    (tmp_path / "17/cmdline").touch()
    for text in ("17\n", "17\n\n", "17\nsendmail -bd\n"):
        path.write_text(text)
        assert pidfile.daemon(str(path), str(tmp_path)) == 0


def test_this_process_is_a_daemon_and_not_another(path: Path) -> None:
    words = Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    pidfile.write(str(path), [os.fsdecode(word) for word in words[1:]])
    assert pidfile.daemon(str(path)) == os.getpid()
    assert not pidfile.names_another(str(path))


def test_words_of_the_command_that_are_no_text_are_compared_as_they_are_written(
    path: Path, tmp_path: Path
) -> None:
    word = os.fsdecode(b"-C/x/\xff\xc3\xa4 b\n")
    (tmp_path / "17").mkdir()
    (tmp_path / "17/cmdline").write_bytes(
        b"/usr/bin/python3\0-I\0sendmail\0" + os.fsencode(word) + b"\0"
    )
    pidfile.write(str(path), ["sendmail", word])
    path.write_text(path.read_text().replace(str(os.getpid()), "17", 1))
    assert pidfile.daemon(str(path), str(tmp_path)) == 17


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
