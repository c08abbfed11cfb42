"""The worker, as code of a peer would find it: what it may still do, and why not.

by rule    also in a process that is root's, or that owns the file: Landlock
by mode    RunAsUser has no right to it, with or without Landlock
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.mailers.remote.host_status import HostMemory
from minimta.mailers.remote.sts_cache import StsCache
from minimta.message.outcome import Fate
from minimta.system import privileges, processes, sandbox
from tests.mailers.remote.test_mailer import deliver, misbehave, only
from tests.support.fakesmtp import FakeSmtp
from tests.support.hostile import connect, dump, gain, listen, make, outcomes, read, run, tried
from tests.support.jobs import job, options
from tests.system.test_sandbox import kernel


def by_rule() -> str:
    """What a rule refuses where the kernel has it."""
    return "EACCES" if kernel() else "done"


def tries(
    monkeypatch: pytest.MonkeyPatch, configured: Options, **attempts: Callable[[], object]
) -> dict[str, str]:
    """What comes of *attempts* in the worker."""
    misbehave(monkeypatch, lambda channel: channel.say(tried(attempts).decode()))
    said: list[str] = []
    deliver(job("[127.0.0.1]"), configured=configured, say=said.append)
    return outcomes(said[0].encode())


def test_hostile_code_in_the_worker_is_refused_by_rule(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "df").write_text("another letter")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = tries(
            monkeypatch,
            options(run_as_user=""),
            letter=read(tmp_path / "df"),
            write=make(tmp_path / "new"),
            names=lambda: os.listdir(tmp_path),
            remove=lambda: os.unlink(tmp_path / "df"),
            library=read(os.__file__),
            zone=read("/etc/passwd"),
            connect=connect(port),
            listen=listen,  # from whichever port, as ClientPortOptions binds
        )
    assert found == {
        "letter": by_rule(),
        "write": by_rule(),
        "names": by_rule(),
        "remove": by_rule(),
        "library": "done",
        "zone": "done",
        "connect": "done",
        "listen": "done",
    }


def test_it_starts_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    misbehave(monkeypatch, lambda channel: run())
    (found,) = deliver(job("[127.0.0.1]"), configured=options(run_as_user="")).values()
    assert only(found).fate is Fate.DEFERRED
    assert ("PermissionError" in only(found).text) is (kernel() > 0)


@pytest.mark.parametrize("is_confined", [True, False])
def test_it_shows_its_memory_to_nobody_and_gains_no_rights(
    monkeypatch: pytest.MonkeyPatch, is_confined: bool
) -> None:
    configured = options(run_as_user="", sandbox=is_confined)
    found = tries(monkeypatch, configured, dump=dump, gain=gain)
    assert found == {"dump": "EPERM", "gain": "EPERM"}


@pytest.mark.root
@pytest.mark.parametrize("is_confined", [True, False])
def test_secrets_are_refused_by_mode(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_confined: bool
) -> None:
    (tmp_path / "authinfo").write_text("secret")
    (tmp_path / "authinfo").chmod(0o600)
    configured = options(run_as_user="nobody", sandbox=is_confined)
    found = tries(
        monkeypatch,
        configured,
        shadow=read("/etc/shadow"),
        authinfo=read(tmp_path / "authinfo"),
        write=make(tmp_path / "new"),
        root=lambda: os.setuid(0),
    )
    assert set(found.values()) <= {"EACCES", "EPERM"}


@pytest.mark.root
def test_it_cannot_end_another_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are one user."""
    told, tells = os.pipe()
    waits, ends = os.pipe()

    def other() -> int:
        os.close(ends)
        privileges.become("nobody")
        os.write(tells, b"%d" % os.getpid())
        os.read(waits, 1)
        return os.EX_OK

    def background() -> int:
        processes.in_background("other", other)
        return os.EX_OK

    # Nobody's child here: tests look for zombies.
    child = processes.fork("other", background)
    os.waitpid(child, 0)
    pid = int(os.read(told, 10))
    try:
        found = tries(monkeypatch, options(run_as_user="nobody"), kill=lambda: os.kill(pid, 0))
    finally:
        for descriptor in (told, tells, waits, ends):
            os.close(descriptor)
    assert found == {"kill": "EPERM" if kernel() >= 6 else "done"}


def test_what_is_wrong_with_the_sandbox_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines: list[str] = []
    monkeypatch.setattr("minimta.system.log.line", lambda qid, text, **unused: lines.append(text))
    with FakeSmtp() as peer:
        one = job(peer.host)
        configured = options(run_as_user="", ca_cert_path=str(tmp_path / "late/certs"))
        assert only(deliver(one, configured=configured)[one]).fate is Fate.SENT
    told = [line.partition(": ")[2] for line in lines if "sandbox" in line]
    assert told == ([f"sandbox: {tmp_path}/late: No such file or directory"] if kernel() else [])


def test_nobody_enters_the_sandbox_in_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its children are users' programs."""
    entered: list[int] = []
    real = sandbox.enter

    def enter(*arguments: object) -> sandbox.Confined:
        entered.append(os.getpid())
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sandbox, "enter", enter)
    with FakeSmtp() as peer:
        one = job(peer.host)
        assert only(deliver(one, configured=options(run_as_user=""))[one]).fate is Fate.SENT
    assert entered == []


def test_what_workers_have_found_may_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Status of hosts, policies of MTA-STS: below directories that the runner has opened."""
    hosts, sts = HostMemory(str(tmp_path / "hosts"), 0.0), StsCache(str(tmp_path / "sts"))
    for known in (hosts, sts):
        known.open()
        os.close(os.open("there", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=known.file))
    attempts: dict[str, Callable[[], object]] = {
        "hosts": lambda: os.close(os.open("there", os.O_RDONLY, dir_fd=hosts.file)),
        "sts": lambda: os.close(os.open("there", os.O_RDONLY, dir_fd=sts.file)),
        "write": lambda: os.close(os.open("there", os.O_WRONLY, dir_fd=sts.file)),
    }
    misbehave(monkeypatch, lambda channel: channel.say(tried(attempts).decode()))
    said: list[str] = []
    configured = options(run_as_user="")
    deliver(job("[127.0.0.1]"), configured=configured, say=said.append, memory=hosts, sts=sts)
    for known in (hosts, sts):
        known.close()
    assert outcomes(said[0].encode()) == {"hosts": "done", "sts": "done", "write": by_rule()}
