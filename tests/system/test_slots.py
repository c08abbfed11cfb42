"""Slots: never more holders than there are, whoever dies, and those who wait come first."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.system import log
from minimta.system.slots import Slots

Make = Callable[[int], Slots]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Make]:
    """Slots as one more process sees them."""
    made: list[Slots] = []

    def one_more(number: int) -> Slots:
        made.append(Slots(str(tmp_path / "slots"), number))
        return made[-1]

    yield one_more
    for slots in made:
        slots.leave()
        slots.forget_waiting()


def test_no_more_than_there_are(process: Make) -> None:
    inside = [process(3) for _ in range(5)]
    assert [slots.enter() for slots in inside] == [True, True, True, False, False]
    inside[1].leave()
    assert [slots.enter() for slots in inside] == [True, True, True, False, False]


def test_entering_twice_takes_one(process: Make) -> None:
    first, second = process(2), process(2)
    assert first.enter() and first.enter()
    assert second.enter()


@pytest.mark.parametrize("number", [0, 1])
def test_there_is_always_one(process: Make, number: int) -> None:
    assert process(number).enter()
    assert not process(number).enter()


def test_second_slots_count_like_the_first(process: Make) -> None:
    busy = process(3)
    assert busy.enter()
    taken = [busy.second() for _ in range(3)]
    assert [slot >= 0 for slot in taken] == [True, True, False]
    assert not process(3).enter()
    os.close(taken[0])
    assert process(3).enter()
    os.close(taken[1])


def test_who_waits_comes_before_who_has_one(process: Make) -> None:
    busy, late, later = process(1), process(1), process(1)
    assert busy.enter()
    assert not late.enter(waits=True)
    busy.leave()
    assert busy.second() == -1, "it is the turn of another"
    assert late.enter()
    late.leave()
    slot = busy.second()
    assert slot >= 0, "nobody waits any more"
    os.close(slot)
    assert later.enter()


def test_who_only_asks_keeps_nobody_from_a_second_one(process: Make) -> None:
    busy, other = process(1), process(1)
    assert busy.enter()
    assert not other.enter()
    busy.leave()
    slot = busy.second()
    assert slot >= 0
    os.close(slot)


def test_waiting_ends_when_there_is_one_or_when_told_to_stop(process: Make) -> None:
    busy, late = process(1), process(1)
    assert busy.enter()
    stops = iter([False, True])
    assert not late.enter_when_free(lambda: next(stops))

    def leave_first() -> bool:
        busy.leave()
        return False

    assert late.enter_when_free(leave_first)


def test_a_child_has_the_slot_that_it_was_forked_with_until_it_dies(process: Make) -> None:
    parent = process(1)
    assert parent.enter()
    ready, says = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(says, b"y")
        signal.pause()
        os._exit(1)
    assert os.read(ready, 1) == b"y"
    parent.leave()
    assert not parent.enter(), "the child has it"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert parent.enter()
    os.close(ready)
    os.close(says)


def test_where_nothing_can_be_locked_all_have_one_and_nobody_has_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: lines.append(text))
    slots = Slots(str(tmp_path / "nowhere" / "slots"), 2)
    assert slots.enter()
    assert slots.second() == -1
    slots.leave()
    assert "cannot lock" in lines[0]


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "slots").symlink_to(tmp_path / "precious")
    assert Slots(str(tmp_path / "slots"), 2).enter()
    assert not (tmp_path / "precious").exists()
