"""Maps of Berkeley DB, and editmap: what makemap's tests tell of cdb holds for all kinds."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from minimta.admin.checkout import HOME
from minimta.commands import editmap, makemap, map_file
from minimta.maps import berkeley

KINDS = [
    "cdb",
    pytest.param("hash", marks=pytest.mark.debian("db5.3-util")),
    pytest.param("btree", marks=pytest.mark.debian("db5.3-util")),
]
TEXT = "b 2\na 1\nOdd\\key  a  value \u00fc\n"


def run(place: Path, command: str, *words: str, text: str = "") -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    done = subprocess.run(
        [sys.executable, "-IS", f"{HOME}/bin/{command}", *words],
        input=text.encode(), capture_output=True, check=False, cwd=place, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


def file_of(place: Path, kind: str) -> Path:
    return place / f"m.{'cdb' if kind == 'cdb' else 'db'}"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_made_is_read_again(place: Path, kind: str) -> None:
    assert run(place, "makemap", kind, "m", text=TEXT) == (0, "", "")
    code, out, err = run(place, "makemap", "-u", kind, "m")
    assert (code, err) == (0, "")
    assert sorted(out.splitlines()) == ["a\t1", "b\t2", "odd\\key\ta  value \u00fc"]
    assert stat.S_IMODE(file_of(place, kind).stat().st_mode) == 0o640
    assert [path.name for path in place.iterdir()] == [file_of(place, kind).name]


@pytest.mark.parametrize("kind", KINDS)
def test_flags_do_the_same_for_each_kind(place: Path, kind: str) -> None:
    assert run(place, "makemap", kind, "m", text="a 1\n")[0] == 0
    assert run(place, "makemap", "-o", "-r", kind, "m", text="a 2\nb 3\n")[0] == 0
    assert sorted(run(place, "makemap", "-u", kind, "m")[1].splitlines()) == ["a\t2", "b\t3"]
    assert run(place, "makemap", "-d", kind, "m", text="a 1\na 2\n") == (0, "", "")
    assert run(place, "makemap", "-u", kind, "m")[1] == "a\t1\na\t2\n"
    assert run(place, "makemap", "-N", "-f", kind, "m", text="A B\n") == (0, "", "")
    assert run(place, "makemap", "-u", kind, "m")[1] == "A\tB\n"


@pytest.mark.debian("db5.3-util")
@pytest.mark.parametrize(("kind", "words"), [("hash", "(Hash,"), ("btree", "(Btree,")])
def test_other_programs_can_read_it(place: Path, kind: str, words: str) -> None:
    run(place, "makemap", kind, "m", text="key  the value\n")
    done = subprocess.run(
        ["db5.3_dump", "-p", "m.db"], capture_output=True, check=True, cwd=place, text=True
    )
    assert f"type={kind}\n" in done.stdout and done.stdout.endswith(" key\n the value\nDATA=END\n")


@pytest.mark.debian("db5.3-util")
def test_a_map_that_cannot_be_written_leaves_the_old_one(place: Path) -> None:
    run(place, "makemap", "hash", "m", text="a 1\n")
    (place / "m2.db").mkdir()
    assert run(place, "makemap", "hash", "m2", text="a 2\n")[0] == 73
    (place / "bad.db").write_bytes(b"no database at all")
    code, out, err = run(place, "makemap", "-u", "hash", "bad")
    assert (code, out) == (73, "") and err.startswith("makemap: error opening type hash map bad: ")
    assert run(place, "makemap", "-u", "hash", "m")[1] == "a\t1\n"


def test_without_the_programs_only_cdb_is_offered(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(berkeley, "_PATH", "/nonexistent")
    assert list(map_file.kinds()) == ["cdb"]
    assert makemap.main(["makemap", "-l"]) == 0
    assert capfd.readouterr().out == "cdb\nimplicit\n"
    (place / "m.db").write_bytes(b"")
    assert makemap.main(["makemap", "-u", "hash", str(place / "m")]) == 73
    assert (
        "need db5.3_load and db5.3_dump (apt install db5.3-util); minimta itself reads the text"
        in (capfd.readouterr().err)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_is_asked_for_set_and_taken_away(place: Path, kind: str) -> None:
    assert run(place, "editmap", "-u", kind, "m", "New", "a value") == (0, "", "")
    assert run(place, "editmap", "-u", kind, "m", "x", "1")[0] == 0
    assert run(place, "editmap", "-q", kind, "m", "NEW") == (0, "a value\n", "")
    assert run(place, "editmap", "-u", kind, "m", "new", "another")[0] == 0
    assert sorted(run(place, "makemap", "-u", kind, "m")[1].splitlines()) == [
        "new\tanother",
        "x\t1",
    ]
    assert run(place, "editmap", "-x", kind, "m", "new") == (0, "", "")
    missing = (69, "", "editmap: key new doesn't exist in map m\n")
    assert run(place, "editmap", "-x", kind, "m", "new") == missing
    unknown = (69, "", "editmap: couldn't find key new in map m\n")
    assert run(place, "editmap", "-q", kind, "m", "new") == unknown
    assert run(place, "makemap", "-u", kind, "m")[1] == "x\t1\n"


def test_a_key_keeps_its_letters_and_its_nul_if_that_is_said(place: Path) -> None:
    run(place, "makemap", "-N", "-f", "cdb", "m", text="Key value\n")
    assert run(place, "editmap", "-q", "-N", "-f", "cdb", "m", "Key")[1] == "value\n"
    assert run(place, "editmap", "-q", "-f", "cdb", "m", "Key")[0] == 69
    assert run(place, "editmap", "-u", "-N", "-f", "cdb", "m", "Key", "v2")[0] == 0
    assert run(place, "makemap", "-u", "-N", "-f", "cdb", "m")[1] == "Key\tv2\n"


def test_a_map_keeps_its_mode(place: Path) -> None:
    run(place, "makemap", "cdb", "m", text="a 1\n")
    (place / "m.cdb").chmod(0o604)
    run(place, "editmap", "-u", "cdb", "m", "a", "2")
    assert stat.S_IMODE((place / "m.cdb").stat().st_mode) == 0o604


@pytest.mark.parametrize(
    "words", ["", "-q cdb m", "-u cdb m a", "-q -x cdb m a", "cdb m a", "-q cdb m a b"]
)
def test_what_is_no_question_gets_the_usage(place: Path, words: str) -> None:
    assert run(place, "editmap", *words.split()) == (64, "", editmap.USAGE + "\n")


def test_what_is_not_there_is_not_made_by_asking(place: Path) -> None:
    code, out, err = run(place, "editmap", "-q", "cdb", "m", "a")
    assert (code, out) == (73, "")
    assert err == "editmap: error opening type cdb map m: No such file or directory\n"
    assert list(place.iterdir()) == []
