"""Whose :include: lists are believed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.config.values import blame
from minimta.routing import include
from minimta.system.safedirpath import TrustedFile
from minimta.system.safefile import Untrusted
from minimta.system.users import User
from tests.support import homes
from tests.support.homes import put


@pytest.fixture
def dave(tmp_path: Path) -> User:
    return homes.own_home(tmp_path)


def read(path: object, user: User, *names: str) -> TrustedFile:
    given = Options()
    given.dont_blame = blame(" ".join(names))
    return include.read(os.fsencode(str(path)), user, given)


def test_a_list_is_read_with_its_owner(dave: User) -> None:
    path = put(dave, b"dave\n# comment\ncarol\n", "lists/l")
    found = read(path, dave)
    assert (found.path, found.text) == (str(path), b"dave\n# comment\ncarol\n")
    assert (found.uid, found.gid, found.safe) == (dave.uid, os.stat(path).st_gid, True)


def test_a_list_may_have_any_octets_in_its_name(dave: User) -> None:
    path = put(dave, name=os.fsdecode(b"l\xff"))
    assert include.read(os.fsencode(path), dave, Options()).text == b"carol\n"


@pytest.mark.parametrize("path", ["", "lists/l", "./lists/l", "~/lists/l"])
def test_only_absolute_paths_are_read(
    dave: User, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(dave, name="lists/l")
    monkeypatch.chdir(dave.home)
    with pytest.raises(Untrusted, match=r"^Absolute paths only$"):
        read(path, dave)


def test_a_name_with_nul_is_no_path(dave: User) -> None:
    path = put(dave, name="l")
    with pytest.raises(Untrusted):
        include.read(os.fsencode(path) + b"\0.txt", dave, Options())


def test_four_mib_are_read_and_no_more(dave: User) -> None:
    path = put(dave, b"x" * include.LIMIT, "l")
    assert len(read(path, dave).text) == 4 << 20
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(Untrusted, match=r"^Larger than 4194304 octets$"):
        read(path, dave)


@pytest.mark.parametrize(
    ("name", "code"), [("none", errno.ENOENT), ("none/l", errno.ENOENT), ("l/x", errno.ENOTDIR)]
)
def test_what_is_not_there_is_an_os_error_with_the_path(dave: User, name: str, code: int) -> None:
    put(dave, name="l")
    with pytest.raises(OSError) as caught:
        read(f"{dave.home}/{name}", dave)
    assert (caught.value.errno, caught.value.filename) == (code, f"{dave.home}/{name}")


@pytest.mark.parametrize(
    ("spoil", "reason"), [row[1:] for row in homes.SPOILED], ids=[row[0] for row in homes.SPOILED]
)
def test_what_others_could_have_written_is_not_read(
    dave: User, spoil: Callable[[Path], None], reason: str
) -> None:
    path = put(dave, name="l")
    spoil(path)
    with pytest.raises(Untrusted, match=f"^{reason}$"):
        read(path, dave)


@pytest.mark.parametrize(
    ("spoil", "names", "safe"),
    [
        (homes.mode(0o664), ["GroupWritableIncludeFile"], False),
        (
            homes.mode(0o664),
            ["GroupWritableIncludeFile", "GroupWritableIncludeFileSafe"],
            True,
        ),
        (homes.mode(0o646), ["WorldWritableIncludeFile"], False),
        (homes.mode(0o775, homes.parent), ["IncludeFileInGroupWritableDirPath"], True),
        (homes.mode(0o757, homes.parent), ["IncludeFileInUnsafeDirPath"], False),
        (
            homes.mode(0o757, homes.parent),
            ["IncludeFileInUnsafeDirPath", "IncludeFileInUnsafeDirPathSafe"],
            True,
        ),
    ],
)
def test_the_administrator_may_loosen_that(
    dave: User, spoil: Callable[[Path], None], names: list[str], safe: bool
) -> None:
    path = put(dave, name="l")
    spoil(path)
    assert read(path, dave, *names).safe is safe
    with pytest.raises(Untrusted):
        read(path, dave, *(name.replace("Include", "Forward") for name in names))


# -- as root: who may own what --------------------------------------------------------------------


@pytest.fixture
def nobody(tmp_path: Path) -> User:
    """As whom it is read."""
    return homes.foreign_home(tmp_path)


@pytest.mark.root
@pytest.mark.parametrize(
    ("directory", "file", "reason"),
    [
        ("root", "root", ""),
        ("root", "stranger", ""),
        ("stranger", "stranger", ""),
        ("reader", "reader", ""),
        ("reader", "stranger", ""),
        ("root", "reader", ""),
        ("stranger", "root", "Wrong owner directory"),
        ("stranger", "reader", "Wrong owner directory"),
        ("stranger", "other", "Wrong owner directory"),
    ],
)
def test_a_list_is_of_anybody_in_a_directory_of_root_the_reader_or_himself(
    nobody: User, tmp_path: Path, directory: str, file: str, reason: str
) -> None:
    uids = {"root": 0, "reader": nobody.uid, "stranger": homes.STRANGER, "other": 4243}
    lists = tmp_path / "lists"
    lists.mkdir(mode=0o755)
    path = lists / "l"
    path.write_bytes(b"carol\n")
    path.chmod(0o644)
    os.chown(lists, uids[directory], 0)
    os.chown(path, uids[file], 50)
    if reason:
        with pytest.raises(Untrusted, match=f"^{reason}$"):
            read(path, nobody)
        assert not read(path, nobody, "IncludeFileInUnsafeDirPath").safe
    else:
        found = read(path, nobody)
        assert (found.uid, found.gid, found.safe) == (uids[file], 50, True)


@pytest.mark.root
def test_directories_of_two_others_are_too_many(nobody: User, tmp_path: Path) -> None:
    lists = tmp_path / "lists" / "more"
    lists.mkdir(parents=True)
    path = lists / "l"
    path.write_bytes(b"carol\n")
    for place, uid in ((lists.parent, 4243), (lists, homes.STRANGER), (path, homes.STRANGER)):
        place.chmod(0o755)
        os.chown(place, uid, 0)
    with pytest.raises(Untrusted, match=r"^Wrong owner directory$"):
        read(path, nobody)
    os.chown(lists.parent, homes.STRANGER, 0)
    assert read(path, nobody).uid == homes.STRANGER


@pytest.mark.root
def test_group_writable_directories_of_another_owner_need_their_name(
    nobody: User, tmp_path: Path
) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "l").write_bytes(b"carol\n")
    for place in (lists / "l", lists):
        os.chown(place, homes.STRANGER, 50)
    lists.chmod(0o775)
    with pytest.raises(Untrusted, match=r"^Group writable directory$"):
        read(lists / "l", nobody)
    assert read(lists / "l", nobody, "IncludeFileInGroupWritableDirPath").safe


@pytest.mark.root
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [row[1:] for row in homes.SPOILED],
    ids=[row[0] for row in homes.SPOILED],
)
def test_root_reads_no_list_that_others_could_have_written(
    nobody: User, spoil: Callable[[Path], None], reason: str
) -> None:
    path = put(nobody, name="l")
    os.chown(path, homes.STRANGER, homes.STRANGER)
    spoil(path)
    with pytest.raises(Untrusted, match=f"^{reason}$"):
        read(path, nobody)


@pytest.mark.root
def test_what_the_reader_may_not_read_is_not_read_for_him(nobody: User, tmp_path: Path) -> None:
    path = tmp_path / "l"
    path.write_bytes(b"secret\n")
    path.chmod(0o600)
    with pytest.raises(PermissionError) as caught:
        read(path, nobody)
    assert caught.value.filename == str(path)
