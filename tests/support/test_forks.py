"""The suite sees to it that no test forks beside a thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from tests.support.ownprocess import OwnProcess


@pytest.fixture
def thread() -> Iterator[threading.Thread]:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    yield thread
    over.set()
    thread.join()


def test_a_fork_beside_a_thread_fails(thread: threading.Thread) -> None:
    def fork() -> None:
        if os.fork() == 0:
            os._exit(0)
        os.wait()

    with pytest.raises(AssertionError, match="threads"):
        fork()


class Counter(OwnProcess):
    def __init__(self) -> None:
        self.count = 0

    def serve(self) -> None:
        self.count = 1

    def add(self, number: int) -> tuple[int, int]:
        self.count += number
        return self.count, os.getpid()

    def fail(self) -> None:
        raise KeyError("x")


def test_a_fake_server_is_a_process_of_its_own_and_nobodys_child() -> None:
    counter = Counter()
    counter.start([])
    assert counter.ask("add", 5)[0] == 6
    count, pid = counter.ask("add", 5)
    assert (count, counter.count) == (11, 0)
    assert pid != os.getpid()
    with pytest.raises(KeyError, match="x"):
        counter.ask("fail")
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    counter.stop()
    with pytest.raises(AssertionError, match="there is no server"):
        counter.ask("add", 1)
