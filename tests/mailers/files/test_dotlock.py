from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.mailers.files import dotlock
from minimta.mailers.files.dotlock import STALE_AGE, WATCHED, DotLock
from minimta.mailers.files.locked_file import PAUSES, Busy, LockedFile
from minimta.mailers.files.mbox import Mailbox
from minimta.system import log
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


def text_of_a_dead_process() -> bytes:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return f"{os.uname().nodename}:{child}:{dotlock._boot()}:12345\n".encode()


def pauses_needed(spool: Path, user: User) -> int:
    waited: list[float] = []
    with opened(spool, user, waited.append):
        pass
    assert not (spool / "dave.lock").exists()
    return len(waited)


def test_the_lock_file_names_host_process_boot_and_start(spool: Path, dave: User) -> None:
    with opened(spool, dave):
        text = (spool / "dave.lock").read_text()
    host, pid, boot, start = text.strip().split(":")
    assert (host, pid) == (os.uname().nodename, str(os.getpid()))
    assert boot == dotlock._boot() != ""
    assert start == dotlock._start(os.getpid())
    with subprocess.Popen(["sleep", "60"]) as later:
        assert int(start) < int(dotlock._start(later.pid))
        later.kill()


def test_a_lock_of_a_process_whose_number_another_one_has_is_stale(spool: Path, dave: User) -> None:
    text = f"{os.uname().nodename}:{os.getpid()}:{dotlock._boot()}:12345\n"
    (spool / "dave.lock").write_text(text)
    assert pauses_needed(spool, dave) == 0


def test_what_a_dead_process_of_our_number_has_begun_is_in_nobodys_way(
    spool: Path, dave: User
) -> None:
    (spool / f".dave.lock.{os.getpid()}").touch()
    assert pauses_needed(spool, dave) == 0
    assert os.listdir(spool) == ["dave"]


def test_who_comes_second_to_a_stale_lock_does_not_have_it(
    spool: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another delivery has made its own where the stale one was removed."""
    lock, is_stale = spool / "dave.lock", DotLock._is_stale
    lock.write_bytes(text_of_a_dead_process())

    def judged(self: DotLock, now: float) -> bool:
        found = is_stale(self, now)
        lock.write_text("another's\n")
        return found

    monkeypatch.setattr(DotLock, "_is_stale", judged)
    directory = os.open(spool, os.O_RDONLY)
    one = DotLock(directory, "dave")
    assert not one.take()
    one.release()
    os.close(directory)
    assert lock.read_text() == "another's\n"


def test_the_start_of_a_process_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    sleep = tmp_path / "a) S 1 2 (b"
    sleep.symlink_to("/bin/sleep")
    with subprocess.Popen([sleep, "60"]) as process:
        assert abs(int(dotlock._start(process.pid)) - int(dotlock._start(os.getpid()))) < 10**6
        process.kill()
    assert dotlock._start(process.pid) == ""


def test_a_lock_of_a_dead_process_of_this_host_is_stale_at_once(spool: Path, dave: User) -> None:
    (spool / "dave.lock").write_bytes(text_of_a_dead_process())
    assert pauses_needed(spool, dave) == 0


def test_a_lock_from_before_the_last_boot_is_stale_at_once(spool: Path, dave: User) -> None:
    text = f"{os.uname().nodename}:{os.getpid()}:another-boot\n"
    (spool / "dave.lock").write_text(text)
    assert pauses_needed(spool, dave) == 0


@pytest.mark.parametrize("text", [b"", b"12345\n", b"otherhost:1:x\n", b"\xff\xff:\n", b"0"])
def test_a_fresh_lock_of_somebody_else_is_respected(spool: Path, dave: User, text: bytes) -> None:
    (spool / "dave.lock").write_bytes(text)
    with pytest.raises(Busy):
        append(spool, dave)
    assert (spool / "dave.lock").read_bytes() == text


@pytest.mark.parametrize("start", ["", ":", f":{dotlock._start(os.getppid())}"])
def test_a_lock_of_a_living_process_is_respected(spool: Path, dave: User, start: str) -> None:
    text = f"{os.uname().nodename}:{os.getppid()}:{dotlock._boot()}{start}\n"
    (spool / "dave.lock").write_text(text)
    with pytest.raises(Busy):
        append(spool, dave)


def age(path: Path, seconds: float) -> None:
    now = path.stat().st_mtime
    os.utime(path, (now - seconds, now - seconds))


def test_an_old_lock_that_nobody_touches_is_stale_within_seconds(spool: Path, dave: User) -> None:
    (spool / "dave.lock").write_bytes(b"0")
    age(spool / "dave.lock", STALE_AGE + 60)
    assert pauses_needed(spool, dave) == WATCHED
    assert sum(PAUSES[:WATCHED]) < 5


def test_an_old_lock_that_is_touched_is_respected(spool: Path, dave: User) -> None:
    (spool / "dave.lock").write_bytes(b"0")
    touched = STALE_AGE + 1000

    def touch(_: float) -> None:
        nonlocal touched
        touched -= 1
        age(spool / "dave.lock", 1)

    age(spool / "dave.lock", touched)
    with pytest.raises(Busy):
        opened(spool, dave, touch).__enter__()


def test_a_link_as_lock_file_is_not_followed(spool: Path, dave: User) -> None:
    (spool.parent / "victim").write_bytes(text_of_a_dead_process())
    (spool / "dave.lock").symlink_to(spool.parent / "victim")
    with pytest.raises(Busy):
        append(spool, dave)
    assert (spool.parent / "victim").exists()


def test_a_lock_that_somebody_removes_is_logged(
    spool: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: lines.append(text))
    with opened(spool, dave):
        (spool / "dave.lock").unlink()
    assert lines == ["somebody removed the lock file dave.lock"]


def test_a_stale_lock_is_put_back_if_another_took_its_place(
    spool: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    (spool / "dave.lock").write_bytes(text_of_a_dead_process())
    real = os.rename

    def rename(source: str, target: str, **directories: int) -> None:
        os.unlink(spool / "dave.lock")
        (spool / "dave.lock").write_bytes(b"fresh")
        real(source, target, **directories)
        monkeypatch.setattr(os, "rename", real)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(Busy):
        append(spool, dave)
    assert (spool / "dave.lock").read_bytes() == b"fresh"
    assert sorted(os.listdir(spool)) == ["dave", "dave.lock"]


def test_a_lock_that_nfs_made_and_says_was_there_already_is_ours(
    spool: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """link(2) was asked twice: the answer to the first question was lost."""
    real = os.link

    def link(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    monkeypatch.setattr(os, "link", link)
    append(spool, dave, b"text")
    assert (spool / "dave").read_bytes() == b"text"
    assert os.listdir(spool) == ["dave"]


def test_a_spool_that_is_closed_to_us_is_locked_by_the_kernel_alone(
    spool: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    (spool / "dave").touch(0o600)
    real = os.open

    def closed(path: str, flags: int, *rest: int, **more: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EACCES, "Permission denied")
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", closed)
    append(spool, dave, b"text")
    assert (spool / "dave").read_bytes() == b"text"
