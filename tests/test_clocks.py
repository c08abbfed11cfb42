"""Clocks that jump, by an hour and by ten years, forward and back, between any two steps and within one.

    accept       a letter in the middle of which the clock jumps is taken; what is remembered for a
                 moment (users, free space) is not remembered for ten years
    ids          none comes twice within a jump; after it O_EXCL of the df sees to that (queue/qid)
    retry        a letter that waits is tried at the next run
    warning      the sender is told once
    expiry       nothing is returned in the first attempt after a jump, nor if the clock is put right
    record       a jump between act and record: delivered once
    host status  what was noted by a wrong clock counts no more
    timeouts     of connections, locks and programs go by time.monotonic(), which no jump touches

The files' own times come from the kernel's clock, which does not jump here; ``due`` and ``host_status``
look at those, and are shown files of other times.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from minimta.listener import threads
from minimta.mailers.remote.host_status import HostMemory, HostStatus
from minimta.queue import qid as queue_id
from minimta.runner import queue_run
from minimta.runner.deliver import Deliverer
from tests.support.listening import Listening
from tests.support.privatehost import DOWN, Elsewhere, PrivateHost
from tests.support.smtphost import SmtpHost, begun

HOUR, YEARS = 3600, 10 * 365 * 86400
JUMPS = {"+1h": HOUR, "-1h": -HOUR, "+10y": YEARS, "-10y": -YEARS}
EMMA, DAVE, X = b"<emma@lab1.campus>", b"<dave@lab1.campus>", b"<x@lab2.campus>"
jumps = pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)


class Clock:
    """time.time(), as somebody sets it; time goes on."""

    def __init__(self) -> None:
        self.set_by = 0.0
        self._real = time.time

    def __call__(self) -> float:
        return self._real() + self.set_by


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "time", made)
    return made


class Waiting:
    """A letter to a host that is down, after its first attempt; each run is one of sendmail -q."""

    def __init__(self, directory: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.host = PrivateHost(directory)
        self.server = Elsewhere({X[1:-1]: DOWN})
        real = Deliverer.__init__

        def made(deliverer: Deliverer, *args: object, **options: object) -> None:
            real(deliverer, *args, **{**options, "clock": clock})  # type: ignore[arg-type]
            deliverer.mailers["esmtp"] = self.server

        monkeypatch.setattr(Deliverer, "__init__", made)
        self.qid = self.host.submit(EMMA, X)
        self.run()

    def run(self) -> int:
        """How often it was tried in one run."""
        count = len(self.server.jobs)
        queue_run.run(self.host.options, say=lambda text: None)
        return len(self.server.jobs) - count

    def come_back(self) -> None:
        """The other host is there."""
        self.server = Elsewhere({})


@pytest.fixture
def waiting(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Waiting:
    return Waiting(tmp_path, clock, monkeypatch)


def told(host: PrivateHost) -> list[str]:
    return [str(letter["Subject"]) for letter in host.letters("emma")]


# --- accept -----------------------------------------------------------------------------------------


@jumps
def test_a_letter_is_taken_while_the_clock_jumps(tmp_path: Path, jump: int) -> None:
    host = SmtpHost(tmp_path)
    for number, line in enumerate(("RCPT TO:<dave>", "DATA", "Hi\r\n.")):
        peer = begun(host)
        for step, said in enumerate(("RCPT TO:<dave>", "DATA", "Hi\r\n.")):
            host.now += jump * (step == number)
            answer = peer.says(said)[-1]
        assert answer.startswith("250 2.0.0"), line
    assert len(host.queued()) == 3


@jumps
def test_what_is_remembered_for_a_moment_is_forgotten_after_it(tmp_path: Path, jump: int) -> None:
    host = SmtpHost(tmp_path)
    peer = begun(host)
    assert peer.says("RCPT TO:<dave>")[0].startswith("250")
    Path(host.options.passwd_file).write_text("root:x:0:0:root:/root:/bin/sh\n")
    host.options.min_free_blocks = 1 << 62
    host.now += jump
    host.elapsed += 3
    assert peer.says("RSET", "MAIL FROM:<emma@lab1.campus>")[1].startswith("452")
    host.options.min_free_blocks = 0
    host.elapsed += 3
    peer.says("MAIL FROM:<emma@lab1.campus>")
    assert peer.says("RCPT TO:<dave>")[0].startswith("550")


@jumps
def test_a_client_is_not_too_slow_because_of_the_clock(
    tmp_path: Path, clock: Clock, jump: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_IDLE", 0.1)  # those of the pool end soon
    listening = Listening(SmtpHost(tmp_path))
    try:
        peer = listening.connect()
        assert peer.answer().startswith("220")
        lines = ("EHLO x", "MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>", "DATA", "Hi\r\n.")
        for line in lines:
            clock.set_by += jump
            answer = peer.says(line)
        assert answer.startswith("250 2.0.0"), answer
    finally:
        listening.stop()


def test_no_id_comes_twice_while_the_clock_jumps_to_and_fro() -> None:
    now = time.time()
    steps = [0, *JUMPS.values()]  # the sequence goes round several times, and each comes again
    made = [queue_id.new(now + steps[number % len(steps)]) for number in range(20_000)]
    assert len(set(made)) == len(made)
    assert all(map(queue_id.valid, made))


# --- retry, warning, expiry -------------------------------------------------------------------------


@jumps
def test_what_waits_is_tried_and_not_returned(waiting: Waiting, clock: Clock, jump: int) -> None:
    clock.set_by = jump
    assert waiting.run() == 1
    assert waiting.host.queued() == [waiting.qid], "returned"
    clock.set_by = 0.0  # somebody puts it right
    assert waiting.run() == 1
    assert waiting.host.queued() == [waiting.qid], "returned"
    assert not [subject for subject in told(waiting.host) if not subject.startswith("Warning")]
    waiting.come_back()
    assert waiting.run() == 1
    assert not waiting.host.files()


@jumps
def test_the_sender_is_told_at_most_once(waiting: Waiting, clock: Clock, jump: int) -> None:
    for _ in range(3):
        clock.set_by += jump
        waiting.run()
        clock.set_by -= jump
        waiting.run()
    assert waiting.host.queued() == [waiting.qid], "returned"
    warnings = [subject for subject in told(waiting.host) if subject.startswith("Warning")]
    assert len(warnings) == (1 if jump > 4 * HOUR else 0)


def test_after_a_jump_that_stays_it_is_returned_by_a_later_attempt(
    waiting: Waiting, clock: Clock
) -> None:
    clock.set_by = YEARS
    waiting.run()
    assert waiting.host.queued() == [waiting.qid]
    waiting.run()
    assert not waiting.host.queued()
    assert told(waiting.host)[-1].startswith("Returned mail")


@jumps
def test_what_is_delivered_while_the_clock_jumps_is_delivered_once(
    waiting: Waiting, clock: Clock, jump: int
) -> None:
    waiting.come_back()
    waiting.host.submit(EMMA, X, DAVE)

    def set_clock(job: object) -> None:
        clock.set_by += jump

    waiting.server.before = set_clock
    assert waiting.run() == 2
    assert not waiting.host.files()
    assert len(waiting.host.letters("dave")) == 1
    assert told(waiting.host) == []


@jumps
def test_how_a_host_was_found_by_a_wrong_clock_is_not_believed(
    tmp_path: Path, clock: Clock, jump: int
) -> None:
    clock.set_by = jump
    memory = HostMemory(str(tmp_path / "hosts"), time.time(), is_run=False, lasting=1800.0)
    memory.open()
    memory.note(HostStatus("mx.lab2.campus", 111, "4.4.1", 75))
    clock.set_by = 0.0
    try:
        assert memory.trouble("mx.lab2.campus") is None
    finally:
        memory.close()
