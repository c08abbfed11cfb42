"""A new id is free if nothing of it is there: known beforehand, or looked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimta.queue import qid as queue_id
from minimta.queue.spool import Spool

NOW = 1795338761.0
KINDS = ("df", "qf", "tf", "xf", "af", "hf", "Qf")


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    directory = tmp_path / "mqueue"
    directory.mkdir(mode=0o700)
    return directory


class Looked(Spool):
    """Notes for what it looks."""

    looked: tuple[str, ...] = ()

    def find(self, name: str) -> os.stat_result | None:
        self.looked += (name,)
        return super().find(name)


def make(spool: Spool, qid: str) -> None:
    spool.discard(qid, spool.create(qid))


def test_of_an_id_of_ours_nothing_is_looked_for(queue: Path) -> None:
    spool = Looked(str(queue))
    spool.learn_leftovers()
    for second in (0, 1, 100):
        make(spool, queue_id.new(NOW + second))
    assert spool.looked == ()


@pytest.mark.parametrize("kind", KINDS)
def test_what_another_process_of_our_number_has_left_is_not_used_again(
    queue: Path, kind: str
) -> None:
    qid = queue_id.new(NOW)
    (queue / (kind + qid)).write_bytes(b"")
    spool = Spool(str(queue))
    spool.learn_leftovers()
    with pytest.raises(FileExistsError):
        spool.create(qid)
    assert [path.name for path in queue.iterdir()] == [kind + qid]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("why", ["another process", "the clock was set back"])
def test_of_what_is_not_certain_every_file_is_looked_for(queue: Path, kind: str, why: str) -> None:
    spool = Spool(str(queue))
    spool.learn_leftovers()
    qid = queue_id.new(NOW)
    if why == "another process":
        qid = qid[:8] + f"{os.getpid() + 1:06}"
    else:
        make(spool, queue_id.new(NOW + 3600))
    (queue / (kind + qid)).write_bytes(b"")
    with pytest.raises(FileExistsError):
        spool.create(qid)


def test_once_the_clock_is_where_it_was_nothing_is_looked_for_again(queue: Path) -> None:
    spool = Looked(str(queue))
    spool.learn_leftovers()
    make(spool, queue_id.new(NOW + 3600))
    make(spool, queue_id.new(NOW))
    looked = spool.looked
    assert len(looked) == len(KINDS) - 1
    make(spool, queue_id.new(NOW + 3601))
    assert spool.looked == looked


def test_threads_that_read_the_directory_later_find_all_of_it(queue: Path) -> None:
    for name in ("dfx", "qfx"):
        (queue / name).write_bytes(b"")
    spool = Spool(str(queue))
    spool.learn_leftovers()
    assert sorted(spool.files()) == ["dfx", "qfx"]
