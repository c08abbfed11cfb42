"""Files that change together, or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from minimta.admin.checkout import HOME
from minimta.admin.placing import Placing, alone
from minimta.maps.cdb import Cdb
from minimta.maps.cdbwriter import write_cdb


def mode_of(path: Path | str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_without_commit_nothing_has_changed_and_nothing_is_left(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("before")
    with pytest.raises(KeyboardInterrupt), Placing() as placing:
        placing.add(str(old), b"after", 0o644)
        placing.add(str(new), b"after", 0o644)
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["old"] and old.read_text() == "before"


def test_a_file_keeps_its_mode_and_a_link_leads_where_it_led(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("before")
    (tmp_path / "there").chmod(0o640)
    (tmp_path / "link").symlink_to("there")
    with Placing() as placing:
        placing.add(str(tmp_path / "link"), b"after", 0o644)
        placing.commit()
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there").read_text() == "after"
    assert mode_of(tmp_path / "there") == 0o640


def test_a_secret_is_private_before_it_is_written_whatever_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "authinfo"
    path.write_text("before")
    path.chmod(0o644)
    seen = []
    write = os.write

    def watching(file: int, octets: bytes) -> int:
        seen.append(stat.S_IMODE(os.fstat(file).st_mode))
        return write(file, octets)

    monkeypatch.setattr("os.write", watching)
    with Placing() as placing:
        placing.add(str(path), b"secret", 0o600, is_secret=True)
        placing.commit()
    assert seen == [0o600] and mode_of(path) == 0o600


def test_what_a_run_that_was_killed_has_left_is_no_hindrance_and_no_link_is_followed(
    tmp_path: Path,
) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".x.minimta-new").symlink_to("victim")
    with Placing() as placing:
        placing.add(str(tmp_path / "x"), b"after", 0o644)
        placing.commit()
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "x").read_text() == "after"


def test_a_database_that_counts_before_the_text_is_made_anew(tmp_path: Path) -> None:
    path = str(tmp_path / "authinfo")
    write_cdb(f"{path}.cdb", [(b"authinfo:h", b"old")], 0o600)
    with Placing() as placing:
        placing.add(path, b'AuthInfo:h "U:a" "P:b"\n', 0o600, is_secret=True)
        placing.commit()
    assert list(Cdb(f"{path}.cdb").records()) == [(b"authinfo:h", b'"U:a" "P:b"')]
    assert mode_of(f"{path}.cdb") == 0o600


def test_a_file_of_the_administrators_beside_it_stays(tmp_path: Path) -> None:
    (tmp_path / "aliases.new").write_text("mine")
    with Placing() as placing:
        placing.add(str(tmp_path / "aliases"), b"after", 0o644)
        placing.commit()
    assert (tmp_path / "aliases.new").read_text() == "mine"


def test_of_two_at_one_file_the_second_is_refused_and_the_first_is_whole(tmp_path: Path) -> None:
    path = str(tmp_path / "minimta.cf")
    with alone(path), Placing() as placing:
        placing.add(path, b"first", 0o644)
        with pytest.raises(BlockingIOError, match="another minimta setup or import"), alone(path):
            pytest.fail("two are alone")
        placing.commit()
    assert Path(path).read_bytes() == b"first" and os.listdir(tmp_path) == ["minimta.cf"]
    with alone(path):  # now it is free
        pass


def test_what_a_killed_process_has_left_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "minimta.cf"
    code = (
        "import os; from minimta.admin.placing import alone\n"
        f"with alone({str(path)!r}): os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=HOME, check=False)
    assert done.returncode == -9 and os.listdir(tmp_path) == [".minimta.cf.minimta-lock"]
    with alone(str(path)):
        pass
    assert not os.listdir(tmp_path)
