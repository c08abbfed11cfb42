"""Queue ids: Sendmail's form, never twice."""

from __future__ import annotations

import calendar
import os
import threading

import pytest

from minimta.queue import qid

#: 6AM9CfOn000096 was made on 2026-11-22 at 09:12:41 UTC (recorded)
RECORDED = calendar.timegm((2026, 11, 22, 9, 12, 41))


def test_an_id_begins_with_the_time_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    assert qid.new(RECORDED).startswith("6AM9Cf")
    assert qid.new(calendar.timegm((2019, 11, 16, 0, 16, 7))).startswith("xAG0G7")


def test_an_id_ends_with_the_pid_in_six_digits_or_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 96)
    assert qid.new(RECORDED)[8:] == "000096"
    monkeypatch.setattr(os, "getpid", lambda: 4194304)
    assert qid.new(RECORDED)[8:] == "4194304"


def test_the_sequence_goes_up_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qid, "_sequence", iter([0, 1, 59, 60, 3599, 3600]))
    found = [qid.new(RECORDED + n)[6:8] for n in range(6)]
    assert found == ["00", "01", "0x", "10", "xx", "00"]


def test_no_id_comes_twice_in_a_second_however_many_there_are() -> None:
    ids = {qid.new(RECORDED) for _ in range(3 * 3600 + 5)}
    assert len(ids) == 3 * 3600 + 5


def test_no_id_comes_twice_when_the_clock_is_set_back_a_little() -> None:
    seconds = (RECORDED + 100, RECORDED + 98, RECORDED + 99)
    ids = [qid.new(second) for second in seconds for _ in range(3600)]
    assert len(set(ids)) == len(ids)


def test_threads_never_get_the_same_id() -> None:
    got: list[list[str]] = [[] for _ in range(8)]

    def work(mine: list[str]) -> None:
        mine += [qid.new(RECORDED) for _ in range(400)]

    threads = [threading.Thread(target=work, args=(mine,)) for mine in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = [one for mine in got for one in mine]
    assert len(set(together)) == len(together) == 3200


def test_a_forked_child_never_gets_its_parents_id() -> None:
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(sending, qid.new(RECORDED).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(receiving, 100).decode()
    os.close(receiving)
    os.close(sending)
    mine = qid.new(RECORDED)
    assert theirs != mine
    assert theirs[:8] == mine[:8]  # only the pid keeps them apart


@pytest.mark.parametrize("second", range(0, 86400 * 366, 86400 * 7 + 3661))
def test_every_id_is_valid(second: int) -> None:
    assert qid.valid(qid.new(RECORDED + second))


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "6AM9CfOn00009", "6" * 21, "../../etc/passwd", "6AM9CfOn0000/6"),
        *("6AM9CfOn0000.6", "6AM9CfOn0000-6", "6AM9CfOn00009\n", "6AM9CfOn0000\x006"),
        *("6AM9CfOn0000\xe96", "6AM9CfOn0000\u0661"),
    ],
)
def test_what_is_no_id_is_refused(name: str) -> None:
    assert not qid.valid(name)


@pytest.mark.parametrize("name", ["6AM9CfOn000096", "6AM000000A00011x", "6" * 20])
def test_ids_of_sendmail_are_valid(name: str) -> None:
    assert qid.valid(name)
