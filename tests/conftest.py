"""What holds for all tests.

What a newcomer's machine lacks is skipped with its reason (the markers), in CI it fails. A test
leaves neither threads nor dead children nor another umask to the next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Generator
from typing import Protocol

import pytest

from minimta.config.options import Options
from minimta.maps import table
from minimta.system import sandbox, terminal
from tests.support import children, jobs

#: seconds that threads may take to end
PATIENCE = 5.0
_umask = 0o022
_libc = ctypes.CDLL(None)
_PR_SET_DUMPABLE = 4
_real_fork = os.fork
_real_sleep = time.sleep
_real_enter, _our_pid = sandbox.enter, os.getpid()
#: characters of a value that stand in the name of a test
_LONGEST_NAME = 500
CI = os.environ.get("CI", "").lower() in ("true", "1")


def pytest_configure() -> None:
    global _umask
    os.fork = _fork
    sandbox.enter = _enter
    table.FRESH = 0.0  # what a test writes counts at once
    if os.geteuid() == 0:
        # What root writes shall be trusted, and root trusts no group. No system gives root 002.
        os.umask(0o022)
    _umask = os.umask(0)
    os.umask(_umask)
    # Many tests leave a queue or a message open until the end: more than 1024 in all, one day.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > soft:
        enough = 8192 if hard == resource.RLIM_INFINITY else min(hard, 8192)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, enough), hard))


def pytest_make_parametrize_id(val: object) -> str | None:
    """A long text is named by its beginning: names of tests are in the environment of what they start."""
    if isinstance(val, bytes | str) and len(val) > _LONGEST_NAME:
        return f"{val[:_LONGEST_NAME]!a} and more"
    return None


def threads() -> int:
    """How many threads this process has, those included that Python does not know."""
    return len(os.listdir("/proc/self/task"))


def _fork() -> int:
    """os.fork, but not with threads: a lock that another holds stays locked in the child.

    Python 3.12 and later warn of it, but an error made of this warning is dropped in os.fork().
    """
    for _ in range(500):
        if threads() == 1:
            break
        _real_sleep(0.01)  # one that was joined, or waits in a pool of a test before, ends soon
    assert threads() == 1, "fork in a process with threads"
    return _real_fork()


def _enter(options: Options, needs: sandbox.Needs) -> sandbox.Confined:
    """sandbox.enter, but not here: nobody gets out of it, and all other tests would be in it."""
    assert os.getpid() != _our_pid, "the process of the tests enters a sandbox"
    return _real_enter(options, needs)


def missing(item: pytest.Item) -> str:
    """Why *item* cannot run here; "" if it can."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        return "needs root"
    if item.get_closest_marker("namespace") and not can_unshare():
        return "needs a mount namespace (unshare --mount)"
    for marker in item.iter_markers("debian"):
        if not shutil.which("dpkg-query"):
            return "needs Debian"
        lacking = [str(package) for package in marker.args if not is_installed(str(package))]
        if lacking:
            return f"needs Debian's {' '.join(lacking)} (apt install)"
    return ""


@functools.cache
def can_unshare() -> bool:
    command = ["unshare", "--mount", "true"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def is_installed(package: str) -> bool:
    command = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    return subprocess.run(command, capture_output=True, check=False).stdout == b"installed"


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """What a test leaves behind would fail another one, far away and only in some orders."""
    jobs.close_all()
    os.umask(_umask)  # of a command that was called here, and set its own
    terminal._lost = 0  # and had an output that took nothing
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # and hid its memory, and /proc/PID with it
    blocked = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    assert not blocked, f"the test left signals blocked: {blocked}"
    end = time.monotonic() + PATIENCE
    while threads() > 1:
        assert time.monotonic() < end, "the test left threads running"
        time.sleep(0.01)
    children.wait_for_the_killed()
    with contextlib.suppress(ChildProcessError):  # there is none
        assert os.waitpid(-1, os.WNOHANG) == (0, 0), "the test left a child that nobody waited for"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if reason := missing(item):
        pytest.skip(reason)


class Wrapped(Protocol):
    """What pluggy hands to a hook wrapper."""

    def get_result(self) -> pytest.TestReport: ...


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Generator[None, Wrapped, None]:
    """Turn skips into failures in CI: there everything has to be at hand."""
    outcome = yield
    report = outcome.get_result()
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {reason}"
