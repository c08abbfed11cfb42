"""sendmail -q: which run is asked for, and who makes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from minimta.commands import start_runner
from minimta.config import commandline
from minimta.config.commandline import UsageError
from minimta.config.options import Options
from minimta.queue.selectors import Selection
from minimta.runner import queue_run, resident


@pytest.mark.parametrize(
    ("run", "seconds"),
    [("15m", 900), ("1h30m", 5400), ("p5m", 300), ("f15m", 900), ("30", 1800), ("", None), ("f", None), ("0", None),
     ("p", None), ("Rlab2", None), ("!I6AM", None), ("I15m", None), ("Gmqueue", None)],
)  # fmt: skip
def test_the_time_between_runs(run: str, seconds: int | None) -> None:
    assert start_runner.interval_of(run) == seconds


@pytest.mark.parametrize(("run", "unit"), [("X", "X"), ("5x", "x"), ("pX", "X")])
def test_a_wrong_unit_is_named(run: str, unit: str) -> None:
    with pytest.raises(UsageError, match=f"Invalid time unit `{unit}'"):
        start_runner.interval_of(run)


def test_only_criteria_are_selections() -> None:
    assert start_runner.selections_of(["", "f", "15m", "Rgrey", "!Sx"]) == [
        Selection("R", "grey"),
        Selection("S", "x", negated=True),
    ]
    with pytest.raises(UsageError):
        start_runner.selections_of(["!x"])


def test_a_wrong_selection_is_told_before_a_run_goes_into_the_background() -> None:
    with pytest.raises(UsageError, match="Invalid queue selection"):
        start("-q!x")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    notes = tmp_path / "notes"

    def run(
        options: Options,
        selections: Sequence[Selection],
        *,
        say: Callable[[str], None],
        verbose: bool,
    ) -> int:
        notes.write_text(f"{[s.text for s in selections]} {verbose} {os.getpid() == parent}")
        return os.EX_TEMPFAIL

    parent = os.getpid()
    monkeypatch.setattr(queue_run, "run", run)
    return notes


def start(*arguments: str) -> int:
    argv = ["sendmail", *arguments]
    return start_runner.start(commandline.parse(argv), Options(), Options)


def test_a_run_returns_at_once_and_goes_on_in_a_child(runs: Path) -> None:
    assert start("-q") == 0
    _, status = os.wait()
    assert os.waitstatus_to_exitcode(status) == os.EX_TEMPFAIL
    assert runs.read_text() == "[] False False"


@pytest.mark.parametrize(
    ("arguments", "noted"),
    [
        (["-qf"], "[] False True"),
        (["-q", "-v"], "[] True True"),
        (["-v", "-qRgrey"], "['grey'] True True"),
    ],
)
def test_in_the_foreground_its_exit_code_is_ours(
    runs: Path, arguments: list[str], noted: str
) -> None:
    assert start(*arguments) == os.EX_TEMPFAIL
    assert runs.read_text() == noted


def test_a_runner_that_stays_writes_its_pid_and_takes_it_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    options = Options()
    options.pid_file = str(tmp_path / "pid")

    def stay(
        options: Options,
        interval: int | None,
        stop: Callable[[], bool],
        *,
        begins: Callable[[], None],
        waits: Callable[[], None] | None,
        ends: Callable[[], None],
        renewed: Callable[[], Options | None],
    ) -> int:
        assert not Path(options.pid_file).exists()
        begins()
        seen.write_text(f"{interval} {Path(options.pid_file).read_text()}")
        ends()
        Path(options.pid_file).write_text("of the next one")
        os.kill(os.getpid(), 15)
        return os.EX_OK if stop() else os.EX_SOFTWARE

    monkeypatch.setattr(resident, "stay", stay)
    argv = ["sendmail", "-q15m"]
    assert start_runner.start(commandline.parse(argv), options, Options) == 0
    pid, status = os.wait()
    assert os.waitstatus_to_exitcode(status) == 0
    assert seen.read_text() == f"900 {pid}\nsendmail -q15m\n"
    assert (tmp_path / "pid").read_text() == "of the next one"
