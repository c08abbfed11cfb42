"""Where Sendmail may have its files: what cannot be looked at is not "no mail"."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from minimta.queue import subdirectories


def fails_with(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: str) -> None:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(os, "scandir", fails)


def test_nothing_is_told_where_nothing_is(tmp_path: Path) -> None:
    assert subdirectories.told(str(tmp_path)) == ""
    (tmp_path / "qf").touch()  # no directory
    assert subdirectories.told(str(tmp_path)) == ""


def test_a_directory_that_cannot_be_read_now_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_with(errno.EIO, monkeypatch)
    told = f"{tmp_path}/qf, where Sendmail may have mail, cannot be read: Input/output error"
    assert subdirectories.told(str(tmp_path)) == told
    with pytest.raises(OSError, match="Input/output error"):
        subdirectories.unseen(str(tmp_path))


@pytest.mark.parametrize(("uid", "is_told"), [(0, True), (1001, False)])
def test_a_user_is_not_told_of_what_is_not_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, is_told: bool
) -> None:
    fails_with(errno.EACCES, monkeypatch)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert bool(subdirectories.told(str(tmp_path))) is is_told
