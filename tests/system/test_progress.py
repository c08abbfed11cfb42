"""Progress on a terminal, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import minimta
from minimta.system.progress import ProgressLine, counted
from tests.support.privatehost import PrivateHost


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """The two ends of a terminal."""
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def shown(ours: int) -> str:
    try:
        return os.read(ours, 65536).decode()
    except BlockingIOError:
        return ""


def test_nothing_is_shown_in_the_first_second(terminal: tuple[int, int]) -> None:
    clock = Clock()
    with ProgressLine("delivering", 400, descriptor=terminal[1], clock=clock) as progress:
        for clock.now in (0.0, 0.5, 0.99):
            progress.at(7)
    assert shown(terminal[0]) == ""


def test_long_work_shows_how_far_it_is_and_leaves_nothing_behind(
    terminal: tuple[int, int],
) -> None:
    clock = Clock()
    with ProgressLine("delivering", 400, descriptor=terminal[1], clock=clock) as progress:
        clock.now = 4.0
        progress.at(100)
        assert shown(terminal[0]) == "\r\x1b[Kdelivering  100 of 400 (25 %), 12 s left"
        clock.now = 4.1
        progress.at(110)
        assert shown(terminal[0]) == "", "five times a second at most"
    assert shown(terminal[0]) == "\r\x1b[K"


def test_work_whose_end_nobody_knows_is_counted(terminal: tuple[int, int]) -> None:
    clock = Clock()
    progress = ProgressLine("adopting", descriptor=terminal[1], clock=clock)
    clock.now = 2.0
    progress.at(31)
    assert shown(terminal[0]) == "\r\x1b[Kadopting  31"
    progress.pause()
    assert shown(terminal[0]) == "\r\x1b[K"
    progress.end()
    progress.end()
    assert shown(terminal[0]) == ""


def test_in_a_pipe_nothing_appears() -> None:
    reading, writing = os.pipe()
    clock = Clock()
    with ProgressLine("delivering", 4, descriptor=writing, clock=clock) as progress:
        clock.now = 60.0
        progress.at(2)
    os.close(writing)
    assert os.read(reading, 100) == b""
    os.close(reading)


def test_a_dumb_terminal_gets_no_sequences(
    terminal: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    clock = Clock()
    progress = ProgressLine("delivering", 4, descriptor=terminal[1], clock=clock)
    clock.now = 60.0
    progress.at(2)
    assert shown(terminal[0]) == ""


def test_a_terminal_that_is_gone_stops_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    clock = Clock()
    progress = ProgressLine("delivering", 4, descriptor=theirs, clock=clock)
    os.close(ours)
    clock.now = 60.0
    progress.at(2)
    progress.end()
    os.close(theirs)


def test_what_is_counted_comes_through() -> None:
    assert list(counted("things", "abc", 3)) == ["a", "b", "c"]


# --- who shows it -------------------------------------------------------------------------------------

#: shows from the first moment on, and after each step, so that a test need not last a second
AT_ONCE = """
import sys
from minimta.system import progress
progress._SOON = progress._BETWEEN = 0.0
"""
#: with the options of a host
OPTIONS = (
    AT_ONCE
    + """
from minimta.config.options import Options
options = Options()
for name, value in {values!r}.items():
    setattr(options, name, value)
"""
)
RUN = (
    OPTIONS
    + """
from minimta.runner import queue_run
queue_run.run(options)
"""
)
QUEUE = (
    OPTIONS
    + """
from minimta.admin.queue import command
command._options = lambda path: options
command.run([{verb!r}, "all"])
"""
)


def on_terminal(script: str, *, both: bool = False) -> tuple[str, str]:
    """What a *script* writes to a terminal that is its standard error, and to its standard output.

    With *both* that is the terminal, too.
    """
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", script]
    home = Path(minimta.__file__).parent.parent
    environment = {**os.environ, "TERM": "xterm"}
    out = theirs if both else subprocess.PIPE
    done = subprocess.run(command, stdout=out, stderr=theirs, cwd=home, env=environment, check=True)
    os.set_blocking(ours, False)
    text = shown(ours)
    os.close(ours)
    os.close(theirs)
    return text, (done.stdout or b"").decode()


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    made = PrivateHost(tmp_path)
    made.options.log_to = "none"
    for _ in range(3):
        made.submit(b"<emma@lab1.campus>", b"<dave@lab1.campus>")
    return made


def values_of(host: PrivateHost) -> dict[str, object]:
    values = {
        name: getattr(host.options, name)
        for name in vars(type(host.options))
        if name.endswith(("_directory", "_file", "_files", "_table", "_names", "host_name"))
    }
    return values | {"run_as_user": "", "queue_la": 10000, "log_to": "none"}


def test_a_queue_run_on_a_terminal_shows_how_far_it_is(host: PrivateHost) -> None:
    text, printed = on_terminal(RUN.format(values=values_of(host)))
    assert "queue run  2 of 3 (66 %)" in text and printed == ""
    assert text.endswith("\r\x1b[K"), "nothing is left behind"
    assert len(host.letters("dave")) == 3


@pytest.mark.parametrize("verb", ["hold", "retry"])
def test_what_is_said_meanwhile_has_a_line_of_its_own(host: PrivateHost, verb: str) -> None:
    qids = sorted(name[2:] for name in host.files() if name.startswith("qf"))
    text, _ = on_terminal(QUEUE.format(values=values_of(host), verb=verb), both=True)
    assert f"{verb}  " in text
    left = [line.rpartition("\x1b[K")[2] for line in text.split("\r\n")]
    told = sorted(line for line in left if any(qid in line for qid in qids))
    assert [line.partition(":")[0] for line in told] == qids
