"""One resident runner, one rebuild: with filelock, on files that are used for nothing else."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minimta.system import locks, processes
from minimta.system.locks import Lock
from minimta.system.waiting import Wait

HOME = Path(locks.__file__).resolve().parents[2]


def test_a_second_resident_runner_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / ".runner")
    first = locks.resident(path)
    assert first
    assert locks.resident(path) is None
    first.release()
    first.release()
    second = locks.resident(path)
    assert second
    second.release()


def test_whether_a_runner_lives_can_be_asked_without_taking_its_place(tmp_path: Path) -> None:
    path = str(tmp_path / ".runner")
    assert not locks.is_resident(path)
    assert not os.path.exists(path)
    with locks.resident(path) as lock:  # type: ignore[union-attr]
        assert lock
        assert locks.is_resident(path)
    assert not locks.is_resident(path)
    assert os.path.exists(path), "whoever unlinks a lock file lets two in"


def test_a_runner_in_another_process_counts_and_its_death_frees_the_lock(tmp_path: Path) -> None:
    path = str(tmp_path / ".runner")
    ready, says = os.pipe()
    waits, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go)
        lock = locks.resident(path)
        os.write(says, b"y" if lock else b"n")
        os.read(waits, 1)
        os.kill(os.getpid(), 9)
    assert os.read(ready, 1) == b"y"
    assert locks.is_resident(path)
    assert locks.resident(path) is None
    os.close(go)
    os.waitpid(child, 0)
    for end in (ready, says, waits):
        os.close(end)
    assert not locks.is_resident(path)
    lock = locks.resident(path)
    assert lock
    lock.release()


def test_a_child_that_forgets_the_lock_does_not_pass_for_the_runner(tmp_path: Path) -> None:
    path = str(tmp_path / ".runner")
    lock = locks.resident(path)
    assert lock
    ready, says = os.pipe()
    waits, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go)
        locks.forget(path)
        os.write(says, b"y")
        os.read(waits, 1)
        os._exit(0)
    assert os.read(ready, 1) == b"y"
    assert locks.is_resident(path), "the child took the parent's lock away"
    lock.release()
    assert not locks.is_resident(path)
    for end in (go, ready, says, waits):
        os.close(end)
    os.waitpid(child, 0)


def test_rebuilds_exclude_each_other(tmp_path: Path) -> None:
    path = str(tmp_path / "aliases.lock")
    with locks.rebuild(path) as lock:  # type: ignore[union-attr]
        assert lock
        assert locks.rebuild(path) is None
    with locks.rebuild(path) as lock:  # type: ignore[union-attr]
        assert lock


@pytest.mark.parametrize("take", [locks.resident, locks.rebuild])
def test_a_link_for_a_lock_file_is_refused_and_what_it_points_to_kept(
    tmp_path: Path, take: object
) -> None:
    assert callable(take)
    precious = tmp_path / "precious"
    precious.write_bytes(b"mail")
    (tmp_path / "lock").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic"):
        take(str(tmp_path / "lock"))
    assert precious.read_bytes() == b"mail"
    assert not locks.is_resident(str(tmp_path / "lock"))


def test_a_file_with_something_in_it_is_no_lock_file(tmp_path: Path) -> None:
    (tmp_path / "qf").write_bytes(b"V8\n")
    with pytest.raises(OSError, match="no lock file"):
        locks.resident(str(tmp_path / "qf"))
    assert (tmp_path / "qf").read_bytes() == b"V8\n"


def test_a_second_name_of_another_file_is_no_lock_file(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    os.link(tmp_path / "other", tmp_path / "lock")
    with pytest.raises(OSError, match="no lock file"):
        locks.resident(str(tmp_path / "lock"))


def test_a_fifo_makes_nobody_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(OSError, match="no lock file"):
        locks.resident(str(tmp_path / "lock"))
    assert not locks.is_resident(str(tmp_path / "lock"))


def test_a_lock_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        lock = locks.resident(str(tmp_path / "lock"))
    finally:
        os.umask(old)
    assert lock
    lock.release()
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_the_library_says_nothing(tmp_path: Path) -> None:
    """One that was half made, for an argument that it does not take, complained when it went."""
    script = "import sys; from minimta.system import locks; locks.rebuild(sys.argv[1]).release()"
    home = Path(locks.__file__).parent.parent.parent
    command = [sys.executable, "-c", script, str(tmp_path / "lock")]
    done = subprocess.run(command, cwd=home, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_moments_question_does_not_keep_a_runner_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / ".runner")
    real = fcntl.flock
    asked: list[int] = []

    def flock(file: int, how: int) -> None:
        if how == fcntl.LOCK_EX | fcntl.LOCK_NB and not asked:
            asked.append(file)
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    lock = locks.resident(path)
    assert asked
    assert lock
    lock.release()


def test_a_file_system_without_flock_is_an_error_and_not_a_soft_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(file: int, how: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="not implemented"):
        locks.resident(str(tmp_path / "lock"))
    assert not [p for p in tmp_path.iterdir() if p.name != "lock"]


def test_locking_says_nothing_whatever_the_filelock(tmp_path: Path) -> None:
    """One that takes no mode, tried with one, complained of itself on standard error."""
    script = (
        f"import sys; sys.path.insert(0, {str(HOME)!r})\n"
        "from minimta.system import locks\n"
        "assert locks.resident(sys.argv[1])\n"
    )
    command = [sys.executable, "-I", "-c", script, str(tmp_path / "lock")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- a lock that another holds for long --------------------------------------------------------------


def waits_long(path: Path, stops_after: int) -> tuple[Lock | None, int]:
    """What wait_long_for() gives, and how often it asked whether to stop."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > stops_after

    return locks.wait_long_for(str(path), stop, lambda: Wait((), 30.0)), asked


def holds_for(path: Path, seconds: float) -> int:
    """Pid of a process that has the lock, when this returns, and ends after *seconds*."""
    ready, says = os.pipe()

    def hold() -> int:
        lock = locks.resident(str(path))
        os.write(says, b"y" if lock else b"n")
        time.sleep(seconds)
        return 0

    pid = processes.fork("holder", hold)
    assert os.read(ready, 1) == b"y"
    os.close(ready)
    os.close(says)
    return pid


def test_a_lock_is_waited_for_without_looking_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = holds_for(path, 1.0)
    lock, asked = waits_long(path, 30)
    assert lock is not None
    with lock:
        assert locks.is_resident(str(path))
    assert asked <= 5, "it was ten times a second"
    processes.has_ended(holder, 30.0)


def test_who_is_told_to_stop_waits_for_no_lock_and_leaves_no_child(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = holds_for(path, 60.0)
    try:
        told = processes.signal_flag(signal.SIGUSR1)
        parent = os.getpid()

        def tell() -> int:
            time.sleep(0.3)
            os.kill(parent, signal.SIGUSR1)
            return 0

        teller = processes.fork("teller", tell)
        assert locks.wait_long_for(str(path), told, lambda: Wait((), 60.0)) is None
        processes.has_ended(teller, 30.0)
        left = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        assert left == [str(holder)]
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)


def test_one_child_waits_however_often_its_parent_is_woken(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = holds_for(path, 60.0)
    children: list[set[int]] = []

    def stop() -> bool:
        found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        children.append({int(pid) for pid in found} - {holder})
        return len(children) > 5

    try:
        assert locks.wait_long_for(str(path), stop, lambda: Wait((), 0.01)) is None
        assert [len(found) for found in children] == [0, 1, 1, 1, 1, 1]
        assert len(set().union(*children)) == 1
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)


def test_the_child_that_waits_holds_nothing_of_its_parent(tmp_path: Path) -> None:
    """Else a daemon that is killed would leave its ports and its other lock in it."""
    path, other = tmp_path / "lock", tmp_path / "other"
    holder = holds_for(path, 60.0)
    mine = locks.resident(str(other))
    assert mine is not None
    children: list[int] = []

    def stop() -> bool:
        found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        children[:] = [int(pid) for pid in found if int(pid) != holder]
        if children:
            deadline = time.monotonic() + 30
            while held := links(children[0]) - {"/dev/null", str(path)}:
                assert time.monotonic() < deadline, held
                time.sleep(0.01)
        return bool(children)

    try:
        assert locks.wait_long_for(str(path), stop, lambda: Wait((), 0.01)) is None
        assert children
    finally:
        mine.release()
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)


def links(pid: int) -> set[str]:
    found = set[str]()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it closes them meanwhile
            found.add(os.readlink(one))
    return found
