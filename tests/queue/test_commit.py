"""How several sessions become durable together; what happens when the disk says no."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.message.envelope import Recipient
from minimta.queue import commit
from minimta.queue import qid as ids
from minimta.queue.commit import GroupCommitter, PlainCommitter, committer
from minimta.queue.control import Control
from minimta.queue.directory import QueueDirectory
from minimta.queue.spool import Spool
from minimta.system import log
from tests.support.faults import Faults
from tests.support.powercut import Disk, playground

QID = "6AM9CfOn000096"


class Gate(GroupCommitter):
    """Holds the first batch until *crowd* sessions wait behind it."""

    def __init__(self, crowd: int, sync: Callable[[int], None]) -> None:
        super().__init__(sync)
        self.crowd = crowd
        self.sizes: list[int] = []
        self._pause = threading.Event()

    def _make_durable(self, directory: QueueDirectory, batch: list[commit._Waiting]) -> int:
        for _ in range(2000):
            if self.sizes or len(self._waiting) == self.crowd:
                break
            self._pause.wait(0.005)
        self.sizes.append(len(batch))
        return super()._make_durable(directory, batch)


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    (tmp_path / "mqueue").mkdir(mode=0o700)
    return tmp_path / "mqueue"


@pytest.fixture
def open_spool(queue: Path) -> Iterator[Callable[[commit.Committer], Spool]]:
    spools = []

    def opened(how: commit.Committer) -> Spool:
        spools.append(Spool(str(queue), commit=how))
        return spools[-1]

    yield opened
    for spool in spools:
        spool.close()


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **how: lines.append(text))
    return lines


def submit(spool: Spool, qid: str, *, keep_lock: bool = False, quarantine: str = "") -> None:
    control = Control(1, b"<>", [Recipient(b"dave")])
    control.quarantine = quarantine
    data = spool.create(qid)
    try:
        os.write(data, b"body\n")
    except OSError:
        spool.discard(qid, data)
        raise
    spool.accept(qid, data, control, keep_lock=keep_lock)


def submit_many(spool: Spool, count: int, *, quarantine: str = "") -> tuple[list[str], list[int]]:
    """From so many threads at once; what was accepted, and the errors of the others."""
    accepted: list[str] = []
    errors: list[int] = []

    def session() -> None:
        qid = ids.new(1e9)
        try:
            submit(spool, qid, quarantine=quarantine)
            accepted.append(qid)
        except OSError as error:
            errors.append(error.errno or 0)

    threads = [threading.Thread(target=session) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a session waits for ever"
    return accepted, errors


def test_those_who_wait_share_one_syncfs(open_spool: Callable[[Gate], Spool]) -> None:
    synced: list[int] = []
    gate = Gate(9, synced.append)
    spool = open_spool(gate)
    accepted, errors = submit_many(spool, 10)
    assert (len(accepted), errors) == (10, [])
    assert gate.sizes == [1, 9]
    assert synced == [spool.descriptor]
    assert sorted(spool.names()) == sorted(accepted)


@pytest.mark.parametrize("how", ["plain", "kept", "group"])
def test_the_tf_is_on_its_way_to_disk_before_the_df_is_waited_for(
    open_spool: Callable[[commit.Committer], Spool], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    calls: list[str] = []

    def note(what: str, act: Callable[..., None]) -> Callable[..., None]:
        def noted(file: int, *rest: int) -> None:
            name = os.path.basename(os.readlink(f"/proc/self/fd/{file}"))
            calls.append(f"{what} {name[:2]}")
            assert os.fstat(file).st_size, "all of it is written by then"
            act(file, *rest)

        return noted

    monkeypatch.setattr(os, "posix_fadvise", note("begin", os.posix_fadvise))
    monkeypatch.setattr(os, "fsync", note("fsync", os.fsync))
    spool = open_spool(GroupCommitter() if how == "group" else PlainCommitter())
    submit(spool, QID, keep_lock=how == "kept")
    assert calls == ["begin tf", "fsync df", "fsync tf", "fsync mq"]


def test_a_kernel_that_takes_no_advice_is_no_reason_to_refuse_mail(
    open_spool: Callable[[commit.Committer], Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*unused: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    spool = open_spool(PlainCommitter())
    submit(spool, QID)
    assert spool.names() == [QID]


def test_an_error_is_everybodys_and_leaves_nothing(
    open_spool: Callable[[Gate], Spool], queue: Path
) -> None:
    def fails(directory: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    gate = Gate(9, fails)
    accepted, errors = submit_many(open_spool(gate), 10)
    assert gate.sizes == [1, 9]
    assert len(accepted) == 1, "the first was alone, and fsynced"
    assert errors == [errno.EIO] * 9
    assert sorted(path.name for path in queue.iterdir()) == [f"df{accepted[0]}", f"qf{accepted[0]}"]


def test_after_an_error_of_syncfs_each_file_is_asked_by_itself(
    open_spool: Callable[[Gate], Spool],
    monkeypatch: pytest.MonkeyPatch,
    logged: list[str],
) -> None:
    """Linux reports it once: it may have been about files of those who come later, still being written."""
    asked: list[str] = []

    def fails(directory: int) -> None:
        asked.append("syncfs")
        raise OSError(errno.EIO, "Input/output error")

    gate = Gate(4, fails)
    spool = open_spool(gate)
    submit_many(spool, 5)
    fsync = os.fsync

    def noted(file: int) -> None:
        asked.append(os.path.basename(os.readlink(f"/proc/self/fd/{file}"))[:2])
        fsync(file)

    monkeypatch.setattr(os, "fsync", noted)
    gate.sizes.clear()
    accepted, errors = submit_many(spool, 5)
    assert (len(accepted), errors, gate.sizes) == (5, [], [1, 4])
    assert asked == ["syncfs", *["df", "tf", "mq"] * 5]
    assert logged == [
        f"{spool.directory}: syncfs: Input/output error; each message is made durable by itself from now on"
    ]


def test_an_error_after_some_renames_leaves_nothing_either(
    open_spool: Callable[[Gate], Spool], queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(4, lambda directory: None)
    spool = open_spool(gate)
    real, renamed = commit.rename, []

    def rename(directory: QueueDirectory, qid: str, kind: str) -> None:
        renamed.append(qid)
        if len(renamed) == 3:  # the second of the batch
            raise OSError(errno.ENOSPC, "No space left on device")
        real(directory, qid, kind)

    monkeypatch.setattr(commit, "rename", rename)
    accepted, errors = submit_many(spool, 5)
    assert len(accepted) == 1
    assert errors == [errno.ENOSPC] * 4
    assert len(list(queue.iterdir())) == 2


def test_what_nobody_foresaw_is_an_error_for_those_who_wait_and_the_next_go_on(
    open_spool: Callable[[Gate], Spool],
) -> None:
    def bug(directory: int) -> None:
        raise KeyError("bug")

    gate = Gate(4, bug)
    spool = open_spool(gate)
    caught: list[BaseException] = []
    threading.excepthook, saved = lambda args: caught.append(args.exc_value), threading.excepthook  # type: ignore[arg-type]
    try:
        accepted, errors = submit_many(spool, 5)
    finally:
        threading.excepthook = saved
    assert len(accepted) == 1
    assert errors == [errno.EIO] * 3
    assert [type(error) for error in caught] == [KeyError]
    submit(spool, QID)
    assert QID in spool.names()


def test_a_directory_that_cannot_be_fsynced_means_each_by_itself(
    open_spool: Callable[[Gate], Spool],
) -> None:
    synced: list[int] = []
    gate = Gate(4, synced.append)
    spool = open_spool(gate)
    spool.may_list = False
    accepted, errors = submit_many(spool, 5)
    assert (len(accepted), errors, synced) == (5, [], [])
    assert gate.sizes == [1, 4]


def test_many_sessions_under_load_are_all_served(
    open_spool: Callable[[GroupCommitter], Spool],
) -> None:
    committer = GroupCommitter(lambda directory: None)
    spool = open_spool(committer)
    accepted, errors = submit_many(spool, 100)
    assert (len(accepted), errors) == (100, [])
    assert not committer._led
    assert sorted(spool.names()) == sorted(accepted)


def test_what_sessions_share_changes_under_the_mutex_alone(
    open_spool: Callable[[commit.Committer], Spool],
) -> None:
    changed = []

    class Watched(GroupCommitter):
        def __setattr__(self, name: str, value: object) -> None:
            if hasattr(self, "_led") and name in ("_led", "_waiting"):
                changed.append(name)
                assert self._mutex.locked()
            super().__setattr__(name, value)

    submit(open_spool(Watched()), QID)
    assert changed == ["_led", "_waiting", "_led"]


def test_syncfs_reports_its_errors(queue: Path) -> None:
    directory = os.open(queue, os.O_RDONLY)
    commit.syncfs(directory)
    os.close(directory)
    with pytest.raises(OSError, match="Bad file descriptor"):
        commit.syncfs(directory)


@pytest.mark.parametrize(
    ("release", "kind"),
    [
        ("6.18.44-fc-v657", GroupCommitter),
        ("5.8.0", GroupCommitter),
        ("5.10.0-28-amd64", GroupCommitter),
        ("5.7.19", PlainCommitter),
        ("4.19", PlainCommitter),
    ],
)
def test_syncfs_is_relied_upon_from_linux_5_8(
    release: str, kind: type, queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "h", release, "v", "m")))
    assert isinstance(committer(True, str(queue)), kind)
    assert isinstance(committer(False, str(queue)), PlainCommitter)


def test_syncfs_is_not_relied_upon_where_it_is_not_known_to_reach_the_disk(
    queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of FUSE and file servers: Linux does not pass it on (the test on LazyFS sees mail lost)."""
    assert isinstance(committer(True, str(queue / "missing")), PlainCommitter)
    words = subprocess.run(
        ["stat", "--file-system", "--format=%t", queue], capture_output=True, check=True
    )
    monkeypatch.setitem(commit._OTHERS_DISKS, int(words.stdout, 16), "this one")
    assert isinstance(committer(True, str(queue)), PlainCommitter)


@pytest.mark.parametrize("how", ["plain", "kept", "group"])
def test_what_begins_in_quarantine_never_has_another_name(
    queue: Path, tmp_path: Path, how: str
) -> None:
    """Who gives back what filters refused looks for hf, and no run takes a qf that is held."""
    spool = Spool(str(queue), commit=GroupCommitter() if how == "group" else PlainCommitter())
    with Disk(queue) as disk:
        submit(spool, QID, keep_lock=how == "kept", quarantine="judged")
        disk.mark("accepted")
    seen = set()
    for cut in disk.cuts():
        for state in disk.survivors(after=cut):
            with playground(tmp_path) as fresh:
                state.write(fresh)
                kinds = {path.name[:2] for path in fresh.iterdir()}
            seen |= kinds
            assert not disk.marks(cut) or kinds == {"df", "hf"}
    assert seen == {"df", "tf", "hf"}
    spool.close()


def test_nor_if_it_becomes_durable_together_with_others(
    open_spool: Callable[[Gate], Spool], queue: Path
) -> None:
    spool = open_spool(Gate(4, lambda directory: None))
    accepted, errors = submit_many(spool, 5, quarantine="judged")
    assert (len(accepted), errors) == (5, [])
    assert sorted(path.name[:2] for path in queue.iterdir()) == [*["df"] * 5, *["hf"] * 5]


# --- every call may fail --------------------------------------------------------------------------


def whole_or_nothing(spool: Spool, queue: Path, what: str) -> None:
    """A qf never without its df; nothing that would be delivered torn."""
    names = {path.name for path in queue.iterdir()}
    if "qf" + QID in names:
        held = spool.lock(QID)
        assert held, f"{what}: what was left cannot be delivered"
        assert os.pread(held.data, 100, 0) == b"body\n"
        held.release()
    assert names <= {"qf" + QID, "df" + QID, "tf" + QID}, what


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EINTR])
@pytest.mark.parametrize("how", [PlainCommitter, GroupCommitter])
def test_whatever_fails_the_client_hears_of_it_and_nothing_is_left(
    open_spool: Callable[[commit.Committer], Spool], queue: Path, how: type, code: int
) -> None:
    spool = open_spool(how())
    for at in range(100):
        accepted = True
        with Faults(code, at) as faults:
            try:
                submit(spool, QID)
            except OSError as error:
                accepted = False
                assert error.errno == code
        is_news = faults.failed not in ("", "close")  # closing what is durable has none
        # Who cannot look whether the queue was moved goes on.
        assert accepted != is_news or faults.failed in ("stat", "fstat")
        if accepted:
            held = spool.lock(QID)
            assert held
            held.retire()
            spool.flush()
        left = list(queue.iterdir())
        assert left == [], f"{faults.failed} failed"
        if not faults.failed:
            assert at > 10
            return
    pytest.fail("there is no end")


@pytest.mark.parametrize("how", [PlainCommitter, GroupCommitter])
def test_when_everything_fails_from_some_point_on_nothing_torn_is_left(
    open_spool: Callable[[commit.Committer], Spool], queue: Path, how: type
) -> None:
    for at in range(100):
        spool = open_spool(how())
        with Faults(errno.EIO, at, lasting=True) as faults:
            try:
                submit(spool, QID)
            except OSError:
                assert faults.failed
            else:
                assert faults.failed in ("", "close")
        whole_or_nothing(spool, queue, f"{faults.failed} failed, and all after it")
        for path in queue.iterdir():
            path.unlink()
        if not faults.failed:
            return
    pytest.fail("there is no end")


@pytest.mark.parametrize("lasting", [False, True])
def test_a_rewrite_that_fails_leaves_a_whole_message_still_locked(
    open_spool: Callable[[commit.Committer], Spool], queue: Path, lasting: bool
) -> None:
    spool = open_spool(PlainCommitter())
    submit(spool, QID)
    for at in range(100):
        held = spool.lock(QID)
        assert held
        held.control.attempts = at
        with Faults(errno.EIO, at, lasting=lasting) as faults:
            try:
                held.rewrite(1.0)
            except OSError:
                assert faults.failed
        assert spool.lock(QID) is None, "the lock was lost"
        assert lasting or not (queue / f"tf{QID}").exists(), "what was begun is taken back"
        held.release()
        if not faults.failed:
            break
        again = spool.lock(QID)
        assert again, f"{faults.failed} failed"
        assert again.control.attempts in (at, 0)
        again.control.attempts = 0
        again.rewrite(1.0)
        again.release()
        assert {path.name for path in queue.iterdir()} == {"qf" + QID, "df" + QID}
    assert at > 4


def test_a_failed_fsync_is_not_tried_again_on_the_same_descriptor(
    open_spool: Callable[[commit.Committer], Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = open_spool(PlainCommitter())
    synced: list[int] = []

    def fails(file: int) -> None:
        synced.append(file)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="Input/output"):
        submit(spool, QID)
    assert len(synced) == len(set(synced))
    assert spool.names() == []


def test_who_delivers_himself_keeps_the_lock_and_no_runner_comes_between(queue: Path) -> None:
    spool = Spool(str(queue))
    submit(spool, QID, keep_lock=True)
    runner = Spool(str(queue))
    assert runner.lock(QID) is None, "it is ours"
    held = spool.lock(QID)
    assert held is not None
    assert held.qid == QID
    held.release()
    taken = runner.lock(QID)
    assert taken is not None
    taken.release()


def test_its_lock_keeps_out_who_would_share_it(queue: Path) -> None:
    submit(Spool(str(queue)), QID, keep_lock=True)
    with (queue / f"qf{QID}").open("rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_commit_that_fails_keeps_no_lock(queue: Path) -> None:
    for at in range(100):
        spool = Spool(str(queue))
        faults = Faults(errno.EIO, at)
        try:
            with faults:
                submit(spool, ids.new(at), keep_lock=True)
        except OSError:
            assert not spool._kept, faults.failed
        if not faults.failed:
            return
