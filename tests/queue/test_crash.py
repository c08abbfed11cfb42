"""Pull the plug after every system call of the queue's life, and take out every fsync in turn."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from minimta.config.options import Options
from minimta.message.envelope import Envelope, Recipient
from minimta.queue.collect import Incoming
from minimta.queue.commit import GroupCommitter, PlainCommitter
from minimta.queue.control import Control
from minimta.queue.queue_group import QueueGroup
from minimta.queue.spool import Spool
from tests.support.powercut import Disk, playground
from tests.support.survivors import State

QIDS = ("6AM9CfOn000096", "6AM9CfOo000096", "6AM9CfOp000096", "6AM9CfOq000096")
BODY = {qid: f"body of {qid}\n".encode() * 20 for qid in QIDS}
NOW = 1795340561.0
BOTH = (b"<dave@lab2.campus>", b"<carol@lab2.campus>")


def control(*recipients: bytes) -> Control:
    return Control(1, b"<emma@lab1.campus>", [Recipient(r) for r in recipients or BOTH])


def submit(spool: Spool, qid: str) -> None:
    data = spool.create(qid)
    os.write(data, BODY[qid])
    spool.accept(qid, data, control())


@contextlib.contextmanager
def opened(directory: Path, commit: Committer | None = None) -> Iterator[Spool]:
    spool = Spool(str(directory), commit=commit)
    try:
        yield spool
    finally:
        spool.close()


#: what found() could not lock
lost: list[str] = []


def found(directory: Path) -> dict[str, tuple[bytes, ...]]:
    """What can be delivered: qid -> recipients. A torn body is an error at once."""
    there = {}
    lost.clear()
    with opened(directory) as spool:
        for qid in spool.names():
            message = spool.lock(qid)
            if message is None:
                lost.append(qid)
                continue
            with message:
                assert os.pread(message.data, 10000, 0) == BODY[qid], f"torn: {qid}"
                there[qid] = tuple(r.address for r in message.control.recipients)
    return there


if TYPE_CHECKING:
    from minimta.queue.commit import Committer, _Waiting
    from minimta.queue.directory import QueueDirectory

Check = Callable[[dict[str, tuple[bytes, ...]], list[str]], None]


class Court:
    """Looks at every state once, however many cuts lead to it."""

    def __init__(self, disk: Disk, tmp_path: Path, ok: Check) -> None:
        self.disk = disk
        self.tmp_path = tmp_path
        self.ok = ok
        self._good: set[object] = set()

    def judge(self, *, without: Collection[int] = (), journal: bool = False) -> None:
        for cut in self.disk.cuts():
            marks = self.disk.marks(cut)
            for state in self.disk.survivors(after=cut, without=without, journal=journal):
                key = (state.key, tuple(marks))
                if key not in self._good:
                    self._look(state, marks)
                    self._good.add(key)

    def _look(self, state: State, marks: list[str]) -> None:
        with playground(self.tmp_path) as fresh:
            state.write(fresh)
            try:
                self.ok(found(fresh), marks)
            except AssertionError as error:
                raise AssertionError(f"{state.label}: {error}") from error

    def every_fsync_counts(self, expected: int) -> None:
        """A check that is content without one of them checks nothing, or the fsync is for nothing."""
        assert len(self.disk.syncs()) == expected
        for k in self.disk.syncs():
            with pytest.raises(AssertionError):
                self.judge(without={k})


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    (tmp_path / "mqueue").mkdir(mode=0o700)
    (tmp_path / "after").mkdir()
    return tmp_path / "mqueue"


def accepted_are_there(there: dict[str, tuple[bytes, ...]], marks: list[str]) -> None:
    missing = [qid for qid in marks if there.get(qid) != BOTH]
    assert not missing, f"lost {missing}"


def test_an_accepted_message_survives_a_power_cut_at_any_call(queue: Path, tmp_path: Path) -> None:
    with Disk(queue) as disk, opened(queue) as spool:
        for qid in QIDS[:2]:
            submit(spool, qid)
            disk.mark(qid)
    court = Court(disk, tmp_path / "after", accepted_are_there)
    court.judge()
    court.every_fsync_counts(expected=2 * 3)


class Crowd(GroupCommitter):
    """The first session is alone; three others wait until it is acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.acknowledged = threading.Event()
        self._pause = threading.Event()

    def _make_durable(self, directory: QueueDirectory, batch: list[_Waiting]) -> int:
        for _ in range(2000):
            if self.sizes or len(self._waiting) == 3:
                break
            self._pause.wait(0.005)
        if self.sizes:
            self.acknowledged.wait(10)
        self.sizes.append(len(batch))
        return super()._make_durable(directory, batch)


def test_messages_accepted_together_survive_together(queue: Path, tmp_path: Path) -> None:
    with Disk(queue) as disk:
        committer = Crowd()

        def session(spool: Spool, qid: str) -> None:
            submit(spool, qid)
            disk.mark(qid)
            committer.acknowledged.set()

        with opened(queue, commit=committer) as spool:
            threads = [threading.Thread(target=session, args=(spool, qid)) for qid in QIDS]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
    assert committer.sizes == [1, 3]
    assert sorted(disk.marks(len(disk.calls))) == list(QIDS)
    court = Court(disk, tmp_path / "after", accepted_are_there)
    court.judge()
    # df, tf and directory of the first; syncfs and directory of the three
    court.every_fsync_counts(expected=3 + 2)


def test_a_rewritten_message_is_the_old_one_or_the_new(queue: Path, tmp_path: Path) -> None:
    qid, one = QIDS[0], BOTH[:1]

    def old_or_new(there: dict[str, tuple[bytes, ...]], marks: list[str]) -> None:
        assert there.get(qid) in ([one] if marks else [BOTH, one]), f"found {there}"

    with opened(queue) as spool:
        submit(spool, qid)
        with Disk(queue) as disk:
            message = spool.lock(qid)
            assert message
            message.control.recipients.pop()
            message.rewrite(5.0)
            disk.mark("recorded")
            message.release()
    court = Court(disk, tmp_path / "after", old_or_new)
    court.judge()
    court.every_fsync_counts(expected=2)


def test_the_due_time_of_a_rewritten_message_is_as_durable_as_its_text(
    queue: Path, tmp_path: Path
) -> None:
    with opened(queue) as spool:
        submit(spool, QIDS[0])
        with Disk(queue) as disk:
            message = spool.lock(QIDS[0])
            assert message
            message.rewrite(5.0)
            message.release()
    for state in disk.survivors(after=len(disk.calls)):
        with playground(tmp_path / "after") as fresh:
            state.write(fresh)
            assert (fresh / f"qf{QIDS[0]}").stat().st_mtime == 5.0


def test_a_retired_message_is_whole_or_gone_and_stays_gone_after_flush(
    queue: Path, tmp_path: Path
) -> None:
    def whole_or_gone(there: dict[str, tuple[bytes, ...]], marks: list[str]) -> None:
        assert there.get(QIDS[1]) == BOTH, "the other one is lost"
        assert not marks or QIDS[0] not in there, "delivered again"
        assert not lost, "a qf without df"

    with opened(queue) as spool:
        submit(spool, QIDS[0])
        submit(spool, QIDS[1])
        with Disk(queue) as disk:
            message = spool.lock(QIDS[0])
            assert message
            message.retire()
            spool.flush()
            disk.mark("flushed")
    court = Court(disk, tmp_path / "after", whole_or_gone)
    court.judge()
    court.every_fsync_counts(expected=1)


def test_a_df_is_swept_when_it_is_durable_that_its_qf_is_gone(queue: Path, tmp_path: Path) -> None:
    """Its runner was killed in between, or has not come so far; then the power fails."""

    def no_qf_without_df(there: dict[str, tuple[bytes, ...]], marks: list[str]) -> None:
        assert not lost, "a qf without df"

    with opened(queue) as spool:
        submit(spool, QIDS[0])
        with Disk(queue) as disk:
            message = spool.lock(QIDS[0])
            assert message
            message.retire()
            spool.sweep(10**10)
    assert list(queue.iterdir()) == []
    court = Court(disk, tmp_path / "after", no_qf_without_df)
    court.judge()
    court.every_fsync_counts(expected=1)


def test_a_failed_accept_is_undone_qf_first_and_for_good(
    queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rename is done, the directory cannot be fsynced: the client hears 451, nothing may stay."""
    synced: list[int] = []

    def sync_names(spool: Spool, renamed: int) -> None:
        synced.append(renamed)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Spool, "sync_names", sync_names)
    with Disk(queue) as disk, opened(queue) as spool, pytest.raises(OSError, match="Input/output"):
        submit(spool, QIDS[0])
    assert synced
    qid = QIDS[0]
    names = [str(call) for call in disk.calls]
    assert names[-3:] == [f"unlink(qf{qid})", "fsync()", f"unlink(df{qid})"]
    assert list(queue.iterdir()) == []


def test_a_user_who_cannot_fsync_the_directory_relies_on_the_journal(
    queue: Path, tmp_path: Path
) -> None:
    with Disk(queue) as disk, opened(queue) as spool:
        spool.may_list = False  # as in clientmqueue, mode 1733
        submit(spool, QIDS[0])
        disk.mark(QIDS[0])

    court = Court(disk, tmp_path / "after", accepted_are_there)
    court.judge(journal=True)
    data, _, again = disk.syncs()
    for k in (data, again):  # the text of tf is on disk with the last one
        with pytest.raises(AssertionError):
            court.judge(without={k}, journal=True)


def test_the_plain_committer_needs_three_fsyncs(queue: Path) -> None:
    with Disk(queue) as disk, opened(queue, commit=PlainCommitter()) as spool:
        submit(spool, QIDS[0])
    assert len(disk.syncs()) == 3


# --- several directories --------------------------------------------------------------------------


@pytest.mark.parametrize("fails", ["", "sync_names", "create_file", "rename"])
def test_what_is_accepted_into_several_directories_survives_a_power_cut_at_any_call(
    queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """Also if one *fails* to do that from some moment on, and another takes over what was there."""
    options = Options()
    options.queue_pattern, options.min_free_blocks = f"{queue}/q*", 0
    for name in ("q1", "q2"):
        (queue / name).mkdir(mode=0o700)
    bodies: dict[str, bytes] = {}
    group = QueueGroup(options)

    def fail(*unused: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Disk(queue) as disk, contextlib.closing(group):
        for number in range(2):
            envelope = Envelope(b"<emma@lab1.campus>", [Recipient(r, "PFD") for r in BOTH])
            incoming = Incoming(
                group, options, envelope, qid=QIDS[number], now=NOW, host="lab1.campus"
            )
            incoming.write(b"Subject: x\n\n" + BODY[QIDS[number]])
            if number and fails:
                for spool in group.spools[:1]:
                    monkeypatch.setattr(spool, fails, fail)
            qid = incoming.commit()
            bodies[qid] = BODY[QIDS[number]]
            disk.mark(qid)

    def all_there(fresh: Path, marks: list[str]) -> None:
        there: dict[str, bytes] = {}
        options.queue_pattern = f"{fresh}/q*"
        with contextlib.closing(QueueGroup(options)) as found:
            for name in found.names():
                message = found.lock(name)
                if message is not None:
                    with message:
                        there[message.qid] = os.pread(message.data, 10_000, 0)
        assert all(there.get(qid) == bodies[qid] for qid in marks), f"{marks}, found {there}"

    for cut in disk.cuts():
        for state in disk.survivors(after=cut):
            with playground(tmp_path / "after") as fresh:
                state.write(fresh)
                all_there(fresh, disk.marks(cut))
    with pytest.raises(AssertionError):
        for sync in disk.syncs()[-1:]:
            for state in disk.survivors(after=len(disk.calls), without={sync}):
                with playground(tmp_path / "after") as fresh:
                    state.write(fresh)
                    all_there(fresh, disk.marks(len(disk.calls)))
