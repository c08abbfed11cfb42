"""af beside a qf: what went wrong so far."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from minimta.queue import failed_attempts
from minimta.queue.failed_attempts import ATTEMPTS, MOST, FailedAttempt, note, read
from minimta.queue.spool import ORPHAN_AGE, Spool
from minimta.routing.local_host import LocalHost
from minimta.runner.deliver import Deliverer
from tests.support.fakesmtp import FakeSmtp
from tests.support.privatehost import BUSY, Elsewhere, PrivateHost

QID = "6AM9CfOn000096"
ONE = FailedAttempt(
    0, 1795858662, 3, ("<x@lab2.campus>",), "esmtp", "lab2.campus. [10.0.3.135]", "4.4.1",
    "Deferred: Connection refused by lab2.campus.", "", ("=== lab2.campus.", "220 hello"),
)  # fmt: skip
EMMA, X, Y = b"<emma@lab1.campus>", b"<x@lab2.campus>", b"<y@lab3.campus>"


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(str(tmp_path))
    yield made
    made.close()


def test_what_is_noted_is_read_in_order(spool: Spool, tmp_path: Path) -> None:
    second = replace(ONE, number=1, dialogue=())
    note(spool, QID, [ONE])
    note(spool, QID, [second])
    assert read(spool, QID) == [ONE, second]
    assert (tmp_path / f"af{QID}").stat().st_mode & 0o777 == 0o600


def test_of_many_attempts_the_last_are_kept(spool: Spool) -> None:
    for number in range(ATTEMPTS + 5):
        note(spool, QID, [replace(ONE, number=number), replace(ONE, number=number, mailer="prog")])
    numbers = [one.number for one in read(spool, QID)]
    assert numbers == sorted([*range(5, ATTEMPTS + 5)] * 2)


def test_the_file_is_bounded_and_the_last_attempt_stands(spool: Spool, tmp_path: Path) -> None:
    long = replace(ONE, dialogue=tuple("x" * 500 for _ in range(30)))
    for number in range(60):
        note(spool, QID, [replace(long, relay=f"host{number}")])
    assert (tmp_path / f"af{QID}").stat().st_size <= MOST
    assert read(spool, QID)[-1].relay == "host59"


@pytest.mark.parametrize(
    "there",
    [b"553 5.1.1 a transcript of somebody's\n", b"minimta failed attempts 1\n{torn", b"\0" * 100],
)
def test_what_is_not_ours_is_no_history_and_is_replaced(
    spool: Spool, tmp_path: Path, there: bytes
) -> None:
    (tmp_path / f"af{QID}").write_bytes(there)
    (tmp_path / f"af{QID}").chmod(0o600)
    assert read(spool, QID) == []
    note(spool, QID, [ONE])
    assert read(spool, QID) == [ONE]


@pytest.mark.parametrize(
    "line",
    [b"[]", b"{}", b'{"number": "x"}', b"[" * 100_000, b'{"number": true}', b"nonsense"],
)
def test_a_line_that_makes_no_sense_is_left_out(spool: Spool, tmp_path: Path, line: bytes) -> None:
    note(spool, QID, [ONE])
    with open(tmp_path / f"af{QID}", "ab") as file:
        file.write(line + b"\n")
    assert read(spool, QID) == [ONE]


def test_a_planted_link_or_name_is_left_alone(spool: Spool, tmp_path: Path) -> None:
    target = tmp_path / "secret"
    target.write_bytes(b"keep me\n")
    name = tmp_path / f"af{QID}"
    os.link(target, name)
    note(spool, QID, [ONE])
    assert target.read_bytes() == b"keep me\n" and read(spool, QID) == []
    name.unlink()
    name.symlink_to(target)
    with pytest.raises(OSError, match=r"."):
        note(spool, QID, [ONE])
    assert target.read_bytes() == b"keep me\n" and read(spool, QID) == []


def test_many_recipients_are_named_by_the_first() -> None:
    shown = failed_attempts.named([b"<%d@a>" % number for number in range(100)])
    assert shown[0] == "<0@a>" and shown[-1] == "and 80 others"


# --- in the life of a message -------------------------------------------------------------------------


def failures(host: PrivateHost, qid: str) -> list[FailedAttempt]:
    spool = Spool(host.options.queue_directory)
    try:
        return read(spool, qid)
    finally:
        spool.close()


def test_each_host_that_does_not_take_it_is_noted_and_who_has_it_is_not(tmp_path: Path) -> None:
    host = PrivateHost(tmp_path)
    qid = host.submit(EMMA, X, Y, b"<dave@lab1.campus>")
    elsewhere = Elsewhere({b"x@lab2.campus": BUSY})
    for _ in range(2):
        host.deliverer(esmtp=elsewhere).attempt([qid])
    noted = failures(host, qid)
    assert [(one.number, one.to, one.status) for one in noted] == [
        (0, ("<x@lab2.campus>",), "4.2.2"),
        (1, ("<x@lab2.campus>",), "4.2.2"),
    ]


def test_it_goes_with_the_message(tmp_path: Path) -> None:
    host = PrivateHost(tmp_path)
    qid = host.submit(EMMA, X)
    host.deliverer(esmtp=Elsewhere({b"x@lab2.campus": BUSY})).attempt([qid])
    assert f"af{qid}" in host.files()
    host.deliverer().attempt([qid])
    assert host.files() == []


def test_what_is_left_without_a_message_is_swept_after_an_hour(tmp_path: Path) -> None:
    host = PrivateHost(tmp_path)
    qid = host.submit(EMMA, X)
    host.deliverer(esmtp=Elsewhere({b"x@lab2.campus": BUSY})).attempt([qid])
    spool = Spool(host.options.queue_directory)
    now = os.stat(host.options.queue_directory).st_mtime + ORPHAN_AGE + 10
    spool.sweep(now)
    assert f"af{qid}" in host.files()
    os.unlink(os.path.join(host.options.queue_directory, "qf" + qid))
    spool.sweep(now)
    spool.close()
    assert host.files() == []


def test_a_full_disk_costs_the_history_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*unused: object) -> None:
        raise OSError(28, "No space left on device")

    host = PrivateHost(tmp_path)
    qid = host.submit(EMMA, X)
    monkeypatch.setattr(failed_attempts, "note", full)
    host.deliverer(esmtp=Elsewhere({b"x@lab2.campus": BUSY})).attempt([qid])
    assert host.control(qid).attempts == 1


def test_no_promise_is_synced_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = PrivateHost(tmp_path)
    qids = [host.submit(EMMA, X) for _ in range(2)]
    synced: list[int] = []
    real = os.fsync

    def fsync(file: int) -> None:
        synced.append(file)
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    host.deliverer(esmtp=Elsewhere({b"x@lab2.campus": BUSY})).attempt([qids[0]])
    with_history = len(synced)
    monkeypatch.setattr(failed_attempts, "note", lambda *unused: None)
    host.deliverer(esmtp=Elsewhere({b"x@lab2.campus": BUSY})).attempt([qids[1]])
    assert len(synced) == 2 * with_history


def test_what_a_host_said_comes_through_the_worker_into_the_file(tmp_path: Path) -> None:
    host = PrivateHost(tmp_path)
    with FakeSmtp(answers={"RCPT": ["451 4.7.1 Greylisted, come back"]}) as peer:
        host.options.smart_host = peer.host
        qid = host.submit(EMMA, X)
        Deliverer(LocalHost(host.options)).attempt([qid])
        (noted,) = failures(host, qid)
    assert noted.reply == "451 4.7.1 Greylisted, come back"
    assert noted.relay == "[127.0.0.1] [127.0.0.1]"
    assert ">>> RCPT To:<x@lab2.campus>" in noted.dialogue
    assert noted.dialogue[-1] == "503 5.0.0 Need RCPT" or "451 4.7.1" in "".join(noted.dialogue)
