from __future__ import annotations

import errno
import fcntl
import gc
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minimta.mailers.files.locked_file import PAUSES, Busy, LockedFile, UnusableFile
from minimta.mailers.files.mbox import Mailbox
from minimta.system import users
from minimta.system.users import User


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    (tmp_path / "mail").mkdir(mode=0o755)
    return tmp_path / "mail"


@pytest.fixture
def dave() -> User:
    return User("dave", os.getuid(), os.getgid())


def opened(spool: Path, user: User, pause: Callable[[float], None] = lambda _: None) -> LockedFile:
    return LockedFile(Mailbox(str(spool), user), pause=pause)


def append(spool: Path, user: User, text: bytes = b"x") -> None:
    with opened(spool, user) as tail:
        tail.append([text])
        tail.sync()


# -- opening -----------------------------------------------------------------------------------


def test_a_missing_mailbox_is_made_for_the_user_alone(spool: Path, dave: User) -> None:
    append(spool, dave)
    found = (spool / "dave").stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_uid == dave.uid
    assert os.listdir(spool) == ["dave"]


def test_a_new_mailbox_is_durable_in_its_directory(
    spool: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    real = os.fsync

    def fsync(file: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(file).st_mode))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    append(spool, dave)
    append(spool, dave)
    assert synced == [True, False, False]


def test_mode_and_owner_of_an_existing_mailbox_stay(spool: Path, dave: User) -> None:
    (spool / "dave").write_bytes(b"")
    (spool / "dave").chmod(0o640)
    append(spool, dave)
    assert stat.S_IMODE((spool / "dave").stat().st_mode) == 0o640


def plant_link(box: Path) -> None:
    box.symlink_to(box.parent.parent / "victim")


def plant_hard_link(box: Path) -> None:
    os.link(box.parent.parent / "victim", box)


def plant_dangling_link(box: Path) -> None:
    box.symlink_to(box.parent.parent / "new")


def plant_socket(box: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as sock:
        os.chdir(box.parent)
        sock.bind(box.name)


def plant_mode(mode: int) -> Callable[[Path], None]:
    def plant(box: Path) -> None:
        box.touch()
        box.chmod(mode)

    return plant


@pytest.mark.parametrize(
    "plant",
    [
        plant_link,
        plant_hard_link,
        plant_dangling_link,
        plant_socket,
        os.mkdir,
        os.mkfifo,
        plant_mode(0o602),
        plant_mode(0o4600),
        plant_mode(0o700),
    ],
)
def test_what_is_no_plain_mailbox_is_refused(
    spool: Path, dave: User, plant: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(spool)
    victim = spool.parent / "victim"
    victim.write_bytes(b"precious")
    victim.chmod(0o600)
    plant(spool / "dave")
    inodes = opened_inodes(monkeypatch)
    with pytest.raises(UnusableFile, match=str(spool / "dave")):
        append(spool, dave)
    assert set(inodes) == {spool.stat().st_ino}, "to open a device may do something"
    assert victim.read_bytes() == b"precious"
    assert sorted(os.listdir(spool.parent)) == ["mail", "victim"]


@pytest.mark.root
def test_a_mailbox_of_another_user_is_refused(spool: Path) -> None:
    (spool / "dave").touch(0o600)
    os.chown(spool / "dave", 4242, 4242)
    with pytest.raises(UnusableFile, match="belongs to uid 4242"):
        append(spool, User("dave", 4243, 4243))


@pytest.mark.root
def test_root_makes_mailboxes_for_user_and_group_mail(spool: Path) -> None:
    import grp

    mail = grp.getgrnam("mail").gr_gid
    os.chown(spool, 0, mail)
    append(spool, User("dave", 4242, 4243))
    found = (spool / "dave").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (4242, mail, 0o660)
    append(spool, User("root", 0, 0))
    assert stat.S_IMODE((spool / "root").stat().st_mode) == 0o600
    assert (spool / "root").stat().st_gid == grp.getgrnam("mail").gr_gid


@pytest.mark.root
def test_root_makes_private_mailboxes_where_mail_has_no_directory(spool: Path) -> None:
    append(spool, User("dave", 4242, 4243))
    found = (spool / "dave").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (4242, 4243, 0o600)


@pytest.mark.root
def test_while_groups_cannot_be_known_no_mailbox_is_made(
    spool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grp.getgrnam", {}.__getitem__)
    monkeypatch.setattr(users, "_GROUP_FILE", str(tmp_path))
    with pytest.raises(IsADirectoryError):
        append(spool, User("dave", 4242, 4243))
    assert os.listdir(spool) == []


# -- races ---------------------------------------------------------------------------------------


def after_the_look(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """*act* between our first look at the mailbox and what we do next."""
    real, looks = os.stat, 0

    def stat_(path: Any, **more: Any) -> os.stat_result:
        nonlocal looks
        try:
            return real(path, **more)
        finally:
            if path == "dave":
                looks += 1
                if looks == 1:
                    act()

    monkeypatch.setattr(os, "stat", stat_)


def opened_inodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of all that is opened from now on."""
    inodes: list[int] = []
    real = os.open

    def open_(*arguments: Any, **more: Any) -> int:
        file = real(*arguments, **more)
        inodes.append(os.fstat(file).st_ino)
        return file

    monkeypatch.setattr(os, "open", open_)
    return inodes


@pytest.mark.parametrize("plant", [plant_link, plant_dangling_link, os.mkdir, plant_socket])
def test_what_is_put_in_its_place_after_the_look_is_not_even_opened(
    spool: Path, dave: User, monkeypatch: pytest.MonkeyPatch, plant: Callable[[Path], None]
) -> None:
    monkeypatch.chdir(spool)
    victim = spool.parent / "victim"
    victim.touch(0o600)
    (spool / "dave").touch(0o600)

    def swap() -> None:
        (spool / "dave").unlink()
        plant(spool / "dave")

    after_the_look(monkeypatch, swap)
    inodes = opened_inodes(monkeypatch)
    with pytest.raises(UnusableFile, match="is no regular file"):
        append(spool, dave)
    assert set(inodes) == {spool.stat().st_ino}
    assert sorted(os.listdir(spool.parent)) == ["mail", "victim"]


def test_a_mailbox_that_is_made_or_removed_after_the_look_is_used_as_it_is_then(
    spool: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = spool / "dave"
    with monkeypatch.context() as now:
        after_the_look(now, lambda: box.touch(0o640))
        append(spool, dave, b"one")
    assert (stat.S_IMODE(box.stat().st_mode), box.read_bytes()) == (0o640, b"one")
    after_the_look(monkeypatch, box.unlink)
    append(spool, dave, b"two")
    assert (stat.S_IMODE(box.stat().st_mode), box.read_bytes()) == (0o600, b"two")


@pytest.mark.root
def test_nothing_that_is_put_where_a_mailbox_is_made_is_given_away(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = spool.parent / "victim"
    victim.touch(0o600)
    after_the_look(monkeypatch, lambda: os.link(victim, spool / "dave"))
    with pytest.raises(UnusableFile, match="has 2 names"):
        append(spool, User("dave", 4242, 4242))
    assert (victim.stat().st_uid, victim.stat().st_size) == (0, 0)


@pytest.mark.parametrize("call", ["fsync", pytest.param("fchown", marks=pytest.mark.root)])
def test_a_mailbox_that_cannot_be_finished_is_not_left_behind(
    spool: Path, dave: User, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as now:
        now.setattr(os, call, fail)
        with pytest.raises(OSError, match="Input/output"):
            append(spool, dave)
    assert os.listdir(spool) == []
    append(spool, dave)


# -- kernel locks --------------------------------------------------------------------------------


def in_child(action: Callable[[], bool]) -> bool:
    """Does *action* return true in another process?"""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if action() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("lock", [fcntl.lockf, fcntl.flock])
@pytest.mark.parametrize("how", [fcntl.LOCK_EX, fcntl.LOCK_SH], ids=["alone", "shared"])
def test_a_locked_mailbox_is_locked_for_every_kind_of_reader(
    spool: Path, dave: User, lock: Callable[[int, int], None], how: int
) -> None:
    def is_free() -> bool:
        file = os.open(spool / "dave", os.O_RDWR)
        try:
            lock(file, how | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    with opened(spool, dave):
        assert not in_child(is_free)
        assert (spool / "dave.lock").exists()
    assert in_child(is_free)
    assert not (spool / "dave.lock").exists()


@pytest.mark.parametrize("lock", [fcntl.lockf, fcntl.flock])
def test_a_mailbox_that_stays_locked_is_busy_after_about_thirty_seconds(
    spool: Path, dave: User, lock: Callable[[int, int], None]
) -> None:
    (spool / "dave").touch(0o600)
    waited: list[float] = []
    holding, holder = os.pipe()
    child = os.fork()
    if child == 0:
        file = os.open(spool / "dave", os.O_RDWR)
        lock(file, fcntl.LOCK_EX)
        os.write(holder, b"locked")
        signal.pause()
        os._exit(0)
    os.read(holding, 6)
    try:
        with pytest.raises(Busy, match="is locked"):
            opened(spool, dave, waited.append).__enter__()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert waited == list(PAUSES)
    assert 20 < sum(waited) <= 31
    assert os.listdir(spool) == ["dave"]


def test_locks_are_taken_in_the_order_of_debian_and_given_back_the_other_way(
    spool: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Policy 11.6: programs that take them in another order could wait for each other."""
    (spool / "dave").touch(0o600)
    inode = (spool / "dave").stat().st_ino
    calls: list[str] = []

    def noted(module: Any, name: str, which: Callable[..., bool]) -> None:
        real = getattr(module, name)

        def call(*arguments: Any, **more: Any) -> Any:
            if which(*arguments):
                calls.append(name)
            return real(*arguments, **more)

        monkeypatch.setattr(module, name, call)

    noted(fcntl, "lockf", lambda *_: True)
    noted(fcntl, "flock", lambda *_: True)
    noted(os, "link", lambda _, target: target == "dave.lock")
    noted(os, "unlink", lambda path: path == "dave.lock")
    noted(os, "close", lambda file: os.fstat(file).st_ino == inode)
    with opened(spool, dave):
        pass
    assert calls == ["lockf", "flock", "link", "unlink", "close"]


def test_a_lock_given_up_while_we_wait_is_taken(spool: Path, dave: User) -> None:
    (spool / "dave.lock").write_bytes(b"12345\n")
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            os.unlink(spool / "dave.lock")

    with opened(spool, dave, pause):
        pass
    assert len(waited) == 2


def test_a_mailbox_replaced_while_we_wait_is_opened_again(
    spool: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    (spool / "dave").touch(0o600)
    real, calls = fcntl.flock, 0

    def flock(file: int, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:  # a reader renames a new file over it just before we lock
            (spool / "new").touch(0o600)
            os.rename(spool / "new", spool / "dave")
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    append(spool, dave, b"text")
    assert calls == 2
    assert (spool / "dave").read_bytes() == b"text"


def test_a_link_planted_while_we_wait_is_refused(
    spool: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    (spool / "dave").touch(0o600)
    real = fcntl.flock

    def flock(file: int, operation: int) -> None:
        real(file, operation)
        if not (spool / "link").exists():
            os.link(spool / "dave", spool / "link")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UnusableFile, match="2 names"):
        append(spool, dave)
    assert not (spool / "dave.lock").exists()


def test_a_signal_does_not_leave_the_lock_file_behind(spool: Path, dave: User) -> None:
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            with opened(spool, dave) as tail:
                os.kill(os.getpid(), signal.SIGTERM)
                tail.append([b"whole"])
        finally:
            os._exit(0)  # not reached: the signal comes when the lock is gone
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == -signal.SIGTERM
    assert os.listdir(spool) == ["dave"]
    assert (spool / "dave").read_bytes() == b"whole"


def test_signals_are_as_before_after_any_end(spool: Path, dave: User) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    append(spool, dave)
    (spool / "dave.lock").write_bytes(b"0")
    with pytest.raises(Busy):
        append(spool, dave)
    os.unlink(spool / "dave.lock")
    (spool / "dave").chmod(0o777)
    with pytest.raises(UnusableFile):
        append(spool, dave)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_no_descriptor_is_left_open(spool: Path, dave: User) -> None:
    gc.collect()  # what other tests have left closes now
    before = len(os.listdir("/proc/self/fd"))
    append(spool, dave)
    (spool / "dave.lock").write_bytes(b"0")
    with pytest.raises(Busy):
        append(spool, dave)
    assert len(os.listdir("/proc/self/fd")) == before
