"""Giving up rights for good, and reading as somebody else."""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from minimta import rights
from minimta.rights import read_as
from minimta.trust import Untrusted
from minimta.users import User

# -- reading in a home directory, as ourselves ------------------------------------------------


@pytest.fixture
def dave(tmp_path: Path) -> User:
    home = tmp_path / "home" / "dave"
    home.mkdir(parents=True)
    home.chmod(0o755)
    home.parent.chmod(0o755)
    return User("dave", os.getuid(), os.getgid(), home=str(home))


def read(user: User, limit: int = 100) -> bytes:
    return read_as(user, os.path.join(user.home, ".forward"), limit)


def put(user: User, text: bytes = b"carol\n", name: str = ".forward") -> Path:
    path = Path(user.home) / name
    path.write_bytes(text)
    path.chmod(0o644)
    return path


def test_a_plain_file_of_the_user_is_read(dave: User) -> None:
    put(dave)
    assert read(dave) == b"carol\n"


def test_no_file_and_no_home_are_file_not_found(dave: User, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(dave)
    with pytest.raises(FileNotFoundError):
        read(User("dave", os.getuid(), os.getgid(), home=str(tmp_path / "none")))


def group_writable(path: Path) -> None:
    path.chmod(0o664)
    os.chown(path, -1, other_group())


def other_group() -> int:
    """A group that is not our primary one; root may take any."""
    if os.geteuid() == 0:
        return 12345
    others = [gid for gid in os.getgroups() if gid != os.getegid()]
    return others[0] if others else pytest.skip("we have but one group")


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_in_a_circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def link_to_a_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (group_writable, "Group writable file"),
        (lambda path: path.chmod(0o646), "World writable file"),
        (make_directory, "Regular files only"),
        (make_fifo, "Regular files only"),
        (link_in_a_circle, "Regular files only"),
        (link_to_a_device, "Regular files only"),
        (lambda path: path.write_bytes(b"x" * 101), "Larger than 100 octets"),
        (lambda path: path.parent.chmod(0o757), "World writable directory"),
        (lambda path: path.parent.parent.chmod(0o757), "World writable directory"),
    ],
)
def test_what_others_could_have_written_is_not_read(
    dave: User, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(put(dave))
    with pytest.raises(Untrusted, match=f"^{reason}$"):
        read(dave)


def test_a_link_is_followed_to_a_file_that_is_as_safe(dave: User) -> None:
    put(dave, name="fw")
    (Path(dave.home) / ".forward").symlink_to("fw")
    assert read(dave) == b"carol\n"


def test_a_link_into_an_open_directory_is_not_followed(dave: User) -> None:
    shared = Path(dave.home) / "shared"
    shared.mkdir()
    shared.chmod(0o707)
    put(dave, name="shared/fw")
    (Path(dave.home) / ".forward").symlink_to("shared/fw")
    with pytest.raises(Untrusted, match="World writable directory"):
        read(dave)


def test_what_may_pass_is_an_os_error(dave: User, monkeypatch: pytest.MonkeyPatch) -> None:
    put(dave)
    for code in (errno.EACCES, errno.EIO, errno.ESTALE):

        def fail(*_: object, code: int = code) -> bytes:
            raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patch:
            patch.setattr(os, "read", fail)
            with pytest.raises(OSError) as caught:
                read(dave)
        assert caught.value.errno == code


# -- with root: other users are other users -----------------------------------------------------


@pytest.fixture
def nobody(tmp_path: Path) -> User:
    """A user without rights whose home he can reach."""
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/") and path.name != "tmp":
            path.chmod(0o755)
    home = tmp_path / "nobody"
    home.mkdir()
    entry = pwd.getpwnam("nobody")
    os.chown(home, entry.pw_uid, entry.pw_gid)
    return User("nobody", entry.pw_uid, entry.pw_gid, home=str(home))


@pytest.mark.root
def test_root_reads_as_the_user(nobody: User) -> None:
    os.chown(put(nobody, b"x" * 60000), nobody.uid, nobody.gid)
    assert read(nobody, 65536) == b"x" * 60000


@pytest.mark.root
def test_a_file_of_root_in_the_home_is_trusted(nobody: User) -> None:
    put(nobody)
    assert read(nobody) == b"carol\n"


@pytest.mark.root
def test_what_the_user_may_not_read_is_not_read_for_him(nobody: User) -> None:
    put(nobody).chmod(0o600)
    with pytest.raises(PermissionError):
        read(nobody)


@pytest.mark.root
def test_a_foreign_file_in_the_home_is_not_followed(nobody: User) -> None:
    os.chown(put(nobody), 4242, 4242)
    with pytest.raises(Untrusted, match="Wrong owner"):
        read(nobody)


@pytest.mark.root
def test_a_child_that_dies_without_a_word_is_an_os_error(
    nobody: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rights, "_answer", lambda *_: os._exit(0))
    with pytest.raises(OSError):
        read(nobody)


@pytest.mark.root
def test_a_child_that_hangs_is_ended(nobody: User, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    monkeypatch.setattr(rights, "READ_TIME", 0.01)
    monkeypatch.setattr(rights, "_answer", lambda *_: signal.pause())
    with pytest.raises(OSError) as caught:
        read(nobody)
    assert caught.value.errno == errno.ETIMEDOUT
    with suppress(ChildProcessError):  # it may have been reaped at once
        os.waitpid(-1, 0)


def in_child(action: Callable[[], bytes]) -> bytes:
    """What *action* returns in a process of its own."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(sending, action())
        finally:
            os._exit(0)
    os.close(sending)
    answer = os.read(receiving, 4096)
    os.close(receiving)
    os.waitpid(child, 0)
    return answer


@pytest.mark.root
def test_become_gives_up_root_and_all_groups_for_good() -> None:
    def action() -> bytes:
        os.setgroups([4242])
        rights.become("nobody")
        with open("/proc/self/status", "rb") as file:
            status = file.read()
        return b"|".join(
            line for line in status.split(b"\n") if line[:3] in (b"Uid", b"Gid", b"Gro")
        )

    entry = pwd.getpwnam("nobody")
    uid, gid, groups = in_child(action).split(b"|")
    assert uid.split()[1:] == [b"%d" % entry.pw_uid] * 4
    assert gid.split()[1:] == [b"%d" % entry.pw_gid] * 4
    assert groups.split()[1:] == []


@pytest.mark.root
def test_become_refuses_when_root_could_be_had_back() -> None:
    def action() -> bytes:
        try:
            rights.become("root")
        except OSError as error:
            return str(error).encode()
        return b"became root"

    assert b"could not give up root" in in_child(action)


@pytest.mark.root
def test_become_an_unknown_user_is_an_error() -> None:
    with pytest.raises(OSError, match="no such user"):
        rights.become("nosuch-user-here")
