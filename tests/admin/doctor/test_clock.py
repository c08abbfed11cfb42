"""The clock."""

from __future__ import annotations

import time

import pytest

from minimta.admin.doctor import clock
from tests.support.patient import Machine


@pytest.mark.parametrize(("now", "year"), [(0.0, "1970"), (946_684_800.0, "2000"), (5e9, "2128")])
def test_a_year_that_cannot_be(machine: Machine, now: float, year: str) -> None:
    machine.changes["now"] = now
    [line] = machine.told(clock.clock)
    assert line.startswith(f"clock: it says {year}: certificates are not good")


def test_a_clock_that_nothing_sets(machine: Machine) -> None:
    machine.programs["timedatectl",] = "no\n"
    assert machine.told(clock.clock) == [
        "clock: Warning: nothing sets it (NTP): apt install systemd-timesyncd, or chrony"
    ]


def test_where_systemd_does_not_run_nobody_knows_and_that_is_no_fault(machine: Machine) -> None:
    machine.programs.clear()
    assert not machine.told(clock.clock)


def test_a_message_from_the_future(machine: Machine) -> None:
    machine.host.now = time.time() + 86400
    qid = machine.host.submit(b"<emma@lab1.campus>", b"<dave@lab1.campus>")
    machine.host.now = None
    machine.host.submit(b"<emma@lab1.campus>", b"<dave@lab1.campus>")
    [line] = machine.told(clock.clock)
    assert line.startswith(f"{qid}: Warning: is from the future: the clock was set back")
