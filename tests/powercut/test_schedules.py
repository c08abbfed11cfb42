"""A thousand random schedules; more: python3 -m tests.powercut.schedules --schedules 100000."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from minimta.system import log
from tests.powercut import schedules

_PART = 125


@pytest.mark.parametrize("first", range(1, 1001, _PART))
def test_nothing_is_lost_or_torn_in_whatever_order_and_wherever_the_power_fails(first: int) -> None:
    wrong = list(filter(None, schedules.several(range(first, first + _PART))))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("call", ["fsync", "syncfs"])
def test_without_a_call_that_syncs_mail_is_lost(call: str) -> None:
    """A judge that is content without it judges nothing."""
    wrong = list(filter(None, schedules.several(range(1, 60), without=[call])))
    assert any("lost" in text for text in wrong)
    assert all(text.startswith("seed ") for text in wrong)


def test_a_seed_does_the_same_again(tmp_path: Path) -> None:
    traces = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with mock.patch.object(log, "line", lambda *unused, **named: None):
            disk = schedules.played(schedules.planned(5), tmp_path / name)
        traces.append([str(call) for call in disk.calls])
    assert traces[0] == traces[1]
    assert len(traces[0]) > 50
