"""Standard descriptors that the caller has left closed: nothing is read, and no file takes their place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minimta.admin.checkout import HOME

LETTER = "From a@b Sat Nov 16 00:19:13 2019\nSubject: x\n\nx\n\n"


def run(place: Path, closed: str, name: str, *words: str) -> tuple[int, str]:
    """Exit code, and what it says, with what *closed* closes for a shell."""
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-IS", f"{HOME}/bin/{name}", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        cwd=place, env=os.environ | {"HOME": str(place)}, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("makemap", "cdb", "m"), 0, ""),
        (("mail", "-n", "-E", "emma@lab1.campus"), 0, ""),
        (("mail", "-n", "-N", "-f", "box"), 0, "minimta mail"),
        (("mail.local", "nosuch-user"), os.EX_NOUSER, "550 5.1.1 nosuch-user: User unknown"),
        (("rmail", "emma"), os.EX_DATAERR, "rmail: null message"),
    ],
)
def test_closed_standard_input_is_empty(
    tmp_path: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    (tmp_path / "box").write_text(LETTER)
    found, said = run(tmp_path, "<&-", *words)
    assert (found, said[: len(told)], "Traceback" in said) == (code, told, False)


def test_a_session_of_lmtp_without_a_client_ends(tmp_path: Path) -> None:
    code, said = run(tmp_path, "<&-", "mail.local", "-l")
    assert (code, said[:4]) == (0, "220 ")


def test_a_complaint_goes_into_no_file(tmp_path: Path) -> None:
    """What is opened gets the lowest number that is free, be it that of standard error."""
    (tmp_path / "text").write_text("a 1\na 2\n")
    command = f"exec {sys.executable} -IS {HOME}/bin/makemap cdb m < text 2>&- >&-"
    before = subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False)
    assert before.returncode == os.EX_DATAERR
    assert run(tmp_path, "", "makemap", "-u", "cdb", "m") == (0, "a\t1\n")


def test_standard_descriptors_are_there_before_anything_is_opened(tmp_path: Path) -> None:
    script = (
        f"import sys, os; sys.path.insert(0, {HOME!r});"
        "from minimta.system.terminal import until_interrupted;"
        "sys.exit(until_interrupted(lambda argv: os.open('file', os.O_CREAT | os.O_RDWR), []))"
    )
    done = subprocess.run(
        ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", sys.executable, "-I", "-c", script],
        cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode > 2


def test_what_a_closed_standard_output_does_not_take_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a 1\n")
    assert run(tmp_path, "< text", "makemap", "cdb", "m")[0] == 0
    code, said = run(tmp_path, "2>&1 >&-", "makemap", "-u", "cdb", "m")
    assert code == os.EX_IOERR
    assert "Bad file descriptor" in said


@pytest.mark.parametrize(("words", "code"), [("help check", 0), ("token get emma", os.EX_USAGE)])
def test_what_nobody_can_read_changes_no_exit_code(tmp_path: Path, words: str, code: int) -> None:
    """argparse writes to standard error what standard output is not there for."""
    assert run(tmp_path, ">&- 2>&-", "minimta", *words.split()) == (code, "")
