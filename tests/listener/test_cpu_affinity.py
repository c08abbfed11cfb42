"""Threads on one processor: when, on which, and that they are let go again. The kernel is a fake one."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from minimta.listener import cpu_affinity
from minimta.listener.cpu_affinity import OneProcessor, ProcessorLoad

ALL = {0, 1, 2}
SECONDS = 0.5


class Kernel:
    """Three processors, two threads of ours, and what each processor works in half a second."""

    def __init__(self) -> None:
        self.threads: dict[int, set[int]] = {100: set(ALL), 101: set(ALL)}
        self.work = {0: 0.4, 1: 0.1, 2: 0.2}
        self.own = 0.0
        self.refuses = False

    def since(self) -> dict[int, float]:
        return dict(self.work)

    def allow(self, thread: int, processors: set[int]) -> None:
        if self.refuses:
            raise PermissionError
        if thread not in self.threads:
            raise ProcessLookupError
        self.threads[thread] = set(processors)

    def allowed(self) -> set[int]:
        """What all threads may use, which is the same."""
        (first, *others) = self.threads.values()
        assert all(one == first for one in others)
        return first


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(os, "sched_getaffinity", lambda thread: set(ALL))
    monkeypatch.setattr(os, "sched_setaffinity", kernel.allow)
    monkeypatch.setattr(os, "listdir", lambda path: [str(one) for one in kernel.threads] + ["999"])
    return kernel


@pytest.fixture
def ours(kernel: Kernel) -> OneProcessor:
    return OneProcessor(kernel, lambda: kernel.own)  # type: ignore[arg-type]


def look(ours: OneProcessor, connections: int, times: int = 1) -> None:
    for _ in range(times):
        ours.look(connections, SECONDS)


def test_one_connection_is_left_alone(kernel: Kernel, ours: OneProcessor) -> None:
    look(ours, 1, 5)
    assert kernel.allowed() == ALL


def test_several_are_tied_to_the_calmest_processor_at_the_second_look(
    kernel: Kernel, ours: OneProcessor
) -> None:
    look(ours, 2)
    assert kernel.allowed() == ALL
    look(ours, 2)
    assert kernel.allowed() == {1}


def test_a_burst_between_two_looks_at_one_connection_ties_nothing(
    kernel: Kernel, ours: OneProcessor
) -> None:
    for connections in (9, 1, 9, 1):
        look(ours, connections)
        assert kernel.allowed() == ALL


@pytest.mark.parametrize("left", [0, 1])
def test_they_are_let_go_when_the_others_have_left(
    kernel: Kernel, ours: OneProcessor, left: int
) -> None:
    look(ours, 9, 2)
    look(ours, left)
    assert kernel.allowed() == ALL


def test_what_is_forked_while_they_are_let_go_is_untied(
    kernel: Kernel, ours: OneProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(ours, 9, 2)
    kernel.threads[0] = {1}  # what a fork leaves: one thread, tied as its parent was

    def listdir(path: str) -> list[str]:
        ours._untie_child()
        return ["100", "101"]

    monkeypatch.setattr(os, "listdir", listdir)
    look(ours, 1)
    assert kernel.threads[0] == ALL


def test_our_own_work_moves_us_nowhere(kernel: Kernel, ours: OneProcessor) -> None:
    look(ours, 9, 2)
    for _ in range(4):
        kernel.own += 0.45
        kernel.work = {0: 0.0, 1: 0.5, 2: 0.0}
        look(ours, 9)
        assert kernel.allowed() == {1}


def test_another_program_that_holds_the_processor_moves_us(
    kernel: Kernel, ours: OneProcessor
) -> None:
    look(ours, 9, 2)
    kernel.own += 0.2
    kernel.work = {0: 0.1, 1: 0.5, 2: 0.05}
    look(ours, 9)
    assert kernel.allowed() == {2}


@pytest.mark.parametrize(("others", "allowed"), [(0.2, {1}), (0.3, ALL)])
def test_where_others_have_half_of_every_processor_we_are_let_go(
    kernel: Kernel, ours: OneProcessor, others: float, allowed: set[int]
) -> None:
    look(ours, 9, 2)
    kernel.own += 0.2
    kernel.work = {0: 0.4, 1: 0.2 + others, 2: 0.4}
    look(ours, 9)
    assert kernel.allowed() == allowed
    kernel.work = dict.fromkeys(ALL, 0.0)
    look(ours, 9, 10)
    assert kernel.allowed() == allowed  # not at once
    look(ours, 9, 20)
    assert len(kernel.allowed()) == 1


def test_where_others_have_more_than_half_of_every_processor_nothing_is_tied(
    kernel: Kernel, ours: OneProcessor
) -> None:
    for _ in range(4):
        kernel.own += 0.2
        kernel.work = dict.fromkeys(ALL, 0.5)
        look(ours, 9)
        assert kernel.allowed() == ALL


def test_a_processor_of_which_the_kernel_tells_nothing_ties_nothing(
    kernel: Kernel, ours: OneProcessor
) -> None:
    del kernel.work[2]
    look(ours, 9, 3)
    assert kernel.allowed() == ALL


def test_a_call_that_is_not_allowed_is_not_made_again(kernel: Kernel, ours: OneProcessor) -> None:
    kernel.refuses = True
    look(ours, 9, 3)
    kernel.refuses = False
    look(ours, 9, 3)
    assert kernel.allowed() == ALL


def test_a_machine_with_one_processor_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda thread: {3})
    assert cpu_affinity.one_processor() is None


def test_the_work_of_a_processor_is_what_it_did_not_rest(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    line = "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 {} 0 0 0 0 0 0 0 50 0\ncpu3 {}\nintr 1 2\n"
    stat.write_text(line.format(10, "1 1 1 100 100 1 1 1 0 0"))
    load = ProcessorLoad(str(stat))
    stat.write_text(line.format(20, "2 3 4 900 900 5 6 7 0 0"))
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert load.since() == pytest.approx({0: 10 * tick, 3: 21 * tick})
    assert load.since() == {0: 0.0, 3: 0.0}


def test_real_threads_are_tied_and_let_go_and_children_are_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = os.sched_getaffinity(0)
    # Whatever else this machine has to do.
    monkeypatch.setattr(ProcessorLoad, "since", lambda load: dict.fromkeys(before, 0.0))
    ours = cpu_affinity.one_processor()
    if ours is None:
        pytest.skip("one processor")
    gate, began = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        gate.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    assert began.wait(5.0)
    other = thread.native_id
    assert other is not None
    try:
        look(ours, 9, 2)
        assert len(os.sched_getaffinity(0)) == 1
        assert os.sched_getaffinity(other) == os.sched_getaffinity(0)
        look(ours, 1)
        assert os.sched_getaffinity(other) == os.sched_getaffinity(0) == before
        gate.set()
        thread.join()
        look(ours, 9, 2)
        child = os.fork()
        if not child:
            os._exit(os.sched_getaffinity(0) != before)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        gate.set()
        ours.let_go()
