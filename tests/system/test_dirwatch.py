"""A directory tells of new names, once each time that it is asked to; where it cannot, that is said."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.system.dirwatch import DirectoryWatch
from minimta.system.mounts import Mounts
from minimta.system.wakeup import WakeUp

#: seconds for what must not come, and for what must
SHORT, LONG = 0.05, 30.0


@pytest.fixture
def wake() -> Iterator[WakeUp]:
    with WakeUp() as one:
        yield one


@pytest.fixture
def watch(wake: WakeUp, tmp_path: Path) -> Iterator[DirectoryWatch]:
    one = DirectoryWatch(str(tmp_path))
    if not one.arm():
        pytest.skip("this kernel, or this file system, tells of nothing")
    yield one
    one.close()


def is_told(wake: WakeUp, seconds: float) -> bool:
    begun = time.monotonic()
    wake.wait((), seconds)
    return time.monotonic() - begun < seconds


CHANGES: dict[str, Callable[[Path], object]] = {
    "made": lambda path: (path / "new").touch(),
    "moved": lambda path: (path / "old").rename(path / "new"),
    "moved in": lambda path: (path / "below" / "other").rename(path / "new"),
    "linked": lambda path: (path / "new").hardlink_to(path / "old"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_new_name_is_told_of_once(
    watch: DirectoryWatch, wake: WakeUp, tmp_path: Path, change: str
) -> None:
    (tmp_path / "old").touch()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "other").touch()
    is_told(wake, SHORT)
    assert watch.arm()
    CHANGES[change](tmp_path)
    assert is_told(wake, LONG)
    (tmp_path / "another").touch()
    assert not is_told(wake, SHORT), "it was not asked again"
    assert watch.arm()
    (tmp_path / "third").touch()
    assert is_told(wake, LONG)


def test_what_brings_no_new_name_is_not_told_of(
    watch: DirectoryWatch, wake: WakeUp, tmp_path: Path
) -> None:
    (tmp_path / "old").touch()
    is_told(wake, SHORT)
    assert watch.arm() and watch.arm()
    os.utime(tmp_path / "old")
    (tmp_path / "old").write_text("more")
    (tmp_path / "old").unlink()
    assert not is_told(wake, SHORT)


def test_a_directory_that_is_another_by_now_is_told_of(
    watch: DirectoryWatch, wake: WakeUp, tmp_path: Path
) -> None:
    tmp_path.rename(tmp_path.with_name("aside"))
    assert watch.arm(), "there is none, and so nothing to tell"
    tmp_path.mkdir()
    assert watch.arm()
    (tmp_path / "new").touch()
    assert is_told(wake, LONG)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EMFILE])
def test_what_the_system_does_not_tell_of_is_said(
    watch: DirectoryWatch, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fails(*unused: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "fcntl", fails)
        assert not watch.arm()
    assert watch.arm(), "it is tried again"


def test_what_another_machine_may_change_is_not_told_of(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"36 35 98:0 / {tmp_path} rw - nfs4 server:/queue rw\n")
    watch = DirectoryWatch(str(tmp_path), Mounts(str(table)))
    assert [watch.arm(), watch.arm()] == [False, False]
