"""minimta passwd: the users who may log in, and their passwords."""

from __future__ import annotations

import getpass
import io
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.admin import passwd, verbs
from minimta.admin.checkout import AdminError
from minimta.listener import smtp_users
from minimta.listener.auth_backend import LoginPlace, PasswordVerdict
from minimta.listener.smtp_users import SmtpUsers
from minimta.system import locks

PLACE = LoginPlace("", "", True)
Run = Callable[..., int]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "smtp-users"


@pytest.fixture
def run(path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of the verb, with *typed* on standard input."""
    cf = path.with_name("cf")
    cf.write_text(f"AuthBackend = {path}\nRunAsUser =\n")
    cf.chmod(0o644)

    def run(*words: str, typed: bytes = b"") -> int:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
        return verbs.main(["passwd", "-C", str(cf), *words])

    return run


def verdict(path: Path, user: str, password: str) -> PasswordVerdict:
    return SmtpUsers(str(path)).check(user, password, PLACE)


def test_a_user_may_log_in_with_the_password_that_was_given(
    run: Run, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("emma", typed=b"secret\n") == 0
    assert capfd.readouterr().out == "emma may log in\n"
    assert verdict(path, "emma", "secret") is PasswordVerdict.RIGHT
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert b"secret" not in path.read_bytes()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_mode_is_the_same_whatever_the_umask(run: Run, path: Path, umask: int) -> None:
    os.umask(umask)
    run("emma", typed=b"secret\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_password_replaces_the_old_one_and_others_stay(run: Run, path: Path) -> None:
    run("emma", typed=b"secret\n")
    run("dave", typed=b"other\r\nx\n")
    secret = smtp_users.read(str(path)).secret
    run("emma", typed=b"new")
    assert verdict(path, "emma", "new") is PasswordVerdict.RIGHT
    assert verdict(path, "emma", "secret") is PasswordVerdict.WRONG
    assert verdict(path, "dave", "other") is PasswordVerdict.RIGHT
    assert smtp_users.read(str(path)).secret == secret


def test_names_are_listed_and_deleted(
    run: Run, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("emma", "Dave Example", "a:b@example.org"):
        run(name, typed=b"x\n")
    capfd.readouterr()
    assert run("--list") == 0
    assert capfd.readouterr().out == "Dave Example\na:b@example.org\nemma\n"
    assert run("--delete", "emma") == 0
    assert verdict(path, "emma", "x") is PasswordVerdict.NO_USER
    assert run("--delete", "emma") == 67


def test_a_password_can_be_checked(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    run("emma", typed=b"secret\n")
    capfd.readouterr()
    assert run("--check", "emma", typed=b"secret\n") == 0
    assert capfd.readouterr().out == "that is the password\n"
    assert run("--check", "emma", typed=b"wrong\n") == 1
    assert capfd.readouterr().out == "that is another password\n"
    assert run("--check", "dave", typed=b"secret\n") == 67


@pytest.mark.parametrize(
    ("words", "typed", "code"),
    [
        ((), b"", 64),
        (("emma", "dave"), b"", 64),
        (("--list", "emma"), b"", 64),
        (("--delete",), b"", 64),
        (("--delete", "--check", "emma"), b"", 64),
        (("--nosuch", "emma"), b"", 64),
        (("emma",), b"", 65),
        (("emma",), b"\n", 65),
        (("emma",), b"a\xff\n", 65),
        (("emma",), b"a\x01b\n", 65),
        (("em\nma",), b"x\n", 65),
        (("",), b"x\n", 65),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_changes_nothing(
    run: Run,
    path: Path,
    capfd: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    typed: bytes,
    code: int,
) -> None:
    assert run(*words, typed=typed) == code
    assert capfd.readouterr().err.startswith("minimta passwd: ")
    assert not path.exists()


def test_a_file_that_makes_no_sense_is_not_written_over(run: Run, path: Path) -> None:
    run("emma", typed=b"secret\n")
    cut = path.read_bytes()[:-20]
    path.write_bytes(cut)
    assert run("dave", typed=b"x\n") == 78
    assert path.read_bytes() == cut


def test_somebody_elses_users_are_not_ours_to_change(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cf = path.with_name("cf")
    cf.write_text("AuthBackend = dovecot:/run/x\n")
    assert verbs.main(["passwd", "-C", str(cf), "--list"]) == 78
    assert "AuthBackend is dovecot:/run/x" in capfd.readouterr().err


def test_two_writers_wait_for_each_other(
    run: Run, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwd, "_PATIENCE", 0.05)
    lock = locks.rebuild(f"{path}.lock")
    assert lock is not None
    with lock:
        assert run("emma", typed=b"secret\n") == 75
    assert run("emma", typed=b"secret\n") == 0


def test_a_crash_leaves_the_old_file(run: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("emma", typed=b"secret\n")
    before = path.read_bytes()

    def fails(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    assert run("dave", typed=b"x\n") == 71
    assert path.read_bytes() == before
    monkeypatch.undo()


def test_on_a_terminal_it_asks_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["secret", "secret", "secret", "other"]
    monkeypatch.setattr(getpass, "getpass", lambda prompt: answers.pop(0))
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert passwd._new_password("emma") == "secret"
    with pytest.raises(AdminError, match="differ"):
        passwd._new_password("emma")


class Terminal:
    def isatty(self) -> bool:
        return True


@pytest.mark.root
def test_the_listeners_group_may_read_it(path: Path, run: Run) -> None:
    cf = path.with_name("cf")
    cf.write_text(f"AuthBackend = {path}\nRunAsUser = nobody\n")
    assert run("emma", typed=b"secret\n") == 0
    found = path.stat()
    assert found.st_uid == 0 and found.st_gid == 65534


@pytest.mark.root
def test_without_the_listeners_user_it_says_what_to_do(
    path: Path, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    cf = path.with_name("cf")
    cf.write_text(f"AuthBackend = {path}\nRunAsUser = nosuch\n")
    assert run("emma", typed=b"secret\n") == 78
    assert "minimta install makes it" in capfd.readouterr().err
