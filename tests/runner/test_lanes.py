"""Programs and other hosts beside each other: none waits for what hangs elsewhere in its batch."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from minimta.mailers.job import Job
from minimta.message.outcome import Outcome
from minimta.queue.control import Control
from minimta.runner.checkpoint import MessageProgress
from minimta.runner.lanes import Lanes, Steps
from minimta.runner.queue_run import run
from minimta.system.slots import Slots
from minimta.system.waiting import Wait, alone
from tests.support.fakesmtp import FakeSmtp
from tests.support.homes import let_others_in
from tests.support.privatehost import DOWN, SENT, Elsewhere, PrivateHost

EMMA, X = b"<emma@lab1.campus>", b"<x@lab2.campus>"


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    made = PrivateHost(tmp_path)
    made.options.timeout_program = 5
    made.options.smrsh_directory = ""
    let_others_in(tmp_path)
    return made


class Gate:
    """A program that hangs until somebody opens."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        path.chmod(0o666)
        self.path = path
        self._file = os.open(path, os.O_RDWR)

    def open(self, *_: object) -> None:
        os.write(self._file, b"\n")

    @property
    def waits(self) -> str:
        """The command that waits."""
        return f"head -n 1 {self.path}"

    @property
    def opens(self) -> str:
        """The command that opens."""
        return f"echo > {self.path}"


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


class Mute(Elsewhere):
    """A host that says nothing until a file is there; then it takes all. Patience has an end."""

    def __init__(self, until: Path) -> None:
        super().__init__({})
        self._until = until

    def steps(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Mapping[bytes, Outcome]] | Wait]:
        for _ in range(200):
            if self._until.exists():
                break
            yield Wait((), 0.02)
        said = SENT if self._until.exists() else DOWN
        for job in jobs:
            yield job, {user.name: said for user in job.users}

    def deliver(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Mapping[bytes, Outcome]]]:
        return alone(self.steps(jobs))


def test_a_program_that_hangs_delays_no_remote_mail_of_its_batch(
    host: PrivateHost, gate: Gate
) -> None:
    host.aliases(f'hangs: "|{gate.waits}"')
    elsewhere = Elsewhere({})
    elsewhere.before = gate.open
    batch = [host.submit(EMMA, b"<hangs@lab1.campus>"), host.submit(EMMA, X)]
    host.deliverer(esmtp=elsewhere).attempt(batch)
    assert host.queued() == [], "the program went on when the remote letter had been sent"


def test_a_mute_host_delays_no_program_of_its_batch(host: PrivateHost, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    ran = tmp_path / "open" / "ran"
    host.aliases(f'runs: "|touch {ran}"')
    batch = [host.submit(EMMA, X), host.submit(EMMA, b"<runs@lab1.campus>")]
    host.deliverer(esmtp=Mute(ran)).attempt(batch)
    assert host.queued() == [], "the host took it when the program had run"


def test_in_a_run_of_the_queue_too(host: PrivateHost, gate: Gate) -> None:
    """With workers and a host that greets only when the program is under way."""
    started = Gate(gate.path.with_name("started"))
    host.aliases(f'hangs: "|{started.opens}; {gate.waits}"')

    def both() -> None:
        os.read(os.open(started.path, os.O_RDWR), 1)
        gate.path.write_text("\n")  # a process of its own, without our descriptors

    with FakeSmtp(before_greeting=both) as server:
        host.options.smart_host = server.host
        host.submit(EMMA, b"<hangs@lab1.campus>")
        host.submit(EMMA, X)
        run(host.options)
        assert host.queued() == []
        assert len(server.messages) == 1


def test_a_program_that_hangs_delays_no_program_of_another_user(
    host: PrivateHost, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minimta.runner.rounds._whose", lambda task: task.job.qid)
    host.aliases(f'hangs: "|{gate.waits}"', f'opens: "|{gate.opens}"')
    batch = [host.submit(EMMA, b"<%b@lab1.campus>" % name) for name in (b"hangs", b"opens")]
    host.deliverer().attempt(batch)
    assert host.queued() == []


def test_a_mute_host_delays_no_other_host_of_a_message_with_a_program(
    host: PrivateHost, tmp_path: Path
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    ran = tmp_path / "open" / "ran"

    class First(Mute):
        """Mute to lab2.campus until lab3.campus has it."""

        def steps(
            self, jobs: Sequence[Job]
        ) -> Iterator[tuple[Job, Mapping[bytes, Outcome]] | Wait]:
            if jobs[0].host.startswith("lab3"):
                ran.touch()
            return super().steps(jobs)

    host.aliases('both: "|exit 0", y@lab3.campus')
    batch = [host.submit(EMMA, X), host.submit(EMMA, b"<both@lab1.campus>")]
    host.deliverer(esmtp=First(ran)).attempt(batch)
    assert host.queued() == []


def test_of_one_message_the_program_is_recorded_before_its_remote_mail_begins(
    host: PrivateHost,
) -> None:
    host.aliases('both: "|exit 0", x@lab2.campus')
    qid = host.submit(EMMA, b"<both@lab1.campus>")
    seen: list[Control] = []
    elsewhere = Elsewhere({})
    elsewhere.before = lambda job: seen.append(host.control(qid))
    host.deliverer(esmtp=elsewhere).attempt([qid])
    ((recipient,),) = [control.recipients for control in seen]
    assert recipient.address == b"x@lab2.campus"


# --- lanes themselves -----------------------------------------------------------------------------


MESSAGE: MessageProgress = object()  # type: ignore[assignment]


def waits_for(seconds: float = 0.0) -> Steps:
    yield Wait((), seconds)


def test_a_second_user_needs_a_slot_and_the_first_rides(tmp_path: Path) -> None:
    slots = Slots(str(tmp_path / "slots"), 1)
    assert slots.enter()
    lanes = Lanes(slots)
    assert lanes.begin_program("one", waits_for(), MESSAGE)
    assert not lanes.begin_program("two", waits_for(), MESSAGE)
    while lanes.turn():
        pass
    assert lanes.begin_program("two", waits_for(), MESSAGE)
    lanes.close()


def test_programs_of_many_users_leave_slots_to_others(tmp_path: Path) -> None:
    slots = Slots(str(tmp_path / "slots"), 5)
    lanes, others = [Lanes(slots) for _ in range(2)]
    begun = [lanes.begin_program(str(n), waits_for(60), MESSAGE) for n in range(9)]
    assert begun.count(True) == 1 + slots.most
    assert slots.enter(), "there is a slot for another attempt"
    assert others.begin_program("rides", waits_for(60), MESSAGE)
    others.close()
    lanes.close()
    slots.leave()


def test_what_ends_us_waits_for_the_program(tmp_path: Path) -> None:
    came: list[int] = []
    old = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    lanes = Lanes(Slots(str(tmp_path / "slots"), 5))
    try:
        for name in ("one", "two"):
            assert lanes.begin_program(name, waits_for(), MESSAGE)
        os.kill(os.getpid(), signal.SIGTERM)
        assert lanes.is_told() and not came
        while lanes.turn():
            pass
        assert came == [signal.SIGTERM] and not lanes.is_told()
    finally:
        lanes.close()
        signal.signal(signal.SIGTERM, old)
