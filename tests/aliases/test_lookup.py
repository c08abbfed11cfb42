from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.aliases.lookup import Aliases
from minimta.aliases.rebuild import rebuild
from minimta.aliases.rebuild_report import RebuildReport
from minimta.aliases.source import Source
from minimta.aliases.text import logical_lines
from minimta.maps.cdb import Cdb
from minimta.system import log
from minimta.system.users import Users

BASE = b"postmaster: root\nMAILER-DAEMON: postmaster\nnobody: /dev/null\n"


@pytest.fixture
def path(tmp_path: Path) -> str:
    tmp_path.chmod(0o755)
    path = tmp_path / "aliases"
    path.write_bytes(BASE)
    path.chmod(0o644)
    return str(path)


def add(path: str, text: bytes) -> RebuildReport:
    with open(path, "ab") as file:
        file.write(text)
    return rebuild(Source(path), Users(), lambda domain: domain == b"lab2.campus")


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
    report = rebuild(Source(path), Users())
    assert report.lines() == [f"{path}: 4 aliases, longest 11 bytes, 61 bytes total"]


def test_an_empty_file_is_a_database_of_nothing(path: str) -> None:
    Path(path).write_bytes(b"")
    report = rebuild(Source(path), Users())
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


def test_without_database_and_text_nobody_can_say_who_is_unknown(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    missing = str(tmp_path / "none")
    with pytest.raises(OSError, match="alias database unavailable") as caught:
        Aliases((missing,)).find(b"postmaster")
    assert caught.value.filename == missing
    assert Aliases((f"-o {missing}",)).find(b"postmaster") is None


@pytest.fixture
def two(tmp_path: Path) -> tuple[str, str]:
    tmp_path.chmod(0o755)
    for name, text in (("a1", "one: dave\nboth: dave\n"), ("a2", "# c\nTwo: carol\nboth: emma\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o644)
    return str(tmp_path / "a1"), str(tmp_path / "a2")


@pytest.mark.parametrize("compiled", [True, False], ids=["databases", "texts"])
def test_the_first_file_that_has_the_name_counts(two: tuple[str, str], compiled: bool) -> None:
    if compiled:
        for path in two:
            rebuild(Source(path), Users())
    aliases = Aliases(two)
    found = [aliases.find(name) for name in (b"one", b"two", b"both", b"none")]
    assert found == [b"dave", b"carol", b"dave", None]
    assert Aliases(two[::-1]).find(b"both") == b"emma"


def test_a_missing_file_leaves_unknown_only_what_no_file_before_it_has(
    two: tuple[str, str],
) -> None:
    os.unlink(two[1])
    aliases = Aliases(two)
    assert aliases.find(b"both") == b"dave"
    with pytest.raises(OSError, match="unavailable"):
        aliases.find(b"two")
    with pytest.raises(OSError, match="unavailable"):
        Aliases(two[::-1]).find(b"one")
    assert Aliases((two[0], f"-o {two[1]}")).find(b"two") is None


@pytest.mark.parametrize("compiled", [True, False], ids=["databases", "texts"])
def test_the_origin_is_the_file_and_first_line_of_an_entry(
    two: tuple[str, str], compiled: bool
) -> None:
    with open(two[0], "a") as file:
        file.write('# c\n\nlist: dave,\n\tcarol,\n# c\n"A b": dave\none: emma\nf@x.campus: dave\n')
    if compiled:
        for path in two:
            rebuild(Source(path), Users(), lambda domain: True)
    aliases = Aliases(two)
    origins = [aliases.origin(name) for name in (b"ONE", b"list", b'"a B"', b"two", b"both", b"no")]
    assert origins == [(two[0], 9), (two[0], 5), (two[0], 8), (two[1], 2), (two[0], 2), None]
    assert aliases.origin(b"f") == ((two[0], 10) if compiled else None)


def test_the_origin_has_no_line_if_the_text_says_something_else(two: tuple[str, str]) -> None:
    for path in two:
        rebuild(Source(path), Users())
    Path(two[0]).write_text("both: root\n")
    os.unlink(two[1])
    aliases = Aliases(two)
    assert [aliases.origin(name) for name in (b"one", b"both", b"two")] == [
        (two[0], 0),
        (two[0], 0),
        (two[1], 0),
    ]


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


REFUSED = [(0o664, "Group writable file"), (0o646, "World writable file")]


@pytest.mark.parametrize(("mode", "reason"), [*REFUSED, (0o666, "Group writable file")])
def test_a_file_that_others_may_write_is_refused(path: str, mode: int, reason: str) -> None:
    add(path, b"")
    writable_by_others(path, mode)
    with open(path, "ab") as file:
        file.write(b"x: dave\n")
    report = rebuild(Source(path), Users())
    assert report.lines() == [f"newaliases: cannot open {path}: {reason}"]
    assert report.exit_code == 0
    assert Aliases((path,)).find(b"x") is None
    os.unlink(path + ".cdb")
    with pytest.raises(OSError, match=reason):
        Aliases((path,)).find(b"x")


def writable_by_others(path: str, mode: int) -> None:
    os.chmod(path, mode)
    if os.geteuid() == 0:
        os.chown(path, -1, 12345)
    elif mode & 0o020:
        pytest.skip("without root our own group is ourselves")


@pytest.mark.parametrize(
    ("mode", "blamed", "reason"),
    [
        (0o664, "groupwritablealiasfile", ""),
        (0o646, "worldwritablealiasfile", ""),
        (0o666, "groupwritablealiasfile worldwritablealiasfile", ""),
        (0o664, "worldwritablealiasfile", "Group writable file"),
        (0o666, "groupwritablealiasfile", "World writable file"),
        (0o666, "worldwritablealiasfile", "Group writable file"),
        (0o664, "groupwritableforwardfile", "Group writable file"),
    ],
)
def test_each_name_of_dont_blame_sendmail_loosens_one_check(
    path: str, mode: int, blamed: str, reason: str
) -> None:
    writable_by_others(path, mode)
    names = frozenset(blamed.split())
    for aliases in (Aliases((path,), names), Aliases((path,), names)):
        if reason:
            with pytest.raises(OSError, match=reason):
                aliases.find(b"nobody")
        else:
            assert aliases.find(b"nobody") == b"/dev/null"
        report = rebuild(aliases.sources[0], Users())
        assert report.refusal == ((f"newaliases: cannot open {path}: {reason}",) if reason else ())
        if not reason:
            writable_by_others(path + ".cdb", mode)  # for the second round


@pytest.mark.parametrize(
    ("mode", "reason"),
    [(0o757, "World"), (0o777, "World"), (0o1777, "World"), (0o775, "Group")],
)
def test_a_directory_that_others_may_write_is_refused(path: str, mode: int, reason: str) -> None:
    directory = os.path.dirname(path)
    writable_by_others(directory, mode)
    report = rebuild(Source(path), Users())
    assert report.lines() == [
        f"WARNING: {reason} writable directory {directory}",
        f"WARNING: cannot open alias database {path}",
        f"Cannot create database for alias file {path}",
    ]
    assert report.exit_code == 70
    assert not os.path.exists(path + ".cdb")
    with pytest.raises(OSError, match=f"{reason} writable directory"):
        Aliases((path,)).find(b"nobody")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_plain_file_is_refused(path: str, make: Callable[[str], None]) -> None:
    os.unlink(path)
    make(path)
    os.chmod(path, 0o755)
    report = rebuild(Source(path), Users())
    assert report.lines() == [f"newaliases: cannot open {path}: Regular files only"]
    with pytest.raises(OSError, match="Regular files only"):
        Aliases((path,)).find(b"nobody")


def test_a_database_that_others_may_write_is_not_believed(path: str) -> None:
    add(path, b"")
    os.chmod(path + ".cdb", 0o646)
    with pytest.raises(OSError, match="World writable file"):
        Aliases((path,)).find(b"postmaster")


def test_a_missing_file_is_told_and_leaves_the_database(path: str) -> None:
    add(path, b"")
    os.unlink(path)
    report = rebuild(Source(path), Users())
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


@pytest.mark.parametrize("before", [b"", b"# comment\n", b"\n", b" \t\n"])
def test_a_line_that_continues_nothing_is_told(path: str, before: bytes) -> None:
    Path(path).write_bytes(before + b"  x: dave,\n\tcarol\nlist: dave\n")
    report = rebuild(Source(path), Users())
    number = before.count(b"\n") + 2  # its last, as for other errors
    assert report.errors == [f"{path}: line {number}: Non-continuation line starts with space"]
    assert (report.exit_code, report.count) == (os.EX_SOFTWARE, 1)
    assert Aliases((path,)).find(b"list") == b"dave"


@pytest.mark.parametrize("compiled", [True, False], ids=["database", "text"])
@pytest.mark.parametrize(
    ("left", "local_part", "key"),
    [
        (b'"odd"', b"odd", b"odd"),
        (b'"Root"', b"root", b"root"),
        (b'"q.r"', b"q.r", b"q.r"),
        (b'"a b"', b"A b", b'"a b"'),
        (b'"with@lab2.campus"', b"with@lab2.campus", b'"with@lab2.campus"'),
        (b'"in"@lab2.campus', b"in", b"in"),
        (b'"a\\"b"', b'a"b', b'"a\\"b"'),
        (b'"a:b"', b"a:b", b'"a:b"'),
        (b'"odd" ', b"odd", b"odd"),
    ],
)
def test_quotes_that_a_name_does_not_need_are_no_part_of_it(
    path: str, left: bytes, local_part: bytes, key: bytes, compiled: bool
) -> None:
    Path(path).write_bytes(left + b": dave\n")
    if compiled:
        rebuild(Source(path), Users(), lambda domain: domain == b"lab2.campus")
        assert [name for name, _ in Source(path).records()] == [key]
    elif b"@lab2" in left and left[-1:] != b'"':
        return  # without a rebuild nobody knows which domains are ours
    aliases = Aliases((path,))
    assert aliases.find(local_part) == b"dave"
    if compiled:
        assert aliases.origin(local_part) == (path, 1)


def test_a_rebuild_waits_for_another_one_and_gives_up_in_the_end(path: str) -> None:
    from minimta.system import locks

    other = locks.rebuild(path + ".cdb.lock")
    assert other is not None
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            other.release()

    assert rebuild(Source(path), Users(), pause=pause).count == 3
    assert len(waited) == 3
    again = locks.rebuild(path + ".cdb.lock")
    assert again is not None
    waited.clear()
    with again, pytest.raises(OSError, match="another process"):
        rebuild(Source(path), Users(), pause=waited.append)
    assert sum(waited) == pytest.approx(30.0)


@pytest.mark.parametrize("compiled", [True, False], ids=["database", "text"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(path: str, compiled: bool) -> None:
    Path(path).write_bytes(b"\xef\xbb\xbfx: dave\n")
    if compiled:
        rebuild(Source(path), Users())
    assert Aliases((path,)).find(b"x") == b"dave"
    assert Aliases((path,)).origin(b"x") == (path, 1)
