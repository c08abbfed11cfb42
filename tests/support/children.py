"""Children of this process, at the end of a test."""

from __future__ import annotations

import os

from minimta.system import privileges, processes

#: seconds for the kernel to end what was killed, on a machine with other work
_PATIENCE = 20.0


def wait_for_the_killed() -> None:
    """See those gone that were killed and not awaited: privileges reaps them when it forks again."""
    for child in privileges._lingering:
        assert processes.has_ended(child, _PATIENCE), "a child that was to be killed lives"
    privileges._lingering.clear()


def assert_none_left() -> None:
    """All were waited for, or killed."""
    wait_for_the_killed()
    try:
        pid, _ = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return
    raise AssertionError(f"child {pid} was left" if pid else "a child lives that was to end")
