from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minimta.config.options import Options
from minimta.mailers.job import Job
from minimta.mailers.remote import channel as channels
from minimta.mailers.remote import mx_targets, protocol, worker
from minimta.mailers.remote.channel import (
    MAX_HOSTS,
    MAX_LOG_LINES,
    MAX_POLICIES,
    MAX_RESULTS,
    WINDOW,
    WorkerChannel,
)
from minimta.mailers.remote.delivery import Delivery
from minimta.mailers.remote.findings import Findings
from minimta.mailers.remote.host_status import HostMemory, HostStatus
from minimta.mailers.remote.lines import AliveLine, NameLine, OutcomesLine, ResultLine, StsLine
from minimta.mailers.remote.mailer import SHARE, RemoteMailer
from minimta.mailers.remote.sts_cache import StsCache
from minimta.mailers.remote.tls_results import TlsResults, counts
from minimta.mailers.remote.transport import Transport
from minimta.message.outcome import Fate, Outcome
from minimta.system import processes
from minimta.system.dns import Resolver
from minimta.system.waiting import Wait, alone
from tests.support.fakedns import FakeDns
from tests.support.fakesmtp import DROP, HANG, FakeSmtp, Refusing
from tests.support.jobs import HEADER, job, options
from tests.support.slots import slots


@pytest.fixture(autouse=True)
def stay_who_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that do not speak of RunAsUser run their workers as themselves."""
    monkeypatch.setattr("minimta.system.privileges.become", lambda name: None)


def deliver(
    *jobs: Job,
    configured: Options | None = None,
    say: Callable[[str], None] | None = None,
    number: int = 10,
    memory: HostMemory | None = None,
    sts: StsCache | None = None,
    results: TlsResults | None = None,
) -> dict[Job, Mapping[bytes, Outcome]]:
    """Deliver in one of *number* slots; every job comes exactly once, with all its users."""
    fates: dict[Job, Mapping[bytes, Outcome]] = {}
    mine = slots(number)
    assert mine.enter()
    chosen = configured or options()
    mailer = RemoteMailer(chosen, mine, say=say, findings=Findings(chosen, memory, sts, results))
    for one, outcomes in mailer.deliver(jobs):
        assert one not in fates, "yielded twice"
        assert set(outcomes) == {user.name for user in one.users}
        fates[one] = outcomes
    assert set(fates) == set(jobs)
    mine.leave()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # no zombie
    return fates


def only(outcomes: Mapping[bytes, Outcome]) -> Outcome:
    (outcome,) = outcomes.values()
    return outcome


def misbehave(monkeypatch: pytest.MonkeyPatch, act: Callable[[WorkerChannel], object]) -> None:
    """Let the worker do *act* instead of its work, and end."""

    class Delivery:
        def __init__(self, *arguments: object, **_: object) -> None:
            self.channel: WorkerChannel = arguments[2].__self__  # type: ignore[attr-defined]

        def run(self) -> None:
            act(self.channel)

    monkeypatch.setattr(worker, "Delivery", Delivery)


def raw(channel: WorkerChannel, octets: bytes) -> None:
    channel._connection.sendall(octets)


def test_several_hosts_get_their_messages() -> None:
    with FakeSmtp() as one, FakeSmtp() as two, Refusing() as dead:
        jobs = [job(host, "x@a", "y@a") for host in (one.host, two.host) for _ in range(5)]
        lost = job(f"[127.0.0.1]:{dead}")
        fates = deliver(*jobs, lost)
    assert only(fates[lost]).text == "Connection refused by [127.0.0.1]"
    assert all(outcome.fate is Fate.SENT for one_job in jobs for outcome in fates[one_job].values())
    for server in (one, two):
        assert len(server.messages) == 5
        assert len(server.commands) == 1


def test_who_does_not_know_its_own_names_waits(tmp_path: Path) -> None:
    configured = options(local_host_names=str(tmp_path))
    with FakeSmtp() as peer:
        one, other = (
            job(peer.host, "dave@x.campus", "carol@x.campus"),
            job("y.campus", "d@y.campus"),
        )
        fates = deliver(one, other, configured=configured)
        assert peer.messages == []
    told = {outcome for outcomes in fates.values() for outcome in outcomes.values()}
    assert {(o.fate, o.text) for o in told} == {(Fate.DEFERRED, f"{tmp_path}: Is a directory")}


@pytest.mark.parametrize(
    "messages, limits, connections",
    [
        (SHARE, {}, 1),
        (SHARE + 1, {}, 2),
        (2 * SHARE + 1, {}, 3),
        (2 * SHARE + 1, {"destination_concurrency": 2}, 2),
        (2 * SHARE + 1, {"single_thread_delivery": True}, 1),
    ],
)
def test_very_many_messages_go_over_several_connections(
    messages: int, limits: dict[str, Any], connections: int
) -> None:
    with FakeSmtp() as peer:
        jobs = [job(peer.host, f"u{n}@a") for n in range(messages)]
        fates = deliver(*jobs, configured=options(**limits))
    assert all(only(fates[one]).fate is Fate.SENT for one in jobs)
    assert len(peer.messages) == messages
    assert len(peer.commands) == connections


def test_the_last_share_goes_in_the_slot_of_the_first_if_there_is_no_other() -> None:
    with FakeSmtp() as peer:
        jobs = [job(peer.host, f"u{n}@a") for n in range(SHARE + 1)]
        fates = deliver(*jobs, number=1)
    assert all(only(fates[one]).fate is Fate.SENT for one in jobs)
    assert len(peer.messages) == len(jobs)


def test_no_next_hop_gets_a_second_worker_before_the_others_have_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[str] = []
    start = RemoteMailer._start

    def noting(self: RemoteMailer, jobs: list[Job], *rest: Any) -> Any:
        started.append(jobs[0].host)
        return start(self, jobs, *rest)

    monkeypatch.setattr(RemoteMailer, "_start", noting)
    with FakeSmtp() as one, FakeSmtp() as two:
        jobs = [job(one.host, f"u{n}@a") for n in range(SHARE + 1)]
        deliver(*jobs, job(two.host, "x@b"))
    assert started == [one.host, two.host, one.host]


def test_what_somebody_wrote_is_not_what_was_configured() -> None:
    with FakeSmtp() as peer:
        chosen = job(peer.host, option="SmartHost")
        written = job(peer.host, "x@[127.0.0.1]", option="")
        fates = deliver(written, chosen, written_again := job(peer.host, option=""))
    assert only(fates[chosen]).fate is Fate.SENT
    assert only(fates[written]).status == only(fates[written_again]).status == "5.4.6"


def test_hosts_are_served_at_the_same_time(tmp_path: Path) -> None:
    def meet() -> None:
        end = time.monotonic() + 10
        (tmp_path / str(os.getpid())).touch()
        while len(os.listdir(tmp_path)) < 2:
            assert time.monotonic() < end, "the other was not there"
            time.sleep(0.01)

    with FakeSmtp(before_greeting=meet) as one, FakeSmtp(before_greeting=meet) as two:
        fates = deliver(job(one.host), job(two.host))
    assert all(only(outcomes).fate is Fate.SENT for outcomes in fates.values())


def test_no_more_workers_than_allowed(tmp_path: Path) -> None:
    def be_alone() -> None:
        os.mkdir(tmp_path / "one of them")  # fails if the other is there
        time.sleep(0.05)
        os.rmdir(tmp_path / "one of them")

    with FakeSmtp(before_greeting=be_alone) as one, FakeSmtp(before_greeting=be_alone) as two:
        fates = deliver(job(one.host), job(two.host), number=1)
    assert all(only(outcomes).fate is Fate.SENT for outcomes in fates.values())


def test_a_next_hop_that_is_full_is_left_and_the_others_are_served() -> None:
    taken = [slots(2).place_at(f"hop {hop}") for hop in ("[127.0.0.1]:1", "[127.0.0.1]:2")]
    with FakeSmtp() as peer:
        full, free, full_too = (job(host) for host in ("[127.0.0.1]:1", peer.host, "[127.0.0.1]:2"))
        fates = deliver(full, free, full_too, number=2)
    assert only(fates[free]).fate is Fate.SENT
    for one in (full, full_too):
        outcome = only(fates[one])
        assert (outcome.fate, outcome.status, outcome.is_crowded) == (Fate.DEFERRED, "4.4.5", True)
        assert outcome.text == f"waits for another delivery to {one.host}"
    for place in taken:
        assert place is not None
        place.close()


def test_a_second_delivery_waits_for_the_slot_in_which_the_first_rides() -> None:
    mine = slots(1)
    assert mine.enter()
    mailer = RemoteMailer(options(), mine)
    with FakeSmtp(answers={"greeting": [HANG]}) as mute, FakeSmtp() as good:
        first = mailer.steps([job(mute.host)])
        second = mailer.steps([job(good.host)])
        assert isinstance(next(first), Wait)
        assert isinstance(next(second), Wait), "and is not put off"
        assert not good.commands
        first.close()  # type: ignore[attr-defined]
        ((_, outcomes),) = alone(second)
    assert only(outcomes).fate is Fate.SENT
    mine.leave()


def test_a_next_hop_has_as_many_connections_as_destination_concurrency() -> None:
    configured = options()
    configured.destination_concurrency = 2
    with FakeSmtp() as peer, FakeSmtp() as other:
        taken = [slots(10).place_at(f"hop {peer.host}", 2) for _ in range(2)]
        full, free = job(peer.host), job(other.host)
        fates = deliver(full, free, configured=configured)
        assert only(fates[free]).fate is Fate.SENT
        assert only(fates[full]).text == f"waits for 2 deliveries to {peer.host}"
        assert only(fates[full]).is_crowded and not peer.commands
        assert taken[0] is not None and taken[1] is not None
        taken[0].close()
        assert only(deliver(full, configured=configured)[full]).fate is Fate.SENT
        taken[1].close()


def test_single_thread_delivery_is_one_connection_to_a_next_hop() -> None:
    configured = options()
    configured.single_thread_delivery = True
    with FakeSmtp() as peer:
        taken = slots(10).place_at(f"hop {peer.host}", 1)
        one = job(peer.host)
        assert only(deliver(one, configured=configured)[one]).is_crowded
        assert taken is not None
        taken.close()
        assert only(deliver(one, configured=configured)[one]).fate is Fate.SENT


def test_destination_concurrency_holds_for_a_host_that_several_next_hops_share() -> None:
    configured = options()
    configured.destination_concurrency = 1
    with FakeSmtp() as peer:
        there = slots(10).place_at("hop other.campus", 1)
        assert there is not None and there.moves_on_to(f"host {peer.host}")
        one = job(peer.host)
        outcome = only(deliver(one, configured=configured)[one])
        assert outcome.is_crowded and outcome.text.startswith("waits for another delivery to ")
        there.close()
        assert only(deliver(one, configured=configured)[one]).fate is Fate.SENT


def test_destination_concurrency_is_not_for_all_mail_of_one_source() -> None:
    configured = options()
    configured.destination_concurrency = 1
    taken = slots(10).place_at("hop other.campus", 1)
    assert taken is not None and taken.counts_for("from mallory@localhost")
    with FakeSmtp() as peer:
        one = job(peer.host, source=b"mallory@localhost")
        assert only(deliver(one, configured=configured)[one]).fate is Fate.SENT
    taken.close()


def test_one_message_goes_to_a_next_hop_in_its_turn_and_the_others_wait(tmp_path: Path) -> None:
    configured = options()
    configured.queue_directory = str(tmp_path / "mqueue")
    configured.destination_rate_delay = 60
    with FakeSmtp() as peer, FakeSmtp() as other:
        begun = time.time()
        one, two, three = (job(peer.host, source=b"emma@localhost") for _ in range(3))
        elsewhere = job(other.host)
        fates = deliver(one, elsewhere, two, three, configured=configured)
        assert only(fates[one]).fate is only(fates[elsewhere]).fate is Fate.SENT
        for number, late in enumerate((two, three), 1):
            outcome = only(fates[late])
            assert (outcome.fate, outcome.status, outcome.is_crowded) == (
                Fate.DEFERRED,
                "4.4.5",
                True,
            )
            assert outcome.text == (
                f"waits for its turn: one message each 60 seconds to {peer.host}"
            )
            assert 0 <= outcome.turn - begun - 60 * number < 30
        again = only(deliver(two, configured=configured)[two])
        assert 30 < again.turn - begun <= 90
        assert len(peer.commands) == 1


def test_who_is_not_first_to_take_a_turn_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = options()
    configured.queue_directory = str(tmp_path / "mqueue")
    configured.destination_rate_delay = 60
    monkeypatch.setattr("minimta.mailers.remote.pace.Pace.seconds_left", lambda pace, hop: 0.0)
    with FakeSmtp() as peer, FakeSmtp() as other:
        one, rides = job(peer.host), job(other.host)
        assert only(deliver(one, configured=configured)[one]).fate is Fate.SENT
        files = len(os.listdir("/proc/self/fd"))
        outcome = only(deliver(rides, one, configured=configured)[one])
        assert len(os.listdir("/proc/self/fd")) == files
    assert outcome.turn > time.time()


def test_what_found_no_place_is_tried_again_while_others_are_served() -> None:
    with FakeSmtp() as peer, Refusing() as dead:
        full, free = job(f"[127.0.0.1]:{dead}"), job(peer.host)
        taken = slots(2).place_at(f"hop {full.host}")
        mine = slots(2)
        assert mine.enter() and taken is not None
        outcomes = RemoteMailer(options(), mine).deliver([full, free])
        first = next(outcomes)
        assert first[0] is free
        taken.close()
        ((second, found),) = outcomes
        mine.leave()
    assert second is full
    assert only(found).text == "Connection refused by [127.0.0.1]"


def test_whoever_has_mail_for_many_mute_hosts_leaves_a_slot_to_others() -> None:
    taken = [slots(10).place_at(f"hop mute{number}.campus") for number in range(9)]
    assert all(place and place.counts_for("from mallory@localhost") for place in taken)
    with FakeSmtp() as peer, FakeSmtp() as other:
        theirs = job(peer.host, source=b"mallory@localhost", reverse_path=b"carol@lab1.campus")
        mine = job(other.host, source=b"carol@localhost")
        fates = deliver(theirs, mine, number=10)
        assert only(fates[mine]).fate is Fate.SENT
        assert only(fates[theirs]).is_crowded and not peer.commands
        text = "waits for 9 deliveries to other hosts, from mallory@localhost"
        assert only(fates[theirs]).text == text
        # A worker with letters of others, too, is nobody's.
        both = (
            job(peer.host, source=b"mallory@localhost"),
            job(peer.host, source=b"carol@localhost"),
        )
        fates = deliver(*both, number=10)
        assert [only(fates[one]).fate for one in both] == [Fate.SENT] * 2
        for place in taken:
            assert place is not None
            place.close()
        again = job(peer.host, source=b"mallory@localhost")
        assert only(deliver(again, number=10)[again]).fate is Fate.SENT


def test_a_worker_gives_its_place_back_when_it_ends() -> None:
    with FakeSmtp() as peer:
        for _ in range(3):
            assert only(deliver(one := job(peer.host), number=2)[one]).fate is Fate.SENT


@pytest.mark.parametrize("greeting", [DROP, HANG])
def test_a_host_that_says_nothing_costs_one_connection_a_run(tmp_path: Path, greeting: str) -> None:
    def run() -> HostMemory:
        return HostMemory(str(tmp_path / "hosts"), time.time())

    with FakeSmtp(answers={"greeting": [greeting]}) as peer:
        # Each attempt of a run has a memory of its own.
        first, second, third = (
            only(
                deliver(one := job(peer.host), configured=options(timeout_initial=1), memory=m)[one]
            )
            for m in [run()] * 2 + [run()]
        )
        assert len(peer.commands) == 1
        time.sleep(0.01)
        peer.change("greeting", "220 hello")
        one, other = job(peer.host), job(peer.host)
        assert only(deliver(one, memory=run())[one]).fate is Fate.SENT, "the next run asks again"
        assert only(deliver(other, memory=HostMemory(run()._path, 0.0))[other]).fate is Fate.SENT
        assert len(peer.commands) == 3
    words = {
        DROP: "reply: read error from [127.0.0.1]",
        HANG: "Connection timed out with [127.0.0.1]",
    }
    assert first.text == second.text == third.text == words[greeting]
    assert (first.relay, second.relay) == ("[127.0.0.1] [127.0.0.1]", "[127.0.0.1]")


def test_a_worker_may_not_fill_the_disk_with_hosts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def tell(channel: WorkerChannel) -> None:
        for number in range(MAX_HOSTS + 10):
            channel.tell_host(HostStatus(f"h{number}", 111, "4.4.1", 75))

    misbehave(monkeypatch, tell)
    deliver(job("[127.0.0.1]"), memory=HostMemory(str(tmp_path / "hosts"), 0.0))
    assert len(os.listdir(tmp_path / "hosts")) == MAX_HOSTS


def test_the_case_of_a_host_does_not_matter() -> None:
    with FakeSmtp() as server:
        deliver(job(f"[LOCALHOST]:{server.port}"), job(f"[localhost]:{server.port}"))
    assert len(server.commands) == 1


def test_the_dialogue_is_passed_on() -> None:
    lines: list[str] = []
    with FakeSmtp() as server:
        deliver(job(server.host), say=lines.append)
    told = f"x@lab2.campus... Connecting to [127.0.0.1] port {server.port} via esmtp..."
    assert lines[0] == told
    assert ">>> MAIL From:<emma@lab1.campus> SIZE=20" in lines
    assert lines[-1] == "221 2.0.0 Bye"


def test_a_message_is_yielded_before_the_peer_says_goodbye() -> None:
    with FakeSmtp(answers={"QUIT": [HANG]}) as server:
        mailer = RemoteMailer(options(timeout_quit=60), slots())
        outcomes = mailer.deliver([job(server.host)])
        _, fates = next(outcomes)
        assert only(fates).fate is Fate.SENT
        outcomes.close()  # type: ignore[attr-defined]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_worker_runs_ahead_of_the_record_by_a_window_only() -> None:
    with FakeSmtp() as server:
        outcomes = RemoteMailer(options(), slots()).deliver([job(server.host) for _ in range(50)])
        next(outcomes)
        server.wait_for_messages(WINDOW)
        os.sched_yield()
        assert len(server.messages) == WINDOW
        for n, _ in enumerate(outcomes, 2):
            assert len(server.messages) <= n + WINDOW
    assert len(server.messages) == 50


def test_a_message_to_many_is_no_reason_to_wait_for_the_record() -> None:
    with FakeSmtp() as server:
        users = [f"u{n}@a" for n in range(100 * (WINDOW + 3))]
        (outcomes,) = deliver(job(server.host, *users)).values()
    assert len(outcomes) == len(users)
    assert len(server.messages) == WINDOW + 3


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda channel: os.kill(os.getpid(), signal.SIGKILL), "died with signal 9"),
        (lambda channel: os._exit(3), "exit status 3"),
        (lambda channel: None, "exit status 0"),
        (lambda channel: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda channel: raw(channel, b"hello\n"), "said nonsense: no JSON"),
        (
            lambda channel: raw(channel, protocol.encode(OutcomesLine(7, {}))),
            "said nonsense: no such job",
        ),
        (
            lambda channel: raw(channel, protocol.encode(NameLine("x"))),
            "said nonsense: that is no line of a worker",
        ),
        (
            lambda channel: raw(channel, b"x" * (protocol.MAX_LINE + 1)),
            "said nonsense: endless line",
        ),
    ],
)
def test_a_worker_that_fails_costs_a_delay(
    act: Callable[[WorkerChannel], object], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(monkeypatch, act)
    fates = deliver(job("[127.0.0.1]:1", "x@a", "y@a"), job("[127.0.0.1]:2"))
    for outcomes in fates.values():
        for outcome in outcomes.values():
            assert (outcome.fate, outcome.status) == (Fate.DEFERRED, "4.3.0")
            assert outcome.text == f"remote worker {why}"


def test_what_was_settled_before_a_worker_died_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = job("[127.0.0.1]", "x@a", "y@a"), job("[127.0.0.1]")

    def act(channel: WorkerChannel) -> None:
        channel.report(one, {b"y@a": Outcome(Fate.SENT, "2.0.0", "Sent")})
        os.kill(os.getpid(), signal.SIGKILL)

    misbehave(monkeypatch, act)
    fates = deliver(one, two)
    assert fates[one][b"y@a"].fate is Fate.SENT
    assert fates[one][b"x@a"].status == "4.3.0"
    assert only(fates[two]).status == "4.3.0"


@pytest.mark.parametrize(
    ("domain", "more", "is_kept"),
    [
        ("lab2.example", {}, True),
        ("other.example", {}, False),
        ("[127.0.0.1]", {}, False),
        ("lab2.example", {"mx": ()}, False),
    ],
)
def test_a_worker_tells_of_policies_of_its_own_next_hops_alone(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    domain: str,
    more: dict[str, Any],
    is_kept: bool,
) -> None:
    """A host that took it over could else have the policies of others."""
    line = replace(StsLine(domain, "1", "enforce", 600, ("mx.lab2.example",)), **more)
    misbehave(monkeypatch, lambda channel: raw(channel, protocol.encode(line)))
    cache = StsCache(str(tmp_path / "mqueue.sts"))
    fates = deliver(job("Lab2.example:2525,[127.0.0.1]"), sts=cache)
    [outcomes] = fates.values()
    assert only(outcomes).text.startswith(
        "remote worker exit status 0" if is_kept else "remote worker said nonsense"
    )
    cache.open()
    assert (cache.known(domain) is not None) is is_kept
    cache.close()


@pytest.mark.parametrize(("domain", "number"), [("lab2.example", MAX_RESULTS), ("other", 0)])
def test_a_worker_tells_of_tls_with_its_own_next_hops(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, domain: str, number: int
) -> None:
    said = protocol.encode(ResultLine(domain, "tlsa", "mx.lab2.example", "")) * (MAX_RESULTS + 5)
    misbehave(monkeypatch, lambda channel: raw(channel, said))
    results = TlsResults(str(tmp_path / "mqueue.tlsrpt"))
    deliver(job("lab2.example"), results=results)
    lines = [file.read_bytes().count(b"\n") for file in (tmp_path / "mqueue.tlsrpt").iterdir()]
    assert sum(lines) == number
    results.close()


def test_that_a_policy_could_not_be_fetched_is_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    line = StsLine("lab2.example", "1", trouble="x", result="sts-policy-invalid")
    misbehave(monkeypatch, lambda channel: raw(channel, protocol.encode(line)))
    results = TlsResults(str(tmp_path / "mqueue.tlsrpt"))
    cache = StsCache(str(tmp_path / "mqueue.sts"))
    deliver(job("lab2.example"), sts=cache, results=results)
    [file] = (tmp_path / "mqueue.tlsrpt").iterdir()
    [found] = counts(str(file.parent), file.name)
    assert dict(found.failures) == {("sts-policy-invalid", "mta-sts.lab2.example"): 1}
    results.close()
    cache.close()


def test_a_worker_tells_of_a_few_policies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = [StsLine("lab2.example", str(number), "none", 600) for number in range(100)]
    said = b"".join(map(protocol.encode, lines))
    misbehave(monkeypatch, lambda channel: raw(channel, said))
    cache = StsCache(str(tmp_path / "mqueue.sts"))
    deliver(job("lab2.example"), sts=cache)
    cache.open()
    known = cache.known("lab2.example")
    assert known is not None
    assert known.id == str(MAX_POLICIES - 1)
    cache.close()


def test_a_job_settled_twice_is_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = job("[127.0.0.1]"), job("[127.0.0.1]")
    said = protocol.encode(OutcomesLine(0, {0: Outcome(Fate.FAILED, "5.1.1", "User unknown")}))
    misbehave(monkeypatch, lambda channel: raw(channel, said * 2))
    fates = deliver(one, two)
    assert only(fates[one]).fate is Fate.FAILED
    assert only(fates[two]).text.startswith("remote worker said nonsense")


def test_what_a_worker_wants_logged_stands_behind_our_words_and_has_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = job("[127.0.0.1]", qid="6AM9jfMc005642")

    def act(channel: WorkerChannel) -> None:
        channel.log("ruleset=check_rcpt, relay=[10.0.3.1]\n", one)
        for number in range(2 * MAX_LOG_LINES):
            channel.log(f"line {number}")

    lines: list[tuple[str, str]] = []
    monkeypatch.setattr("minimta.system.log.line", lambda qid, text, **_: lines.append((qid, text)))
    misbehave(monkeypatch, act)
    deliver(one)
    about = [(qid, text.partition(": ")[2]) for qid, text in lines]
    assert about[0] == ("6AM9jfMc005642", "ruleset=check_rcpt, relay=[10.0.3.1]?")
    assert all(text.startswith("remote worker ") for _, text in lines)
    assert about[1:-1] == [("", f"line {number}") for number in range(MAX_LOG_LINES - 1)]
    assert about[-1] == ("", "exit status 0")


def test_a_silent_worker_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    misbehave(monkeypatch, lambda channel: signal.pause())
    mailer = RemoteMailer(options(), slots())
    mailer._patience = 0.05
    ((_, outcomes),) = mailer.deliver([job("[127.0.0.1]")])
    assert only(outcomes).text == "remote worker fell silent"
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_patience_outlasts_the_longest_timeout() -> None:
    assert RemoteMailer(Options(), slots())._patience > 3600


def test_without_processes_everything_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    jobs = [job("[127.0.0.1]"), job("[127.0.0.2]")]
    gc.collect()  # what other tests have left closes now
    before = len(os.listdir("/proc/self/fd"))
    fates = deliver(*jobs)
    assert all(only(outcomes).status == "4.3.0" for outcomes in fates.values())
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_worker_ends_when_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    end = tmp_path / "ended"
    os.mkfifo(end)

    def act(channel: WorkerChannel) -> None:
        held = os.open(end, os.O_WRONLY)  # closed when this process ends
        channel.say("ready")
        while held:
            channel.say("x" * 1000)

    misbehave(monkeypatch, act)
    ours, theirs = socket.socketpair()
    open_to_tests = options(sandbox=False)
    jobs, transport = (
        [job("[127.0.0.1]")],
        Transport(open_to_tests, mx_targets.ourselves(options())),
    )

    def work() -> int:
        ours.close()
        return worker.run(theirs, jobs, transport, verbose=True)

    child = processes.fork("worker", work)
    theirs.close()
    with open(end, "rb") as waiting:
        assert ours.recv(10)
        ours.close()
        assert waiting.read() == b""
    os.waitpid(child, 0)


# -- confinement -----------------------------------------------------------------------------------


def confined(monkeypatch: pytest.MonkeyPatch, look: Callable[[], str]) -> str:
    """What *look* sees inside a worker."""
    seen: list[str] = []
    misbehave(monkeypatch, lambda channel: channel.say(look()))
    deliver(job("[127.0.0.1]"), say=seen.append)
    return seen[0]


def test_a_worker_has_its_data_files_and_its_slot_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def look() -> str:
        found = []
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):  # the listing's own
                found.append(os.readlink(f"/proc/self/fd/{fd}").partition(":")[0])
        return "|".join(sorted(found))

    with open("/etc/passwd", "rb"), open("/etc/group", "rb") as high:
        os.dup2(high.fileno(), 200)
        seen = confined(monkeypatch, look).split("|")
        os.close(200)
    assert seen[:3] == ["/dev/null"] * 3
    assert seen[3].endswith(" (deleted)")  # the data file
    assert all(file.endswith(".slots") for file in seen[4:6]), "its slot and its place"
    assert seen[6:] == ["socket"]


def test_a_worker_stands_in_the_root_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert confined(monkeypatch, os.getcwd) == "/"


def test_a_worker_gives_a_sign_of_life_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = WorkerChannel(theirs, [])
        channel.alive()
        monkeypatch.setattr(channels, "HEARTBEAT", -1.0)
        channel.alive()
        assert ours.recv(100) == protocol.encode(AliveLine())


def test_a_worker_has_no_signal_handlers_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        look = lambda: str(signal.getsignal(signal.SIGTERM))  # noqa: E731
        assert confined(monkeypatch, look) == str(signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_worker_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched(Delivery):
        def run(self) -> None:
            before = set(sys.modules)
            with FakeDns({"d.campus": {"MX": ["10 m.campus."], "A": ["10.0.0.1"]}}) as server:
                self._resolver = Resolver(nameserver=server.address)
                super().run()
            assert self._say is not None
            self._say(f"imported {sorted(set(sys.modules) - before)}")

    monkeypatch.setattr(worker, "Delivery", Watched)
    with FakeSmtp(keywords=()) as server:
        for host in (server.host, f"[localhost]:{server.port}", "d.campus"):
            lines: list[str] = []
            deliver(job(host, body=b"caf\xe9\n"), say=lines.append)
            assert lines[-1] == "imported []"


def test_a_worker_that_cannot_give_up_root_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def become(name: str) -> None:
        raise OSError(1, f"no such user: {name}")

    monkeypatch.setattr("minimta.system.privileges.become", become)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with FakeSmtp() as server:
        fates = deliver(job(server.host), configured=options(run_as_user="nosuch"))
    (outcomes,) = fates.values()
    assert (only(outcomes).fate, only(outcomes).status) == (Fate.DEFERRED, "4.3.0")
    assert "no such user: nosuch" in only(outcomes).text
    assert server.commands == []


@pytest.mark.root
def test_a_worker_of_root_is_runasuser_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    def look() -> str:
        try:
            os.setuid(0)
        except PermissionError:
            return f"{os.getresuid()} {os.getgroups()}"
        return "root again"

    misbehave(monkeypatch, lambda channel: channel.say(look()))
    seen: list[str] = []
    deliver(job("[127.0.0.1]"), configured=options(run_as_user="nobody"), say=seen.append)
    assert seen == ["(65534, 65534, 65534) []"]


def test_a_message_of_50_mb_costs_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Measured(Delivery):
        def run(self) -> None:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            super().run()
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            assert self._say is not None
            self._say(f"grown {after - before} KiB")

    monkeypatch.setattr(worker, "Delivery", Measured)
    lines: list[str] = []
    with FakeSmtp(keywords=("SIZE",), keep_messages=False) as server:
        big = job(server.host, body=b"", size=50_000_000)
        for _ in range(50):
            os.write(big.body, b"%b\n" % (b"x" * 79) * 12_500)
        (outcomes,) = deliver(big, say=lines.append).values()
    assert only(outcomes).fate is Fate.SENT
    assert server.commands[0][1].endswith(f"SIZE={50_000_000 + 625_000 + len(HEADER) + 3}")
    assert int(lines[-1].split()[1]) < 16_000
