"""The runner that stays: what makes it start a child, and what it does when told to end."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import pytest

import minimta
from minimta.aliases.rebuild import rebuild
from minimta.aliases.source import Source
from minimta.config.options import TABLE, Options
from minimta.mailers.remote.channel import WINDOW
from minimta.mailers.remote.kept_workers import KeptWorkers
from minimta.message.envelope import Envelope
from minimta.runner import loop as looping
from minimta.runner import queue_run
from minimta.runner import resident as residence
from minimta.runner.deliver import Deliverer
from minimta.runner.loop import Loop
from minimta.runner.queue_child import GOES_ON, NO_SLOT, TAKEN, Child, RunnerPipes, held
from minimta.runner.watch import Watch
from minimta.system import locks, log, resolv_conf
from minimta.system.dns import Resolver
from minimta.system.slots import Slots, of_queue
from minimta.system.users import Users
from minimta.system.waiting import Wait
from tests.support.fakedns import FakeDns
from tests.support.fakesmtp import DROP, HANG, FakeSmtp
from tests.support.privatehost import PrivateHost

HOME = Path(minimta.__file__).parent.parent
EMMA, DAVE, X = b"<emma@lab1.campus>", b"<dave@lab1.campus>", b"<x@lab2.campus>"


# --- one look at a time, nothing forked -----------------------------------------------------------------


class Idle:
    """Work that is never done: these tests look at what would be started."""

    def __init__(self) -> None:
        self.wants = True
        self.alerts = False

    def wants_new(self) -> bool:
        return self.wants

    def begin(self) -> None: ...

    def kept(self, lately: dict[str, float]) -> KeptWorkers:
        return KeptWorkers(Options(), Slots("/nonexistent", 1), lately)

    def attempt(
        self,
        qids: Sequence[str],
        go_on: Callable[[], bool],
        stop: Callable[[], bool],
        kept: KeptWorkers,
    ) -> dict[str, float]:
        return {}

    def take_in(self) -> None: ...

    def full_run(self, stop: Callable[[], bool]) -> dict[str, float]:
        return {}

    def has_alerts(self) -> bool:
        return self.alerts

    def alert(self, names: Collection[str]) -> bool:
        return True


class Still(Loop):
    """A loop that only notes what it would fork."""

    def __init__(self, tmp_path: Path, *, interval: int | None = None) -> None:
        self.there: list[str] = []
        #: when children are begun
        self.now = 0.0
        self.listings = 0
        #: pid -> slot of a child
        self.taken: dict[int, int] = {}
        self.started: list[tuple[str, list[str]]] = []
        self.queue, self.client = tmp_path / "mqueue", tmp_path / "clientmqueue"
        self.queue.mkdir()
        self.client.mkdir()
        self.work = Idle()
        super().__init__(
            self.work,
            (str(self.queue), str(self.client)),
            self._list,
            Slots(str(tmp_path / "slots"), 2),
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
        self._children[pid] = Child(pid, -1, what, qids, self.now)
        if self._slots.own >= 0:
            self.taken[pid] = os.dup(self._slots.own)

    def _reap(self) -> None: ...

    def arrive(self, *qids: str) -> None:
        self.there += qids
        touch(self.queue)

    def end(self, number: int = 0) -> None:
        """A child ends."""
        child = list(self._children.values())[number]
        if child.pid in self.taken:
            os.close(self.taken.pop(child.pid))
        self._ended(child)

    def is_local_done(self, number: int = 0, *, at_once: bool = True) -> None:
        """A child has served the mailboxes, asks for a slot for the rest, and says what it got.

        It may end before it is heard, if not *at_once*.
        """
        child = list(self._children.values())[number]
        slots = Slots(str(self.queue.parent / "slots"), 2)
        said = NO_SLOT
        if child.pid in self.taken or slots.enter():
            self.taken.setdefault(child.pid, slots.own)
            said = GOES_ON
        child.pipe, its_end = os.pipe()
        os.write(its_end, said)
        os.close(its_end)
        if at_once:
            child.listen()

    def finds_no_place(
        self, number: int, *qids: str, turns: dict[str, float] | None = None
    ) -> None:
        """A child says that these did not, and ends."""
        child = list(self._children.values())[number]
        child.pipe, its_end = os.pipe()
        os.write(its_end, held({**dict.fromkeys(qids, 0.0), **(turns or {})}))
        os.close(its_end)
        self.end(number)


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
    assert looping.POLL <= 0.1


def test_a_message_is_tried_once_when_it_comes_and_not_when_its_file_changes(loop: Still) -> None:
    loop.arrive("a")
    loop.step(0)
    loop.end()
    loop.arrive()
    loop.step(0)
    assert len(loop.started) == 1


def test_a_local_phase_that_is_stuck_is_not_waited_for_by_the_next(loop: Still) -> None:
    loop.arrive("a")
    loop.step(0)
    loop.arrive("b")
    loop.step(looping.STUCK)
    assert len(loop.started) == 1
    loop.step(looping.STUCK + 1)
    assert loop.started[1:] == [("local", ["b"])]
    assert looping.STUCK <= 10


def test_not_everything_can_be_stuck_at_the_same_time(loop: Still) -> None:
    for number in range(looping.MOST_STUCK + 5):
        loop.arrive(f"q{number}")
        loop.now = number * (looping.STUCK + 1)
        loop.step(loop.now)
    assert len(loop.started) == looping.MOST_STUCK
    loop.end()
    loop.step(loop.now)
    assert len(loop.started) == looping.MOST_STUCK + 1


def test_what_comes_during_a_local_phase_is_taken_together_by_the_next(loop: Still) -> None:
    loop.arrive("a")
    loop.step(0)
    for qid in ("b", "c"):
        loop.arrive(qid)
        loop.step(0)
    assert len(loop.started) == 1
    loop.is_local_done()
    loop.step(0)
    assert loop.started[1:] == [("local", ["b", "c"])]


def test_when_all_wait_for_slow_hosts_local_mail_still_goes(loop: Still) -> None:
    for qid in ("a", "b"):
        loop.arrive(qid)
        loop.step(0)
        loop.is_local_done(len(loop.started) - 1)
    loop.arrive("c")
    loop.step(0)
    assert loop.started[2:] == [("local", ["c"])]
    loop.is_local_done(2)
    assert [child.what for child in loop._children.values()] == ["remote", "remote", "half"]


def test_what_was_half_done_gets_the_first_free_slot(loop: Still) -> None:
    for qid in ("a", "b"):
        loop.arrive(qid)
        loop.step(0)
        loop.is_local_done(len(loop.started) - 1)
    loop.arrive("c")
    loop.step(0)
    loop.is_local_done(2)
    loop.end(2)
    loop.arrive("d")
    loop.step(0)
    assert loop.started[3:] == [("local", ["d"])]
    loop.is_local_done(2)
    loop.end(2)
    loop.step(0)
    assert loop.started[4:] == [], "there is no slot"
    loop.end(0)
    loop.step(0)
    assert loop.started[4:] == [("local", ["c", "d"])]
    loop.is_local_done(1)
    assert [child.what for child in loop._children.values()] == ["remote", "remote"]


def test_a_child_that_ends_at_once_is_heard_all_the_same(loop: Still) -> None:
    for qid in ("a", "b"):
        loop.arrive(qid)
        loop.step(0)
        loop.is_local_done(len(loop.started) - 1)
    loop.arrive("c")
    loop.step(0)
    loop.is_local_done(2, at_once=False)
    loop.end(2)
    loop.end(0)
    loop.step(0)
    assert loop.started[3:] == [("local", ["c"])]


def test_a_child_gets_a_limited_number_of_messages(loop: Still) -> None:
    qids = [f"{n:04}" for n in range(looping.MOST_MESSAGES + 1)]
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


def test_what_found_no_place_is_tried_again_when_another_delivery_has_ended(loop: Still) -> None:
    for qid in ("a", "b"):
        loop.arrive(qid)
        loop.step(0)
        loop.is_local_done(len(loop.started) - 1)
    loop.finds_no_place(1, "b")
    loop.step(1)
    assert loop.started[2:] == [], "nothing has ended"
    loop.end(0)
    loop.step(1)
    assert loop.started[2:] == [("local", ["b"])]
    loop.is_local_done(0)
    loop.finds_no_place(0, "b")
    loop.step(100)
    assert loop.started[3:] == [], "it had been tried for nothing"


def test_what_found_no_place_is_not_tried_all_the_time(loop: Still) -> None:
    for now, expected in ((0, 2), (1, 2), (looping.HELD_PAUSE, 3)):
        loop._held["a"] = None
        loop._has_place = True
        loop.step(now)
        if loop._children:
            loop.end()
        loop.step(now)
        assert len(loop.started) + 1 == expected


def test_a_full_run_says_what_found_no_place(loop: Still) -> None:
    loop._fork("full", [])
    loop.finds_no_place(0, "a", "b")
    loop.step(0)
    assert loop.started[1:] == [("local", ["a", "b"])]


def test_what_has_its_turn_later_is_tried_then(
    loop: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 5000.0)
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    loop._fork("full", [])
    loop.finds_no_place(0, turns={"a": 5030.0, "b": 5010.0, "c": 5010.0, "d": 9e9, "e": 4000.0})
    started = []
    for now in (100.0, 109.0, 110.0, 129.0, 130.0, 999.0, 1000.0):
        loop.step(now)
        started += [(now, qids) for _, qids in loop.started[1:]]
        del loop.started[1:]
        if loop._children:
            loop.end()
    assert started == [(100, ["e"]), (110, ["b", "c"]), (130, ["a"]), (1000, ["d"])]


TROUBLE = [
    *(OSError(number, os.strerror(number), "/mqueue") for number in (5, 13, 23, 24, 12, 2)),
    ValueError("a bug"),
]


@pytest.mark.parametrize("trouble", TROUBLE, ids=str)
def test_a_look_that_fails_is_logged_once_and_made_again(
    loop: Still, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    told: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **more: told.append(text))
    real = loop._names

    def fails() -> list[str]:
        raise trouble

    loop._names = fails
    loop.arrive("a")
    for second in range(5):
        loop.step(second)
    assert loop.started == []
    assert len(told) == 1
    assert told[0].startswith("SYSERR(root): ")
    assert str(trouble.args[1] if isinstance(trouble, OSError) else trouble) in told[0]
    loop._names = real
    loop.step(5)
    assert ("local", ["a"]) in loop.started


@pytest.mark.parametrize("interval", [None, 900])
def test_a_first_listing_that_fails_leaves_no_message_unseen(
    tmp_path: Path, interval: int | None
) -> None:
    loop = Still(tmp_path, interval=interval)
    loop.there = ["a"]
    real, looks = loop._names, list[int]()

    def fails_once() -> list[str]:
        looks.append(1)
        if len(looks) == 1:
            raise OSError(24, "Too many open files", "/mqueue")
        return real()

    loop._names = fails_once
    loop.stay(lambda: bool(loop._children.count("local")) or len(looks) > 20, lambda: Wait((), 1.0))
    assert ("local", ["a"]) in loop.started


@pytest.mark.parametrize("call", ["fork", "pipe2"])
@pytest.mark.parametrize("what", ["full", "adopt", "local", "half"])
def test_what_could_not_be_forked_is_forked_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, what: str
) -> None:
    def fails(*unused: object) -> int:
        raise OSError(11, "Resource temporarily unavailable")

    loop = Still(tmp_path, interval=900 if what == "full" else None)
    if what == "adopt":
        touch(loop.client)
    if what == "half":
        loop._half = ["a"]
    if what == "local":
        loop.arrive("a")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails)
        patch.setattr(loop, "_fork", Loop._fork.__get__(loop))
        for second in range(3):
            loop.step(second)
    assert loop._slots.own < 0
    loop.step(4)
    qids = ["a"] if what in ("local", "half") else []
    assert ("local" if what == "half" else what, qids) in loop.started


def test_each_minute_it_looks_for_an_outage_if_somebody_wants_to_hear(tmp_path: Path) -> None:
    loop = Still(tmp_path)
    for second in range(0, 200, 10):
        loop.step(float(second))
    assert not loop.started
    loop.work.alerts = True
    for second in range(200, 400, 10):
        loop.step(float(second))
        loop._children.clear()  # it has ended
    assert loop.started == [("alert", [])] * 4


def test_one_that_still_tells_of_an_outage_is_not_joined_by_another(tmp_path: Path) -> None:
    loop = Still(tmp_path)
    loop.work.alerts = True
    pid = os.fork()
    if not pid:
        signal.pause()
    try:
        loop._children[pid] = Child(pid, -1, "alert", [])
        loop.step(1000.0)
        assert not loop.started
        loop.arrive("a")
        loop.step(1001.0)
        assert loop.started == [("local", ["a"])], "it holds nothing up"
    finally:
        end(pid, signal.SIGKILL)


def test_after_an_alert_that_nothing_remembers_it_waits_for_an_hour(tmp_path: Path) -> None:
    loop = Still(tmp_path)
    loop.work.alerts = True
    pid = os.fork()
    if not pid:
        os._exit(os.EX_TEMPFAIL)
    loop._children[pid] = Child(pid, -1, "alert", [])
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    begun = time.monotonic()
    Loop._reap(loop)
    loop.step(begun + 3500)
    assert not loop.started
    loop.step(time.monotonic() + 3700)
    assert loop.started == [("alert", [])]


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
            code = residence.stay(host.options, interval, lambda: told)
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
        left = children_of(pid)
        end(pid, signal.SIGKILL)
        for child in left:  # they would wait for their silent hosts
            end_with_workers(child)
        raise
    assert end(pid, signal.SIGTERM) == 0


def lock_of(host: PrivateHost) -> str:
    return locks.beside(host.options.queue_directory)


def by_client(number: int) -> Callable[[Envelope], None]:
    """A message comes from this client: one alone does not get all slots."""

    def change(envelope: Envelope) -> None:
        envelope.client = b"client%d.campus [10.9.9.%d]" % (number, number)

    return change


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
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
            for child in children_of(pid):  # else the test waits for looping.PATIENCE
                end_with_workers(child)
    assert len(host.queued()) == 1


def test_a_host_that_never_answers_does_not_keep_mail_for_others_waiting(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looping, "HELD_PAUSE", 0.1)
    host.options.max_queue_children = 3
    host.options.timeout_initial = 600
    with FakeSmtp(answers={"greeting": [HANG]}) as mute, FakeSmtp() as good:
        Path(host.options.mailer_table).write_text(
            f"mute.campus esmtp:{mute.host}\ngood.campus esmtp:{good.host}\n"
        )
        with residing(host) as pid:
            for number in range(1, 3):
                host.submit(EMMA, b"<x@mute.campus>")
                wait_for(lambda n=number: len(mute.commands) == n)  # type: ignore[misc]
            wait_for(lambda: len(children_of(pid)) == 2)  # one that is through may be there yet
            at_the_host = children_of(pid)
            for _ in range(3):
                qid = host.submit(EMMA, b"<x@mute.campus>")
            wait_for(lambda: host.control(qid).attempts > 0)
            why = f"Deferred: waits for 2 deliveries to {mute.host}"
            assert host.control(qid).message == why
            host.submit(EMMA, b"<x@good.campus>", envelope=by_client(2))
            good.wait_for_messages(1)
            assert len(mute.commands) == 2
            wait_for(lambda: children_of(pid) == at_the_host)  # the others have said what waits
            mute.change("greeting", "220 mute.campus awake")
            # Not one that looks again for a place just now: what is killed waits for a full run.
            for child in at_the_host:
                end_with_workers(child)
            mute.wait_for_messages(3)
            wait_for(lambda: len(host.queued()) == 2)


def _was_tried(host: PrivateHost, qid: str) -> bool:
    return host.control(qid).attempts == 1


def test_a_dead_host_costs_all_children_one_connection(host: PrivateHost) -> None:
    with FakeSmtp(answers={"greeting": [DROP]}) as dead:
        host.options.smart_host = dead.host
        with residing(host):
            for _ in range(3):
                qid = host.submit(EMMA, X)
                wait_for(functools.partial(_was_tried, host, qid))
        assert len(dead.commands) == 1
        for qid in host.queued():
            assert host.control(qid).message.endswith("read error from [127.0.0.1]")
        queue_run.run(host.options)
        assert len(dead.commands) == 2, "a run of its own asks once"


@pytest.mark.parametrize("changed", ["resolv.conf", "hosts"])
def test_a_file_that_changes_counts_for_the_next_child(
    changed: str, host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf, hosts = host.root / "resolv.conf", host.root / "hosts"
    conf.write_bytes(b"nameserver 127.0.0.9\n")  # where nobody listens
    hosts.write_bytes(b"")
    defaults = {**(Resolver.__init__.__kwdefaults__ or {}), "conf": str(conf), "hosts": str(hosts)}
    monkeypatch.setattr(Resolver.__init__, "__kwdefaults__", defaults)
    host.options.sandbox = False  # a worker reads those of /etc
    with FakeDns({"peer": {"A": ["127.0.0.1"]}}) as server:
        monkeypatch.setattr(resolv_conf, "PORT", server.address[1])
        host.options.smart_host = "peer"
        with residing(host):
            first = host.submit(EMMA, X)
            wait_for(functools.partial(_was_tried, host, first))
            assert "lookup failure" in host.control(first).message
            if changed == "hosts":
                hosts.write_bytes(b"127.0.0.1 peer\n")
            else:
                conf.write_bytes(b"nameserver 127.0.0.1\n")
            second = host.submit(EMMA, X)
            wait_for(functools.partial(_was_tried, host, second))
            assert "points back to lab1.campus" in host.control(second).message


def test_messages_to_one_next_hop_go_each_in_its_turn(host: PrivateHost) -> None:
    host.options.destination_rate_delay = 1
    with FakeSmtp() as peer:
        host.options.smart_host = peer.host
        with residing(host):
            begun = time.time()
            qids = [host.submit(EMMA, X) for _ in range(3)]
            reasons = set()
            while host.queued():
                assert time.time() - begun < 30
                for qid in qids:
                    with contextlib.suppress(OSError):
                        reasons.add(host.control(qid).message)
                time.sleep(0.02)
        assert time.time() - begun >= 2
        assert len(peer.messages) == 3
        why = f"Deferred: waits for its turn: one message each second to {peer.host}"
        assert why in reasons


def end_with_workers(pid: int) -> None:
    """End an attempt and its remote workers, who would wait for their silent host."""
    for number in [*children_of(pid), pid]:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.kill(number, signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    """None if it has ended meanwhile."""
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


#: what an attempt imports that the runner has not
LOADING = """
import ast, sys
from minimta.config.options import Options, by_name
from minimta.runner import queue_work, resident
from minimta.system.slots import of_queue
options = Options()
for name, value in ast.literal_eval(sys.stdin.read()).items():
    setattr(options, by_name(name).attribute, value)
slots = of_queue(options)
resident._load_for_children(options, slots)
before = set(sys.modules)
work = queue_work.QueueWork(options, slots)
work.attempt(sys.argv[1:], slots.enter, lambda: False, work.kept({}))
print(*(set(sys.modules) - before), end="")
"""


def test_children_import_nothing_that_the_runner_could_have_imported_for_all(
    host: PrivateHost,
) -> None:
    host.aliases('prog: "|exit 0"', f"file: {host.root}/file", "postmaster: root")
    rebuild(
        Source(host.options.alias_files[0], host.options.dont_blame),
        Users(host.options.passwd_file),
    )
    Path(host.options.mailer_table).write_text("lab2.campus esmtp:[127.0.0.1]:1\n")
    for name in ("dave", "prog", "file", "nosuch", "postmaster"):
        host.submit(EMMA, f"<{name}@lab1.campus>".encode())
    host.submit(EMMA, X)
    options = {
        row.name: getattr(host.options, row.attribute)
        for row in TABLE
        if getattr(host.options, row.attribute) != getattr(Options(), row.attribute)
    }
    command = [sys.executable, "-c", LOADING, *host.queued()]
    found = subprocess.run(
        command, input=repr(options), capture_output=True, text=True, check=True, cwd=HOME
    )
    assert found.stdout == ""
    assert len(host.queued()) == 1, "no other waits"


def test_there_is_one_resident_runner(host: PrivateHost, capfd: pytest.CaptureFixture[str]) -> None:
    with residing(host):
        assert residence.stay(host.options, None, lambda: False) == os.EX_TEMPFAIL
    assert "another queue runner is resident" in capfd.readouterr().err


def test_its_name_goes_before_another_can_be_the_runner(host: PrivateHost) -> None:
    """Else the one that ends would remove the PidFile of the one that begins."""
    looks = iter([False, True])
    held: list[bool] = []

    def ends() -> None:
        held.append(locks.is_resident(lock_of(host)))

    assert residence.stay(host.options, None, lambda: next(looks, True), ends=ends) == 0
    assert held == [True]
    assert not locks.is_resident(lock_of(host))


def with_a_child_that_waits(host: PrivateHost, server: FakeSmtp) -> tuple[int, int]:
    """A runner, and its only child, which has a letter for *server*."""
    host.options.smart_host = server.host
    pid = start(host)
    host.submit(EMMA, X)
    wait_for(lambda: len(server.commands) == 1)
    wait_for(lambda: len(children_of(pid)) == 1)  # another may just have adopted
    (left,) = children_of(pid)
    return pid, left


def test_one_that_waits_for_its_children_is_in_nobodys_way(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looping, "PATIENCE", 60)
    with FakeSmtp(answers={"greeting": [HANG]}) as server:
        pid, left = with_a_child_that_waits(host, server)
        try:
            os.kill(pid, signal.SIGTERM)
            wait_for(lambda: not locks.is_resident(lock_of(host)), seconds=30)
            assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        finally:
            end(pid, signal.SIGKILL)
            end_with_workers(left)


def test_a_child_that_outlives_the_runner_does_not_pass_for_it(host: PrivateHost) -> None:
    with FakeSmtp(answers={"greeting": [HANG]}) as server:
        pid, left = with_a_child_that_waits(host, server)
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


# --- MaxQueueChildren ------------------------------------------------------------------------------------


class ManyHosts:
    """So many other hosts that are slow to greet, each with a domain of its own."""

    def __init__(self, host: PrivateHost, number: int, awaited: int = 0) -> None:
        """No host greets before *awaited* workers were seen: a slow machine has them one after the other."""
        self._awaited, self._greet = awaited, host.root / "greet"
        self._patience = time.monotonic() + 30
        self.servers = [FakeSmtp(before_greeting=self._pause) for _ in range(number)]
        self.recipients = [f"<x@host{n}.campus>".encode() for n in range(number)]
        rows = (f"host{n}.campus esmtp:{one.host}\n" for n, one in enumerate(self.servers))
        Path(host.options.mailer_table).write_text("".join(rows))
        #: most workers that lived at the same time; their attempts only wait for them
        self.most_workers = 0

    def _pause(self) -> None:
        # In a process of its own.
        while self._awaited and not self._greet.exists() and time.monotonic() < self._patience:
            time.sleep(0.01)
        time.sleep(0.1)

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            yield

    def count(self, runner: int) -> list[int]:
        """Look who lives below *runner*; the attempts that have workers."""
        workers = {child: children_of(child) for child in children_of(runner)}
        # All that still live have lived at the same time: one may have ended before another was found.
        living = {child: list(filter(lives, found)) for child, found in workers.items()}
        self.most_workers = max(self.most_workers, sum(map(len, living.values())))
        if self._awaited and self.most_workers >= self._awaited:
            self._greet.touch()
        return [child for child, found in living.items() if found]

    def messages(self) -> int:
        return sum(len(server.messages) for server in self.servers)


def lives(pid: int) -> bool:
    """Has it not ended? The kernel takes its memory first, then its files, then its parent hears."""
    try:
        return not Path(f"/proc/{pid}/statm").read_text().startswith("0 ")
    except OSError:
        return False


@contextlib.contextmanager
def slot_taken(host: PrivateHost) -> Iterator[Callable[[], None]]:
    """Somebody else works in a slot; what is given ends that."""
    ready, says = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(says, b"y" if of_queue(host.options).enter() else b"n")
        signal.pause()
    assert os.read(ready, 1) == b"y"
    os.close(ready)
    os.close(says)
    gone = False

    def leave() -> None:
        nonlocal gone
        if not gone:
            gone = True
            end(pid, signal.SIGKILL)

    try:
        yield leave
    finally:
        leave()


def watch_until(done: Callable[[], bool], many: ManyHosts, runner: int) -> list[int]:
    """Count until it is done; returns the attempts that were busy at the end."""
    busy: list[int] = []

    def look() -> bool:
        nonlocal busy
        busy = many.count(runner)
        return done()

    wait_for(look, 60)
    return busy


@pytest.mark.parametrize(("total", "kept"), [(1, 0), (2, 0), (5, 0), (2, 2)])
def test_attempts_and_their_workers_are_no_more_than_the_total(
    host: PrivateHost, total: int, kept: int
) -> None:
    many = ManyHosts(host, 12, awaited=total)
    host.options.max_queue_children = total
    host.options.connection_cache_size = kept
    with residing(host) as pid, many.serving():
        for start_at in range(0, 12, 3):  # several attempts, each with several hosts
            some = many.recipients[start_at : start_at + 3]
            host.submit(EMMA, *some, envelope=by_client(start_at + 1))
            host.submit(EMMA, *many.recipients, envelope=by_client(start_at + 2))
            time.sleep(0.15)
        watch_until(lambda: host.queued() == [], many, pid)
    assert many.messages() == 12 + 4 * 12
    assert total <= many.most_workers <= total + kept, "what is allowed is used"


def test_what_a_killed_attempt_held_is_free_again(host: PrivateHost) -> None:
    many = ManyHosts(host, 8)
    host.options.max_queue_children = 2
    host.options.connection_cache_size = 0  # a worker that is kept has no slot
    with residing(host, interval=1) as pid, many.serving():
        for number in (1, 2):
            host.submit(EMMA, *many.recipients, envelope=by_client(number))
        victims = watch_until(lambda: many.most_workers == 2, many, pid)
        for victim in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        host.submit(EMMA, *many.recipients, envelope=by_client(3))
        watch_until(lambda: host.queued() == [], many, pid)
    assert many.messages() >= 24
    assert many.most_workers == 2


def run_in_child(act: Callable[[], int]) -> int:
    pid = os.fork()
    if pid == 0:
        code = os.EX_SOFTWARE
        try:
            code = act()
        finally:
            os._exit(code)
    return pid


def test_a_run_by_hand_gets_on_with_one_worker_when_all_slots_are_taken(host: PrivateHost) -> None:
    many = ManyHosts(host, 3)
    host.options.max_queue_children = 1
    host.submit(EMMA, *many.recipients)
    with slot_taken(host):
        pid = run_in_child(lambda: queue_run.run(host.options))
        with many.serving():
            most = 0
            while not os.waitpid(pid, os.WNOHANG)[0]:
                most = max(most, sum(map(lives, children_of(pid))))
                time.sleep(0.005)
    assert most == 1
    assert many.messages() == 3


def test_a_run_of_the_resident_waits_for_a_slot_but_not_with_local_mail(host: PrivateHost) -> None:
    many = ManyHosts(host, 1)
    host.options.max_queue_children = 1
    host.submit(EMMA, DAVE, *many.recipients)
    with slot_taken(host) as leave:
        pid = run_in_child(lambda: queue_run.run(host.options, slots=of_queue(host.options)))
        with many.serving():
            wait_for(lambda: len(host.letters("dave")) == 1)
            time.sleep(0.3)
            assert many.messages() == 0
            leave()
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert many.messages() == 1


def test_new_messages_wait_for_a_slot_but_not_with_local_mail(host: PrivateHost) -> None:
    many = ManyHosts(host, 1)
    host.options.max_queue_children = 1
    with slot_taken(host) as leave, residing(host), many.serving():
        host.submit(EMMA, DAVE, *many.recipients)
        wait_for(lambda: len(host.letters("dave")) == 1)
        host.submit(EMMA, DAVE)
        wait_for(lambda: len(host.letters("dave")) == 2)
        assert many.messages() == 0
        leave()
        wait_for(lambda: host.queued() == [])
    assert many.messages() == 1


# --- connections that are kept (ConnectionCacheSize, ConnectionCacheTimeout) --------------------------------


def is_idle(loop: Still, number: int = 0) -> int:
    """A child says that its batch is over, and keeps a connection; where its orders come."""
    child = list(loop._children.values())[number]
    child.pipe, saying = os.pipe()
    taking, child._orders = os.pipe2(os.O_NONBLOCK)
    os.write(saying, b"@[10.0.3.2]\n!1\n")
    child.listen()
    os.close(saying)
    return taking


def test_an_idle_child_gets_the_next_new_messages(loop: Still) -> None:
    loop.arrive("a")
    loop.step(0)
    orders = is_idle(loop)
    loop.arrive("b", "c")
    loop.step(1)
    assert loop.started == [("local", ["a"])]
    assert os.read(orders, 100) == b"b c\n"
    assert loop._lately.keys() == {"[10.0.3.2]"}
    loop.arrive("d")
    loop.step(1)
    assert loop.started[1:] == [], "it is at mailboxes, as a new child would be"
    loop.step(looping.STUCK + 2)
    assert loop.started[1:] == [("local", ["d"])]


def test_what_an_idle_child_has_not_taken_is_tried_again(loop: Still) -> None:
    loop.arrive("a")
    loop.step(0)
    is_idle(loop)
    loop.arrive("b")
    loop.step(1)
    loop.arrive("c")
    loop.end()
    loop.step(1)
    assert loop.started[1:] == [("local", ["b", "c"])]


def test_what_it_has_taken_is_its_own(loop: Still) -> None:
    loop.arrive("a")
    loop.step(0)
    is_idle(loop)
    loop.arrive("b")
    loop.step(1)
    (child,) = loop._children.values()
    child._hear(TAKEN[:-1])
    loop.end()
    loop.step(1)
    assert loop.started[1:] == []


def test_an_idle_child_that_cannot_be_told_is_not_waited_for(loop: Still) -> None:
    loop.arrive("a")
    loop.step(0)
    os.close(is_idle(loop))
    loop.arrive("b")
    loop.step(1)
    assert loop.started[1:] == [("local", ["b"])]


def test_who_has_old_options_gets_no_more(loop: Still) -> None:
    loop.arrive("a")
    loop.step(0)
    orders = is_idle(loop)
    loop.step(1)
    loop.renew(loop.work)
    assert os.read(orders, 100) == b"", "the end"
    loop.arrive("b")
    loop.step(1)
    assert loop.started[1:] == [("local", ["b"])]


def test_a_kept_connection_gives_way_to_who_finds_no_place(loop: Still) -> None:
    loop.arrive("a")
    loop.step(0)
    orders = is_idle(loop)
    loop.step(1)
    loop._fork("full", [])
    loop.finds_no_place(1, "b")
    assert os.read(orders, 100) == b"", "the end"


def test_what_waited_for_a_slot_is_given_to_an_idle_child(loop: Still) -> None:
    loop.arrive("a")
    loop.step(0)
    orders = is_idle(loop)
    loop._half = ["b"]
    loop.step(1)
    assert os.read(orders, 100) == b"b\n"
    assert loop.started[1:] == []
    assert loop._slots.own < 0


def test_what_found_no_place_is_tried_again_when_a_kept_connection_is_no_more(loop: Still) -> None:
    loop._held["a"] = None
    loop.arrive("b")
    loop.step(0)
    is_idle(loop)
    loop.step(1)
    loop._held["c"] = None
    loop.end()
    loop.step(residence.RESTART + looping.HELD_PAUSE)
    assert loop.started[1:] == [("local", ["a", "c"])]


@contextlib.contextmanager
def busy_peer(host: PrivateHost, **answers: Sequence[str]) -> Iterator[FakeSmtp]:
    with FakeSmtp(answers=answers) as peer:
        host.options.smart_host = peer.host
        host.options.connection_cache_timeout = 20
        yield peer


def arrives(host: PrivateHost, peer: FakeSmtp, number: int) -> None:
    """One message more is submitted; it is there, and recorded, when this returns."""
    host.submit(EMMA, X)
    peer.wait_for_messages(number)
    wait_for(lambda: host.queued() == [])
    time.sleep(0.02)  # who comes before its child is idle gets another child


def kept_child(pid: int) -> tuple[int, int]:
    """A child of the runner that has a worker, and the worker; they are there soon."""
    found: list[tuple[int, int]] = []

    def look() -> bool:
        found[:] = [(child, worker) for child in children_of(pid) for worker in children_of(child)]
        return bool(found)

    wait_for(look)
    return found[0]


def test_letters_one_after_the_other_share_a_connection(host: PrivateHost) -> None:
    with busy_peer(host) as peer:
        with residing(host):
            for number in range(1, 11):
                arrives(host, peer, number)
        assert host.queued() == []
        assert len(peer.commands) < 5, "2, unless this host is very slow"
        assert [told[-1] for told in peer.commands] == ["QUIT"] * len(peer.commands)


def test_local_mail_and_other_hosts_go_on_as_ever(host: PrivateHost) -> None:
    with busy_peer(host) as peer, FakeSmtp() as other:
        Path(host.options.mailer_table).write_text(f"other.campus esmtp:{other.host}\n")
        with residing(host):
            for number in range(1, 4):
                arrives(host, peer, number)
                host.submit(EMMA, DAVE, b"<x@other.campus>")
                other.wait_for_messages(number)
                wait_for(lambda: host.queued() == [])
        assert len(host.letters("dave")) == len(peer.messages) == 3
        assert len(peer.commands) <= 3


@pytest.mark.parametrize("victim", ["child", "worker"])
def test_who_keeps_a_connection_may_be_killed(host: PrivateHost, victim: str) -> None:
    with busy_peer(host) as peer:
        with residing(host) as pid:
            for number in range(1, 9):
                arrives(host, peer, number)
                if number in (3, 6):
                    child, worker = kept_child(pid)
                    os.kill(child if victim == "child" else worker, signal.SIGKILL)
            wait_for(lambda: host.queued() == [])
        assert len(peer.messages) == 8
        assert len(peer.commands) < 8


def test_kept_connections_end_with_a_runner_that_is_killed(host: PrivateHost) -> None:
    with busy_peer(host) as peer:
        pid = start(host)
        try:
            for number in range(1, 4):
                arrives(host, peer, number)
            child, worker = kept_child(pid)
        finally:
            end(pid, signal.SIGKILL)
        wait_for(lambda: not lives(child) and not lives(worker))
        assert peer.commands[1][-1] == "QUIT"


def test_kills_at_any_moment_lose_nothing(host: PrivateHost) -> None:
    """Of what is killed in the middle no more comes twice than without kept connections."""
    kills, letters = 0, 30
    with busy_peer(host) as peer:
        pid = start(host, interval=1)
        for number in range(letters):
            host.submit(EMMA, X)
            time.sleep(0.011 * (number % 12))
            children = children_of(pid)
            family = [one for child in children for one in (child, *children_of(child))]
            if number % 10 == 9:
                end(pid, signal.SIGKILL)
                pid = start(host, interval=1)
            elif number % 3 == 0 and family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(family[number % len(family)], signal.SIGKILL)
                    kills += 1
        wait_for(lambda: host.queued() == [], 60)
        assert end(pid, signal.SIGTERM) == 0
        assert letters <= len(peer.messages) <= letters + (kills + 3) * WINDOW
        assert len(peer.commands) < letters
    assert kills >= 3


def test_a_kept_connection_ends_with_the_runner_whoever_else_lives(host: PrivateHost) -> None:
    """A child that was forked later has not the ends of the pipes to it."""
    with busy_peer(host) as peer, FakeSmtp(answers={"greeting": [HANG]}) as mute:
        Path(host.options.mailer_table).write_text(f"mute.campus esmtp:{mute.host}\n")
        host.options.timeout_initial = 600
        with residing(host) as pid:
            peer.change(".", HANG)
            host.submit(EMMA, X)
            peer.wait_for_messages(1)
            wait_for(lambda: len(children_of(pid)) == 1)  # another may just have adopted
            (child,) = children_of(pid)
            host.submit(EMMA, b"<x@mute.campus>")
            wait_for(lambda: len(mute.commands) == 1)
            wait_for(lambda: len(children_of(pid)) == 2)
            (other,) = set(children_of(pid)) - {child}
            ours, pipes, theirs = map(pipes_of, (os.getpid(), child, other))
            for one in (child, other):
                end_with_workers(one)
        assert pipes - ours
        assert not pipes & theirs - ours


def pipes_of(pid: int) -> set[str]:
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):  # just closed
            found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    return {name for name in found if name.startswith("pipe:")}


def test_who_keeps_a_connection_leaves_its_slot_to_others(host: PrivateHost) -> None:
    host.options.max_queue_children = 1
    with busy_peer(host) as peer, residing(host) as pid:
        for number in range(1, 4):
            arrives(host, peer, number)
        kept_child(pid)
        slots = of_queue(host.options)
        wait_for(slots.enter, 2)
        host.submit(EMMA, X)
        wait_for(lambda: "waits for one of MaxQueueChildren" in waiting_message(host), 5)
        slots.leave()
        peer.wait_for_messages(4)


def waiting_message(host: PrivateHost) -> str:
    """Why the only message is still there."""
    with contextlib.suppress(OSError, ValueError):
        (qid,) = host.queued()
        return host.control(qid).message
    return ""


class OneKept(KeptWorkers):
    """A connection is kept, until somebody says otherwise."""

    def __init__(self) -> None:
        super().__init__(Options(), Slots("/nonexistent", 1))
        self.served = {"[10.0.3.2]"}
        self.there = 1

    def __len__(self) -> int:
        return self.there

    def descriptors(self) -> list[int]:
        return []

    def listen(self) -> None: ...


def next_batch(
    orders: bytes | None, kept: OneKept, *, told: bool = False
) -> tuple[list[str], bytes]:
    """What a child does next when it has these *orders*, and what it says; *told*: to end."""
    heard, saying = os.pipe()
    taking, giving = os.pipe()
    os.write(giving, orders or b"")
    if orders is None or orders == b"":
        os.close(giving)
    found = RunnerPipes(saying, taking).next_batch({"a": 0.0}, kept, lambda: told)
    os.close(saying)
    with open(heard, "rb") as said:
        return list(found), said.read()


def test_what_a_child_does_when_its_batch_is_over() -> None:
    over = b"=a 0\n@[10.0.3.2]\n"
    assert next_batch(b"b c\n", OneKept()) == (["b", "c"], over + b"!1\n*\n")
    assert next_batch(None, OneKept()) == ([], over + b"!1\n"), "the runner has gone"
    assert next_batch(b"b\n", OneKept(), told=True) == ([], over + b"!1\n")
    none = OneKept()
    none.there = 0
    assert next_batch(b"b\n", none) == ([], over), "nothing is kept"
