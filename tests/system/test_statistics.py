"""The counts for mailstats: added under a lock, by many processes, and in nobody's way."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.system import statistics
from minimta.system.statistics import NoStatistics, Statistics


@pytest.fixture(autouse=True)
def nothing_pending() -> None:
    statistics.forget()


def test_what_was_counted_is_added(tmp_path: Path) -> None:
    path = str(tmp_path / "st")
    for _ in range(2):
        statistics.count("local", "msgsto", 3)
        statistics.count("esmtp", "msgsfr")
        statistics.count("", "rejected")
        statistics.count("nosuch", "msgsto")
        statistics.flush_to(path)
    found = statistics.read(path)
    assert found.of("local") == [0, 0, 6, 0, 0, 0, 0]
    assert found.of("") == [2, 0, 6, 0, 0, 0, 0]
    assert found.connections() == [0, 0, 2]
    assert Path(path).stat().st_mode & 0o777 == 0o644


def test_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    path = str(tmp_path / "st")
    children = []
    for _ in range(4):
        child = os.fork()
        if not child:
            for _ in range(200):
                statistics.count("local", "msgsto")
                statistics.flush_to(path)
            while statistics._pending:
                statistics.flush_to(path)
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    assert statistics.read(path).of("local")[2] == 800


def test_the_thread_that_adds_sleeps_while_nothing_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, pauses = str(tmp_path / "st"), list[float]()
    pause = time.sleep

    def note(seconds: float) -> None:
        pauses.append(seconds)
        pause(0.001)
        if is_over.is_set():
            raise SystemExit

    monkeypatch.setattr(time, "sleep", note)
    is_over = threading.Event()
    file = statistics.open_file(path)

    def keep() -> None:
        with contextlib.suppress(SystemExit):
            statistics.keep(file)

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        for total in (1, 2, 3):
            statistics.count("local", "msgsto")
            until(lambda total=total: statistics.read(path).of("local")[2] == total)  # type: ignore[misc]
            until(statistics._gate.locked)
        # A reader has the lock for an instant: then there is a look more.
        pause(0.1)
        looks = pauses.count(1)
        pause(0.1)
        assert pauses.count(1) == looks >= 3
    finally:
        is_over.set()
        statistics.count("local", "msgsto")
        thread.join()
    os.close(file)


def test_where_there_is_no_file_nobody_wakes_up_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_pending", deque())
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits for a file"))
    statistics.count("local", "msgsto")
    statistics.keep(-1)
    assert not statistics._gate.locked()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < end


def test_a_child_does_not_add_what_its_parent_counted(tmp_path: Path) -> None:
    path = str(tmp_path / "st")
    statistics.count("local", "msgsto")
    child = os.fork()
    if not child:
        statistics.flush_to(path)
        os._exit(0)
    os.waitpid(child, 0)
    statistics.flush_to(path)
    assert statistics.read(path).of("local")[2] == 1


def test_who_has_the_lock_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "st"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        statistics.count("local", "msgsto")
        statistics.flush_to(str(path))
        assert path.stat().st_size == 0
    statistics.flush_to(str(path))
    assert statistics.read(str(path)).of("local")[2] == 1


def test_what_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "other")
    os.mkfifo(tmp_path / "fifo")
    for path in ("/dev/null", "/dev/full", "/nonexistent/st", str(tmp_path / "link")):
        statistics.count("local", "msgsto")
        statistics.flush_to(path)
    statistics.flush_to(str(tmp_path / "fifo"))
    assert not (tmp_path / "other").exists()


def test_an_empty_file_counts_from_its_making_and_another_is_no_statistics(tmp_path: Path) -> None:
    path = tmp_path / "st"
    path.touch()
    os.utime(path, (17, 17))
    assert statistics.read(str(path)).since == 17
    path.write_bytes(b"something else\n")
    with pytest.raises(NoStatistics):
        statistics.read(str(path))
    statistics.count("local", "msgsto")
    statistics.flush_to(str(path))
    assert statistics.read(str(path)).of("local")[2] == 1


def test_a_flood_is_bounded() -> None:
    for _ in range(statistics._MOST + 10):
        statistics.count("local", "msgsto")
    assert len(statistics._pending) == statistics._MOST
    statistics.forget()


def test_reset_gives_what_was(tmp_path: Path) -> None:
    path = str(tmp_path / "st")
    statistics.count("local", "msgsto")
    statistics.flush_to(path)
    assert statistics.reset(path).of("local")[2] == 1
    found: Statistics = statistics.read(path)
    assert found.of("") == [0] * 7
    assert found.since > 1e9


@pytest.mark.parametrize("since", [math.nan, math.inf, -1.0, 1e300])
def test_times_that_are_none_are_no_statistics(tmp_path: Path, since: float) -> None:
    path = tmp_path / "st"
    statistics.count("local", "msgsto")
    statistics.flush_to(str(path))
    text = path.read_bytes()
    for place in (8, 16):
        path.write_bytes(text[:place] + struct.pack("<d", since) + text[place + 8 :])
        with pytest.raises(NoStatistics):
            statistics.read(str(path))
    statistics.count("local", "msgsto")
    statistics.flush_to(str(path))
    assert statistics.read(str(path)).of("local")[2] == 1


def test_what_is_too_long_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "st"
    statistics.count("local", "msgsto")
    statistics.flush_to(str(path))
    size = path.stat().st_size
    os.truncate(path, 1 << 40)
    statistics.count("local", "msgsto")
    statistics.flush_to(str(path))
    assert path.stat().st_size == size


def test_who_keeps_the_lock_keeps_nobody_waiting_for_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "st"
    statistics.count("local", "msgsto")
    statistics.flush_to(str(path))
    monkeypatch.setattr(statistics, "_MANY", 3)
    with path.open() as file:  # anybody who may read can do that
        fcntl.flock(file, fcntl.LOCK_EX)
        assert statistics.read(str(path)).of("local")[2] == 1
        with pytest.raises(BlockingIOError):
            statistics.reset(str(path))


def test_who_ends_waits_an_instant_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "st"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        monkeypatch.setattr("time.sleep", lambda _: fcntl.flock(file, fcntl.LOCK_UN))
        statistics.count("local", "msgsto")
        statistics.flush_to(str(path))
    assert statistics.read(str(path)).of("local")[2] == 1


def test_a_narrow_umask_closes_the_numbers_to_nobody(tmp_path: Path) -> None:
    path = tmp_path / "st"
    old = os.umask(0o077)
    try:
        statistics.count("local", "msgsto")
        statistics.flush_to(str(path))
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o644
