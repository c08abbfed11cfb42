"""Every state of the queue is visited, and a model that is wrong in one place is found out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model.explore import SCENARIOS, Explored, explore
from tests.model.machine import Scenario
from tests.model.mutants import HARMLESS, JUDGED, is_noticed, mutants

#: all of it, whatever scenarios there are
LEAST = 100_000
README = Path(__file__).with_name("README.md")
_explored: list[Explored] = []


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: str(scenario.name))
def test_no_state_breaks_a_promise(scenario: Scenario) -> None:
    found = explore(scenario)
    print(found)
    assert found.ends
    _explored.append(found)


def test_a_hundred_thousand_states_were_visited() -> None:
    if len(_explored) < len(SCENARIOS):
        pytest.skip("not all scenarios were explored")
    states = sum(found.states for found in _explored)
    assert states >= LEAST
    assert f"{states:,} states" in README.read_text(encoding="utf-8")


#: program: the lines without which it must break a promise; the shortest ones to look at
NEEDED = {
    "accept": ("fsync new/df", "fsync new/tf", "fsync directory", "write new/df"),
    "accept together": ("syncfs directory", "fsync directory"),
    "accept and keep": ("fsync new/df", "fsync new/tf", "fsync directory"),
    "submit": ("fsync client/df", "fsync client/qf"),
    "let the letter go": ("fsync client/directory",),
    "record": ("lock tf", "write tf", "fsync tf", "fsync directory"),
    "to a mailbox": ("lock mailbox", "fsync mailbox"),
    "to a new mailbox": ("fsync mail", "fsync mailbox"),
    "let go": ("fsync directory",),
    "finish": ("fsync directory",),
    "retire": ("unlink qf",),
    "flush": ("fsync directory",),
    "sweep df": ("fsync directory",),
    "take": ("lock qf", "look qf"),
}


@pytest.mark.parametrize(
    ("program", "line"), [(name, line) for name, lines in NEEDED.items() for line in lines]
)
def test_each_line_is_needed(program: str, line: str) -> None:
    programs = dict(mutants(program))[f"{program}: without {line}"]
    assert is_noticed(program, programs)


def test_every_reason_is_one_for_a_change_that_there_is() -> None:
    changes = {change for program in JUDGED for change, _ in mutants(program)}
    assert HARMLESS.keys() <= changes
    text = README.read_text(encoding="utf-8")
    assert f"{len(changes)} changes of {len(JUDGED)} programs" in text
    assert f"{len(changes) - len(HARMLESS)} break a promise" in text


@pytest.mark.long
@pytest.mark.parametrize("program", JUDGED)
def test_every_change_of_a_program_is_noticed_or_explained(program: str) -> None:
    for change, programs in mutants(program):
        assert bool(is_noticed(program, programs)) is (change not in HARMLESS), change
