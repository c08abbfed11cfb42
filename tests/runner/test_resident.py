"""The runner that stays: what makes it start a child, and what it does when told to end."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.runner import queue_run
from minimta.runner import resident as residence
from minimta.runner.deliver import Deliverer
from minimta.runner.queue_run import resident
from minimta.runner.resident import Child, Loop, Watch
from minimta.system import locks
from tests.support.fakesmtp import HANG, FakeSmtp
from tests.support.privatehost import PrivateHost

EMMA, DAVE, X = b"<emma@lab1.campus>", b"<dave@lab1.campus>", b"<x@lab2.campus>"


# --- one look at a time, nothing forked -----------------------------------------------------------------


class Idle:
    """Work that is never done: these tests look at what would be started."""

    def __init__(self) -> None:
        self.wants = True

    def wants_new(self) -> bool:
        return self.wants

    def begin(self) -> None: ...

    def attempt(
        self, qids: list[str], between: Callable[[], None], stop: Callable[[], bool], remote: bool
    ) -> None: ...

    def take_in(self) -> None: ...

    def full_run(self, stop: Callable[[], bool]) -> None: ...


class Still(Loop):
    """A loop that only notes what it would fork."""

    def __init__(self, tmp_path: Path, *, interval: int | None = None, most: int = 2) -> None:
        self.there: list[str] = []
        self.listings = 0
        self.started: list[tuple[str, list[str]]] = []
        self.queue, self.client = tmp_path / "mqueue", tmp_path / "clientmqueue"
        self.queue.mkdir()
        self.client.mkdir()
        self.work = Idle()
        super().__init__(
            self.work,
            (str(self.queue), str(self.client)),
            self._list,
            most_children=most,
            interval=interval,
        )
        for watch in (self._queue, self._client):
            while watch.has_changed():
                pass

    def _list(self) -> list[str]:
        self.listings += 1
        return list(self.there)

    def _fork(self, what: str, qids: list[str]) -> None:
        self.started.append((what, qids))
        pid = 1_000_000_000 + len(self.started)  # nobody's
        self._children[pid] = Child(pid, -1, what, qids)

    def _reap(self) -> None: ...

    def arrive(self, *qids: str) -> None:
        self.there += qids
        touch(self.queue)

    def end(self, number: int = 0) -> None:
        """A child ends."""
        child = list(self._children.values())[number]
        self._ended(child)

    def begins_remote(self, number: int = 0) -> None:
        list(self._children.values())[number].what = "remote"


_ticks = iter(range(1, 10**6))


def touch(path: Path) -> None:
    stamp = time.time_ns() + next(_ticks) * 1000
    os.utime(path, ns=(stamp, stamp))


@pytest.fixture
def loop(tmp_path: Path) -> Still:
    return Still(tmp_path)


def test_a_directory_that_did_not_change_is_not_listed(loop: Still) -> None:
    before = loop.listings
    for _ in range(5):
        loop.step(0)
    assert loop.listings == before


def test_after_a_change_there_is_one_more_look_for_the_same_tick(tmp_path: Path) -> None:
    watch = Watch(str(tmp_path))
    while watch.has_changed():
        pass
    touch(tmp_path)
    assert [watch.has_changed() for _ in range(4)] == [True, True, False, False]


def test_a_new_message_is_started_at_the_first_look(loop: Still) -> None:
    loop.arrive("a")
    loop.step(0)
    assert loop.started == [("local", ["a"])]
    assert residence.POLL <= 0.1


def test_a_message_is_tried_once_when_it_comes_and_not_when_its_file_changes(loop: Still) -> None:
    loop.arrive("a")
    loop.step(0)
    loop.end()
    loop.arrive()
    loop.step(0)
    assert len(loop.started) == 1


def test_what_comes_during_a_local_phase_is_taken_together_by_the_next(loop: Still) -> None:
    loop.arrive("a")
    loop.step(0)
    for qid in ("b", "c"):
        loop.arrive(qid)
        loop.step(0)
    assert len(loop.started) == 1
    loop.begins_remote()
    loop.step(0)
    assert loop.started[1:] == [("local", ["b", "c"])]


def test_when_all_wait_for_slow_hosts_local_mail_still_goes(loop: Still) -> None:
    for qid in ("a", "b"):
        loop.arrive(qid)
        loop.step(0)
        loop.begins_remote(len(loop.started) - 1)
    loop.arrive("c")
    loop.step(0)
    assert loop.started[2:] == [("half", ["c"])]


def test_what_was_half_done_gets_the_first_free_place(loop: Still) -> None:
    for qid in ("a", "b"):
        loop.arrive(qid)
        loop.step(0)
        loop.begins_remote(len(loop.started) - 1)
    loop.arrive("c")
    loop.step(0)
    loop.end(2)
    loop.arrive("d")
    loop.step(0)
    assert loop.started[3:] == [("half", ["d"])]
    loop.end(2)
    loop.end(0)
    loop.step(0)
    assert loop.started[4:] == [("local", ["c", "d"])]


def test_a_child_gets_a_limited_number_of_messages(loop: Still) -> None:
    qids = [f"{n:04}" for n in range(residence.MOST_MESSAGES + 1)]
    loop.arrive(*qids)
    loop.step(0)
    assert loop.started == [("local", qids[:-1])]


def test_while_the_load_is_high_new_messages_wait_for_a_full_run(tmp_path: Path) -> None:
    loop = Still(tmp_path, interval=900)
    loop.work.wants = False
    loop.arrive("a")
    loop.step(0)
    assert loop.started == [("full", [])]
    loop.work.wants = True
    loop.step(1)
    assert loop.started == [("full", [])]


def test_a_full_run_comes_each_interval_and_never_two_at_once(tmp_path: Path) -> None:
    loop = Still(tmp_path, interval=900)
    for now in (0, 1, 899, 900, 901):
        loop.step(now)
    assert loop.started == [("full", [])]
    loop.end()
    loop.step(902)
    assert loop.started == [("full", [])] * 2


def test_a_change_of_clientmqueue_starts_one_adoption_and_no_change_is_missed(loop: Still) -> None:
    touch(loop.client)
    loop.step(0)
    touch(loop.client)
    loop.step(0)
    assert loop.started == [("adopt", [])]
    loop.end()
    loop.step(0)
    assert loop.started == [("adopt", [])] * 2


# --- the real thing --------------------------------------------------------------------------------------


def start(host: PrivateHost, interval: int | None = None) -> int:
    """A resident runner in a process of its own; returns its pid when it is there."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            told = False

            def end(*unused: object) -> None:
                nonlocal told
                told = True

            signal.signal(signal.SIGTERM, end)
            code = resident(host.options, interval, lambda: told)
        finally:
            os._exit(code)
    wait_for(lambda: locks.is_resident(lock_of(host)))
    return pid


def end(pid: int, number: int) -> int:
    os.kill(pid, number)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextlib.contextmanager
def residing(host: PrivateHost, interval: int | None = None) -> Iterator[int]:
    """The same; at the end it is told to stop, and its exit code must be 0."""
    pid = start(host, interval)
    try:
        yield pid
    except BaseException:
        end(pid, signal.SIGKILL)
        raise
    assert end(pid, signal.SIGTERM) == 0


def lock_of(host: PrivateHost) -> str:
    return locks.beside(host.options.queue_directory)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    return PrivateHost(tmp_path)


def test_it_delivers_what_comes_and_what_was_there(host: PrivateHost) -> None:
    host.submit(EMMA, DAVE)
    with residing(host):
        host.submit(EMMA, DAVE)
        wait_for(lambda: len(host.letters("dave")) == 2)
        wait_for(lambda: host.queued() == [])


def test_it_adopts_and_delivers_what_users_leave(host: PrivateHost) -> None:
    with residing(host):
        queue = host.options.queue_directory
        host.options.queue_directory = host.options.client_queue_directory
        host.submit(EMMA, DAVE)
        host.options.queue_directory = queue
        wait_for(lambda: len(host.letters("dave")) == 1)


def test_a_host_that_never_answers_does_not_keep_local_mail_waiting(host: PrivateHost) -> None:
    host.options.max_queue_children = 1
    with FakeSmtp(answers={"greeting": [HANG]}) as server:
        host.options.smart_host = server.host
        host.options.timeout_initial = 600
        with residing(host) as pid:
            host.submit(EMMA, X)
            wait_for(lambda: len(server.commands) == 1)
            for number in range(1, 3):
                host.submit(EMMA, DAVE)
                wait_for(lambda expected=number: len(host.letters("dave")) == expected)  # type: ignore[misc]
            wait_for(lambda: len(host.queued()) == 1)
            for child in children_of(pid):  # else the test waits for residence.PATIENCE
                end_with_workers(child)
    assert len(host.queued()) == 1


def end_with_workers(pid: int) -> None:
    """End an attempt and its remote workers, who would wait for their silent host."""
    for number in [*children_of(pid), pid]:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.kill(number, signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_there_is_one_resident_runner(host: PrivateHost, capfd: pytest.CaptureFixture[str]) -> None:
    with residing(host):
        assert resident(host.options, None, lambda: False) == os.EX_TEMPFAIL
    assert "another queue runner is resident" in capfd.readouterr().err


def test_a_child_that_outlives_the_runner_does_not_pass_for_it(host: PrivateHost) -> None:
    with FakeSmtp(answers={"greeting": [HANG]}) as server:
        host.options.smart_host = server.host
        pid = start(host)
        host.submit(EMMA, X)
        wait_for(lambda: len(server.commands) == 1)
        wait_for(lambda: len(children_of(pid)) == 1)  # another may just have adopted
        (left,) = children_of(pid)
        end(pid, signal.SIGKILL)
        try:
            os.kill(left, 0)
            assert not locks.is_resident(lock_of(host))
        finally:
            end_with_workers(left)


def test_a_child_that_is_killed_loses_nothing(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = host.root / "died"

    def die(*unused: object, **also: object) -> None:
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(Deliverer, "attempt", die)
    with residing(host):
        qid = host.submit(EMMA, DAVE)
        wait_for(died.exists)
    monkeypatch.undo()
    assert host.queued() == [qid]
    queue_run.run(host.options)
    assert len(host.letters("dave")) == 1
