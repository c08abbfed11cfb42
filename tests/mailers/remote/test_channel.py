from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from minimta.mailers.job import Job, JobUser
from minimta.mailers.remote.channel import WINDOW, JobProgress, WorkerChannel, WorkerProcess
from minimta.mailers.remote.lines import Line, LogLine, OutcomesLine
from minimta.mailers.remote.protocol import MAX_LINE, BadLine, decode
from minimta.message.outcome import Fate, Outcome
from minimta.system import processes
from tests.support.jobs import job


def test_a_job_is_complete_when_every_user_has_an_outcome() -> None:
    progress = JobProgress(job("h", "x@a", "y@a", JobUser(b"x@a")))
    sent, failed = Outcome(Fate.SENT, "2.0.0", "Sent"), Outcome(Fate.FAILED, "5.0.0", "no")
    progress.add({0: sent})
    assert not progress.is_complete
    progress.add({0: failed, 1: failed})
    assert progress.is_complete
    assert progress.outcomes == {b"x@a": sent, b"y@a": failed}
    with pytest.raises(BadLine):
        progress.add({3: sent})


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def read(connection: socket.socket, jobs: int) -> list[Line]:
    octets = b""
    while octets[-1:] != b"\n":
        octets += connection.recv(1 << 20)
    return [decode(line, jobs) for line in octets.splitlines()]


def reported(one: Job, outcomes: dict[bytes, Outcome]) -> list[bytes]:
    """The lines that tell *outcomes*."""
    written = b""

    class Sink:
        def sendall(self, octets: bytes) -> None:
            nonlocal written
            written += octets

    WorkerChannel(Sink(), [one]).report(one, outcomes)  # type: ignore[arg-type]
    return written.splitlines()


def test_a_line_for_the_log_names_its_job(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    one, two = job("h"), job("h")
    channel = WorkerChannel(theirs, [one, two])
    channel.log("about a message", two)
    channel.log("about none")
    assert read(ours, 2) == [LogLine(1, "about a message"), LogLine(-1, "about none")]


def test_each_that_is_recorded_makes_room_for_one_more(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    jobs = [job("h", f"u{number}@a") for number in range(WINDOW + 1)]
    channel = WorkerChannel(ours, jobs)
    first, last, one_more = jobs[: WINDOW - 1], jobs[WINDOW - 1], jobs[WINDOW]
    for one in first:
        channel.report(one, {one.users[0].name: Outcome(Fate.SENT, "2.0.0", "Sent")})
    theirs.send(b".")
    assert channel.receive() == ([], -1)
    ours.setblocking(False)
    channel.report(last, {last.users[0].name: Outcome(Fate.SENT, "2.0.0", "Sent")})
    with pytest.raises(BlockingIOError):  # it would wait
        channel.report(one_more, {one_more.users[0].name: Outcome(Fate.SENT, "2.0.0", "Sent")})


def test_many_outcomes_with_the_longest_words_of_a_peer_are_lines_that_can_be_read() -> None:
    said = tuple('<<< 550 "' + '"' * 4000 for _ in range(22))
    endless = Outcome(Fate.FAILED, "5.1.1", '"' * 4000, "r", "m", '"' * 4000, said, 67)
    users = [f"u{number}@a" for number in range(250)]
    one = job("h", *users, "u0@a")
    lines = reported(one, {user.encode(): endless for user in users})
    assert len(lines) == 3
    assert max(map(len, lines)) < MAX_LINE
    progress = JobProgress(one)
    for line in lines:
        assert not progress.is_complete
        told = decode(line, 1)
        assert isinstance(told, OutcomesLine)
        progress.add(told.outcomes)
    assert progress.is_complete


def test_when_a_worker_is_ended_nothing_of_it_stays_open(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    pid = processes.fork("worker", signal.pause)  # type: ignore[arg-type]
    logins, place = Mock(), Mock()
    child = WorkerProcess(pid, ours, [job("h")], rides=True, place=place, logins=logins)
    assert child.end()
    theirs.settimeout(10)
    assert (ours.fileno(), theirs.recv(1)) == (-1, b"")
    logins.close.assert_called_once_with()
    place.close.assert_called_once_with()
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)
