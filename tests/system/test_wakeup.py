"""What ends a wait: signals, also those that came before it, and a child's end; nothing else."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator

import pytest

from minimta.system import processes
from minimta.system.waiting import Wait
from minimta.system.wakeup import WakeUp

#: seconds that no test waits for
LONG = 60.0


@pytest.fixture
def wake() -> Iterator[WakeUp]:
    with WakeUp() as one:
        yield one


def took(wake: WakeUp, seconds: float, *waits: Wait) -> tuple[list[int], float]:
    begun = time.monotonic()
    return wake.wait(waits, seconds), time.monotonic() - begun


def test_it_waits_as_long_as_it_is_told(wake: WakeUp) -> None:
    found, seconds = took(wake, 0.05)
    assert (found, seconds >= 0.05) == ([], True)
    found, seconds = took(wake, LONG, Wait((), 0.05))
    assert (found, 0.05 <= seconds < LONG / 2) == ([], True)


def test_a_signal_that_came_before_the_wait_ends_it_once(wake: WakeUp) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    told = processes.signal_flag(signal.SIGUSR1)
    try:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGUSR1)
        assert took(wake, math.inf)[0] == []
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert told()
    assert took(wake, 0.05)[1] >= 0.05, "all three are over"


def test_the_end_of_a_child_ends_it(wake: WakeUp) -> None:
    child = processes.fork("test", lambda: 0)
    assert took(wake, LONG)[1] < LONG / 2
    assert os.waitpid(child, 0) == (child, 0)


def test_it_says_which_descriptors_are_ready(wake: WakeUp) -> None:
    heard, saying = os.pipe()
    try:
        os.write(saying, b"x")
        os.kill(os.getpid(), signal.SIGCHLD)
        assert took(wake, LONG, Wait([heard], LONG))[0] == [heard]
    finally:
        os.close(heard)
        os.close(saying)


def test_what_a_child_is_told_wakes_nobody_else(wake: WakeUp) -> None:
    def child() -> int:
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
        assert signal.set_wakeup_fd(-1) == -1
        signal.signal(signal.SIGUSR1, lambda *unused: None)
        os.kill(os.getpid(), signal.SIGUSR1)
        return 0

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        assert os.waitpid(processes.fork("test", child), 0)[1] == 0
        assert took(wake, 0.05)[1] >= 0.05
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def test_when_it_is_closed_signals_do_what_they_did() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGCHLD, signal.SIGIO)]
    wake = WakeUp()
    wake.close()
    wake.close()
    assert [signal.getsignal(number) for number in (signal.SIGCHLD, signal.SIGIO)] == before
    assert signal.set_wakeup_fd(-1) == -1
