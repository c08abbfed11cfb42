"""What could not be queued is kept for its author, one letter after the other."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.message.envelope import Envelope, Recipient
from minimta.queue.collect import Incoming
from minimta.queue.spool import Spool
from minimta.submission import deadletter

NOW = 1795339967.0
FROM = b"From emma@lab1.campus Sun Nov 22"


@pytest.fixture
def incoming(tmp_path: Path) -> Incoming:
    (tmp_path / "mqueue").mkdir(mode=0o700)
    options = Options()
    options.queue_directory = str(tmp_path / "mqueue")
    envelope = Envelope(b"<emma@lab1.campus>", [Recipient(b"<dave@lab2.campus>")])
    spool = Spool(options.queue_directory)
    made = Incoming(spool, options, envelope, qid="6AM9CfOn000096", now=NOW, host="lab1.campus")
    made.write(b"Subject: x\n\nbody\n")
    return made


def save(incoming: Incoming, home: Path, drop: str = "") -> str:
    return deadletter.save(incoming, str(home), drop, NOW)


def test_letters_are_told_apart_by_an_empty_line(incoming: Incoming, tmp_path: Path) -> None:
    for _ in range(2):
        assert save(incoming, tmp_path) == str(tmp_path / "dead.letter")
    text = (tmp_path / "dead.letter").read_bytes()
    first, second = text[: len(text) // 2], text[len(text) // 2 :]
    assert first == second
    assert first.startswith(FROM) and first.endswith(b"\nSubject: x\n\nbody\n\n")


def test_it_is_on_disk_with_its_name(
    incoming: Incoming, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}"))
    )
    save(incoming, tmp_path)
    assert synced == [str(tmp_path / "dead.letter"), str(tmp_path)]


def test_no_other_letter_comes_between(
    incoming: Incoming, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who only shares the lock, too, is waited for."""
    path = tmp_path / "dead.letter"
    path.touch()
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        waited: list[float] = []

        def pause(seconds: float) -> None:
            waited.append(seconds)
            assert path.read_bytes() == b""
            fcntl.flock(other, fcntl.LOCK_UN)

        monkeypatch.setattr(time, "sleep", pause)
        save(incoming, tmp_path)
    assert len(waited) == 1


@pytest.mark.parametrize("fails", ["write", "fsync"])
@pytest.mark.parametrize("there", [b"", b"From dave Sun Nov 22 09:37:57 2026\n\nearlier\n\n"])
def test_nothing_stays_of_a_letter_that_could_not_be_written_whole(
    incoming: Incoming,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: str,
    there: bytes,
) -> None:
    """The next one's first line would stand behind a line without end, and be none."""
    path = tmp_path / "dead.letter"
    path.write_bytes(there)
    real, written = os.write, list[int]()

    def write(file: int, octets: bytes) -> int:
        if len(written) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(real(file, bytes(octets)[:40]))
        return written[-1]

    def fsync(file: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, fails, write if fails == "write" else fsync)
    with pytest.raises(OSError, match=r"No space left|quota exceeded"):
        save(incoming, tmp_path)
    assert path.read_bytes() == there


def test_what_others_may_have_appended_meanwhile_is_not_cut_off(
    incoming: Incoming, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who keeps the lock keeps no letter from being saved; then nobody knows whose the end is."""
    path = tmp_path / "dead.letter"
    path.touch()
    monkeypatch.setattr(time, "sleep", lambda seconds: None)

    def fsync(file: int) -> None:
        with path.open("ab") as other:
            other.write(b"another's")
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    with path.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="Input/output"):
            save(incoming, tmp_path)
    assert path.read_bytes().endswith(b"\n\nanother's")


def test_where_there_is_no_room_the_next_place_is_taken(incoming: Incoming, tmp_path: Path) -> None:
    (tmp_path / "dead.letter").mkdir()
    drop = str(tmp_path / "drop")
    assert save(incoming, tmp_path, drop) == drop
    with pytest.raises(OSError) as failed:
        save(incoming, tmp_path)
    assert failed.value.errno == errno.EISDIR
