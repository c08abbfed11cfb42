from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.listener import threads
from minimta.listener.threads import ThreadPool

PATIENCE = 5.0


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadPool]:
    """Its idle threads stay until the test is over."""
    monkeypatch.setattr(threads, "_IDLE", 60.0)
    pool = ThreadPool()
    yield pool
    for thread in pool._idle:
        thread.gate.release()  # and nothing to do: it ends


def test_an_idle_thread_is_used_again(pool: ThreadPool) -> None:
    seen: list[int] = []
    for number in range(1, 6):
        done = threading.Event()

        def job(done: threading.Event = done) -> None:
            seen.append(threading.get_ident())
            done.set()

        pool.start(job)
        assert done.wait(PATIENCE)
        wait_until_idle(pool)
        assert len(seen) == number
    assert len(set(seen)) == 1


def wait_until_idle(pool: ThreadPool, count: int = 1) -> None:
    for _ in range(500):
        if len(pool._idle) == count:
            return
        threading.Event().wait(0.01)
    raise AssertionError("the thread did not become idle")


def test_jobs_at_the_same_time_have_a_thread_each(pool: ThreadPool) -> None:
    together = threading.Barrier(6)

    def job() -> None:
        together.wait(PATIENCE)

    for _ in range(5):
        pool.start(job)
    together.wait(PATIENCE)  # broken, if they came one after the other
    wait_until_idle(pool, 5)


def test_threads_have_small_stacks(pool: ThreadPool) -> None:
    """A thousand clients are a thousand threads: with 8 MiB each a limit of memory ends it early."""
    below = list[int]()
    done = threading.Event()

    def job() -> None:
        here = threading.get_ident()  # where glibc keeps what it knows of a thread: above its stack
        for line in Path("/proc/self/maps").read_text().splitlines():
            start, end = (int(place, 16) for place in line.partition(" ")[0].split("-"))
            if start <= here < end:
                below.append(here - start)
        done.set()

    pool.start(job)
    assert done.wait(PATIENCE)
    assert below and below[0] <= threads.STACK


def test_an_idle_thread_ends_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_IDLE", 0.01)
    pool = ThreadPool()
    ran = threading.Event()
    pool.start(ran.set)
    assert ran.wait(PATIENCE)
    wait_until_idle(pool, 0)
    again = threading.Event()
    pool.start(again.set)
    assert again.wait(PATIENCE)
