"""Every lock of the queue is exclusive: it keeps out, and is kept out by, who only shares it (mailq)."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minimta.message.envelope import Recipient
from minimta.queue import put_aside, split
from minimta.queue.control import Control
from minimta.queue.letter_judge import in_hand
from minimta.queue.spool import Spool

QID, OTHER = "6AM9CfOn000096", "6AM9CfOn000097"
LATER = time.time() + 7200


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    (tmp_path / "mqueue").mkdir(mode=0o700)
    spool = Spool(str(tmp_path / "mqueue"))
    yield spool
    spool.close()


def control() -> Control:
    return Control(1, b"<emma@lab1.campus>", [Recipient(b"<dave@lab2.campus>")])


def put(spool: Spool, qid: str = QID) -> None:
    data = spool.create(qid)
    os.write(data, b"body\n")
    spool.accept(qid, data, control())


@contextmanager
def shared(spool: Spool, name: str) -> Iterator[None]:
    """Somebody shares a lock on the file. Raise BlockingIOError if it is not to be shared."""
    with Path(spool.directory, name).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield


def is_shared(spool: Spool, name: str) -> bool:
    try:
        with shared(spool, name):
            return True
    except BlockingIOError:
        return False


def test_a_df_is_its_writers_alone(spool: Spool) -> None:
    data = spool.create(QID)
    assert not is_shared(spool, "df" + QID)
    spool.discard(QID, data)


def test_a_message_is_its_holders_alone_also_when_it_is_written_anew(spool: Spool) -> None:
    put(spool)
    with shared(spool, "qf" + QID):
        assert spool.lock(QID) is None
    message = spool.lock(QID)
    assert message is not None
    assert not is_shared(spool, "qf" + QID)
    message.rewrite(LATER)
    assert not is_shared(spool, "qf" + QID)
    message.release()
    assert is_shared(spool, "qf" + QID)


def test_a_message_is_free_once_it_is_let_go_although_a_child_has_its_descriptor(
    spool: Spool,
) -> None:
    put(spool)
    message = spool.lock(QID)
    assert message is not None
    of_a_child = os.dup(message._lock)
    message.release()
    assert is_shared(spool, "qf" + QID)
    os.close(of_a_child)


def test_of_what_was_begun_and_not_ended_nothing_is_left(spool: Spool) -> None:
    put(spool)
    message = spool.lock(QID)
    assert message is not None
    message.begin_rewrite(LATER)
    assert "tf" + QID in spool.files()
    message.release()
    assert sorted(spool.files()) == ["df" + QID, "qf" + QID]


def test_what_somebody_looks_at_is_not_swept(spool: Spool) -> None:
    os.close(spool.create_file("tf" + QID))
    with shared(spool, "tf" + QID):
        spool.sweep(LATER)
    assert spool.files() == ["tf" + QID]
    spool.sweep(LATER)
    assert spool.files() == []


def test_an_empty_qf_is_not_put_aside_while_somebody_has_it(spool: Spool) -> None:
    os.close(spool.create_file("qf" + QID))
    with shared(spool, "qf" + QID):
        spool.sweep(LATER)
    assert spool.files() == ["qf" + QID]
    spool.sweep(LATER)
    assert spool.files() == ["Qf" + QID]


def test_a_qf_that_takes_the_place_of_an_empty_one_is_not_put_aside(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.close(spool.create_file("qf" + QID))
    open_old = spool._open_old

    def opened(name: str, now: float) -> int:
        file = open_old(name, now)
        os.close(spool.create_file("tf" + QID))
        spool.rename("tf" + QID, "qf" + QID)
        return file

    monkeypatch.setattr(spool, "_open_old", opened)
    spool.sweep(LATER)
    assert spool.files() == ["qf" + QID]


@pytest.mark.parametrize("act", [put_aside.remove, put_aside.take_back])
def test_what_was_put_aside_is_its_holders_alone(
    spool: Spool, act: Callable[[Spool, str], bool]
) -> None:
    put(spool)
    spool.rename("qf" + QID, "Qf" + QID)
    with shared(spool, "Qf" + QID):
        assert not act(spool, QID)
    assert act(spool, QID)


def test_a_letter_that_somebody_looks_at_is_in_hand(spool: Spool) -> None:
    put(spool)
    with shared(spool, "qf" + QID):
        assert in_hand(spool, [QID, OTHER]) == {QID}
    assert in_hand(spool, [QID, OTHER]) == set()
    assert is_shared(spool, "qf" + QID), "who looked has let go"


def test_no_part_can_be_had_before_all_have_their_names(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    rename = spool.rename

    def renamed(old: str, new: str) -> None:
        rename(old, new)
        seen.extend(is_shared(spool, name) for name in spool.files() if name.startswith("qf"))

    monkeypatch.setattr(Spool, "rename", lambda self, old, new: renamed(old, new))
    data = spool.create(QID)
    os.write(data, b"body\n")
    split.accept(spool, QID, data, [control(), control()], now=1e9)
    assert seen == [False] * 3
