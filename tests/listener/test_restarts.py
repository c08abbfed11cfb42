"""A listener that dies: another takes its place, but not for ever."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from minimta.listener import restarts
from minimta.listener.listener_child import ListenerChild
from minimta.listener.orders import READY
from minimta.listener.restarts import WHILE, Restarts
from minimta.listener.supervisor import Supervisor
from minimta.queue.spool import Spool
from minimta.runner.asked_runs import AskedRuns
from minimta.system import log
from tests.listener.test_daemon import PATIENCE, SENDMAIL, Daemon, is_gone, send, wait_for
from tests.listener.test_supervisor import BOTH, children_of, listens, reload
from tests.support.smtphost import SmtpHost


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    one = Daemon(tmp_path)
    yield one
    one.stop()


# --- when another one begins ----------------------------------------------------------------------


class Deaths:
    """Restarts, and their clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.restarts = Restarts(lambda: self.now)

    def dies(self) -> float:
        pause = self.restarts.note_death()
        assert self.restarts.is_wanted == (pause < math.inf)
        self.now += pause if pause < math.inf else 0.0
        assert self.restarts.is_due() == (pause < math.inf)
        self.restarts.note_start()
        assert not self.restarts.is_due() and not self.restarts.is_wanted
        return pause


def test_who_dies_again_and_again_waits_longer_each_time_and_then_for_ever() -> None:
    deaths = Deaths()
    assert [deaths.dies() for _ in range(5)] == [0.0, 1.0, 5.0, 15.0, math.inf]


def test_a_death_is_forgotten_after_a_while() -> None:
    deaths = Deaths()
    for _ in range(20):
        assert deaths.dies() == 0.0
        deaths.now += WHILE
    deaths.now -= 1.0
    assert deaths.dies() == 1.0


def test_no_fork_counts_as_no_death() -> None:
    deaths = Deaths()
    for _ in range(20):
        deaths.restarts.put_off()
        assert not deaths.restarts.is_due()
        deaths.now += 5.0
        assert deaths.restarts.is_due()
    assert deaths.dies() == 0.0


# --- the supervisor -------------------------------------------------------------------------------


class Fakes:
    """A supervisor whose listeners are ``sleep``, ended by a signal."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(log, "_sinks", ("stderr",))
        monkeypatch.setattr(log, "_level", 9)
        monkeypatch.setattr(restarts, "_PAUSES", (0.0,) * 4)
        monkeypatch.setattr(AskedRuns, "begin", lambda _, order, __: self.orders.append(order))
        self.orders: list[bytes] = []
        self.now: subprocess.Popen[bytes] | None = None
        self.speaks: socket.socket | None = None
        self.has_to_listen: list[bool] = []
        self.fork_fails: OSError | None = None
        options = SmtpHost(directory).options
        options.daemon_ports = ()
        self._before = signal.getsignal(signal.SIGHUP)
        self.supervisor = Supervisor(options, [], Spool(options.queue_directory), lambda: options)
        monkeypatch.setattr(self.supervisor, "_fork", self._fork)
        self.supervisor.start()

    def _fork(self, *_: object, has_to_listen: bool = False, **__: object) -> ListenerChild:
        if self.fork_fails:
            raise self.fork_fails
        self.close()
        self.now = subprocess.Popen(["/bin/sleep", "60"])
        ours, self.speaks = socket.socketpair()
        self.has_to_listen.append(has_to_listen)
        return ListenerChild(self.now.pid, ours)

    def dies(self, said: bytes = READY) -> bool:
        """It says that, and is killed; returns if the supervisor has given up then."""
        assert self.now is not None and self.speaks is not None
        self.speaks.send(said)
        os.kill(self.now.pid, signal.SIGKILL)
        wait_for(partial(is_gone, self.now.pid))
        self.supervisor.look()
        return self.supervisor.has_ended()

    def close(self) -> None:
        if self.speaks is not None:
            self.speaks.close()

    def end(self) -> None:
        signal.signal(signal.SIGHUP, self._before)
        self.supervisor.end()
        self.close()


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fakes]:
    one = Fakes(tmp_path, monkeypatch)
    yield one
    one.end()


def test_five_deaths_within_a_minute_end_the_daemon(
    fakes: Fakes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [fakes.dies() for _ in range(5)] == [False] * 4 + [True]
    assert fakes.supervisor.exit_code == signal.SIGKILL
    # Each of them: there was no other one that listened.
    assert fakes.has_to_listen == [True] * 5
    told = capsys.readouterr().err
    assert told.count("the listener has ended by signal 9; another one begins") == 4
    assert "ended by signal 9, once more within a minute, and so does the daemon" in told
    assert fakes.supervisor.awaited().is_over([])


def test_the_first_one_must_begin(fakes: Fakes) -> None:
    assert fakes.dies(said=b"")
    assert fakes.supervisor.exit_code == signal.SIGKILL


def test_a_later_one_that_does_not_begin_is_replaced_as_well(fakes: Fakes) -> None:
    assert not fakes.dies()
    assert [fakes.dies(said=b"") for _ in range(4)] == [False] * 3 + [True]


def test_what_cannot_be_forked_now_is_forked_later(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(restarts, "_AGAIN", 0.0)
    fakes.fork_fails = OSError(errno.ENOMEM, "Cannot allocate memory")
    fakes.dies()
    for _ in range(10):
        fakes.supervisor.look()
        assert not fakes.supervisor.has_ended()
    assert "no listener can be forked: Cannot allocate memory" in capsys.readouterr().err
    fakes.fork_fails = None
    dead = fakes.now
    fakes.supervisor.look()
    assert fakes.now not in (dead, None)


def test_a_reload_in_place_of_a_dead_one_is_done_at_once(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(restarts, "_PAUSES", (60.0,))
    assert not fakes.dies()
    os.kill(os.getpid(), signal.SIGHUP)
    fakes.supervisor.look()
    assert fakes.speaks is not None
    fakes.speaks.send(READY)
    fakes.supervisor.look()
    assert "reload: done" in capsys.readouterr().err


def test_its_last_words_are_heard(fakes: Fakes) -> None:
    assert not fakes.dies(READY + b"e@lab3.campus\n")
    assert fakes.orders == [b"@lab3.campus"]


# --- the real one ---------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_another_one_listens_and_the_daemon_is_the_same(
    daemon: Daemon, words: tuple[str, ...], number: signal.Signals
) -> None:
    daemon.start(*words)
    assert daemon.process is not None
    parent, dead = daemon.process.pid, listens(daemon)
    # Not before it has begun: the first one must.
    send(daemon)
    os.kill(dead, number)
    wait_for(lambda: is_gone(dead) and set(children_of(parent)) - {dead})
    send(daemon)
    assert daemon.process.poll() is None
    new = listens(daemon)
    how = "by signal 9" if number == signal.SIGKILL else "with status 0"
    assert f"the listener has ended {how}; another one begins\n" in daemon.log.read_text()
    assert new != dead
    reload(daemon)
    send(daemon)


# What a listener has open only root can see: see system/memory.
@pytest.mark.root
@BOTH
def test_another_one_is_not_told_to_stop_by_what_the_first_one_left(
    daemon: Daemon, words: tuple[str, ...]
) -> None:
    daemon.start(*words)
    assert daemon.process is not None
    parent, dead = daemon.process.pid, listens(daemon)
    send(daemon)
    os.kill(dead, signal.SIGTERM)
    wait_for(lambda: is_gone(dead) and set(children_of(parent)) - {dead})
    send(daemon)
    assert told_to_stop(listens(daemon)) == 0


def told_to_stop(pid: int) -> int:
    """What others have left for the thread that accepts: it would turn and turn."""
    found = []
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile, so it is another one
            found += [line for line in path.read_text().split("\n") if "eventfd-count" in line]
    assert len(found) == 1
    return int(found[0].split()[1], 16)


def has_gone(pid: int, parent: int) -> bool:
    """Has it ended, and does *parent* know?"""
    return is_gone(pid) and pid not in children_of(parent)


_SLOW = """\
import sys, runpy, threading
sys.path.insert(0, {package!r})
from minimta.listener import process
class Orders:
    def __init__(self, *unused):
        threading.Event().wait()
process._Orders = Orders
sys.argv = {words!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_who_has_answered_a_client_has_begun(daemon: Daemon) -> None:
    words = daemon.command("-bD")[2:]
    text = _SLOW.format(package=str(SENDMAIL.parent.parent), words=words)
    with daemon.log.open("ab") as told:
        daemon.process = subprocess.Popen([sys.executable, "-c", text], stderr=told)
    wait_for(daemon.answers)
    send(daemon)
    os.kill(listens(daemon), signal.SIGKILL)
    wait_for(lambda: "another one begins" in daemon.log.read_text())
    for pid in children_of(daemon.process.pid):
        os.kill(pid, signal.SIGKILL)  # which hears nobody


_WITHOUT_PAUSE = """\
import sys, runpy
sys.path.insert(0, {package!r})
from minimta.listener import restarts
restarts._PAUSES = (0.0,) * 4
sys.argv = {words!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@BOTH
def test_the_daemon_ends_with_a_code_when_they_die_again_and_again(
    daemon: Daemon, words: tuple[str, ...]
) -> None:
    text = _WITHOUT_PAUSE.format(
        package=str(SENDMAIL.parent.parent), words=daemon.command(*words)[2:]
    )
    with daemon.log.open("ab") as told:
        daemon.process = subprocess.Popen([sys.executable, "-c", text], stderr=told)
    wait_for(daemon.answers)
    for _ in range(5):
        send(daemon)
        pid = listens(daemon)
        os.kill(pid, signal.SIGKILL)
        wait_for(partial(has_gone, pid, daemon.process.pid))
    assert daemon.process.wait(PATIENCE) == signal.SIGKILL
    assert "stopping daemon, reason=the listener has ended" in daemon.log.read_text()
