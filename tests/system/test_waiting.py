"""Acts that wait beside each other."""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterator

import pytest

from minimta.system import waiting
from minimta.system.waiting import Wait


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
