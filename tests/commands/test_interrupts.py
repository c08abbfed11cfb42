"""SIGINT at a terminal: a command that reads standard input ends by it, and nothing is said of Python."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minimta.admin.checkout import HOME


def interrupted(place: Path, name: str, *arguments: str) -> tuple[bytes, int]:
    """What *name* of bin/ says, in *place*, when SIGINT comes while it reads; and how it ends."""
    # A shell that starts the tests in the background lets them ignore SIGINT.
    command = ["env", "--default-signal=INT", sys.executable, "-IS", f"{HOME}/bin/{name}"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*command, *arguments], stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, cwd=place
    ) as typed:
        assert typed.stdin and typed.stdout
        typed.stdin.write(b"# a comment\n" * 90_000)  # more than a pipe has room for: it reads
        typed.stdin.flush()
        typed.send_signal(signal.SIGINT)
        typed.stdin.close()  # Python may have heard of it just before a read that would wait
        said = typed.stdout.read()
    return said, typed.returncode


@pytest.mark.parametrize(
    "words",
    [
        ("rmail", "emma"),
        ("mail.local", "emma"),
        ("mail", "-n", "emma@lab1.campus"),
        ("makemap", "-r", "cdb", "m"),
    ],
)
def test_who_interrupts_it_reads_nothing_of_python(words: tuple[str, ...], tmp_path: Path) -> None:
    assert interrupted(tmp_path, *words) == (b"", -signal.SIGINT)
    assert list(tmp_path.iterdir()) == []
