"""The first attempt after a submission: who makes it, and what the exit code says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.queue.spool import Spool
from minimta.routing.local_host import LocalHost
from minimta.runner import deliver
from minimta.submission import delivery_mode
from minimta.system import locks


class Report:
    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code


class Deliverer:
    """Notes its attempts in a file, for a child's memory is lost."""

    exit_code = 0
    notes: Path

    def __init__(
        self,
        here: LocalHost,
        spool: Spool,
        *,
        say: Callable[[str], None] | None = None,
        tell: Callable[[str], None],
    ) -> None:
        self._said = bool(say)
        self._tell = tell

    def attempt(self, qids: Sequence[str]) -> list[Report]:
        with self.notes.open("a") as file:
            file.write(f"{qids[0]} say={self._said} pid={os.getpid()}\n")
        self._tell("nosuch... User unknown")
        return [Report(self.exit_code)]


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    Deliverer.notes = tmp_path / "notes"
    monkeypatch.setattr(deliver, "Deliverer", Deliverer)
    yield Deliverer.notes
    Deliverer.exit_code = 0


@pytest.fixture
def options(tmp_path: Path) -> Options:
    chosen = Options()
    chosen.queue_directory = str(tmp_path)
    return chosen


def first(options: Options, *, verbose: bool) -> int:
    spool = Spool(options.queue_directory)
    return delivery_mode.first(
        LocalHost(options), spool, "6AM9CfOn000096", hear=print if verbose else None
    )


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(0, 0), (os.EX_NOUSER, 67), (os.EX_NOHOST, 68), (os.EX_UNAVAILABLE, 69), (os.EX_TEMPFAIL, 0)],
)
def test_the_exit_code_of_an_interactive_attempt(
    options: Options, notes: Path, outcome: int, code: int
) -> None:
    Deliverer.exit_code = outcome
    options.delivery_mode = "interactive"
    assert first(options, verbose=False) == code
    assert notes.read_text() == f"6AM9CfOn000096 say=False pid={os.getpid()}\n"


@pytest.mark.parametrize(("mode", "told"), [("print", "nosuch... User unknown\n"), ("mail", "")])
def test_what_the_aliases_refuse_is_told_to_who_wants_words(
    options: Options, notes: Path, mode: str, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    options.delivery_mode, options.error_mode = "interactive", mode
    first(options, verbose=False)
    assert capfd.readouterr() == (told, "")


def test_verbose_waits_and_lets_the_dialogue_be_seen(options: Options, notes: Path) -> None:
    assert first(options, verbose=True) == 0
    assert notes.read_text() == f"6AM9CfOn000096 say=True pid={os.getpid()}\n"


def test_in_background_a_child_does_it_and_the_caller_gets_0(options: Options, notes: Path) -> None:
    Deliverer.exit_code = os.EX_NOUSER
    assert first(options, verbose=False) == 0
    pid, status = os.wait()
    assert notes.read_text() == f"6AM9CfOn000096 say=False pid={pid}\n"
    assert pid != os.getpid()
    assert os.waitstatus_to_exitcode(status) == os.EX_NOUSER


def test_a_resident_runner_is_left_to_do_it(options: Options, notes: Path) -> None:
    held = locks.resident(locks.beside(options.queue_directory))
    assert held is not None
    with held:
        assert not delivery_mode.is_ours(options, verbose=False)
        assert delivery_mode.is_ours(options, verbose=True)
    assert delivery_mode.is_ours(options, verbose=False)


@pytest.mark.parametrize(
    ("mode", "load", "wanted"),
    [
        ("background", 0.0, True),
        ("interactive", 7.9, True),
        ("background", 8.0, False),
        ("queueonly", 0.0, False),
        ("deferred", 0.0, False),
    ],
)
def test_mode_and_load_decide_whether_there_is_one(
    options: Options, monkeypatch: pytest.MonkeyPatch, mode: str, load: float, wanted: bool
) -> None:
    monkeypatch.setattr("minimta.system.load.average", lambda: load)
    options.delivery_mode = mode
    assert delivery_mode.is_wanted(options) is wanted
