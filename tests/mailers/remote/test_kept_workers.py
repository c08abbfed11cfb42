"""Connections that are kept between deliveries: for whom, for how long, and what a broken one costs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.mailers.by_name import Mailers
from minimta.mailers.job import Job
from minimta.mailers.remote import connection, mailer
from minimta.mailers.remote.channel import MAX_HANDED, WorkerProcess
from minimta.mailers.remote.kept_workers import KeptWorkers
from minimta.message.outcome import Fate, Outcome
from minimta.system.slots import Slots
from minimta.system.tls import server_context
from minimta.system.users import Users
from minimta.system.waiting import Wait, alone, readable
from tests.support.certificates import Authority
from tests.support.fakesmtp import DROP, HANG, SECURED, FakeSmtp
from tests.support.jobs import job, options


@pytest.fixture(autouse=True)
def stay_who_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minimta.system.privileges.become", lambda name: None)


class Runner:
    """A process that delivers one batch after the other, each by a new mailer."""

    def __init__(self, directory: Path, *, number: int = 5, **chosen: str | int) -> None:
        self.path = str(directory / "slots")
        self.slots = Slots(self.path, number)
        self.options: Options = options(**chosen)
        self.options.queue_directory = str(directory / "mqueue")
        self.options.auth_info_file = str(directory / "authinfo")
        self.options.tls_policy = str(directory / "tls-policy")
        self.options.access_file = str(directory / "access")
        self.options.connection_cache_timeout = 10
        self.kept = KeptWorkers(self.options, self.slots)
        self.kept.lately = Always()

    def steps(self, *jobs: Job) -> Iterator[tuple[Job, object] | Wait]:
        assert self.slots.enter()
        mailer = Mailers(self.options, Users(self.options.passwd_file), self.slots, kept=self.kept)
        return mailer["esmtp"].steps(jobs)  # type: ignore[attr-defined, no-any-return]

    def deliver(self, *jobs: Job) -> list[Outcome]:
        outcomes = [found for _, users in alone(self.steps(*jobs)) for found in users.values()]  # type: ignore[attr-defined]
        self.slots.leave()
        return outcomes

    def sends(self, *jobs: Job) -> bool:
        return all(outcome.fate is Fate.SENT for outcome in self.deliver(*jobs))

    @property
    def idle(self) -> list[WorkerProcess]:
        return self.kept._idle


class Always(dict[str, float]):
    """Every next hop is busy."""

    def get(self, hop: str, otherwise: object = None) -> float:
        return time.monotonic()


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    made = Runner(tmp_path)
    yield made
    made.kept.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # no zombie


def has_ended(worker: WorkerProcess) -> bool:
    return bool(readable([worker.connection.fileno()], 5))


def test_what_comes_later_goes_over_the_same_connection(runner: Runner) -> None:
    with FakeSmtp() as peer:
        for number in range(1, 4):
            body = b"%d\n" % number
            assert runner.sends(
                job(peer.host, f"u{number}@a", body=body), job(peer.host, "v@a", body=body)
            )
        runner.kept.close()
        (told,) = peer.commands
        assert [m.rpartition(b"\r\n\r\n")[2] for m in peer.messages] == [
            b"%d\r\n" % n for n in (1, 1, 2, 2, 3, 3)
        ]
    assert told[-1] == "QUIT"
    assert [line for line in told if "u" in line.lower() and "RCPT" in line] == [
        f"RCPT To:<u{number}@a>" for number in (1, 2, 3)
    ]


def test_a_message_comes_as_it_is_however_it_is_handed_over(runner: Runner) -> None:
    header = b"Subject: " + b"x" * 300_000 + b"\n"
    with FakeSmtp() as peer:
        assert runner.sends(job(peer.host))
        assert runner.sends(
            job(peer.host, header=header, envid=b"e1", ret=b"HDRS", body_type=b"8BITMIME")
        )
        assert len(peer.commands) == 1
        mails = [line for line in peer.commands[0] if line.startswith("MAIL")]
        assert header.replace(b"\n", b"\r\n") in peer.messages[1]
    assert mails[1].endswith("BODY=8BITMIME ENVID=e1 RET=HDRS")


def test_more_than_can_be_handed_over_gets_a_new_worker(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailer, "SHARE", MAX_HANDED + 1)
    with FakeSmtp() as peer:
        assert runner.sends(job(peer.host))
        one = job(peer.host)
        many = [job(peer.host) for _ in range(MAX_HANDED)]
        assert runner.sends(*many)
        assert len(peer.commands) == 1
        assert runner.sends(one, *many)
        assert len(peer.commands) == 2


LOGIN = 'AuthInfo:{} "U:emma" "P:{}"\n'


@pytest.mark.parametrize(
    "change",
    [
        lambda one, runner, peer: job(peer.host, option=""),
        lambda one, runner, peer: job(peer.host, option="SmartHost"),
        lambda one, runner, peer: job(peer.host.replace("127.0.0.1", "localhost")),
        lambda one, runner, peer: Path(runner.options.tls_policy).write_text("127.0.0.1 none\n"),
        lambda one, runner, peer: Path(runner.options.tls_policy).write_text("x.campus verify\n"),
        lambda one, runner, peer: Path(runner.options.access_file).write_text("TLS_Srv: VERIFY\n"),
        lambda one, runner, peer: write_login(runner, "127.0.0.1"),
        lambda one, runner, peer: Path(runner.options.auth_info_file).mkdir(),
    ],
    ids=["written", "option", "name", "policy", "other policy", "access", "login", "login unknown"],
)
def test_what_would_be_sent_otherwise_does_not_go_over_it(
    runner: Runner, change: Callable[[Job, Runner, FakeSmtp], object]
) -> None:
    with FakeSmtp() as peer:
        one = job(peer.host)
        assert runner.sends(one)
        changed = change(one, runner, peer)
        runner.deliver(changed if isinstance(changed, Job) else job(peer.host))
        runner.kept.close()
        assert sum("DATA" in line for line in peer.commands[0]) == 1


def write_login(runner: Runner, host: str) -> None:
    path = Path(runner.options.auth_info_file)
    path.write_text(LOGIN.format(host, "secret"))
    path.chmod(0o600)


@pytest.mark.parametrize("answer", ["421 4.7.0 Too many messages", DROP])
def test_a_peer_that_has_enough_costs_a_new_connection_and_no_delay(
    runner: Runner, answer: str
) -> None:
    with FakeSmtp(answers={"MAIL": ["250 2.1.0 Ok", answer, "250 2.1.0 Ok"]}) as peer:
        assert runner.sends(job(peer.host))
        assert runner.sends(job(peer.host))
        assert len(peer.commands) == 2
        assert len(peer.messages) == 2


def test_a_connection_that_the_peer_has_closed_is_forgotten(runner: Runner) -> None:
    with FakeSmtp() as peer:
        assert runner.sends(job(peer.host))
        (worker,) = runner.idle
    assert has_ended(worker)
    runner.kept.listen()
    assert not runner.kept


def test_a_worker_that_has_ended_is_taken_by_nobody(runner: Runner) -> None:
    with FakeSmtp() as peer:
        assert runner.sends(job(peer.host))
        (worker,) = runner.idle
    assert has_ended(worker)
    assert runner.kept.take(worker.way) is None
    assert not runner.kept


def test_a_worker_that_may_just_be_ending_is_taken_by_nobody(runner: Runner) -> None:
    with FakeSmtp() as peer:
        assert runner.sends(job(peer.host))
        (worker,) = runner.idle
        since, timeout = worker.idle_since, runner.options.connection_cache_timeout
        worker.idle_since = time.monotonic() - timeout + 0.05
        assert runner.kept.take(worker.way) is None
        worker.idle_since = since
        assert runner.kept.take(object()) is None
        assert runner.kept.take(worker.way) is worker
        assert runner.kept.take(worker.way) is None, "who has it has it alone"
        runner.kept.keep(worker)
        runner.kept.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("is_seen", [True, False])
def test_a_kept_worker_that_dies_costs_a_new_connection(
    runner: Runner, number: int, is_seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeSmtp() as peer:
        assert runner.sends(job(peer.host))
        (worker,) = runner.idle
        os.kill(worker.pid, number)
        assert has_ended(worker)
        if not is_seen:
            monkeypatch.setattr(KeptWorkers, "listen", lambda self: None)
        assert runner.sends(job(peer.host))
        monkeypatch.undo()
        assert len(peer.commands) == 2
        assert len(peer.messages) == 2


def test_jobs_that_a_worker_has_not_taken_go_to_another(runner: Runner) -> None:
    """It was just closing its connection when they were handed to it."""
    with FakeSmtp() as peer:
        assert runner.sends(job(peer.host))
        (worker,) = runner.idle
        os.kill(worker.pid, signal.SIGSTOP)
        steps = runner.steps(job(peer.host))
        assert isinstance(next(steps), Wait)
        os.kill(worker.pid, signal.SIGKILL)
        ((_, users),) = alone(steps)
        runner.slots.leave()
        assert {outcome.fate for outcome in users.values()} == {Fate.SENT}  # type: ignore[attr-defined]
        assert len(peer.messages) == 2


def test_what_a_worker_had_taken_when_it_died_waits(runner: Runner) -> None:
    """The peer may have it: as with a worker that is new."""
    with FakeSmtp(answers={".": ["250 2.0.0 Ok", HANG]}) as peer:
        assert runner.sends(job(peer.host))
        (worker,) = runner.idle
        steps = runner.steps(job(peer.host))
        assert isinstance(next(steps), Wait)
        peer.wait_for_messages(2)
        os.kill(worker.pid, signal.SIGKILL)
        ((_, users),) = alone(steps)
        runner.slots.leave()
    (outcome,) = users.values()  # type: ignore[attr-defined]
    assert (outcome.fate, outcome.status) == (Fate.DEFERRED, "4.3.0")


def test_an_idle_worker_has_its_place_and_no_slot(tmp_path: Path) -> None:
    runner = Runner(tmp_path, number=1, destination_concurrency=1)
    other = Slots(runner.path, 1)
    with FakeSmtp() as peer:
        assert runner.sends(job(peer.host, source=b"emma@localhost"))
        assert other.place_at(f"hop {peer.host}", 1) is None, "the peer counts its connection"
        assert other.enter(), "and nobody else waits for it"
        place = other.place_at("hop another")
        assert place is not None
        assert place.counts_for("from emma@localhost")
        place.close()
        other.leave()
        runner.kept.close()
        place = other.place_at(f"hop {peer.host}", 1)
        assert place is not None
        place.close()


def test_a_busy_worker_has_a_slot_again(tmp_path: Path) -> None:
    runner = Runner(tmp_path, number=1)
    with FakeSmtp(answers={".": ["250 2.0.0 Ok", HANG]}) as peer:
        assert runner.sends(job(peer.host))
        (worker,) = runner.idle
        steps = runner.steps(job(peer.host))
        assert isinstance(next(steps), Wait)
        peer.wait_for_messages(2)
        runner.slots.leave()
        assert not Slots(runner.path, 1).enter(), "the worker has it, whoever dies"
        os.kill(worker.pid, signal.SIGKILL)
        list(alone(steps))
        assert Slots(runner.path, 1).enter()
        runner.kept.close()


def test_it_ends_when_its_time_is_over(runner: Runner) -> None:
    runner.options.connection_cache_timeout = 0.2  # type: ignore[assignment]
    with FakeSmtp() as peer:
        assert runner.sends(job(peer.host))
        (worker,) = runner.idle
        assert has_ended(worker)
        runner.kept.listen()
        assert not runner.kept
        assert peer.commands[0][-1] == "QUIT"


def test_it_ends_when_its_parent_does(runner: Runner) -> None:
    with FakeSmtp() as peer:
        assert runner.sends(job(peer.host))
        (worker,) = runner.idle
        worker.connection.close()
        assert os.waitpid(worker.pid, 0)[0] == worker.pid
        assert peer.commands[0][-1] == "QUIT"
        runner.kept._idle.clear()


def test_one_message_alone_keeps_nothing(runner: Runner) -> None:
    runner.kept.lately = {}
    with FakeSmtp() as peer:
        assert runner.sends(job(peer.host))
        assert not runner.kept
        assert runner.sends(job(peer.host))
        assert runner.kept, "the second one in this time"
        assert runner.sends(job(peer.host))
        assert len(peer.commands) == 2
        assert runner.kept.lately.keys() == runner.kept.served == {peer.host}


def test_a_next_hop_of_any_name_fits_into_a_line(runner: Runner) -> None:
    runner.kept.note("m\u00e9l.example\n@x", 1)
    assert runner.kept.served == {"m\\xe9l.example\\n@x"}


def test_messages_that_come_together_make_a_hop_busy(runner: Runner) -> None:
    runner.kept.lately = {}
    with FakeSmtp() as peer:
        assert runner.sends(job(peer.host), job(peer.host))
        assert runner.kept


@pytest.mark.parametrize(("size", "seconds"), [(0, 10), (2, 0)])
def test_nothing_is_kept_if_an_option_says_so(tmp_path: Path, size: int, seconds: int) -> None:
    runner = Runner(tmp_path, connection_cache_size=size)
    runner.options.connection_cache_timeout = seconds
    runner.kept = KeptWorkers(runner.options, runner.slots)
    with FakeSmtp() as peer:
        for _ in range(2):
            assert runner.sends(job(peer.host), job(peer.host))
        assert not runner.kept
        assert len(peer.commands) == 2


def test_all_processes_together_keep_no_more_than_the_option_says(tmp_path: Path) -> None:
    runners = [Runner(tmp_path, connection_cache_size=2) for _ in range(3)]
    with FakeSmtp() as one, FakeSmtp() as two:
        for runner in runners:
            assert runner.sends(job(one.host), job(two.host))
        assert [len(runner.kept) for runner in runners] == [2, 0, 0]
        runners[0].kept.close()
        assert runners[2].sends(job(two.host))
        assert len(runners[2].kept) == 1
        runners[2].kept.close()


def test_no_connection_is_used_for_ever(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LONGEST", 1.0)
    with FakeSmtp() as peer:
        assert runner.sends(job(peer.host))
        assert runner.sends(job(peer.host))
        time.sleep(1.0)
        assert runner.sends(job(peer.host))
        assert not runner.kept
        assert len(peer.commands) == 1


@pytest.mark.root  # what a worker has open is shown to no other user
def test_no_descriptor_is_left_anywhere(runner: Runner) -> None:
    with FakeSmtp() as peer:
        assert runner.sends(job(peer.host))
        (worker,) = runner.idle

        def counted() -> list[int]:
            return [len(os.listdir(f"/proc/{pid}/fd")) for pid in (os.getpid(), worker.pid)]

        one = job(peer.host)
        before = counted()
        for _ in range(20):
            assert runner.sends(one)
        assert counted() == before
        assert len(peer.commands) == 1


@pytest.mark.debian("openssl")
def test_it_is_the_same_with_tls(runner: Runner, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    runner.options.ca_cert_file = authority.certificate
    Path(runner.options.tls_policy).write_text("[localhost] verify\n")
    with FakeSmtp(tls=server_context(authority.issue("localhost"))) as peer:
        for _ in range(3):
            assert runner.sends(job(f"[localhost]:{peer.port}"))
            time.sleep(0.05)
        (told,) = peer.commands
        assert told.count(SECURED) == 1
        assert len(peer.messages) == 3
        (worker,) = runner.idle
    assert has_ended(worker), "the end of the connection is seen through TLS"
