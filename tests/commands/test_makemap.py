"""The command makemap, as processes: what it prints, makes and leaves alone."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from minimta.admin.checkout import HOME
from minimta.commands import makemap
from minimta.maps.cdb import Cdb
from tests.commands.test_interrupts import interrupted

USAGE = makemap.USAGE + "\n"


def run(directory: Path, text: str | bytes, *words: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    command = [sys.executable, "-IS", f"{HOME}/bin/makemap", *words]
    octets = text.encode() if isinstance(text, str) else text
    done = subprocess.run(
        command, input=octets, capture_output=True, check=False, cwd=directory, timeout=60
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def dump(directory: Path, *words: str) -> str:
    code, out, err = run(directory, "", "-u", *words, "cdb", "m")
    assert (code, err) == (0, "")
    return out


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "text", "code", "told", "made"),
    [
        ("", "a 1\nB  Two  words \n", 0, "", "a\t1\nb\tTwo  words \n"),
        ("", "# c\n\na\t1\n#\nlast 2", 0, "", "a\t1\nlast\t2\n"),
        ("", "\ufeffa 1\n\ufeffb 2\n", 0, "", "a\t1\n\ufeffb\t2\n"),
        ("", "\ufeff# c\na 1\n", 0, "", "a\t1\n"),
        ("", "a 1\na 2\nA 3\n", 65, "2: key a: duplicate key;3: key a: duplicate key", "a\t1\n"),
        ("-d", "a 1\na 2\n", 0, "", "a\t1\na\t2\n"),
        ("-r", "a 1\nb 1\na 2\n", 0, "", "a\t2\nb\t1\n"),
        ("-f", "ABC Def\nabc def\n", 0, "", "ABC\tDef\nabc\tdef\n"),
        ("-N", "ABC Def\n", 0, "", "abc\tDef\n"),
        ("-N", "a 1\na 2\n", 65, "2: key a: duplicate key", "a\t1\n"),
        ("", "only\nb \nc 1\n", 65, "1: no RHS for LHS only;2: no RHS for LHS b", "c\t1\n"),
        ("-e", "only\nb \n", 0, "", "only\t\nb\t\n"),
        ("", " a 1\n\tb 2\nc 1\n", 65, "1: syntax error (leading space);2: syntax error (leading space)", "c\t1\n"),
        ("-t:", "d 4:5\n e:6\n:7\nf::8: 9\n", 0, "", "d 4\t5\n e\t6\n\t7\nf\t8: 9\n"),
        ("-t:,", "a:,1\n", 0, "", "a\t,1\n"),
        ("-D;", ";c 3\n#b 2\n", 0, "", "#b\t2\n"),
        ("-i cdb", "a 1\n", 0, "", "a\t1\n"),
        ("-s", "a 1\n", 0, "", "a\t1\n"),
        ("", b"\xc3\x84\xff 1\r\n", 0, "", None),
    ],
)  # fmt: skip
def test_a_table_becomes_a_map_and_bad_lines_are_told(
    place: Path, words: str, text: str | bytes, code: int, told: str, made: str | None
) -> None:
    lines = [f"makemap: m: line {problem}\n" for problem in told.split(";") if told]
    assert run(place, text, *words.split(), "cdb", "m") == (code, "", "".join(lines))
    if made is not None:
        assert dump(place) == made
    assert os.listdir(place) == ["m.cdb"]


def test_octets_stay_what_they_are_and_only_ascii_is_folded(place: Path) -> None:
    run(place, b"\xc3\x84X\xff 1\xfe\0\n" + b"k" * 5000 + b" " + b"v" * 90000 + b"\n", "cdb", "m")
    records = dict(Cdb(str(place / "m.cdb")).records())
    assert records == {b"\xc3\x84x\xff": b"1\xfe\0", b"k" * 5000: b"v" * 90000}


def test_a_key_that_is_told_is_printable(place: Path) -> None:
    assert run(place, b"\xff\n", "cdb", "m")[2] == "makemap: m: line 1: no RHS for LHS \\xff\n"


def test_n_puts_the_null_byte_behind_key_and_value(place: Path) -> None:
    run(place, "a 1\n", "-N", "cdb", "m")
    assert Cdb(str(place / "m.cdb")).get(b"a\0") == b"1\0"


def test_v_tells_each_row(place: Path) -> None:
    shown = "key=`a', val=`1'\nkey=`b', val=`2'\n"
    assert run(place, "a 1\nB 2\n", "-v", "cdb", "m") == (0, shown, "")


def test_o_adds_to_what_is_there(place: Path) -> None:
    assert run(place, "a 1\nb 2\n", "-o", "cdb", "m")[0] == 0
    told = "makemap: m: line 1: key a: duplicate key\n"
    assert run(place, "a 3\nc 3\n", "-o", "cdb", "m") == (65, "", told)
    assert dump(place) == "a\t1\nb\t2\nc\t3\n"
    assert run(place, "a 4\n", "-o", "-r", "cdb", "m")[0] == 0
    assert dump(place, "-t", "=") == "a=4\nb=2\nc=3\n"


def test_without_o_the_old_map_is_forgotten_and_its_mode_kept(place: Path) -> None:
    run(place, "a 1\n", "cdb", "m")
    file = place / "m.cdb"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    file.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(file, 1234, 2345)
    before = file.stat()
    run(place, "b 1\n", "cdb", "m.cdb")
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert dump(place) == "b\t1\n"


@pytest.mark.parametrize(
    ("words", "code", "out", "err"),
    [
        ("", 64, "", USAGE),
        ("cdb", 64, "", USAGE),
        ("cdb m more", 64, "", USAGE),
        ("-q cdb m", 64, "", "makemap: invalid option -- 'q'\n" + USAGE),
        ("cdb m -t", 64, "", "makemap: option requires an argument -- 't'\n" + USAGE),
        ("foo m", 73, "", "makemap: error opening type foo map m: Unknown database type\n"),
        ("-i bar foo m", 73, "", "makemap: error opening type foo map m: Unknown database type\n"),
        ("-u cdb m", 73, "", "makemap: error opening type cdb map m: No such file or directory\n"),
        ("cdb no/m", 73, "", "makemap: error opening type cdb map no/m: No such file or directory\n"),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_told_as_sendmail_tells_it(
    place: Path, words: str, code: int, out: str, err: str
) -> None:
    assert run(place, "", *words.split()) == (code, out, err)
    assert os.listdir(place) == []


def test_an_empty_separator_is_none(place: Path) -> None:
    assert run(place, "", "-t", "", "cdb", "m") == (64, "", "makemap: Invalid separator\n")


def test_flags_that_change_nothing_are_told(place: Path) -> None:
    code, _, err = run(place, "a 1\n", "-c", "1000", "-C", "/etc/mail/sendmail.cf", "implicit", "m")
    assert (code, [line.partition(" has")[0] for line in err.splitlines()]) == (
        0,
        ["makemap: -C", "makemap: -c"],
    )
    assert dump(place) == "a\t1\n"


def test_links_are_not_followed_unless_s_says_so(place: Path) -> None:
    run(place, "a 1\n", "cdb", "target")
    (place / "soft.cdb").symlink_to("target.cdb")
    opening = "makemap: error opening type cdb map"
    assert run(place, "b 2\n", "cdb", "soft") == (73, "", f"{opening} soft: Symbolic links not allowed\n")  # fmt: skip
    assert run(place, "m 2\n", "-s", "cdb", "soft") == (0, "", "")
    assert (place / "soft.cdb").is_symlink()
    assert Cdb(str(place / "target.cdb")).get(b"m") == b"2"
    os.link(place / "target.cdb", place / "hard.cdb")
    assert run(place, "b 2\n", "cdb", "hard") == (
        73,
        "",
        f"{opening} hard: Hard links not allowed\n",
    )
    assert run(place, "b 2\n", "-s", "cdb", "hard") == (0, "", "")
    assert Cdb(str(place / "target.cdb")).get(b"m") == b"2", "the other name keeps what it had"


def test_a_map_is_a_plain_file(place: Path) -> None:
    (place / "m.cdb").mkdir()
    told = "makemap: error opening type cdb map m: Regular files only\n"
    assert run(place, "a 1\n", "cdb", "m") == (73, "", told)


def test_a_directory_that_others_may_write_is_told(place: Path) -> None:
    place.chmod(0o757)
    assert run(place, "a 1\n", "cdb", "m") == (0, "", "WARNING: World writable directory .\n")


def test_a_damaged_map_is_told(place: Path) -> None:
    (place / "m.cdb").write_bytes(b"x" * 3000)
    code, out, err = run(place, "", "-u", "cdb", "m")
    assert (code, out) == (73, "")
    assert err.startswith("makemap: error opening type cdb map m: corrupt database (")


def test_a_map_that_cannot_be_written_leaves_the_old_one(place: Path) -> None:
    run(place, "a 1\n", "cdb", "m")
    text = f"cd {place}; ulimit -f 1; {sys.executable} -IS {HOME}/bin/makemap cdb m"
    table = b"".join(b"key%d value\n" % n for n in range(1000))
    done = subprocess.run(["/bin/sh", "-c", text], input=table, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (73, b"")
    assert done.stderr == b"makemap: error opening type cdb map m: File too large\n"
    assert dump(place) == "a\t1\n"
    assert os.listdir(place) == ["m.cdb"]


def test_who_stops_reading_a_dump_hears_no_traceback(place: Path) -> None:
    run(place, "".join(f"key{n} value\n" for n in range(30000)), "cdb", "m")
    text = f"cd {place}; {sys.executable} -IS {HOME}/bin/makemap -u cdb m | head -1"
    done = subprocess.run(["/bin/sh", "-c", text], capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"key0\tvalue\n", b"")


@pytest.mark.parametrize(
    ("text_mode", "map_mode"), [(0o644, 0o644), (0o600, 0o600), (0o666, 0o644)]
)
def test_a_new_map_may_be_read_by_who_may_read_its_text(
    place: Path, text_mode: int, map_mode: int
) -> None:
    (place / "m").write_text("a 1\n")
    (place / "m").chmod(text_mode)
    assert run(place, "a 1\n", "cdb", "m") == (0, "", "")
    assert stat.S_IMODE((place / "m.cdb").stat().st_mode) == map_mode


def test_who_interrupts_it_has_the_old_map_and_reads_nothing_of_python(place: Path) -> None:
    assert run(place, "a old\n", "cdb", "m")[0] == 0
    before = sorted(os.listdir(place))
    assert interrupted(place, "makemap", "cdb", "m") == (b"", -signal.SIGINT)
    assert (dump(place), sorted(os.listdir(place))) == ("a\told\n", before)
