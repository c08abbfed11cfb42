"""One message a while to one next hop, whatever process asks."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from minimta.mailers.remote import pace as module
from minimta.mailers.remote.pace import Pace
from minimta.system import log
from tests.support.jobs import options


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mqueue.pace"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in its first element."""
    times = [1000.0]
    monkeypatch.setattr(time, "time", lambda: times[0])
    return times


def paces(path: Path, delay: int = 10) -> Pace:
    """As one more process has it."""
    configured = options()
    configured.queue_directory = str(path).removesuffix(".pace")
    configured.destination_rate_delay = delay
    return Pace(configured)


def test_after_a_turn_nobody_has_one_for_the_delay(path: Path, clock: list[float]) -> None:
    one, two = paces(path), paces(path)
    assert one.take("mx.campus") == 0.0
    clock[0] += 4.0
    assert (one.take("mx.campus"), two.take("mx.campus")) == (6.0, 6.0)
    assert two.seconds_left("mx.campus") == 6.0
    clock[0] += 6.0
    assert two.take("mx.campus") == 0.0
    assert one.take("mx.campus") == 10.0


def test_who_only_asks_takes_no_turn(path: Path, clock: list[float]) -> None:
    assert paces(path).seconds_left("mx.campus") == 0.0
    assert paces(path).take("mx.campus") == 0.0


def test_another_next_hop_has_turns_of_its_own(path: Path, clock: list[float]) -> None:
    assert paces(path).take("a.campus") == 0.0
    assert paces(path).take("b.campus") == 0.0


def test_without_the_option_there_is_no_file(path: Path) -> None:
    one = paces(path, 0)
    assert [one.take("mx.campus") for _ in range(3)] == [0.0] * 3
    assert one.seconds_left("mx.campus") == 0.0
    assert not path.exists()


@pytest.mark.parametrize("back", [5000.0, 11.0])
def test_a_clock_that_is_set_back_stops_no_mail(
    back: float, path: Path, clock: list[float]
) -> None:
    clock[0] = 10000.0
    assert paces(path).take("mx.campus") == 0.0
    clock[0] -= back
    assert paces(path).take("mx.campus") == 0.0


@pytest.mark.parametrize(
    "octets", [b"\x7f\xf8" + bytes(6), b"\xff" * 8, b"abc", b"\x7f\xf0" + bytes(6)]
)
def test_nonsense_in_the_file_stops_no_mail(octets: bytes, path: Path, clock: list[float]) -> None:
    path.write_bytes(octets * 3)
    offset = module._offset("mx.campus")
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(octets)
    assert paces(path).take("mx.campus") == 0.0
    assert paces(path).take("mx.campus") == 10.0


def test_who_is_stopped_while_it_takes_a_turn_holds_up_nobody(path: Path) -> None:
    assert paces(path).seconds_left("mx.campus") == 0.0
    told, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        file = os.open(path, os.O_RDWR)
        fcntl.lockf(file, fcntl.LOCK_EX, 8, module._offset("mx.campus"))
        os.write(tells, b"x")
        signal.pause()
    os.read(told, 1)
    try:
        assert paces(path).take("mx.campus") == 10.0
        assert paces(path).take("other.campus") == 0.0
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert paces(path).take("mx.campus") == 0.0


def test_a_file_that_cannot_be_used_stops_no_mail_and_is_told(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **more: lines.append(text))
    assert paces(path).take("mx.campus") == 0.0
    assert paces(path).take("mx.campus") == 0.0
    assert not (tmp_path / "elsewhere").exists()
    assert lines[0].startswith("SYSERR(root): DestinationRateDelay: cannot use ")


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    paces(path).take("mx.campus")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
