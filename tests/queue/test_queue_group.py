"""Several queue directories that are one queue: where a message goes, and how it is found again."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.message.envelope import Envelope, Recipient
from minimta.queue import directories, pattern
from minimta.queue import qid as queue_id
from minimta.queue.collect import Incoming
from minimta.queue.control import Control
from minimta.queue.queue_group import QueueGroup
from minimta.queue.spool import Spool
from minimta.system import log

QID = "6AM9CfOn000096"
NOW = 1795340561.0
BODY = b"body of the message\n" * 10
#: what the kernel says of a disk that is full, broken, read-only ...
ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.ESTALE)


class Group:
    """The group, and what is in its directories."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.options = Options()
        self.options.queue_pattern = f"{base}/q*"
        self.options.min_free_blocks = 1
        for name in ("q1", "q2", "q3"):
            (base / name).mkdir(mode=0o700)
        self.now = 1000.0
        self.queue = QueueGroup(self.options, clock=lambda: self.now)

    def spool(self, name: str) -> Spool:
        [found] = [one for one in self.queue.spools if one.directory == f"{self.base}/{name}"]
        return found

    def files(self) -> dict[str, list[str]]:
        return {
            path.name: sorted(os.listdir(path)) for path in self.base.iterdir() if path.is_dir()
        }

    def put(self, qid: str = QID) -> Path:
        """A message; the directory that it went to."""
        spool, qid, data = self.queue.begin(qid, NOW)
        os.write(data, BODY)
        spool.accept(qid, data, Control(1, b"<emma@lab1.campus>", [Recipient(b"<x@y.campus>")]))
        return Path(spool.directory)

    def incoming(self, text: bytes = b"Subject: x\n\n" + BODY) -> Incoming:
        envelope = Envelope(b"<emma@lab1.campus>", [Recipient(b"<x@y.campus>", "PFD")])
        made = Incoming(self.queue, self.options, envelope, qid=QID, now=NOW, host="lab1.campus")
        made.write(text)
        return made


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    made = Group(tmp_path)
    yield made
    made.queue.close()


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: lines.append(text))
    return lines


def fails(monkeypatch: pytest.MonkeyPatch, spool: Spool, name: str, code: int) -> None:
    """From now on this method of the directory meets that error."""

    def fail(*unused: object, **unused_too: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(spool, name, fail)


# --- in -------------------------------------------------------------------------------------------


def test_messages_are_spread_evenly(group: Group) -> None:
    there = Counter(group.put(f"6AM9CfOn0000{number}").name for number in range(10, 40))
    assert there == {"q1": 10, "q2": 10, "q3": 10}


def test_a_message_has_all_its_files_in_one_directory(group: Group) -> None:
    there = group.put()
    assert group.files()[there.name] == [f"df{QID}", f"qf{QID}"]
    assert sum(map(len, group.files().values())) == 2


def test_no_id_is_given_twice_in_different_directories(group: Group) -> None:
    for _ in range(6):
        group.put(QID)
    ids = [name.rpartition("/")[2] for name in group.queue.names()]
    assert len(set(ids)) == 6


def test_who_knows_what_was_left_looks_nowhere_for_an_id(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = queue_id.new(NOW)
    (group.base / "q2" / f"qf{left}").touch()
    for spool in group.queue.spools:
        spool.learn_leftovers()
    asked: list[str] = []
    monkeypatch.setattr(Spool, "find", lambda self, name: asked.append(name))
    for qid in (left, *(queue_id.new(NOW + number) for number in range(6))):
        spool, given, data = group.queue.begin(qid, NOW)
        assert (given == qid) == (qid != left)
        os.close(data)
    assert asked == []


@pytest.mark.parametrize("code", ERRORS)
def test_a_directory_where_nothing_can_be_made_is_passed_over_for_a_while(
    group: Group, monkeypatch: pytest.MonkeyPatch, logged: list[str], code: int
) -> None:
    fails(monkeypatch, group.spool("q2"), "create", code)
    there = Counter(group.put(f"6AM9CfOn0000{number}").name for number in range(10, 40))
    assert set(there) == {"q1", "q3"}
    assert [line for line in logged if f"{group.base}/q2: {os.strerror(code)}" in line][1:] == []
    monkeypatch.undo()
    group.now += 61
    assert "q2" in {group.put(f"6AM9CfOn0001{number}").name for number in range(10, 20)}


def test_a_directory_without_room_is_passed_over(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group.spool("q1"), "free_blocks", lambda: 0)
    there = {group.put(f"6AM9CfOn0000{number}").name for number in range(10, 30)}
    assert there == {"q2", "q3"}
    assert group.queue.free_blocks() > 0


def test_if_all_lack_room_what_must_be_queued_is_queued_and_the_listener_knows(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bounce does not ask for MinFreeBlocks; who asks is told of the directory that has most."""
    for number, name in enumerate(("q1", "q2", "q3")):
        monkeypatch.setattr(group.spool(name), "free_blocks", lambda number=number: -number)
    assert group.queue.free_blocks() == 0
    group.put()


@pytest.mark.parametrize("code", ERRORS)
def test_only_if_none_takes_it_the_message_is_not_taken(
    group: Group, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    for spool in group.queue.spools:
        fails(monkeypatch, spool, "create", code)
    with pytest.raises(OSError, match=os.strerror(code)):
        group.put()
    assert not any(group.files().values())


@pytest.mark.parametrize("method", ["create", "create_file", "rename", "sync_names"])
@pytest.mark.parametrize("bad", [("q1",), ("q1", "q2"), ("q3", "q1")])
def test_a_disk_that_fails_at_the_end_gives_the_message_to_another(
    group: Group, monkeypatch: pytest.MonkeyPatch, method: str, bad: tuple[str, ...]
) -> None:
    for name in bad:
        fails(monkeypatch, group.spool(name), method, errno.EIO)
    for number in range(3):  # whosever turn it is
        incoming = group.incoming()
        qid = incoming.commit()
        incoming.abort()
        [name] = [one for one in group.queue.names() if one.endswith(qid)]
        assert name.split("/")[0] not in bad
        message = group.queue.lock(name)
        assert message is not None
        with message:
            assert os.pread(message.data, 10_000, 0) == BODY
        assert len(group.queue.names()) == number + 1
    assert not any(group.files()[name] for name in bad)


@pytest.mark.parametrize("number", [1, 2])
def test_a_disk_that_is_full_in_the_middle_of_a_long_message_gives_all_of_it_to_another(
    group: Group, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    incoming = group.incoming(b"Subject: long\n\n" + b"a" * 99_999 + b"\n")
    full: set[str] = set()
    real = os.write

    def write(file: int, text: bytes) -> int:
        name = Path(os.readlink(f"/proc/self/fd/{file}")).parent.name
        if name in full or len(full) < number:  # also the one that is to take it over
            full.add(name)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, text)

    monkeypatch.setattr(os, "write", write)
    incoming.write(b"b" * 99_999 + b"\n")
    qid = incoming.commit()
    assert len(full) == number
    assert not any(group.files()[name] for name in full)
    message = group.queue.lock(qid)
    assert message is not None
    with message:
        assert os.pread(message.data, 300_000, 0) == b"a" * 99_999 + b"\n" + b"b" * 99_999 + b"\n"


def test_what_a_failing_disk_has_forgotten_is_given_to_no_other(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failing fsync(2) Linux calls the pages clean, and may forget them: zeros would be accepted."""
    incoming = group.incoming()
    real, failed = os.fsync, list[int]()

    def fsync(file: int) -> None:
        if failed:
            return real(file)
        failed.append(file)
        os.ftruncate(file, 0)
        os.ftruncate(file, len(BODY))
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        incoming.commit()
    incoming.abort()
    assert not any(group.files().values())


def test_if_all_fail_at_the_end_it_is_refused_once_and_can_still_be_saved(
    group: Group, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for spool in group.queue.spools:
        fails(monkeypatch, spool, "sync_names", errno.EIO)
    incoming = group.incoming()
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        incoming.commit()
    with open(tmp_path / "dead.letter", "wb") as file:
        incoming.copy_body(file.fileno())
    assert (tmp_path / "dead.letter").read_bytes() == BODY
    incoming.abort()
    assert not any(group.files().values())


def test_a_kept_lock_is_that_of_the_message(group: Group) -> None:
    qid = group.incoming().commit(keep_lock=True)
    with contextlib.closing(QueueGroup(group.options)) as other:
        assert other.lock(qid) is None
    held = group.queue.lock(qid)
    assert held is not None
    held.release()


# --- out ------------------------------------------------------------------------------------------


def twins(group: Group) -> None:
    """Two messages of one id, as an administrator who moves files may make them."""
    for name in ("q1", "q2"):
        spool = group.spool(name)
        data = spool.create(QID)
        os.write(data, name.encode() + b"\n")
        spool.accept(QID, data, Control(1, b"<emma@lab1.campus>", [Recipient(b"<x@y.campus>")]))


def test_two_messages_of_one_id_are_two_messages(group: Group) -> None:
    twins(group)
    names = sorted(group.queue.names())
    assert names == [f"q1/{QID}", f"q2/{QID}"]
    for name in names:
        message = group.queue.lock(name)
        assert message is not None
        with message:
            assert (message.name, message.qid) == (name, QID)
            assert os.pread(message.data, 100, 0) == name[:2].encode() + b"\n"


def test_one_of_two_that_have_the_same_id_is_removed_without_the_other(group: Group) -> None:
    twins(group)
    message = group.queue.lock(f"q2/{QID}")
    assert message is not None
    message.retire()
    assert message.is_gone()
    assert group.queue.retired == [QID]
    group.queue.flush()
    assert group.files() == {"q1": [f"df{QID}", f"qf{QID}"], "q2": [], "q3": []}


def test_an_id_alone_is_looked_for_in_all_directories(group: Group) -> None:
    group.put()
    message = group.queue.lock(QID)
    assert message is not None
    message.release()
    assert group.queue.lock("6AM9CfOn000097") is None
    assert group.queue.lock(f"q4/{QID}") is None


@pytest.mark.parametrize("name", ["../q1/" + QID, "q1/../q1/" + QID, "q1//" + QID, "/" + QID + "/"])
def test_no_name_leads_out_of_the_queue(group: Group, name: str) -> None:
    group.put()
    message = group.queue.lock(name)
    assert message is None


def test_what_is_listed_has_the_name_that_a_run_locks(group: Group) -> None:
    twins(group)
    assert sorted(one.name for one in directories.listed(group.options)) == [
        f"q1/{QID}",
        f"q2/{QID}",
    ]
    [one] = directories.listed(group.options, only=[f"q2/{QID}"])
    assert (one.name, one.qid) == (f"q2/{QID}", QID)
    assert pattern.path_of(group.options, one.name) == f"{group.base}/q2"
    assert len(list(directories.listed(group.options, only=[QID]))) == 2
    assert sorted(entry.qid for entry in group.queue.entries()) == [f"q1/{QID}", f"q2/{QID}"]


@pytest.mark.parametrize("method", ["names", "entries"])
def test_a_directory_that_cannot_be_read_does_not_hide_the_others(
    group: Group, monkeypatch: pytest.MonkeyPatch, logged: list[str], method: str
) -> None:
    twins(group)
    fails(monkeypatch, group.spool("q1"), method, errno.EIO)
    assert len(list(getattr(group.queue, method)())) == 1
    assert f"{group.base}/q1: {os.strerror(errno.EIO)}" in logged[0]
    for name in ("q2", "q3"):
        fails(monkeypatch, group.spool(name), method, errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        list(getattr(group.queue, method)())


def test_what_dead_processes_left_is_swept_in_all_directories(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("q1", "q2", "q3"):
        (group.base / name / f"tf{QID}").touch()
    fails(monkeypatch, group.spool("q1"), "sweep", errno.EIO)
    group.queue.sweep((group.base / "q2" / f"tf{QID}").stat().st_ctime + 7200)
    assert group.files() == {"q1": [f"tf{QID}"], "q2": [], "q3": []}


def test_all_flushes_are_tried_before_one_that_fails_is_told(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        group.put(f"6AM9CfOn00009{number}")
    for name in group.queue.names():
        message = group.queue.lock(name)
        assert message is not None
        message.retire()
    fails(monkeypatch, group.spool("q1"), "flush", errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        group.queue.flush()
    assert [len(group.files()[name]) for name in ("q1", "q2", "q3")] == [1, 0, 0]


def test_what_is_put_aside_in_any_directory_is_noted_once(group: Group) -> None:
    for name in ("q1", "q3"):
        path = group.base / name / f"qf{QID}"
        path.write_text("garbage\n")
        path.chmod(0o600)
        assert group.queue.lock(f"{name}/{QID}") is None
    assert [qid for qid, _ in group.queue.lost] == [QID, QID]
    assert sorted(group.queue.names("Qf")) == [f"q1/{QID}", f"q3/{QID}"]


# --- directories that come and go -----------------------------------------------------------------


def test_a_new_directory_is_used_after_a_while(group: Group) -> None:
    (group.base / "q4").mkdir(mode=0o700)
    assert "q4" not in {group.put(f"6AM9CfOn0000{number}").name for number in range(10, 20)}
    group.now += 11
    assert "q4" in {group.put(f"6AM9CfOn0001{number}").name for number in range(10, 20)}


def test_a_directory_that_was_moved_away_gets_nothing_more_and_keeps_what_it_has(
    group: Group,
) -> None:
    twins(group)
    os.rename(group.base / "q1", group.base / "away")
    (group.base / "q2").rename(group.base / "aside")
    (group.base / "q2").mkdir(mode=0o700)  # another one
    group.now += 11
    there = {group.put(f"6AM9CfOn0000{number}").name for number in range(10, 20)}
    assert there == {"q2", "q3"}
    assert group.files()["away"] == group.files()["aside"] == [f"df{QID}", f"qf{QID}"]


def test_where_nobody_can_look_an_id_may_be_there_twice_and_both_messages_are_had(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others do not wait for a disk that is broken; who locks a message names its directory."""

    def broken(qid: str) -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO), qid)

    first = group.put().name
    monkeypatch.setattr(group.spool(first), "has", broken)
    second = group.put().name
    assert first != second
    names = {f"{first}/{QID}", f"{second}/{QID}"}
    assert set(group.queue.names()) == names
    for name in names:
        message = group.queue.lock(name)
        assert message is not None and message.name == name
        message.release()


def test_what_has_just_been_moved_away_or_mounted_over_gets_nothing(group: Group) -> None:
    (group.base / "q1").rename(group.base / "away")
    (group.base / "q2").rename(group.base / "aside")
    (group.base / "q2").mkdir(mode=0o700)
    there = {group.put(f"6AM9CfOn0000{number}").name for number in range(10, 20)}
    assert there == {"q2", "q3"}
    assert group.files()["away"] == group.files()["aside"] == []
    for name in ("q2", "q3"):
        (group.base / name).rename(group.base / f"old-{name}")
    with pytest.raises(OSError, match="there is no such directory"):
        group.put()


def test_the_place_that_they_are_in_may_be_moved_away(group: Group) -> None:
    group.base.rename(group.base.with_name("moved"))
    for name in ("q1", "q3"):
        (group.base / name).mkdir(mode=0o700, parents=True)
    group.now += 11
    there = {group.put(f"6AM9CfOn0000{number}").name for number in range(10, 20)}
    assert there == {"q1", "q3"}
    assert sum(map(len, group.files().values())) == 20


def test_if_all_are_gone_nothing_is_taken(group: Group, logged: list[str]) -> None:
    for name in ("q1", "q2", "q3"):
        (group.base / name).rename(group.base / f"old-{name}")
    group.now += 11
    with pytest.raises(OSError, match="there is no such directory"):
        group.put()
    assert not any(group.files().values())
    assert group.queue.free_blocks() == 0
    (group.base / "q1").mkdir(mode=0o700)
    group.now += 11
    assert group.put().name == "q1"


def test_where_the_names_cannot_be_looked_up_what_is_open_goes_on(
    group: Group, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    # As for a listener that was root, in a /var/spool/mqueue of mode 700.
    def refuse(name: str, **unused: object) -> os.stat_result:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)

    before = group.queue.spools
    with monkeypatch.context() as patch:
        patch.setattr("minimta.queue.pattern.os.stat", refuse)
        group.queue.look()
    assert group.queue.spools == before
    group.now += 9
    there = {group.put(f"6AM9CfOn0000{number}").name for number in range(10, 20)}
    assert there == {"q1", "q2", "q3"}
    assert logged
    assert all("Permission denied" in line for line in logged)


def test_a_directory_that_goes_is_told_of_each_time_and_leaves_nothing_open(
    group: Group, logged: list[str]
) -> None:
    gc.collect()  # what other tests have left closes now
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        (group.base / "q1").rename(group.base / "away")
        group.queue.look()
        (group.base / "away").rename(group.base / "q1")
        group.queue.look()
    told = [line for line in logged if f"{group.base}/q1: " in line]
    assert len(told) == 3
    assert "it is gone" in told[0]
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_told_once_is_told_again_the_next_day(
    group: Group, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    fails(monkeypatch, group.spool("q1"), "begin", errno.EIO)
    for seconds in (0, 100, 100, 86400):
        group.now += seconds
        for number in range(10, 14):
            group.put(f"6AM9CfOn0000{number}")
    assert len([line for line in logged if "Input/output error" in line]) == 2


def test_none_at_the_beginning_is_an_error(tmp_path: Path) -> None:
    options = Options()
    options.queue_pattern = f"{tmp_path}/q*"
    with pytest.raises(pattern.NoQueueDirectory):
        directories.open_queue(options)
    gc.collect()  # what other tests have left closes now
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(pattern.NoQueueDirectory):
        directories.open_queue(options)
    assert len(os.listdir("/proc/self/fd")) == before


def test_threads_look_for_directories_one_at_a_time(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, use = [], group.queue._use

    def used(found: dict[str, Spool]) -> None:
        seen.append(group.queue._mutex.locked())
        use(found)

    monkeypatch.setattr(group.queue, "_use", used)
    group.queue.look()
    assert seen == [True]
