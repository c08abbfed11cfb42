from __future__ import annotations

import errno
import os
import pwd
from pathlib import Path

import pytest

from minimta.system import users
from minimta.system.users import PasswdError, User, Users

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


@pytest.mark.parametrize("key", [b"nosuch-user-here", 2**31 - 7])
def test_a_name_service_that_fails_is_not_an_unknown_user(
    monkeypatch: pytest.MonkeyPatch, key: bytes | int
) -> None:
    import ctypes

    class Library:
        @staticmethod
        def getpwnam_r(*_: object) -> int:
            return errno.EIO

        getpwuid_r = getpwnam_r

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library)
    with pytest.raises(OSError, match="user data base"):
        _look(Users(), key)


def _look(users: Users, key: bytes | int) -> User | None:
    return users.by_uid(key) if isinstance(key, int) else users.find(key)


class Service:
    """A name service with one user beside root; *looks* says which looks fail (KeyError, as pwd has it)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: set[int] | range) -> None:
        self.looks = 0
        self._fails = fails
        monkeypatch.setattr(pwd, "getpwnam", self._look)
        monkeypatch.setattr(pwd, "getpwuid", self._look)

    def _look(self, key: str | int) -> pwd.struct_passwd:
        self.looks += 1
        if self.looks - 1 in self._fails or key not in ("root", 0, "dave", 1001):
            raise KeyError(key)
        uid = 0 if key in ("root", 0) else 1001
        return pwd.struct_passwd((str(key), "x", uid, uid, "", "/", "/bin/sh"))


@pytest.mark.parametrize("key", [b"dave", 1001])
def test_one_look_that_fails_hides_no_user(
    monkeypatch: pytest.MonkeyPatch, key: bytes | int
) -> None:
    # "passwd: files systemd": the C library itself says "no such user", with code 0.
    Service(monkeypatch, {0})
    found = _look(Users(), key)
    assert found is not None
    assert found.uid == 1001


@pytest.mark.parametrize("key", [b"dave", 1001, b"nosuch-user-here"])
def test_without_root_nobody_is_absent(monkeypatch: pytest.MonkeyPatch, key: bytes | int) -> None:
    Service(monkeypatch, range(100))
    with pytest.raises(OSError, match="user data base: not even root"):
        _look(Users(), key)


@pytest.mark.parametrize("spoil", ["missing", "directory", "without root", "garbage"])
def test_a_root_that_only_systemd_makes_up_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spoil: str
) -> None:
    path = tmp_path / "passwd"
    if spoil == "directory":
        path.mkdir()
    elif spoil != "missing":
        path.write_bytes(DAVE.encode() if spoil == "without root" else b"\xff\0" * 99)
    monkeypatch.setattr(users, "_ROOT_FILE", str(path))
    with pytest.raises(OSError, match="user data base"):
        Users().find(b"nosuch-user-here")


def test_the_groups_of_a_user_hold_his_own() -> None:
    user = Users().by_uid(0)
    assert user is not None
    assert user.gid in users.groups_of(user)


@pytest.mark.parametrize("spoil", ["directory", "empty", "garbage"])
def test_groups_that_cannot_be_known_are_not_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spoil: str
) -> None:
    path = tmp_path / "group"
    if spoil == "directory":
        path.mkdir()
    else:
        path.write_bytes(b"\xff\0" * 99 * (spoil == "garbage"))
    monkeypatch.setattr(users, "_GROUP_FILE", str(path))
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid])
    with pytest.raises(OSError, match=r"user data base|directory"):
        users.groups_of(User("dave", 1001, 1001))


@pytest.mark.parametrize("text", ["root:x:0:\n", ""])
def test_who_is_in_no_other_group_has_the_primary_one_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    if text:
        (tmp_path / "group").write_text(text)
    monkeypatch.setattr(users, "_GROUP_FILE", str(tmp_path / "group"))
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid])
    assert users.groups_of(User("dave", 1001, 1001)) == [1001]


@pytest.mark.parametrize(
    ("text", "names"),
    [(b"", set()), (b"# class t\nlist\n emma # lists\n\n#dave\n", {b"list", b"emma"})],
)
def test_trusted_users_are_named_one_a_line(tmp_path: Path, text: bytes, names: set[bytes]) -> None:
    (tmp_path / "trusted-users").write_bytes(text)
    assert users.trusted(str(tmp_path / "trusted-users")) == names
    assert users.trusted(str(tmp_path / "none")) == set()
    with pytest.raises(IsADirectoryError):
        users.trusted(str(tmp_path))


def test_a_file_without_users_is_just_being_written(passwd: Path) -> None:
    passwd.write_text("# people\n")
    with pytest.raises(PasswdError, match="no user stands in it"):
        Users(str(passwd)).find(b"dave")


@pytest.mark.parametrize("text", [b"", b"# shells\n", b"\xff\0garbage", b"/bin/\0sh\n"])
def test_a_list_of_no_shells_is_just_being_written(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "shells").write_bytes(text)
    with pytest.raises(OSError, match="no shell stands in it"):
        users.has_valid_shell(User("dave", 1, 1, shell="/bin/sh"), str(tmp_path / "shells"))


def test_a_list_of_shells_that_cannot_be_read_is_not_that_of_a_host_without_one(
    tmp_path: Path,
) -> None:
    dave = User("dave", 1, 1, shell="/bin/sh")
    assert users.has_valid_shell(dave, str(tmp_path / "none"))
    with pytest.raises(IsADirectoryError):
        users.has_valid_shell(dave, str(tmp_path))
