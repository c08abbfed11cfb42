"""What a package is called, and of what time it is: one commit is one package."""

from __future__ import annotations

import os
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from minimta import __version__
from minimta.admin.checkout import AdminError
from minimta.admin.package.version import Version, of_checkout

MOMENT = 1764500000  # 2025-11-30 10:53:20 UTC


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one file and one commit."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "emma")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "emma@lab1.campus")
        monkeypatch.setenv(f"GIT_{name}_DATE", f"{MOMENT} +0000")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def git(place: Path, *words: str) -> str:
    command = ["git", "-C", str(place), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def version(place: Path) -> Version:
    return of_checkout(str(place), [place / "file"])


@pytest.mark.debian("git")
def test_a_commit_has_its_own_number_and_time(clone: Path) -> None:
    commit = git(clone, "rev-parse", "--short=10", "HEAD")
    expected = Version(f"{__version__}+git20251130105320.{commit}", MOMENT)
    assert version(clone) == expected


@pytest.mark.debian("git")
def test_a_release_is_called_so(clone: Path) -> None:
    git(clone, "tag", f"v{__version__}")
    assert version(clone) == Version(__version__, MOMENT)


@pytest.mark.debian("git")
def test_a_changed_work_tree_is_later_than_its_commit(clone: Path) -> None:
    clean = version(clone)
    (clone / "file").write_text("2")
    os.utime(clone / "file", (MOMENT + 60, MOMENT + 60))
    changed = version(clone)
    assert changed.epoch == MOMENT + 60
    assert changed.number.endswith(".dirty")
    assert clean.number < changed.number


@pytest.mark.debian("git", "dpkg")
def test_dpkg_takes_what_comes_later_for_newer(clone: Path) -> None:
    numbers = [__version__, version(clone).number]
    (clone / "file").write_text("2")
    numbers.append(version(clone).number)
    for older, newer in pairwise(numbers):
        command = ["dpkg", "--compare-versions", older, "lt", newer]
        assert subprocess.run(command, check=False).returncode == 0, (older, newer)


def test_without_git_the_newest_file_tells_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "file").touch()
    os.utime(tmp_path / "file", (MOMENT, MOMENT))
    assert version(tmp_path) == Version(__version__, MOMENT)


@pytest.mark.debian("git")
def test_a_directory_in_another_projects_clone_is_no_clone(clone: Path) -> None:
    (clone / "inner").mkdir()
    (clone / "inner" / "file").touch()
    assert version(clone / "inner").number == __version__


@pytest.mark.debian("git")
@pytest.mark.parametrize(("told", "epoch"), [("86400", 86400), ("", MOMENT)])
def test_source_date_epoch_is_heeded(
    clone: Path, monkeypatch: pytest.MonkeyPatch, told: str, epoch: int
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", told)
    assert version(clone).epoch == epoch


@pytest.mark.debian("git")
@pytest.mark.parametrize("told", ["yesterday", "-1", "1.5"])
def test_a_time_that_is_none_is_told(
    clone: Path, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", told)
    with pytest.raises(AdminError, match="is no number of seconds"):
        version(clone)
