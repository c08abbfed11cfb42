"""Acts that wait beside each other."""

from __future__ import annotations

import fcntl
import math
import os
import re
from collections.abc import Generator, Iterator
from itertools import chain
from pathlib import Path

import pytest

from minimta.system import waiting
from minimta.system.waiting import Wait

HOME = Path(__file__).parents[2]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_results_come_in_order_and_what_is_waited_for_is_waited_for(pipe: tuple[int, int]) -> None:
    def steps() -> Iterator[int | Wait]:
        yield 1
        os.write(pipe[1], b"x")
        yield Wait([pipe[0]], 60)
        yield len(os.read(pipe[0], 10)) + 1

    assert list(waiting.alone(steps())) == [1, 2]


def test_what_steps_return_comes_at_their_end(pipe: tuple[int, int]) -> None:
    def steps() -> Generator[Wait, None, bytes]:
        os.write(pipe[1], b"x")
        yield Wait([pipe[0]], 60)
        return os.read(pipe[0], 10)

    assert waiting.returned(steps()) == b"x"


def test_of_several_the_one_that_is_ready_need_not_wait_for_the_others(
    pipe: tuple[int, int],
) -> None:
    mute = os.pipe()
    os.write(pipe[1], b"x")
    waits = [Wait([mute[0]], 60), Wait([pipe[0]], 60)]
    ready = waiting.together(waits, math.inf)
    assert [wait.is_over(ready) for wait in waits] == [False, True]
    for end in mute:
        os.close(end)


def test_a_wait_without_descriptors_ends_with_its_time() -> None:
    wait = Wait((), 0.001)
    assert waiting.together([wait], 60) == []
    assert wait.is_over(())


def test_what_is_readable_comes_at_once(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"x")
    assert waiting.readable([pipe[0]], 60) == [pipe[0]]


def test_nothing_readable_is_waited_for_no_longer_than_told(pipe: tuple[int, int]) -> None:
    assert waiting.readable([pipe[0]], 0.0001) == []


def test_descriptors_may_have_large_numbers(pipe: tuple[int, int]) -> None:
    large = fcntl.fcntl(pipe[0], fcntl.F_DUPFD_CLOEXEC, 1500)
    try:
        os.write(pipe[1], b"x")
        assert waiting.readable([large], 60) == [large]
        assert waiting.together([Wait([large], 60)], 60) == [large]
    finally:
        os.close(large)


def test_no_module_uses_select() -> None:
    """It raises ValueError for a descriptor above 1023; see waiting.readable."""
    for path in chain(*((HOME / room).rglob("*.py") for room in ("minimta", "tests"))):
        calls = re.findall(r"\bselect\.select\(", path.read_text(encoding="utf-8"))
        assert not calls or path == Path(__file__), path
