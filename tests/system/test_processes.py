"""Children and what becomes of them; signals that set a flag."""

from __future__ import annotations

import gc
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from minimta.maps.cdb import Cdb
from minimta.system import log, processes

HOME = Path(__file__).parent.parent.parent


def exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def log_lines(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """What children write into the log."""
    file, saved = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT), os.dup(2)
    os.dup2(file, 2)
    os.close(file)
    log.configure("sendmail", "stderr", 9)
    yield (tmp_path / "log").read_text
    log.configure("sendmail", "none", 9)
    os.dup2(saved, 2)
    os.close(saved)


@pytest.mark.parametrize("code", [0, 1, 75])
def test_a_child_exits_with_what_its_act_returns(code: int) -> None:
    assert exit_code(processes.fork("test", lambda: code)) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError, os.EX_SOFTWARE),
        (OSError, os.EX_OSERR),
        (KeyboardInterrupt, os.EX_SOFTWARE),
        (SystemExit, os.EX_SOFTWARE),
    ],
)
def test_a_child_never_returns_into_the_code_of_its_parent(
    error: type[BaseException],
    code: int,
    log_lines: Callable[[], str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    parent = os.getpid()

    def act() -> int:
        raise error("broken")

    try:
        child = processes.fork("queue child", act)
    finally:
        if os.getpid() != parent:
            os._exit(99)
    assert exit_code(child) == code


def test_what_a_child_dies_of_is_logged_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(qid: str, what: str) -> None:
        (tmp_path / "log").write_text(what)

    monkeypatch.setattr(log, "bug", bug)
    exit_code(processes.fork("queue child", lambda: int("x")))
    assert (tmp_path / "log").read_text() == "queue child"


def test_what_the_machine_refuses_a_child_is_logged_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "no space\nfor it"

    def line(qid: str, text: str, **how: object) -> None:
        (tmp_path / "log").write_text(f"{qid}|{text}|{how}")

    def act() -> int:
        raise OSError(why)

    monkeypatch.setattr(log, "line", line)
    assert exit_code(processes.fork("queue child", act)) == os.EX_OSERR
    told = f"|SYSERR(root): queue child: {log.clean(why)}|"
    assert (tmp_path / "log").read_text() == told + "{'level': 1, 'error': True}"


def test_a_background_child_has_no_terminal_no_directory_and_no_streams(tmp_path: Path) -> None:
    receiving, sending = os.pipe()
    null = os.stat(os.devnull)

    def act() -> int:
        streams = [os.path.samestat(os.fstat(number), null) for number in (0, 1, 2)]
        os.write(sending, f"{os.getsid(0) == os.getpid()} {os.getcwd()} {streams}".encode())
        return os.EX_OK

    processes.in_background("test", act)
    os.close(sending)
    with open(receiving, "rb") as pipe:
        assert pipe.read() == b"True / [True, True, True]"
    os.waitpid(-1, 0)


# -- what came with the fork ----------------------------------------------------------------------


def told_by(act: Callable[[], object], kept: tuple[int, ...] = ()) -> str:
    """What *act* says in an isolated child."""
    receiving, sending = os.pipe()

    def isolated() -> int:
        processes.isolate({sending, *kept})
        os.write(sending, str(act()).encode())
        return os.EX_OK

    child = processes.fork("test", isolated)
    os.close(sending)
    with open(receiving, "rb") as pipe:
        answer = pipe.read().decode()
    assert exit_code(child) == 0
    return answer


def test_an_isolated_child_has_standard_descriptors_to_nowhere_and_what_it_keeps() -> None:
    descriptors = [os.open("/", os.O_RDONLY) for _ in range(5)]
    kept = (descriptors[1], descriptors[3])

    def look() -> list[int]:
        return [fd for fd in range(descriptors[-1] + 5) if is_open(fd)]

    answer = told_by(look, kept)
    for descriptor in descriptors:
        os.close(descriptor)
    numbers = {int(word) for word in answer.strip("[]").split(",")}
    assert numbers >= {0, 1, 2, *kept}
    assert not numbers & (set(descriptors) - set(kept))


@pytest.mark.parametrize("keeps", [True, False])
def test_a_child_goes_on_with_a_log_file_only_if_it_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps: bool
) -> None:
    """A listener that is no root may not open the new one (logrotate): it still has the old one."""
    path = tmp_path / "log"
    monkeypatch.setattr(log, "_files", {})
    monkeypatch.setattr(log, "_sinks", (str(path),))
    log.line("", "before")
    (descriptor,) = log.descriptors()
    path.rename(tmp_path / "log.1")
    path.mkdir()  # nobody can open it for writing

    def child() -> int:
        processes.keep_only(log.descriptors() if keeps else ())
        log.line("", "after")
        return 0

    assert exit_code(processes.fork("test", child)) == 0
    os.close(descriptor)
    assert (tmp_path / "log.1").read_text().count("after") == keeps


def test_what_its_parent_has_dropped_closes_nothing_in_an_isolated_child(tmp_path: Path) -> None:
    (tmp_path / "aliases.cdb").write_bytes(bytes(4096))

    def look() -> list[int]:
        opened = [os.open("/", os.O_RDONLY) for _ in range(100)]
        gc.collect()
        return [fd for fd in opened if not is_open(fd)]

    gc.disable()
    try:
        # In a circle: it is collected at some time, in the parent or where the memory was copied to.
        dropped: list[object] = [Cdb(str(tmp_path / "aliases.cdb"))]
        dropped.append(dropped)
        del dropped
        assert told_by(look, ()) == "[]"
    finally:
        gc.enable()
        gc.collect()


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_a_kept_standard_descriptor_stays(tmp_path: Path) -> None:
    answer = told_by(lambda: [stat.S_ISCHR(os.fstat(n).st_mode) for n in (0, 1, 2)])
    assert answer == "[True, True, True]"
    file, saved = os.open(tmp_path, os.O_RDONLY), os.dup(0)
    os.dup2(file, 0)
    answer = told_by(lambda: stat.S_ISDIR(os.fstat(0).st_mode), (0,))
    os.dup2(saved, 0)
    for descriptor in (file, saved):
        os.close(descriptor)
    assert answer == "True"


def test_an_isolated_child_has_its_own_signals() -> None:
    old = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        answer = told_by(
            lambda: [signal.getsignal(15), *signal.pthread_sigmask(signal.SIG_BLOCK, ())]
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGTERM, old)
    assert answer == str([signal.SIG_DFL])


# -- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_only_sets_its_flag(number: signal.Signals) -> None:
    old = [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)]
    try:
        told = processes.signal_flag(signal.SIGUSR1, signal.SIGUSR2)
        assert not told()
        signal.raise_signal(number)
        assert told()
        signal.raise_signal(number)
        assert told()
    finally:
        signal.signal(signal.SIGUSR1, old[0])
        signal.signal(signal.SIGUSR2, old[1])


# -- the end --------------------------------------------------------------------------------------


def sleep() -> int:
    time.sleep(60)
    return os.EX_OK


def test_a_child_that_has_ended_is_reaped() -> None:
    child = processes.fork("test", lambda: os.EX_OK)
    assert processes.has_ended(child, 10)
    with pytest.raises(ChildProcessError):
        os.waitpid(child, os.WNOHANG)
    assert processes.has_ended(child, 0), "also if somebody else reaped it"


@pytest.mark.parametrize("leads", [True, False])
def test_a_session_is_killed_whether_or_not_it_has_begun(leads: bool) -> None:
    receiving, sending = os.pipe()

    def act() -> int:
        if leads:
            os.setsid()
        os.write(sending, b"x")
        return sleep()

    child = processes.fork("test", act)
    os.read(receiving, 1)
    assert not processes.has_ended(child, 0)
    processes.kill_session(child)
    assert processes.has_ended(child, 10)
    for descriptor in (receiving, sending):
        os.close(descriptor)


def test_a_child_whose_descriptors_are_closed_has_no_connection_to_syslog(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its number is soon another file's, which syslog would close when it finds no socket there."""
    closed: list[str] = []

    def act() -> int:
        monkeypatch.setattr(log, "_sinks", ("syslog",))
        monkeypatch.setattr(log, "syslog", Mock(closelog=lambda: closed.append("closed")))
        processes.isolate(())
        return len(closed)

    assert exit_code(processes.fork("test", act)) == 1


#: the first process of a container: it has an orphan, and a child that ends slowly when it is told to
TENDED = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from minimta.system import processes

def act():
    told = processes.signal_flag(signal.SIGTERM)
    if not os.fork():  # an orphan soon, which outlives us
        time.sleep(1)
        print("orphan", flush=True)
        os._exit(0)
    print("begun", os.getpid() != 1, flush=True)
    while not told():
        time.sleep(0.02)
    print("told", flush=True)
    return 7

sys.exit(processes.tended("daemon", act))
"""


@pytest.mark.root
@pytest.mark.namespace
def test_the_first_process_of_a_container_passes_signals_on_and_waits_for_all() -> None:
    command = ["unshare", "-p", "-m", "--fork", "--mount-proc", sys.executable, "-I", "-c", TENDED]
    process = subprocess.Popen([*command, str(HOME)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun True\n"
    inner = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(inner[0]), signal.SIGTERM)
    try:
        assert process.communicate(timeout=20)[0] == "told\norphan\n"
    finally:
        process.kill()
    assert process.returncode == 7


def test_any_other_process_does_it_itself() -> None:
    assert processes.tended("daemon", os.getpid) == os.getpid()


def test_who_starts_a_daemon_waits_until_it_says_that_it_has_begun(tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def act(ready: Callable[[], None]) -> int:
        time.sleep(0.3)
        begun.touch()
        ready()
        return 3

    code = processes.start_daemon("daemon", act)
    is_there = begun.exists()
    _, status = os.wait()
    assert (code, is_there, os.waitstatus_to_exitcode(status)) == (os.EX_OK, True, 3)


def test_who_starts_a_daemon_that_cannot_begin_hears_its_exit_code() -> None:
    assert processes.start_daemon("daemon", lambda ready: os.EX_CONFIG) == os.EX_CONFIG
