"""All examinations beside each other: what hangs or breaks costs only itself."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest

from minimta.admin.doctor import examinations
from minimta.admin.doctor.examinations import TABLE, Examination
from minimta.admin.doctor.examine import examine
from minimta.admin.doctor.patient import (
    Diagnosis,
    Health,
    Patient,
    fault,
    from_json,
    ok,
    outside,
    to_json,
    unknown,
    warning,
)
from minimta.admin.install import install, other_mta
from tests.support.patient import Machine


def well(patient: Patient) -> Iterator[Diagnosis]:
    yield ok("x", "is well")


def says_nothing(patient: Patient) -> Iterator[Diagnosis]:
    yield from ()


def hangs(patient: Patient) -> Iterator[Diagnosis]:
    yield fault("x", "is wrong")
    time.sleep(60)


def has_a_child_that_hangs(patient: Patient) -> Iterator[Diagnosis]:
    if not os.fork():
        time.sleep(60)
        os._exit(0)
    time.sleep(60)
    yield ok("x", "never")


def breaks(patient: Patient) -> Iterator[Diagnosis]:
    raise KeyError("x")
    yield from ()


def cannot(patient: Patient) -> Iterator[Diagnosis]:
    yield ok("x", "at first")
    raise PermissionError(13, "Permission denied", "/etc/shadow")


def dies(patient: Patient) -> Iterator[Diagnosis]:
    os.kill(os.getpid(), signal.SIGKILL)
    yield from ()


def talks(patient: Patient) -> Iterator[Diagnosis]:
    for number in range(5000):
        yield ok(f"x{number}", "much more than a pipe holds")


def test_each_costs_only_itself(machine: Machine) -> None:
    acts = (well, says_nothing, hangs, has_a_child_that_hangs, breaks, cannot, dies, talks)
    rows = [Examination(act.__name__, act, seconds=1.0) for act in acts]
    begun = time.monotonic()
    found = dict(examine(machine.patient, rows))
    assert time.monotonic() - begun < 10
    assert list(found) == [row.name for row in rows]
    assert len(found.pop("talks")) == 5000
    assert {name: [str(one) for one in several] for name, several in found.items()} == {
        "well": ["x: is well"],
        "says_nothing": ["says_nothing: there is nothing to say"],
        "hangs": ["hangs: unknown: no answer within 1 seconds"],
        "has_a_child_that_hangs": ["has_a_child_that_hangs: unknown: no answer within 1 seconds"],
        "breaks": ["breaks: unknown: KeyError: 'x': please report it"],
        "cannot": ["x: at first", "cannot: unknown: /etc/shadow: Permission denied"],
        "dies": ["dies: unknown: the examination ended without an answer"],
    }


def test_the_whole_takes_fifteen_seconds_at_most() -> None:
    assert max(row.seconds for row in TABLE) <= 13
    assert len({row.name for row in TABLE}) == len(TABLE)


def test_a_machine_that_is_well_is_left_in_peace(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(other_mta, "installed", lambda root: [])
    monkeypatch.setattr(install, "taken_away", lambda root: [])
    machine.options.run_as_user = "daemon"
    rows = [row for row in examinations.TABLE if row.name not in ("program", "returned")]
    found = examine(machine.patient, rows)
    assert [str(one) for _, several in found for one in several if one.state is not Health.OK] == []


@pytest.mark.parametrize(
    ("one", "code"),
    [(ok("x", "t"), 0), (warning("x", "t"), 0), (unknown("x", "t"), 0), (fault("x", "t"), 78), (outside("x", "t"), 69)],
)  # fmt: skip
def test_what_each_makes_of_the_exit_code(one: Diagnosis, code: int) -> None:
    assert one.exit_code == code
    assert from_json(json.loads(json.dumps(to_json(one)))) == one


def test_a_line_is_a_line() -> None:
    assert str(fault("x\ny", "t\x1b[2J", "r")).isprintable()
