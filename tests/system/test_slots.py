"""Slots: never more holders than there are, whoever dies, and those who wait come first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.system import log
from minimta.system import slots as slots_module
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


def test_that_it_cannot_be_locked_is_said_once_by_each_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: lines.append(text))
    for slots in (Slots(str(tmp_path / "none" / "slots"), 2) for _ in range(3)):
        assert slots.enter() and slots.second() == -1
        place = slots.place_at("hop mute.campus")
        assert place is not None
        place.close()
    assert len(lines) == 1
    monkeypatch.setattr(os, "getpid", lambda: -1)
    slots.second()
    assert len(lines) == 2
    (tmp_path / "none").touch()
    slots.second()
    assert len(lines) == 3, "now there is another reason"


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "slots").symlink_to(tmp_path / "precious")
    assert Slots(str(tmp_path / "slots"), 2).enter()
    assert not (tmp_path / "precious").exists()


# --- places at a next hop ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "most"), [(1, 1), (2, 1), (3, 2), (4, 3), (5, 4), (10, 8), (50, 40)]
)
def test_one_next_hop_leaves_slots_for_others(process: Make, number: int, most: int) -> None:
    places = [process(number).place_at("hop mute.campus") for _ in range(number + 1)]
    assert [place is not None for place in places] == [True] * most + [False] * (number + 1 - most)
    other = process(number).place_at("hop good.campus")
    assert other is not None
    for place in (*places, other):
        if place:
            place.close()
    again = process(number).place_at("hop mute.campus")
    assert again is not None
    again.close()


def test_a_hop_may_have_fewer_places(process: Make) -> None:
    first = process(10).place_at("lock mailbox dave", 1)
    assert first is not None
    assert process(10).place_at("lock mailbox dave", 1) is None
    first.close()


def test_places_are_no_slots(process: Make) -> None:
    place = process(1).place_at("hop mute.campus")
    assert place is not None
    assert process(1).enter()
    place.close()


def test_a_place_moves_from_host_to_host_and_stays_at_the_hop(process: Make) -> None:
    one, two = process(2).place_at("hop a.campus"), process(2).place_at("hop b.campus")
    assert one is not None and two is not None
    assert one.moves_on_to("host mx.campus")
    assert one.moves_on_to("host mx.campus"), "it has that one"
    assert not two.moves_on_to("host mx.campus")
    assert one.moves_on_to("host mx2.campus")
    assert two.moves_on_to("host mx.campus")
    assert process(2).place_at("hop a.campus") is None
    one.close()
    two.close()


def test_a_child_has_the_place_that_it_was_forked_with_until_it_dies(process: Make) -> None:
    place = process(2).place_at("hop mute.campus")
    assert place is not None
    ready, says = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(says, b"y")
        signal.pause()
        os._exit(1)
    assert os.read(ready, 1) == b"y"
    place.close()
    assert process(2).place_at("hop mute.campus") is None
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    again = process(2).place_at("hop mute.campus")
    assert again is not None
    for file in (ready, says):
        os.close(file)
    again.close()


def test_where_nothing_can_be_locked_all_have_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: lines.append(text))
    slots = Slots(str(tmp_path / "nowhere" / "slots"), 2)
    for _ in range(3):
        place = slots.place_at("hop mute.campus")
        assert place is not None
        assert place.moves_on_to("host mx.campus")
        place.close()
    assert "cannot lock" in lines[0]


def test_all_processes_mean_the_same_place(tmp_path: Path) -> None:
    place = Slots(str(tmp_path / "slots"), 2).place_at("hop mute.campus")
    script = (
        "import sys; from minimta.system.slots import Slots\n"
        "sys.exit(Slots(sys.argv[1], 2).place_at('hop mute.campus') is not None)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "slots")]
    home = Path(slots_module.__file__).parent.parent.parent
    assert place is not None
    assert subprocess.run(command, cwd=home, check=False).returncode == 0
    place.close()


@pytest.mark.parametrize(
    ("number", "hop", "source"), [(1, 1, 1), (5, 4, 5), (10, 8, 9), (40, 32, 36)]
)
def test_a_mute_host_leaves_its_senders_a_place_for_other_mail(
    tmp_path: Path, number: int, hop: int, source: int
) -> None:
    slots = Slots(str(tmp_path / "slots"), number)
    assert (slots.most, slots.most_of_source) == (hop, source)
