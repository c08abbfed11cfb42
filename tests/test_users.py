from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from minimta import users
from minimta.users import PasswdError, Untrusted, User, Users, read_as

DAVE = "dave:x:1001:1002:Dave Example,,,:/home/dave:/bin/bash\n"


@pytest.fixture
def passwd(tmp_path: Path) -> Path:
    path = tmp_path / "passwd"
    path.write_text("# people\n\n" + DAVE + "Emma:x:1003:1003::/home/emma:\n")
    return path


def test_a_passwd_file_replaces_the_users_of_the_system(passwd: Path) -> None:
    found = Users(str(passwd))
    assert found.find(b"dave") == User(
        "dave", 1001, 1002, gecos="Dave Example,,,", home="/home/dave", shell="/bin/bash"
    )
    assert found.by_uid(1001) == found.find(b"dave")
    assert found.find(b"root") is None
    assert found.by_uid(0) is None


@pytest.mark.parametrize(("name", "there"), [(b"DAVE", True), (b"Emma", True), (b"emma", False)])
def test_a_name_is_found_exactly_or_in_small_letters(
    passwd: Path, name: bytes, there: bool
) -> None:
    assert (Users(str(passwd)).find(name) is not None) is there


@pytest.mark.parametrize("name", [b"", b".", b"..", b".dave", b"a/dave", b"../dave", b"dave\0"])
def test_what_could_be_a_path_is_nobody(passwd: Path, name: bytes) -> None:
    with open(passwd, "a", encoding="ascii") as file:
        file.writelines(f"{n}:x:1:1::/:\n" for n in (".", "..", ".dave", "a/dave", "../dave"))
    assert Users(str(passwd)).find(name) is None
    assert Users().find(name) is None


def test_a_changed_passwd_file_is_read_again(passwd: Path) -> None:
    found = Users(str(passwd))
    assert found.find(b"carol") is None
    passwd.with_suffix(".new").write_text("carol:x:7:7::/:\n")
    os.rename(passwd.with_suffix(".new"), passwd)
    assert found.find(b"carol") is not None
    assert found.find(b"dave") is None


@pytest.mark.parametrize(
    "line", ["dave:x:1001", "dave:x:a:1::/:", "dave:x:-1:1::/:", ":x:1:1::/:", "a:x:１:1::/:"]
)
def test_a_bad_line_is_an_error_that_names_file_and_line(passwd: Path, line: str) -> None:
    passwd.write_text(DAVE + line + "\n")
    with pytest.raises(PasswdError, match=f"{passwd}: line 2: ") as caught:
        Users(str(passwd)).find(b"dave")
    assert isinstance(caught.value, OSError)


def test_a_missing_passwd_file_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Users(str(tmp_path / "none")).find(b"dave")


def test_the_users_of_the_system_are_those_of_pwd() -> None:
    entry = pwd.getpwuid(0)
    user = Users().find(entry.pw_name.encode().upper())
    assert user is not None
    assert (user.uid, user.home, user.shell) == (0, entry.pw_dir, entry.pw_shell)
    assert Users().find(b"nosuch-user-here") is None
    assert Users().by_uid(2**31 - 7) is None


def test_a_name_service_that_fails_is_not_an_unknown_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ctypes

    class Library:
        @staticmethod
        def getpwnam_r(*_: object) -> int:
            return errno.EIO

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library)
    with pytest.raises(OSError, match="user data base"):
        Users().find(b"nosuch-user-here")


def test_the_groups_of_a_user_hold_his_own() -> None:
    user = Users().by_uid(0)
    assert user is not None
    assert user.gid in users.groups_of(user)


# -- reading in a home directory, as ourselves ------------------------------------------------


@pytest.fixture
def dave(tmp_path: Path) -> User:
    home = tmp_path / "home" / "dave"
    home.mkdir(parents=True)
    home.chmod(0o755)
    home.parent.chmod(0o755)
    return User("dave", os.getuid(), os.getgid(), home=str(home))


def put(user: User, text: bytes = b"carol\n", name: str = ".forward") -> Path:
    path = Path(user.home) / name
    path.write_bytes(text)
    path.chmod(0o644)
    return path


def test_a_plain_file_of_the_user_is_read(dave: User) -> None:
    put(dave)
    assert read_as(dave, ".forward", 100) == b"carol\n"


def test_no_file_and_no_home_are_file_not_found(dave: User, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_as(dave, ".forward", 100)
    for home in (str(tmp_path / "none"), "", "relative"):
        with pytest.raises(FileNotFoundError):
            read_as(User("dave", os.getuid(), os.getgid(), home=home), ".forward", 100)


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
        read_as(dave, ".forward", 100)


def test_a_link_is_followed_to_a_file_that_is_as_safe(dave: User) -> None:
    put(dave, name="fw")
    (Path(dave.home) / ".forward").symlink_to("fw")
    assert read_as(dave, ".forward", 100) == b"carol\n"


def test_a_link_into_an_open_directory_is_not_followed(dave: User) -> None:
    shared = Path(dave.home) / "shared"
    shared.mkdir()
    shared.chmod(0o707)
    put(dave, name="shared/fw")
    (Path(dave.home) / ".forward").symlink_to("shared/fw")
    with pytest.raises(Untrusted, match="World writable directory"):
        read_as(dave, ".forward", 100)


def test_what_may_pass_is_an_os_error(dave: User, monkeypatch: pytest.MonkeyPatch) -> None:
    put(dave)
    for code in (errno.EACCES, errno.EIO, errno.ESTALE):

        def fail(*_: object, code: int = code) -> bytes:
            raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patch:
            patch.setattr(os, "read", fail)
            with pytest.raises(OSError) as caught:
                read_as(dave, ".forward", 100)
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
    assert read_as(nobody, ".forward", 65536) == b"x" * 60000


@pytest.mark.root
def test_a_file_of_root_in_the_home_is_trusted(nobody: User) -> None:
    put(nobody)
    assert read_as(nobody, ".forward", 100) == b"carol\n"


@pytest.mark.root
def test_what_the_user_may_not_read_is_not_read_for_him(nobody: User) -> None:
    put(nobody).chmod(0o600)
    with pytest.raises(PermissionError):
        read_as(nobody, ".forward", 100)


@pytest.mark.root
def test_a_foreign_file_in_the_home_is_not_followed(nobody: User) -> None:
    os.chown(put(nobody), 4242, 4242)
    with pytest.raises(Untrusted, match="Wrong owner"):
        read_as(nobody, ".forward", 100)


@pytest.mark.root
def test_a_child_that_dies_without_a_word_is_an_os_error(
    nobody: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "_answer", lambda *_: os._exit(0))
    with pytest.raises(OSError):
        read_as(nobody, ".forward", 100)


@pytest.mark.root
def test_a_child_that_hangs_is_ended(nobody: User, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    monkeypatch.setattr(users, "READ_TIME", 0.01)
    monkeypatch.setattr(users, "_answer", lambda *_: signal.pause())
    with pytest.raises(OSError) as caught:
        read_as(nobody, ".forward", 100)
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
        users.become("nobody")
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
            users.become("root")
        except OSError as error:
            return str(error).encode()
        return b"became root"

    assert b"could not give up root" in in_child(action)


@pytest.mark.root
def test_become_an_unknown_user_is_an_error() -> None:
    with pytest.raises(OSError, match="no such user"):
        users.become("nosuch-user-here")


@pytest.mark.parametrize(
    ("text", "names"),
    [(b"", set()), (b"# class t\nlist\n emma # lists\n\n#dave\n", {b"list", b"emma"})],
)
def test_trusted_users_are_named_one_a_line(tmp_path: Path, text: bytes, names: set[bytes]) -> None:
    (tmp_path / "trusted-users").write_bytes(text)
    assert users.trusted(str(tmp_path / "trusted-users")) == names
    assert users.trusted(str(tmp_path / "none")) == set()
    assert users.trusted(str(tmp_path)) == set(), "a directory is logged"
