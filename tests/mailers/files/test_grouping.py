"""What goes to one place together, and what by itself."""

from __future__ import annotations

import pytest

from minimta.mailers.files import grouping
from minimta.mailers.files.grouping import SENT, by_place
from minimta.mailers.job import Job
from minimta.message.outcome import Outcome, deferred
from tests.support.jobs import job

MIB = 1 << 20


def test_a_slow_disk_gets_no_more_at_a_time_than_it_can_take() -> None:
    """What a child has not done in its time is done anew: a whole backlog would come again in every run."""
    sizes = [30 * MIB, 33 * MIB, 5, 6, 90 * MIB, 64 * MIB, *[7] * 100]
    jobs = [job("", "dave", size=size) for size in sizes]
    asked: list[list[int]] = []

    def act(name: bytes, some: list[Job]) -> dict[Job, Outcome]:
        assert name == b"dave"
        asked.append([sizes[jobs.index(one)] for one in some])
        return dict.fromkeys(some, SENT)

    settled = list(by_place(jobs, lambda _, name: name, act))
    assert asked == [
        [30 * MIB, 33 * MIB, 5],
        [6],
        [90 * MIB],
        [64 * MIB],
        [7] * 64,
        [7] * 36,
    ]
    assert settled == [(one, {b"dave": SENT}) for one in jobs]


def test_each_portion_is_recorded_before_the_next_is_begun() -> None:
    jobs = [job("", "dave", size=40 * MIB) for _ in range(3)]
    asked: list[Job] = []

    def act(name: bytes, some: list[Job]) -> dict[Job, Outcome]:
        asked.extend(some)
        return dict.fromkeys(some, SENT)

    for number, _ in enumerate(by_place(jobs, lambda _, name: name, act), 1):
        assert asked == jobs[:number]


def test_what_is_locked_is_waited_for_once() -> None:
    jobs = [job("", "dave", "emma", size=40 * MIB) for _ in range(3)]
    busy, asked = deferred("4.2.0", "locked", is_busy=True), list[bytes]()

    def act(name: bytes, some: list[Job]) -> dict[Job, Outcome]:
        asked.append(name)
        return dict.fromkeys(some, busy if name == b"dave" else SENT)

    settled = list(by_place(jobs, lambda _, name: name, act))
    assert asked == [b"dave", *[b"emma"] * 3]
    assert settled == [(one, {b"dave": busy, b"emma": SENT}) for one in jobs]


def test_what_is_slow_lets_others_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog that takes hours would hold up every mailbox of the run."""
    jobs = [job("", name, size=40 * MIB) for name in ("dave", "dave", "dave", "emma")]
    monkeypatch.setattr(grouping, "TIME", 0)
    asked: list[Job] = []

    def act(name: bytes, some: list[Job]) -> dict[Job, Outcome]:
        asked.extend(some)
        return dict.fromkeys(some, SENT)

    slow = deferred("4.2.0", "dave is slow: others first", is_busy=True)
    settled = dict(by_place(jobs, lambda _, name: name, act))
    assert asked == [jobs[0], jobs[3]]
    assert [settled[one] for one in jobs] == [
        {b"dave": SENT},
        {b"dave": slow},
        {b"dave": slow},
        {b"emma": SENT},
    ]
