"""Messages that have to wait are written back together, each as safely as alone, and none too late."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from minimta.mailers.job import Job
from minimta.message.outcome import Outcome
from minimta.queue import commit
from minimta.queue.spool import Spool
from minimta.runner import checkpoint
from minimta.system import log
from minimta.system.waiting import Wait
from tests.support.privatehost import DOWN, Elsewhere, PrivateHost

EMMA, X, Y = b"<emma@lab1.campus>", b"<x@lab2.campus>", b"<y@lab3.campus>"
WHY = "Deferred: Connection refused by lab2.campus."


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    return PrivateHost(tmp_path)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the disk for control files: "begin ID", "fsync ID", "rename ID"."""
    found: list[str] = []

    def name_of(file: int) -> str:
        return os.path.basename(os.readlink(f"/proc/self/fd/{file}"))

    advise, fsync, rename = os.posix_fadvise, os.fsync, os.rename

    def advised(file: int, *what: int) -> None:
        found.append(f"begin {name_of(file)[2:]}")
        advise(file, *what)

    def synced(file: int) -> None:
        if name_of(file).startswith("tf"):
            found.append(f"fsync {name_of(file)[2:]}")
        fsync(file)

    def renamed(old: str, new: str, **where: int) -> None:
        found.append(f"rename {new[2:]}")
        rename(old, new, **where)

    monkeypatch.setattr(os, "posix_fadvise", advised)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    return found


def waiting(host: PrivateHost) -> list[str]:
    """Ids of those that have been tried, and say why they wait."""
    return [qid for qid in host.queued() if host.control(qid).message == WHY]


def down(*addresses: bytes) -> Elsewhere:
    return Elsewhere(dict.fromkeys(addresses, DOWN))


def test_all_are_begun_before_the_first_is_ended_and_each_is_synced_before_its_name(
    host: PrivateHost, calls: list[str]
) -> None:
    qids = [host.submit(EMMA, X) for _ in range(5)]
    calls.clear()
    host.deliverer(esmtp=down(b"x@lab2.campus")).attempt(qids)
    ended = [f"{call} {qid}" for qid in qids for call in ("fsync", "rename")]
    assert calls == [f"begin {qid}" for qid in qids] + ended
    assert waiting(host) == sorted(qids)
    assert [host.control(qid).attempts for qid in qids] == [1] * 5


@pytest.fixture
def syncs(host: PrivateHost, monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> list[str]:
    """The same, with GroupCommit: "sync" for all."""
    host.options.group_commit = True
    monkeypatch.setattr(commit, "may_sync_all", lambda group, directory: group)
    monkeypatch.setattr(checkpoint, "_MANY", 2)
    monkeypatch.setattr(commit, "syncfs", lambda directory: calls.append("sync"))
    return calls


def test_with_group_commit_one_call_makes_all_durable_before_the_first_name(
    host: PrivateHost, syncs: list[str]
) -> None:
    qids = [host.submit(EMMA, X) for _ in range(3)]
    syncs.clear()
    host.deliverer(esmtp=down(b"x@lab2.campus")).attempt(qids)
    assert syncs == ["sync"] + [f"rename {q}" for q in qids]
    syncs.clear()
    host.deliverer(esmtp=down(b"x@lab2.campus")).attempt(qids[:1])
    assert syncs == [f"{call} {qids[0]}" for call in ("begin", "fsync", "rename")], "it is alone"
    assert waiting(host) == sorted(qids)


def test_if_that_fails_all_stay_as_they_were_and_rest(
    host: PrivateHost, syncs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(directory: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(commit, "syncfs", fails)
    qids = [host.submit(EMMA, X) for _ in range(3)]
    syncs.clear()
    host.deliverer(esmtp=down(b"x@lab2.campus")).attempt(qids)
    assert not any(call.startswith("rename") for call in syncs)
    assert [host.control(qid).attempts for qid in qids] == [0] * 3
    queue = Path(host.options.queue_directory)
    assert all((queue / f"qf{qid}").stat().st_mtime > time.time() + 100 for qid in qids)
    assert not list(queue.glob("tf*"))


def test_there_is_an_end_to_how_many_wait_for_each_other(
    host: PrivateHost, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_TOGETHER", 2)
    qids = [host.submit(EMMA, X) for _ in range(3)]
    calls.clear()
    host.deliverer(esmtp=down(b"x@lab2.campus")).attempt(qids)
    assert [call.split()[0] for call in calls] == [
        *["begin", "begin", "fsync", "rename", "fsync", "rename"],
        *["begin", "fsync", "rename"],
    ]


def test_where_descriptors_are_few_fewer_wait_for_each_other(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    qids = [host.submit(EMMA, X) for _ in range(4)]
    create, begun = Spool.create_file, list[str]()

    def create_file(spool: Spool, name: str) -> int:
        tfs = [one for one in os.listdir(spool.directory) if one.startswith("tf")]
        if len(tfs) == 2:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), name)
        begun.append(name)
        return create(spool, name)

    monkeypatch.setattr(Spool, "create_file", create_file)
    host.deliverer(esmtp=down(b"x@lab2.campus")).attempt(qids)
    assert waiting(host) == sorted(qids)
    assert sorted(begun) == sorted("tf" + qid for qid in qids)


def test_before_anything_is_waited_for_all_are_written_back(host: PrivateHost) -> None:
    """A host that is mute holds nobody up whose host is down."""
    qids = [host.submit(EMMA, X) for _ in range(3)]
    seen: list[list[str]] = []

    class OneIsMute(Elsewhere):
        def steps(
            self, jobs: Sequence[Job]
        ) -> Iterator[tuple[Job, Mapping[bytes, Outcome]] | Wait]:
            *settled, last = self.deliver(jobs)
            yield from settled
            yield Wait((), 0.0)
            seen.append(waiting(host))
            yield last

    host.deliverer(esmtp=OneIsMute({b"x@lab2.campus": DOWN})).attempt(qids)
    assert seen == [sorted(qids)[:2]]
    assert waiting(host) == sorted(qids)


def test_who_has_it_is_written_down_at_once(host: PrivateHost, calls: list[str]) -> None:
    """Only what nobody got can wait: of two recipients one has it."""
    qids = [host.submit(EMMA, X, Y), host.submit(EMMA, X)]
    calls.clear()
    host.deliverer(esmtp=down(b"x@lab2.campus")).attempt(qids)
    assert f"begin {qids[0]}" not in calls
    assert f"begin {qids[1]}" in calls
    assert [r.address for r in host.control(qids[0]).recipients] == [X]


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_one_that_cannot_be_written_back_stays_as_it_was_and_the_others_go_on(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    told: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **more: told.append(f"{qid}: {text}"))
    qids = [host.submit(EMMA, X) for _ in range(3)]
    before = Path(host.options.queue_directory, "qf" + qids[1]).read_bytes()
    real = getattr(os, call)

    def fails(file: int | str, *more: str, **where: int) -> None:
        name = file if isinstance(file, str) else os.readlink(f"/proc/self/fd/{file}")
        if name.endswith("tf" + qids[1]):
            raise OSError(errno.EIO, "Input/output error")
        real(file, *more, **where)

    monkeypatch.setattr(os, call, fails)
    host.deliverer(esmtp=down(b"x@lab2.campus")).attempt(qids)
    assert waiting(host) == [qids[0], qids[2]]
    qf = Path(host.options.queue_directory, "qf" + qids[1])
    assert qf.read_bytes() == before
    assert "tf" + qids[1] not in host.files()
    assert any(line.startswith(f"{qids[1]}: SYSERR(root): cannot record") for line in told)
    spool = Spool(host.options.queue_directory)
    for qid in qids:
        message = spool.lock(qid)
        assert message is not None, "it is locked no more"
        message.release()
    spool.close()


def test_what_was_begun_and_never_ended_leaves_the_message_as_it_was(host: PrivateHost) -> None:
    qid = host.submit(EMMA, X)
    spool = Spool(host.options.queue_directory)
    message = spool.lock(qid)
    assert message is not None
    message.control.attempts = 7
    message.begin_rewrite(1.0)
    assert "tf" + qid in host.files()
    message.release()
    spool.close()
    assert "tf" + qid not in host.files()
    assert host.control(qid).attempts == 0


def test_what_is_known_to_be_down_still_has_only_its_time_changed(host: PrivateHost) -> None:
    host.now = 1_700_000_000.0
    host.options.timeout_queuewarn = 0  # which is written down as well
    asked, known = (host.submit(EMMA, X) for _ in range(2))

    def attempts() -> list[int]:
        """Each of the two in a batch of its own, in one run."""
        deliverer = host.deliverer(esmtp=down(b"x@lab2.campus"))
        for qid in (asked, known):
            deliverer.attempt([qid])
        host.end(deliverer)
        return [host.control(qid).attempts for qid in (asked, known)]

    qf = Path(host.options.queue_directory, f"qf{known}")
    assert attempts() == [1, 1], "why it waits is news"
    first = qf.stat()
    host.now += 3600
    assert attempts() == [2, 1]
    assert (qf.stat().st_ino, qf.stat().st_mtime) == (first.st_ino, first.st_mtime + 3600)
    host.now += 6 * 3600
    assert attempts() == [3, 2], "that we still try is written now and then: else it never expires"
    host.rewrite(known, lambda control: setattr(control, "message", "Deferred: 452 4.2.2 full"))
    assert attempts() == [4, 3], "another reason"
    assert host.control(known).message == WHY


def test_what_is_known_to_be_down_is_returned_in_the_end(host: PrivateHost) -> None:
    host.now = 1_700_000_000.0
    host.options.timeout_queuewarn = 0
    asked, known = host.submit(EMMA, X), host.submit(EMMA, X)
    for _ in range(host.options.timeout_queuereturn // 3600 + 3):
        deliverer = host.deliverer(esmtp=down(b"x@lab2.campus"))
        for qid in (asked, known):
            deliverer.attempt([qid])
        host.end(deliverer)
        host.now += 3600
    assert not {asked, known} & set(host.queued())


def test_of_what_rests_it_is_written_since_when(host: PrivateHost) -> None:
    host.now = 1_700_000_000.0
    host.options.timeout_queuewarn = 0
    host.options.min_queue_age = 1800
    ids = [host.submit(EMMA, X) for _ in range(2)]
    for _ in range(2):
        deliverer = host.deliverer(esmtp=down(b"x@lab2.campus"))
        for qid in ids:
            deliverer.attempt([qid])
        host.end(deliverer)
        host.now += 3600
    controls = [host.control(qid) for qid in ids]
    assert [(one.attempts, one.last_attempt) for one in controls] == [(2, 1_700_003_600)] * 2


def test_a_recipient_that_waits_for_another_reason_is_news(host: PrivateHost) -> None:
    host.now = 1_700_000_000.0
    host.options.timeout_queuewarn = 0
    elsewhere = down(b"x@lab2.campus")
    asked, known = (host.submit(EMMA, X) for _ in range(2))

    def run() -> None:
        deliverer = host.deliverer(esmtp=elsewhere)
        for qid in (asked, known):
            deliverer.attempt([qid])
        host.end(deliverer)

    run()
    host.rewrite(
        known, lambda control: setattr(control.recipients[0], "message", "Deferred: 450 busy")
    )
    run()
    assert host.control(known).recipients[0].message == "", "nobody says so any more"
