"""The tool itself, on a toy: it finds the hole that was left in the tests, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutation.changes import changes
from tests.mutation.run import HOME, Verdict, Workplace, stages

TOY = """\
import fcntl, os

def may_vote(age):
    return age >= 18

def enter(book, name):
    book.append(name)
    book.sort()

def keep(file, lock):
    with lock:
        if _try_lock(file) and file > 2:
            fcntl.flock(file, fcntl.LOCK_EX)
        os.write(file, b"")
    return True
"""
#: nobody asks for one who is just 18
TESTS = """\
import pytest
from toy import enter, may_vote

def test_children_may_not_vote():
    assert may_vote(40) and not may_vote(17)

def test_names_are_in_order():
    book = ["b"]
    enter(book, "a")
    assert book == ["a", "b"]

@pytest.mark.skip
def test_one_who_is_just_18_may_vote():
    assert may_vote(18)
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_toy.py").write_text(TESTS)
    place = Workplace(tmp_path, ["toy.py", "tests"], as_root=True)
    yield place
    place.close()


def fates(place: Workplace, *kinds: str) -> dict[str, tuple[str, str]]:
    return {
        change.what: place.judge("toy.py", change, [["tests/test_toy.py"]])
        for change in changes(TOY)
        if change.function in ("may_vote", "enter") and change.kind in kinds
    }


def test_a_hole_in_the_tests_is_found_and_nothing_else(place: Workplace) -> None:
    noticed = ("killed", "tests/test_toy.py::test_names_are_in_order")
    assert fates(place, "compare", "swap") == {
        "age >= 18 turned: age > 18": ("survived", ""),
        "swapped: book.append(name) and book.sort()": noticed,
    }
    assert (place.root / "toy.py").read_text() == TOY


def test_a_test_that_is_skipped_has_not_noticed(place: Workplace) -> None:
    (change,) = (one for one in changes(TOY) if one.what == "age >= 18 turned: age > 18")
    test = "tests/test_toy.py::test_one_who_is_just_18_may_vote"
    fate = place.notices("toy.py", change, test)
    assert fate == "skipped" and not Verdict(fate, test).is_killed


def test_one_place_is_changed_at_a_time() -> None:
    found = {(change.function, change.what) for change in changes(TOY)}
    assert found == {
        ("may_vote", "age >= 18 turned: age > 18"),
        ("may_vote", "18 is one larger"),
        ("may_vote", "returns None, not age >= 18"),
        ("enter", "left out: book.append(name)"),
        ("enter", "left out: book.sort()"),
        ("enter", "swapped: book.append(name) and book.sort()"),
        ("keep", "unlocked: lock"),
        ("keep", "negated: if _try_lock(file) and file > 2"),
        ("keep", "or instead in: _try_lock(file) and file > 2"),
        ("keep", "not made, taken for True: _try_lock(file)"),
        ("keep", "not made, taken for False: _try_lock(file)"),
        ("keep", "file > 2 turned: file >= 2"),
        ("keep", "2 is one larger"),
        ("keep", "left out: fcntl.flock(file, fcntl.LOCK_EX)"),
        ("keep", "shared: fcntl.flock(file, fcntl.LOCK_EX)"),
        ("keep", "left out: os.write(file, b'')"),
        ("keep", "not made: os.write(file, b'')"),
        ("keep", "returns False"),
    }
    for change in changes(TOY):
        changed = change.apply(TOY)
        compile(changed, "toy.py", "exec")
        assert changed != TOY


def test_the_tests_of_the_module_itself_come_first() -> None:
    found = stages("minimta/queue/commit.py")
    assert found[0][0] == "tests/queue/test_commit.py"
    assert found[-1] == ["tests/faults"] or found[-1] == ["tests/model"]
    assert len({test for stage in found for test in stage}) == sum(map(len, found))
    assert all((HOME / test).exists() for stage in found for test in stage)
