"""A child of the resident runner, and the pipes to it."""

from __future__ import annotations

import os

from minimta.runner.queue_child import Child, Children
from minimta.system import processes


def test_another_process_of_the_runner_does_not_keep_the_pipes_of_a_child() -> None:
    taking, orders = os.pipe()
    said, saying = os.pipe()
    children = Children()
    children[1] = Child(1, said, "idle", [], orders=orders)

    def are_open() -> int:
        return sum(os.path.exists(f"/proc/self/fd/{end}") for end in (said, orders))

    try:
        forked = processes.fork("listener", are_open)  # as at a reload, while a child is idle
        assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0
        assert are_open() == 2
    finally:
        children[1].dismiss()
        children[1].hang_up()
        os.close(taking)
        os.close(saying)
