"""Signals in the middle of calls (EINTR): Python repeats the call (PEP 475), and nothing else happens."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.sweep import Scene
from tests.faults.test_listener import Acceptance
from tests.faults.test_runner import Run, file, maildir, mbox

#: seconds between two signals
_OFTEN = 0.0003
_SCENES: dict[str, Callable[[Path], Scene]] = {
    "SMTP": lambda directory: Acceptance(directory, group=False),
    "mbox": lambda directory: Run(directory, mbox),
    "maildir": lambda directory: Run(directory, maildir),
    "file": lambda directory: Run(directory, file),
}


@pytest.fixture
def came() -> Iterator[list[int]]:
    """A signal that only says that it came."""
    found: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: found.append(number))
    signal.setitimer(signal.ITIMER_REAL, _OFTEN, _OFTEN)
    yield found
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", _SCENES)
def test_signals_change_nothing(ground: Path, came: list[int], name: str) -> None:
    for number in range(10):
        place = ground / str(number)
        place.mkdir(mode=0o755)
        scene = _SCENES[name](place)
        count = len(came)
        scene.act()
        assert len(came) > count, "no signal came"
        scene.judge(None, [])
