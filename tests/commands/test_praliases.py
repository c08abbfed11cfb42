"""The command praliases, as processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minimta.admin.checkout import HOME
from minimta.aliases.rebuild import rebuild
from minimta.aliases.source import Source
from minimta.system.users import Users

USAGE = "usage: praliases [-C cffile] [-f aliasfile] [key ...]\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two alias files with databases, and a configuration that names both."""
    tmp_path.chmod(0o755)
    for name, text in (
        ("a1", "MAILER-DAEMON: root\nx: dave\n"),
        ("a2", "x: carol\n\\z: dave, emma \n"),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o644)
        rebuild(Source(str(tmp_path / name)), Users())
    (tmp_path / "cf").write_text(f"AliasFile = hash:{tmp_path}/a1, {tmp_path}/a2\nLogTo = none\n")
    (tmp_path / "cf").chmod(0o644)
    return tmp_path


def run(*words: str | Path) -> tuple[int, str, str]:
    command = [sys.executable, "-IS", f"{HOME}/bin/praliases", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_all_files_are_shown_in_order(place: Path) -> None:
    shown = "mailer-daemon:root\nx:dave\nx:carol\n\\z:dave, emma \n"
    assert run("-C", place / "cf") == (0, shown, "")


def test_keys_are_looked_up_in_each_file_as_they_are_written(place: Path) -> None:
    none = ": No such key\n"
    shown = f"x:dave\nX{none}q{none}" + f"x:carol\nX{none}q{none}"
    assert run("-C", place / "cf", "x", "X", "q") == (0, shown, "")


def test_f_shows_another_file(place: Path) -> None:
    assert run("-C", place / "cf", "-f", f"hash:{place}/a2", "x") == (0, "x:carol\n", "")


def test_without_a_database_the_text_is_what_counts(place: Path) -> None:
    os.unlink(place / "a2.cdb")
    assert run("-C", place / "cf", "-f", place / "a2") == (0, "x:carol\n\\z:dave, emma \n", "")


def test_a_file_that_cannot_be_read_is_told_and_the_others_shown(place: Path) -> None:
    os.unlink(place / "a1.cdb")
    os.unlink(place / "a1")
    told = f"praliases: {place}/a1: open: No such file or directory\n"
    assert run("-C", place / "cf", "x") == (0, "x:carol\n", told)
    (place / "a1").write_text("x: dave\n")
    (place / "a1").chmod(0o646)
    told = f"praliases: {place}/a1: open: World writable file\n"
    assert run("-C", place / "cf", "x") == (0, "x:carol\n", told)
    (place / "a2.cdb").write_bytes(b"x" * 3000)
    code, out, err = run("-C", place / "cf", "-f", place / "a2")
    assert (code, out) == (0, "")
    assert err.startswith(f"praliases: {place}/a2: open: corrupt database")


def test_dont_blame_sendmail_counts_here_too(place: Path) -> None:
    (place / "a1.cdb").chmod(0o646)
    with open(place / "cf", "a") as file:
        file.write("DontBlameSendmail = WorldWritableAliasFile\n")
    assert run("-C", place / "cf", "-f", place / "a1", "x") == (0, "x:dave\n", "")


def test_what_it_does_not_understand_is_told(place: Path) -> None:
    assert run("-x") == (64, "", "praliases: invalid option -- 'x'\n" + USAGE)
    assert run("-f") == (64, "", "praliases: option requires an argument -- 'f'\n" + USAGE)
    told = "praliases: unknown alias class foo\n"
    assert run("-C", place / "cf", "-f", "foo:/a") == (64, "", told)
    code, _, err = run("-C", place / "none")
    assert (code, err) == (66, f"praliases: {place}/none: cannot open: No such file or directory\n")
    (place / "cf").write_text("Nonsense = 1\n")
    assert run("-C", place / "cf")[0] == 78


def test_who_stops_reading_hears_no_traceback(place: Path) -> None:
    text = "".join(f"key{n}: value\n" for n in range(30000))
    (place / "a1").write_text(text)
    rebuild(Source(str(place / "a1")), Users())
    command = f"{sys.executable} -IS {HOME}/bin/praliases -C {place}/cf | head -1"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"key0:value\n", b"")
