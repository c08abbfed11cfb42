"""Who may write in the mail spool holds a lock file for ever, or plants one."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.mailers.files.mbox import MboxMailer
from minimta.runner import rounds
from minimta.runner.deliver import Deliverer
from minimta.system.users import Users
from tests.support.sharedhost import UIDS, SharedHost, attacking

pytestmark = pytest.mark.root

TEN_MINUTES = 600


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is busy is tried again for a second, not for thirty."""
    monkeypatch.setattr(rounds, "_BUSY_TIME", 1.0)


class Watch:
    """What passes while a delivery waits for a lock: counts seconds, none of which is spent."""

    def __init__(self, act: Callable[[], object] = lambda: None) -> None:
        self.seconds = 0.0
        self._act = act

    def pause(self, seconds: float) -> None:
        self.seconds += seconds
        self._act()


def patient(host: SharedHost, watch: Watch) -> Deliverer:
    made = host.deliverer()
    made.mailers["local"] = MboxMailer(
        host.options, Users(host.options.passwd_file), pause=watch.pause
    )
    return made


def lock_of(host: SharedHost, owner: str, *, age: float = 0, text: bytes = b"4711\n") -> Path:
    path = host.mailbox("dave.lock")
    path.write_bytes(text)
    os.chown(path, UIDS[owner], UIDS[owner])
    touch(path, age)
    return path


def touch(path: Path, age: float = 0) -> None:
    then = path.parent.stat().st_mtime - age
    os.utime(path, (then, then))


@pytest.mark.parametrize("owner", ["dave", "mallory"])
def test_a_lock_that_somebody_holds_delays_its_mailbox_alone(host: SharedHost, owner: str) -> None:
    host.set_spool(0o1777)
    lock = lock_of(host, owner, age=TEN_MINUTES)
    watch = Watch(lambda: touch(lock))  # whoever holds it shows that he is alive
    qids = host.submit_each("dave", "carol", "emma")
    begun = time.monotonic()
    host.run(qids, patient(host, watch))
    assert 1 < time.monotonic() - begun < 10, "tried again for a while, and no longer"
    assert (len(host.letters("carol")), len(host.letters("emma"))) == (1, 1)
    assert host.queued() == [qids[0]]
    assert host.told("to=<dave@lab1.campus>", "dsn=4.2.0, stat=Deferred: mailbox", "is locked")
    assert lock.read_bytes() == b"4711\n"
    assert watch.seconds > 0
    assert host.mailbox("dave").stat().st_size == 0
    lock.unlink()
    host.run()
    assert len(host.letters("dave")) == 1
    assert host.queued() == []


@pytest.mark.parametrize("owner", ["dave", "mallory"])
def test_a_stale_lock_is_removed_and_the_mail_delivered(host: SharedHost, owner: str) -> None:
    host.set_spool(0o1777)
    lock = lock_of(host, owner, age=TEN_MINUTES)
    host.run(host.submit_each("dave", "carol"), patient(host, Watch()))
    assert (len(host.letters("dave")), len(host.letters("carol"))) == (1, 1)
    assert not lock.exists()
    assert host.told("removed the stale lock file dave.lock")


@pytest.mark.parametrize("kind", ["link", "hard link", "link to nothing", "directory", "fifo"])
def test_what_is_planted_as_lock_file_is_neither_followed_nor_written(
    host: SharedHost, kind: str
) -> None:
    host.set_spool(0o1777)
    lock = host.mailbox("dave.lock")
    if kind == "link":
        lock.symlink_to(host.canary)
    elif kind == "hard link":
        os.link(host.canary, lock)
    elif kind == "link to nothing":
        lock.symlink_to(host.evidence / "new")
    elif kind == "directory":
        lock.mkdir()
    else:
        os.mkfifo(lock)
    qids = host.submit_each("dave", "carol")
    before = host.snapshot()
    host.run(qids, patient(host, Watch()))
    assert host.changes(before) == {"mail/carol", "mail/dave"}, "an empty mailbox may be there"
    assert len(host.letters("carol")) == 1
    assert host.letters("dave") == []
    assert host.told("to=<dave@lab1.campus>", "stat=Deferred: ", "is locked")


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo"])
def test_what_is_planted_as_temporary_file_of_the_lock_is_not_written(
    host: SharedHost, kind: str
) -> None:
    """Its name can be guessed: who plants many of them has ours among them."""
    host.set_spool(0o1777)
    temporary = host.mailbox(f".dave.lock.{os.getpid()}")
    if kind == "link":
        temporary.symlink_to(host.canary)
    elif kind == "hard link":
        os.link(host.canary, temporary)
    else:
        os.mkfifo(temporary)
    content = host.canary.read_bytes()
    host.run(host.submit_each("dave", "carol"), patient(host, Watch()))
    assert host.canary.read_bytes() == content
    assert (len(host.letters("dave")), len(host.letters("carol"))) == (1, 1)
    assert not temporary.exists()


def test_a_directory_in_the_place_of_the_temporary_file_delays_its_mailbox_alone(
    host: SharedHost,
) -> None:
    host.set_spool(0o1777)
    host.mailbox(f".dave.lock.{os.getpid()}").mkdir()
    qids = host.submit_each("dave", "carol")
    host.run(qids, patient(host, Watch()))
    assert len(host.letters("carol")) == 1
    assert host.queued() == [qids[0]]
    assert host.told("to=<dave@lab1.campus>", "stat=Deferred: mailbox", "Is a directory")


@pytest.mark.parametrize("kind", ["fcntl", "flock"])
def test_a_kernel_lock_that_somebody_holds_delays_its_mailbox_alone(
    host: SharedHost, kind: str
) -> None:
    box = host.mailbox("dave")
    box.write_bytes(b"")
    os.chown(box, UIDS["dave"], UIDS["dave"])

    def hold() -> None:
        held = box.open("r+b")
        (fcntl.lockf if kind == "fcntl" else fcntl.flock)(held, fcntl.LOCK_EX)
        held_for_ever.append(held)

    held_for_ever: list[object] = []
    qids = host.submit_each("dave", "carol")
    with attacking(host.user("dave"), hold, once=True):
        host.run(qids, patient(host, Watch()))
    assert len(host.letters("carol")) == 1
    assert host.queued() == [qids[0]]
    host.run()
    assert len(host.letters("dave")) == 1
