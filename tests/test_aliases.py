from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimta import log
from minimta.aliases import Aliases
from minimta.aliases.rebuild import rebuild
from minimta.aliases.report import Report
from minimta.aliases.text import logical_lines
from minimta.maps.cdb import Cdb
from minimta.users import Users

BASE = b"postmaster: root\nMAILER-DAEMON: postmaster\nnobody: /dev/null\n"


@pytest.fixture
def path(tmp_path: Path) -> str:
    tmp_path.chmod(0o755)
    path = tmp_path / "aliases"
    path.write_bytes(BASE)
    path.chmod(0o644)
    return str(path)


def add(path: str, text: bytes) -> Report:
    with open(path, "ab") as file:
        file.write(text)
    return rebuild(path, Users(), lambda domain: domain == b"lab2.campus")


@pytest.mark.parametrize(
    ("text", "lines", "exit_code"),
    [
        (b"", ["3 aliases, longest 10 bytes, 52 bytes total"], 0),
        (
            b"x: dave\nx: carol\n",
            [
                "line 5: x... Warning: duplicate alias name x",
                "5 aliases, longest 10 bytes, 63 bytes total",
            ],
            0,
        ),
        (
            b"x: dave\nX: carol\n",
            [
                "line 5: X... Warning: duplicate alias name x",
                "5 aliases, longest 10 bytes, 63 bytes total",
            ],
            0,
        ),
        (
            b"this is no alias\nx: dave\n",
            ["line 4: missing colon", "4 aliases, longest 10 bytes, 57 bytes total"],
            70,
        ),
        (
            b"x:\n",
            [
                "line 4: x:... missing value for alias",
                "3 aliases, longest 10 bytes, 52 bytes total",
            ],
            70,
        ),
        (b'x: dave@, <carol, "a b\n', ["4 aliases, longest 19 bytes, 72 bytes total"], 0),
        (
            b"x@lab3.campus: dave\n",
            [
                "line 4: x@lab3.campus... cannot alias non-local names",
                "3 aliases, longest 10 bytes, 52 bytes total",
            ],
            70,
        ),
        (
            b'"a b": dave\nc d: dave\n\\x: carol\n:include:/x: dave\n|x: dave\n',
            [
                "line 7: :include:/x: dave... illegal alias name",
                "line 8: |x... cannot alias non-local names",
                "6 aliases, longest 10 bytes, 75 bytes total",
            ],
            70,
        ),
        (b"x: dave", ["4 aliases, longest 10 bytes, 57 bytes total"], 0),
        (b"x :\tdave  ,  carol\t\n", ["4 aliases, longest 15 bytes, 68 bytes total"], 0),
        (b"list@lab2.campus: dave\n", ["4 aliases, longest 10 bytes, 60 bytes total"], 0),
        (
            b"list: dave,\n\tcarol,\n  henry@lab3.campus\n",
            ["4 aliases, longest 31 bytes, 87 bytes total"],
            0,
        ),
        (b"list: dave\n\tcarol\n", ["4 aliases, longest 10 bytes, 66 bytes total"], 0),
        (b"# c\n\nlist: dave # no comment\n", ["4 aliases, longest 17 bytes, 73 bytes total"], 0),
    ],
)
def test_a_rebuild_reports_what_sendmail_reports(
    path: str, text: bytes, lines: list[str], exit_code: int
) -> None:
    report = add(path, text)
    assert report.lines() == [f"{path}: {line}" for line in lines]
    assert report.exit_code == exit_code


def test_line_ends_of_other_systems_count_but_do_no_harm(path: str) -> None:
    Path(path).write_bytes(BASE.replace(b"\n", b"\r\n") + b"x: dave\r\n")
    report = rebuild(path, Users())
    assert report.lines() == [f"{path}: 4 aliases, longest 11 bytes, 61 bytes total"]


def test_an_empty_file_is_a_database_of_nothing(path: str) -> None:
    Path(path).write_bytes(b"")
    report = rebuild(path, Users())
    assert report.lines() == [f"{path}: 0 aliases, longest 0 bytes, 0 bytes total"]
    assert Aliases((path,)).find(b"postmaster") is None


@pytest.mark.parametrize("compiled", [True, False], ids=["database", "text"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"postmaster", b"root"),
        (b"PostMaster", b"root"),
        (b"mailer-daemon", b"postmaster"),
        (b"x", b"carol"),
        (b'"a b"', b"dave"),
        (b"c.d", b"dave"),
        (b"wild+*", b"dave"),
        (b"nosuch", None),
        (b"", None),
    ],
)
def test_lookups_are_without_regard_to_case(
    path: str, compiled: bool, name: bytes, value: bytes | None
) -> None:
    text = b'x: dave\nX: carol\n"a b": dave\nc d: dave\nwild+*: dave\n'
    add(path, text)
    if not compiled:
        os.unlink(path + ".cdb")
    assert Aliases((path,)).find(name) == value


def test_neither_database_nor_text_is_no_alias(tmp_path: Path) -> None:
    assert Aliases((str(tmp_path / "none"),)).find(b"postmaster") is None


def test_a_replaced_database_is_seen_at_the_next_question(path: str) -> None:
    add(path, b"")
    aliases = Aliases((path,))
    assert aliases.find(b"x") is None
    add(path, b"x: dave\n")
    assert aliases.find(b"x") == b"dave"


def test_the_text_alone_is_read_again_when_it_changes(path: str) -> None:
    aliases = Aliases((path,))
    assert aliases.find(b"x") is None
    with open(path, "ab") as file:
        file.write(b"x: dave\n")
    assert aliases.find(b"x") == b"dave"


def test_a_database_older_than_the_text_is_used_and_told_once(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    add(path, b"")
    with open(path, "ab") as file:
        file.write(b"x: dave\n")
    os.utime(path, ns=(0, os.stat(path + ".cdb").st_mtime_ns + 10**9))
    log.configure("sm-mta", "stderr", 9)
    try:
        aliases = Aliases((path,))
        assert aliases.find(b"x") is None
        assert aliases.find(b"postmaster") == b"root"
        os.utime(path + ".cdb", ns=(0, 1))  # seen as another one
        assert aliases.find(b"postmaster") == b"root"
    finally:
        log.configure("sendmail", "none", 9)
    assert capsys.readouterr().err.count("out of date") == 1


@pytest.mark.parametrize(
    ("mode", "reason"), [(0o664, "Group writable file"), (0o646, "World writable file")]
)
def test_a_file_that_others_may_write_is_refused(path: str, mode: int, reason: str) -> None:
    add(path, b"")
    group_writable_by_others(path, mode)
    with open(path, "ab") as file:
        file.write(b"x: dave\n")
    report = rebuild(path, Users())
    assert report.lines() == [f"newaliases: cannot open {path}: {reason}"]
    assert report.exit_code == 0
    assert Aliases((path,)).find(b"x") is None
    os.unlink(path + ".cdb")
    with pytest.raises(OSError, match=reason):
        Aliases((path,)).find(b"x")


def group_writable_by_others(path: str, mode: int) -> None:
    os.chmod(path, mode)
    if os.geteuid() == 0:
        os.chown(path, -1, 12345)
    elif mode & 0o020:
        pytest.skip("without root our own group is ourselves")


def test_a_directory_that_others_may_write_is_refused(path: str) -> None:
    os.chmod(os.path.dirname(path), 0o757)
    report = rebuild(path, Users())
    assert report.lines() == [f"newaliases: cannot open {path}: World writable directory"]


def test_a_database_that_others_may_write_is_not_believed(path: str) -> None:
    add(path, b"")
    os.chmod(path + ".cdb", 0o646)
    with pytest.raises(OSError, match="World writable file"):
        Aliases((path,)).find(b"postmaster")


def test_a_missing_file_is_told_and_leaves_the_database(path: str) -> None:
    add(path, b"")
    os.unlink(path)
    report = rebuild(path, Users())
    assert report.lines() == [f"newaliases: cannot open {path}: No such file or directory"]
    assert Aliases((path,)).find(b"postmaster") == b"root"


def test_a_damaged_database_is_an_os_error(path: str) -> None:
    add(path, b"")
    Path(path + ".cdb").write_bytes(b"x" * 3000)
    with pytest.raises(OSError, match="corrupt"):
        Aliases((path,)).find(b"postmaster")


def test_the_database_is_a_cdb_of_names_in_small_letters(path: str) -> None:
    add(path, b"")
    database = Cdb(path + ".cdb")
    assert database.get(b"mailer-daemon") == b"postmaster"
    assert database.get(b"MAILER-DAEMON") is None


def test_a_rebuild_is_logged_as_sendmail_does(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure("sendmail", "stderr", 9)
    try:
        add(path, b"x:\n")
    finally:
        log.configure("sendmail", "none", 9)
    user = Users().by_uid(os.getuid())
    name = user.name if user else os.getuid()
    lines = [line.partition("]: ")[2] for line in capsys.readouterr().err.split("\n")[:-1]]
    assert lines == [
        f"alias database {path} rebuilt by {name}",
        f"NOQUEUE: SYSERR({name}): {path}: line 4: x:... missing value for alias",
        f"{path}: 3 aliases, longest 10 bytes, 52 bytes total",
    ]


def test_a_continued_line_is_known_by_its_first_and_last_number() -> None:
    text = b"a: b,\n c\n#x\nd: e\n\nf: g"
    assert list(logical_lines(text)) == [(1, 2, b"a: b, c"), (4, 4, b"d: e"), (6, 6, b"f: g")]


def test_a_rebuild_waits_for_another_one_and_gives_up_in_the_end(path: str) -> None:
    from minimta import locks

    other = locks.rebuild(path + ".cdb.lock")
    assert other is not None
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            other.release()

    assert rebuild(path, Users(), pause=pause).count == 3
    assert len(waited) == 3
    again = locks.rebuild(path + ".cdb.lock")
    assert again is not None
    with again, pytest.raises(OSError, match="another process"):
        rebuild(path, Users(), pause=lambda _: None)
