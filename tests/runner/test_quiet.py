"""A resident runner with nothing to do sleeps; what wakes it, and when it wakes by itself."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from minimta.runner import loop as looping
from minimta.runner.asked_runs import hand_over
from minimta.runner.queue_child import Child
from minimta.runner.watch import Watch
from minimta.system.dirwatch import DirectoryWatch
from minimta.system.mounts import Mounts
from minimta.system.waiting import Wait
from minimta.system.wakeup import WakeUp
from tests.runner.test_resident import DAVE, EMMA, Still, children_of, residing, touch, wait_for
from tests.support.privatehost import PrivateHost


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    return PrivateHost(tmp_path)


@pytest.fixture
def loop(tmp_path: Path) -> Still:
    one = Still(tmp_path)
    one._queue.tells = one._client.tells = True
    return one


def wake_ups(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (count,) = (line for line in lines if line.startswith("voluntary_ctxt_switches:"))
    return int(count.split(":")[1])


def wakes_in(pid: int, seconds: float) -> int:
    before = wake_ups(pid)
    time.sleep(seconds)
    return wake_ups(pid) - before


def settled(pid: int) -> None:
    """Its children have ended, and it sleeps."""
    wait_for(lambda: not children_of(pid))
    wait_for(lambda: wakes_in(pid, 0.3) == 0)


def needs_telling(directory: str) -> None:
    told = Watch(directory)
    with WakeUp(), told.telling():
        told.has_changed()
        if not told.tells:
            pytest.skip("this kernel, or this file system, tells of nothing")


# --- the real thing ---------------------------------------------------------------------------------


def test_with_nothing_to_do_it_does_not_wake_up(host: PrivateHost) -> None:
    needs_telling(host.options.queue_directory)
    host.submit(EMMA, DAVE)
    with residing(host, interval=900) as pid:
        wait_for(lambda: host.queued() == [])  # it has begun, whatever else the machine does
        settled(pid)
        wait_for(lambda: wakes_in(pid, 1.0) <= 2)  # it was 10


@pytest.mark.parametrize("why", ["refused", "foreign"])
def test_where_nobody_tells_it_looks(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "refused":
        monkeypatch.setattr(DirectoryWatch, "arm", lambda watch: False)
    else:
        monkeypatch.setattr(Mounts, "may_hang", lambda mounts, path: True)
    with residing(host, interval=900) as pid:
        wait_for(lambda: not children_of(pid))
        host.submit(EMMA, DAVE)
        wait_for(lambda: host.queued() == [])
    assert len(host.letters("dave")) == 1


def test_what_a_client_has_asked_for_wakes_it(host: PrivateHost) -> None:
    """The order is the name of a file that is made, not moved, in the queue directory."""
    needs_telling(host.options.queue_directory)
    with residing(host, interval=900) as pid:
        settled(pid)
        assert hand_over(host.options.queue_directory, b"#")
        asked = Path(host.options.queue_directory, "ask#")
        wait_for(lambda: not asked.exists())
        settled(pid)
        assert children_of(pid) == [], "also the end of that run was seen"


# --- until when it sleeps ---------------------------------------------------------------------------


def test_with_nothing_to_do_it_looks_once_in_a_while(loop: Still) -> None:
    assert loop._rest(100.0) == 60.0


def test_it_wakes_for_each_thing_that_has_its_time(loop: Still) -> None:
    loop._interval, loop._next_run = 900, 130.0
    assert loop._rest(100.0) == 30.0
    loop.work.alerts, loop._next_alert = True, 125.0
    assert loop._rest(100.0) == 25.0
    loop._turns._turns["a"] = 120.0
    assert loop._rest(100.0) == 20.0
    loop._held, loop._next_held = {"b": None}, 115.0
    assert loop._rest(100.0) == 20.0, "no place is free"
    loop._has_place = True
    assert loop._rest(100.0) == 15.0
    loop._next_look = 110.0
    assert loop._rest(100.0) == 10.0
    assert loop._rest(500.0) == 0.0


def test_what_waits_for_a_child_needs_no_look(loop: Still) -> None:
    loop._interval, loop.work.alerts = 900, True
    for number, what in enumerate(("full", "alert")):
        loop._children[number] = Child(number, -1, what, [])
    assert loop._rest(1000.0) == 60.0


def test_a_child_at_mailboxes_is_waited_for_until_it_is_stuck(loop: Still) -> None:
    loop._new = ["a"]
    loop._children[1] = Child(1, -1, "local", [], 100.0)
    assert loop._rest(101.0) == looping.STUCK - 1
    loop._children[1].what = "remote"
    assert loop._rest(101.0) == pytest.approx(looping.POLL), "for a slot, or a lower load"


@pytest.mark.parametrize("trouble", ["step", "queue", "client"])
def test_where_something_is_wrong_it_looks_often(loop: Still, trouble: str) -> None:
    loop._in_trouble = trouble == "step"
    loop._queue.tells = trouble != "queue"
    loop._client.tells = trouble != "client"
    assert loop._rest(100.0) == looping.POLL


def test_a_step_that_failed_is_made_again_soon_and_then_it_is_well(loop: Still) -> None:
    loop.arrive("a")
    loop._names = lambda: 1 / 0  # type: ignore[assignment,return-value]
    loop.step(0.0)
    assert loop._in_trouble
    loop._names = loop._list
    loop.step(0.1)
    assert not loop._in_trouble
    assert ("local", ["a"]) in loop.started


# --- a flood ----------------------------------------------------------------------------------------


def test_where_many_come_at_a_time_the_next_look_waits_for_more(loop: Still) -> None:
    loop.arrive("a", "b")
    loop.step(100.0)
    loop.is_local_done()
    loop.arrive("c")
    loop.step(100.01)
    assert loop.started == [("local", ["a", "b"])]
    loop.arrive("d")
    loop.step(100.0 + looping.POLL)
    assert loop.started[1:] == [("local", ["c", "d"])]


def test_a_look_that_was_put_off_for_an_instant_is_made_then(
    loop: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time comes while the step that put it off is still at work."""
    now = [99.999]

    def step(begun: float) -> None:
        Still.step(loop, begun)
        now[0] += 0.002

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(loop, "step", step)
    monkeypatch.setattr(loop, "_wait", lambda *unused: setattr(loop, "_next_look", 100.0))
    stops = iter((False, True))
    loop.stay(lambda: next(stops), lambda: Wait((), 0.0))
    assert loop._due <= now[0] + looping.POLL


def test_of_those_that_come_one_by_one_nobody_waits(loop: Still) -> None:
    for number, qid in enumerate("abc"):
        loop.arrive(qid)
        loop.step(100.0 + number / 1000)
        loop.end()
    assert loop.started == [("local", ["a"]), ("local", ["b"]), ("local", ["c"])]


def test_the_queue_is_not_listed_for_what_nobody_could_begin(loop: Still) -> None:
    loop.arrive("a")
    loop.step(0)
    listings = loop.listings
    for number in range(5):
        loop.arrive(f"b{number}")
        loop.step(0)
    assert loop.listings == listings


# --- the directory ----------------------------------------------------------------------------------


def test_a_second_change_within_a_tick_is_found(tmp_path: Path) -> None:
    stamp = time.time_ns()
    now = [stamp]
    watch = Watch(str(tmp_path), lambda: now[0])
    os.utime(tmp_path, ns=(stamp, stamp))
    found = []
    with WakeUp(), watch.telling():
        for later in (0, 4_000_000, 8_000_000, 50_000_000, 60_000_000):
            now[0] = stamp + later
            found.append(watch.has_changed())
        if not watch.tells:
            pytest.skip("this kernel, or this file system, tells of nothing")
    assert found == [True, True, True, True, False]


def test_a_change_between_the_look_at_the_clock_and_the_directory_is_found(tmp_path: Path) -> None:
    """It is long in coming, and a second one within the same tick is not told apart from it."""
    stamp = time.time_ns()
    os.utime(tmp_path, ns=(stamp, stamp))
    late = stamp + 50_000_000
    changes = iter((stamp, late, late))

    def clock() -> int:
        change = next(changes)
        os.utime(tmp_path, ns=(change, change))
        return stamp + 30_000_000

    watch = Watch(str(tmp_path), clock)
    with WakeUp(), watch.telling():
        watch.has_changed()
        if not watch.tells:
            pytest.skip("this kernel, or this file system, tells of nothing")
        watch.has_changed()
        assert watch.has_changed(), "the second"


def test_after_a_change_that_nobody_tells_of_the_next_look_finds_one(tmp_path: Path) -> None:
    watch = Watch(str(tmp_path), lambda: time.time_ns() + 10**12)
    assert [watch.has_changed() for _ in range(4)] == [True, True, False, False]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_was_set_makes_no_change(tmp_path: Path, hours: int) -> None:
    watch = Watch(str(tmp_path), lambda: time.time_ns() + hours * 3600 * 10**9)
    with WakeUp(), watch.telling():
        touch(tmp_path)
        found = [watch.has_changed() for _ in range(3)]
        if not watch.tells:
            pytest.skip("this kernel, or this file system, tells of nothing")
    assert found == [True, False, False]
