"""The way to a next hop, as it is told to people."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from minimta.config.options import Options
from minimta.mailers.remote import route_preview
from minimta.mailers.remote.route_preview import Guide, Way
from minimta.message.outcome import Fate
from minimta.system import privileges
from minimta.system.users import User
from tests.support.fakedns import FakeDns, Zone

ZONE: Zone = {
    "lab3.campus": {"MX": ["20 mx2.campus.", "10 mx.campus."], "A": ["10.0.3.136"]},
    "mx.campus": {"A": ["10.0.3.136"]},
    "mx2.campus": {"A": ["10.0.3.137"]},
    "plain.campus": {"A": ["10.0.3.138"]},
    "half.campus": {"MX": ["10 gone.campus.", "20 mx2.campus."]},
    "null.campus": {"MX": ["0 ."]},
    "back.campus": {"MX": ["10 lab2.campus."]},
    "lab2.campus": {"A": ["10.0.3.135"]},
    "both.campus": {"MX": ["10 bad.campus.", "20 gone.campus."]},
    "bad.campus": "SERVFAIL",
}


@pytest.fixture
def options() -> Options:
    options = Options()
    options.host_name = "lab2.campus"
    options.run_as_user = ""
    options.local_host_names = "/nonexistent"
    return options


@pytest.fixture
def guide(options: Options) -> Iterator[Guide]:
    with FakeDns(ZONE) as server:
        yield Guide(options, server.address)


def stops(way: Way) -> list[tuple[int, str, str, int]]:
    return [(stop.preference, stop.name, stop.address, stop.port) for stop in way.stops]


def test_the_addresses_stand_in_the_order_of_the_mx_records(guide: Guide) -> None:
    way = guide.way("lab3.campus", trusted=False)
    assert stops(way) == [
        (10, "mx.campus.", "10.0.3.136", 25),
        (20, "mx2.campus.", "10.0.3.137", 25),
    ]
    assert (way.fate, way.troubles) == (Fate.SENT, [])


def test_a_host_without_mx_records_is_its_own(guide: Guide) -> None:
    assert stops(guide.way("plain.campus:2525", trusted=False)) == [
        (-1, "plain.campus.", "10.0.3.138", 2525)
    ]


def test_brackets_ask_for_no_mx_records(guide: Guide) -> None:
    assert stops(guide.way("[127.0.0.1]:2525", trusted=True)) == [
        (-1, "[127.0.0.1]", "127.0.0.1", 2525)
    ]


@pytest.mark.parametrize(
    ("next_hop", "fate", "text"),
    [
        ("nosuch.campus", Fate.FAILED, "host not found"),
        ("null.campus", Fate.FAILED, "null MX"),
        ("back.campus", Fate.FAILED, "points back to lab2.campus"),
        ("[127.0.0.1]", Fate.FAILED, "points back to lab2.campus"),
        ("bad.campus", Fate.DEFERRED, "host name lookup failure"),
        ("lab3.campus:no", Fate.DEFERRED, "bad next hop"),
    ],
)
def test_where_there_is_no_way_the_reason_is_told(
    guide: Guide, next_hop: str, fate: Fate, text: str
) -> None:
    way = guide.way(next_hop, trusted=False)
    assert (way.fate, stops(way)) == (fate, [])
    assert text in way.troubles[-1].text


def test_a_host_of_the_list_that_is_not_there_is_told_beside_the_others(guide: Guide) -> None:
    way = guide.way("half.campus", trusted=False)
    assert [name for _, name, _, _ in stops(way)] == ["mx2.campus."]
    assert ["gone.campus" in trouble.text for trouble in way.troubles] == [True]
    assert way.fate is Fate.SENT


def test_one_host_that_cannot_be_asked_outweighs_those_that_are_not_there(guide: Guide) -> None:
    way = guide.way("both.campus", trusted=False)
    assert (way.fate, stops(way)) == (Fate.DEFERRED, [])
    assert [trouble.fate for trouble in way.troubles] == [Fate.DEFERRED, Fate.FAILED]


def test_exchangers_are_hosts_by_preference_or_the_domain_itself(guide: Guide) -> None:
    assert guide.exchangers("lab3.campus") == ["mx.campus", "mx2.campus"]
    assert guide.exchangers("plain.campus") == ["plain.campus"]


def test_no_such_host_is_not_the_same_as_no_answer(guide: Guide) -> None:
    with pytest.raises(FileNotFoundError, match="host not found"):
        guide.exchangers("nosuch.campus")
    with pytest.raises(BlockingIOError, match="lookup failure"):
        guide.exchangers("bad.campus")


def test_a_name_of_this_host_is_found_in_its_own_tables(guide: Guide) -> None:
    assert guide.canonical("localhost")
    with pytest.raises(FileNotFoundError):
        guide.canonical("no host at all")


ANSWERS: list[tuple[bytes, str]] = [
    (b"", "no clear answer"),
    (b"to\t10\tmx.campus.", "no clear answer"),
    (b"to\tten\tmx.campus.\t10.0.3.136\t25", "no clear answer"),
    (b"end\tsomehow\t5.1.2\ttext", "no clear answer"),
    (b"end\tfailed\t5.1.2\tred \x1b[31m", "red ?[31m"),
]


@pytest.mark.parametrize(("answer", "text"), ANSWERS)
def test_what_the_process_without_rights_says_is_not_believed_unchecked(
    guide: Guide, monkeypatch: pytest.MonkeyPatch, answer: bytes, text: str
) -> None:
    monkeypatch.setattr(privileges, "as_user", lambda *arguments: answer)
    way = guide.way("lab3.campus", trusted=False)
    assert (stops(way), [text in trouble.text for trouble in way.troubles]) == ([], [True])


def test_a_process_that_dies_is_no_proof_of_anything(
    guide: Guide, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(user: User, act: Callable[[], bytes], seconds: float) -> bytes:
        raise OSError(5, "the process that acts for the user died")

    monkeypatch.setattr(privileges, "as_user", die)
    assert guide.way("lab3.campus", trusted=False).fate is Fate.DEFERRED


@pytest.mark.root
def test_root_has_name_servers_asked_by_somebody_without_rights(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    options.run_as_user = "nobody"
    monkeypatch.setattr(route_preview, "_canonical", lambda host: [f"name\t{os.geteuid()}"])
    assert Guide(options).canonical("localhost") not in ("", "0")
    options.run_as_user = "no-such-user"
    with pytest.raises(OSError, match="no-such-user"):
        Guide(options).canonical("localhost")
