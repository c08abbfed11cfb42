"""The power fails while mail is accepted: whatever was answered with 250, or ended with exit 0, is there.

The queue's own part, alone and in a group: tests/queue/test_crash.py; adoption: tests/queue/test_adopt.py.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from minimta.queue.directory import QueueDirectory
from minimta.queue.qid import valid
from minimta.queue.spool import Spool
from tests.queue.test_crash import Crowd
from tests.smtp.test_chunking import chunks
from tests.support.commandhost import Host
from tests.support.powercut import Disk, playground, without_waiting
from tests.support.smtphost import STRANGER, ClientEnd, SmtpHost
from tests.support.survivors import State

LINES = b"".join(b"line %d\n" % number for number in range(40))
WIRE = b"Subject: x\r\n\r\n" + LINES.replace(b"\n", b"\r\n")


class Inspector:
    """What the queue holds in every state: all that was promised, whole, and nothing torn."""

    def __init__(self, disk: Disk, queue: str, after: Path) -> None:
        """*queue* is the directory's name below the disk's root."""
        self.disk, self._queue, self._after = disk, queue, after
        self._good: set[object] = set()

    def judge(self, *, without: Collection[int] = (), journal: bool = False) -> None:
        """Raise AssertionError for the first state in which something is lost or torn."""
        for cut in self.disk.cuts()[max(without, default=0) :]:
            marks = self.disk.marks(cut)
            for state in self.disk.survivors(after=cut, without=without, journal=journal):
                key = state.key, len(marks)
                if key not in self._good:
                    self._look(state, marks)
                    self._good.add(key)

    def _look(self, state: State, marks: list[str]) -> None:
        with playground(self._after) as fresh, without_waiting():
            state.write(fresh)
            found = whole(fresh / self._queue)
        for mark in marks:
            recipients = found.get(mark.partition(" ")[2], ())
            assert len(recipients) == int(mark.partition(" ")[0]), f"{state.label}: {mark} lost"

    def every_fsync_counts(self, expected: int, *, journal: bool = False) -> None:
        """There are so many, and without any one of them something is lost or torn."""
        assert len(self.disk.syncs()) == expected
        for k in self.disk.syncs():
            with pytest.raises(AssertionError):
                self.judge(without={k}, journal=journal)


def whole(queue: Path) -> dict[str, tuple[bytes, ...]]:
    """What can be delivered: queue id -> recipients. A torn body is an error at once."""
    found = {}
    names = {path.name[2:] for path in queue.glob("[qh]f*")}
    with contextlib.closing(Spool(str(queue))) as spool:
        for qid in filter(valid, names):
            for kind in ("qf", "hf"):
                message = spool.lock(qid, kind=kind)
                if message is None:
                    continue
                with message:
                    assert os.pread(message.data, 10000, 0) == LINES, f"torn: {qid}"
                    found[qid] = tuple(r.address for r in message.control.recipients)
    return found


# --- by SMTP -----------------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path) -> SmtpHost:
    (tmp_path / "host").mkdir()
    (tmp_path / "after").mkdir()
    made = SmtpHost(tmp_path / "host")
    made.options.status_file = "/nonexistent"
    return made


def promise(disk: Disk, reply: str, recipients: int) -> None:
    assert reply.startswith("250 2.0.0 ")
    disk.mark(f"{recipients} {reply.split()[2]}")


def by_data(peer: ClientEnd) -> str:
    peer.says("DATA")
    return peer.sends(WIRE + b".\r\n")[-1]


def by_chunks(peer: ClientEnd) -> str:
    return peer.sends(chunks(WIRE[:70], WIRE[70:]))[-1]


@pytest.mark.parametrize("way", [by_data, by_chunks])
@pytest.mark.parametrize("recipients", [("dave",), ("dave", "carol", "postmaster")], ids=len)
def test_what_smtp_accepts(
    host: SmtpHost, tmp_path: Path, way: Callable[[ClientEnd], str], recipients: tuple[str, ...]
) -> None:
    """Two messages of one session."""
    peer = host.connect(*STRANGER)
    peer.says("EHLO lab1.campus")
    with Disk(tmp_path / "host") as disk:
        for _ in range(2):
            peer.says("MAIL FROM:<emma@lab1.campus>", *(f"RCPT TO:<{to}>" for to in recipients))
            promise(disk, way(peer), len(recipients))
    inspector = Inspector(disk, "mqueue", tmp_path / "after")
    inspector.judge()
    inspector.every_fsync_counts(2 * 3)


def test_a_message_that_is_given_up_takes_nothing_along(host: SmtpHost, tmp_path: Path) -> None:
    """One is accepted, the next is left in the middle of its text."""
    with Disk(tmp_path / "host") as disk:
        peer = host.connect(*STRANGER)
        promise(
            disk, peer.writes("emma@lab1.campus", "dave", text=f"Subject: x\n\n{LINES.decode()}"), 1
        )
        peer.says("MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>", "DATA")
        peer.sends(WIRE * 2000)
    inspector = Inspector(disk, "mqueue", tmp_path / "after")
    inspector.judge()
    inspector.every_fsync_counts(3)


def test_what_several_sessions_are_promised_together(
    host: SmtpHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is alone, and three others become durable together (GroupCommit)."""
    shared = host.shared_state()
    monkeypatch.setattr(host, "shared_state", lambda: shared)
    peers = [host.connect(*STRANGER) for _ in range(4)]
    shared.spool.close()

    def session(peer: ClientEnd, disk: Disk) -> None:
        peer.says("MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>", "RCPT TO:<carol>")
        promise(disk, by_data(peer), 2)
        committer.acknowledged.set()

    with Disk(tmp_path / "host") as disk:
        committer = Crowd()
        shared.spool = Spool(str(host.mqueue), commit=committer)
        threads = [threading.Thread(target=session, args=(peer, disk)) for peer in peers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert committer.sizes == [1, 3]
    assert len(disk.marks(len(disk.calls))) == 4
    inspector = Inspector(disk, "mqueue", tmp_path / "after")
    inspector.judge()
    inspector.every_fsync_counts(3 + 2)


# --- by command ----------------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Host:
    (tmp_path / "host").mkdir()
    (tmp_path / "after").mkdir()
    return Host(tmp_path / "host", capfd)


def submitted(command: Host, queue: str, *words: str) -> Disk:
    with Disk(command.root) as disk:
        ran = command.run(
            f"-C{command.root}/cf", *words, "dave", "emma", stdin=b"Subject: x\n\n" + LINES
        )
        assert ran.code == 0, ran.err
        [qid] = [path.name[2:] for path in (command.root / queue).glob("qf*")]
        disk.mark(f"2 {qid}")
    return disk


def test_what_the_command_takes(command: Host, tmp_path: Path) -> None:
    inspector = Inspector(submitted(command, "mqueue"), "mqueue", tmp_path / "after")
    inspector.judge()
    inspector.every_fsync_counts(3)


def test_what_the_command_takes_into_the_clients_queue(command: Host, tmp_path: Path) -> None:
    disk = submitted(command, "clientmqueue", "-Ac")
    inspector = Inspector(disk, "clientmqueue", tmp_path / "after")
    inspector.judge()
    inspector.every_fsync_counts(3)


@pytest.fixture
def without_rights(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A user cannot list clientmqueue, nor fsync it."""
    made = QueueDirectory.__init__

    def init(self: QueueDirectory, *words: object, **named: object) -> None:
        made(self, *words, **named)  # type: ignore[arg-type]
        self.may_list = False

    monkeypatch.setattr(QueueDirectory, "__init__", init)
    yield


@pytest.mark.usefixtures("without_rights")
def test_what_a_user_leaves_there_is_durable_by_the_journal(command: Host, tmp_path: Path) -> None:
    """fsync of a renamed file puts its names on disk (ext4, xfs, btrfs): see QueueDirectory.sync_names."""
    disk = submitted(command, "clientmqueue", "-Ac")
    inspector = Inspector(disk, "clientmqueue", tmp_path / "after")
    inspector.judge(journal=True)
    data, text, renamed = disk.syncs()
    for k in (data, renamed):  # the last one is for the text of the control file, too
        with pytest.raises(AssertionError):
            inspector.judge(without={k}, journal=True)
    assert text
