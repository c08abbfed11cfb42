"""The tool finds a hole in a suite, and makes every kind of change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation.changes import changes
from tests.mutation.runner import DURABLE, HOME, Mutant, concerning, is_durable, mutants, verdict

CODE = """
def larger(one, other):
    if one > other and one != 7:
        note(one)
        tell(other)
        return one
    return other

def note(one):
    pass

def tell(one):
    pass
"""
#: notices everything but what note() and tell() are for: the planted hole
TESTS = """
from minimta.room.code import larger

def test_larger():
    assert [larger(2, 1), larger(1, 2), larger(7, 2), larger(8, 2)] == [2, 2, 2, 8]
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in (("minimta/room/code.py", CODE), ("tests/room/test_code.py", TESTS)):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return tmp_path


def test_every_kind_of_change_is_made() -> None:
    kinds = {change.kind for change in changes(CODE)}
    assert kinds == {"comparison", "condition", "operator", "number", "call", "order", "return"}
    assert len({change.text for change in changes(CODE)}) == len(changes(CODE))


def test_a_hole_in_the_tests_is_found(tree: Path) -> None:
    found = list(mutants("room/code", tree))
    by_kind = {one.change.kind: one for one in found if one.change.kind in ("return", "call")}
    tests = concerning("room/code", tree)
    assert tests == ["tests/room/test_code.py"]
    assert "test_larger" in verdict(by_kind["return"], tree, tests)
    assert verdict(by_kind["call"], tree, tests) == "survived"
    assert (tree / "minimta/room/code.py").read_text() == CODE


@pytest.mark.parametrize("module", ["queue/commit", "mailers/files/mbox"])
def test_the_durable_path_is_where_it_is_said_to_be(module: str) -> None:
    text = (HOME / "minimta" / f"{module}.py").read_text()
    assert module in DURABLE
    durable = [one for one in changes(text) if is_durable(Mutant(module, one))]
    assert durable
    assert concerning(module)
