"""An outage as it happens: a provider that is not reached, a resident runner, and cron beside it."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.runner import loop as looping
from minimta.runner import queue_run, resident
from minimta.system.users import Users
from tests.support.fakesmtp import FakeSmtp, Refusing
from tests.support.privatehost import PrivateHost

EMMA, X = b"<emma@lab1.campus>", b"<x@lab2.campus>"


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    tmp_path.chmod(0o700)
    made = PrivateHost(tmp_path)
    user = Users("").by_uid(os.geteuid())
    if user is None:
        pytest.skip("whoever runs the tests has no name")
    made.options.default_user = "daemon" if os.geteuid() == 0 else user.name
    made.options.passwd_file = ""
    made.options.min_queue_age = 0
    made.options.alert_age = 1
    return made


@pytest.fixture
def calls(host: PrivateHost) -> Iterator[Path]:
    """Where a program that is AlertCommand writes each call."""
    with tempfile.TemporaryDirectory(prefix="minimta-test-") as name:
        place = Path(name)
        place.chmod(0o755)
        (place / "out").mkdir()
        (place / "out").chmod(0o777)
        told = place / "out" / "calls"
        told.touch()
        told.chmod(0o666)
        program = place / "alert"
        program.write_text(f'#!/bin/sh\necho "$MINIMTA_EVENT $(cat)" >> {told}\n')
        program.chmod(0o755)
        host.options.alert_command = str(program)
        yield told


def events(calls: Path) -> list[str]:
    return [line.partition(" ")[0] for line in calls.read_text().splitlines()]


def start(host: PrivateHost, refusing: Refusing) -> int:
    """A resident runner, which does not hold the port."""
    pid = os.fork()
    if not pid:
        refusing.__exit__()
        told: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
        os._exit(resident.stay(host.options, 1, lambda: bool(told)))
    return pid


def aged(host: PrivateHost) -> str:
    host.now = time.time() - 60
    return host.submit(EMMA, X)


def test_cron_tells_of_an_outage_twice(host: PrivateHost, calls: Path) -> None:
    with Refusing() as port:
        host.options.smart_host = f"[127.0.0.1]:{port}"
        qid = aged(host)
        for _ in range(5):
            queue_run.run(host.options)
        assert events(calls) == ["trouble"]
        assert f"the oldest message, {qid}, waits since" in calls.read_text()
    with FakeSmtp(port=port) as server:
        for _ in range(5):
            queue_run.run(host.options)
        assert len(server.messages) == 1
    assert events(calls) == ["trouble", "over"]


@pytest.mark.root  # of what is no directory nobody else is the owner
def test_a_run_that_fails_tells_too(host: PrivateHost, calls: Path) -> None:
    os.rename(host.options.queue_directory, f"{host.root}/aside")
    Path(host.options.queue_directory).touch()  # no directory, and so no run
    for _ in range(3):
        with contextlib.suppress(OSError):
            queue_run.run(host.options)
    assert events(calls) == ["trouble"]
    assert "nothing can be written in" in calls.read_text()
    os.unlink(host.options.queue_directory)
    os.rename(f"{host.root}/aside", host.options.queue_directory)
    queue_run.run(host.options)
    assert events(calls) == ["trouble", "over"]


def test_a_resident_runner_and_cron_beside_it_tell_twice(
    host: PrivateHost, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looping, "_FIRST_ALERT", 0.0)
    monkeypatch.setattr(looping, "_ALERT_PERIOD", 0.1)
    with (refusing := Refusing()) as port:
        host.options.smart_host = f"[127.0.0.1]:{port}"
        aged(host)
        pid = start(host, refusing)
        try:
            wait_for(lambda: events(calls))
            for _ in range(5):
                queue_run.run(host.options)
            assert events(calls) == ["trouble"]
            refusing.__exit__()
            with FakeSmtp(port=port) as server:
                wait_for(lambda: server.messages)
                wait_for(lambda: len(events(calls)) > 1)
                for _ in range(5):
                    queue_run.run(host.options)
        finally:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
    assert events(calls) == ["trouble", "over"]


def test_a_program_that_hangs_holds_no_mail_up(
    host: PrivateHost, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looping, "_FIRST_ALERT", 0.0)
    Path(host.options.alert_command).write_text(
        f"#!/bin/sh\necho begun >> {calls}\nexec sleep 60\n"
    )
    with (refusing := Refusing()) as port:
        host.options.smart_host = f"[127.0.0.1]:{port}"
        aged(host)
        pid = start(host, refusing)
        try:
            wait_for(lambda: events(calls) == ["begun"])
            refusing.__exit__()
            with FakeSmtp(port=port) as server:
                wait_for(lambda: server.messages, 20)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
