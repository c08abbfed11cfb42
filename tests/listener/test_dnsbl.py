"""Block lists: who is on them, and what happens if they are out of order."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from minimta.config import block_lists
from minimta.listener import dnsbl, process
from minimta.listener.dnsbl import BlockLists, name
from minimta.queue.spool import Spool
from minimta.system import dns, privileges
from minimta.system.dns import Resolver
from minimta.system.dns_wire import LookupFailed
from minimta.system.resolv_conf import ResolvConf
from tests.support.fakedns import FakeDns, Zone
from tests.support.smtphost import STRANGER, SmtpHost

ENTRY = "134.3.0.10.bl.campus"


@pytest.mark.parametrize(
    ("ip", "asked"),
    [
        ("10.0.3.134", "134.3.0.10.bl.campus"),
        ("2001:db8::1", "1.0.0.0." + "0.0.0.0." * 5 + "8.b.d.0.1.0.0.2.bl.campus"),
    ],
)
def test_the_name_in_a_list_is_the_address_backwards(ip: str, asked: str) -> None:
    assert name(ip, "bl.campus") == asked


def lists(answers: dict[str, list[str]], zones: str = "bl.campus") -> BlockLists:
    return BlockLists(block_lists.read(zones), lambda name, seconds: answers.get(name, []))


@pytest.mark.parametrize(
    ("addresses", "is_listed"),
    [
        (["127.0.0.2"], True),
        (["127.0.1.255"], True),
        (["127.255.255.254", "127.0.0.4"], True),
        ([], False),
        (["127.255.255.254"], False),
        (["127.255.255.252"], False),
        (["192.0.2.1"], False),
        (["10.0.3.134"], False),
    ],
)
def test_only_answers_of_127_that_are_no_errors_list_anybody(
    addresses: list[str], is_listed: bool
) -> None:
    found = lists({ENTRY: addresses}).refusal("10.0.3.134")
    assert (found is not None) is is_listed
    if found:
        assert (found.code, found.status, found.text) == (
            550,
            "5.7.1",
            "Rejected: 10.0.3.134 listed at bl.campus",
        )


def test_an_answer_that_lists_nobody_is_told_once(lines: list[str]) -> None:
    found = lists({ENTRY: ["127.255.255.254"]})
    for _ in range(3):
        found.refusal("10.0.3.134")
    assert lines == ["Warning: block list bl.campus answers 127.255.255.254, which lists nobody"]


def test_a_list_that_cannot_be_asked_lets_all_in(lines: list[str]) -> None:
    def fail(name: str, seconds: float) -> list[str]:
        raise LookupFailed(name, "host name lookup failure", temporary=True)

    assert BlockLists(block_lists.read("bl.campus"), fail).refusal("10.0.3.134") is None
    assert lines[0].startswith("Warning: block list bl.campus cannot be asked: ")


def test_a_list_that_hangs_does_not_hold_up_another_and_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dnsbl, "PATIENCE", 0.05)
    hangs = threading.Event()

    def ask(name: str, seconds: float) -> list[str]:
        if name.endswith("slow.campus"):
            hangs.wait(10)
        return ["127.0.0.2"] if name == ENTRY else []

    both = BlockLists(block_lists.read("slow.campus; bl.campus No"), ask)
    try:
        found = both.refusal("10.0.3.134")
        assert found is not None and found.text == "No"
        assert both.refusal("10.0.3.9") is None  # when its time is over
    finally:
        hangs.set()


def test_all_are_asked_at_the_same_time() -> None:
    together = threading.Barrier(3)

    def ask(name: str, seconds: float) -> list[str]:
        together.wait(10)  # breaks unless all three are here
        return ["127.0.0.2"]

    found = BlockLists(block_lists.read("a.campus; b.campus; c.campus"), ask)
    assert found.refusal("10.0.3.134") is not None


def test_a_real_question_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    zone: Zone = {ENTRY: {"A": ["127.0.0.2", "127.0.0.4"]}, "x.campus": "SERVFAIL"}
    with FakeDns(zone) as server:
        config = ResolvConf(servers=(server.address,), attempts=1)
        monkeypatch.setattr(Resolver, "_config", lambda self, name: config)
        assert sorted(dns.ipv4_addresses(ENTRY, 5.0)) == ["127.0.0.2", "127.0.0.4"]
        assert dns.ipv4_addresses("nobody.campus", 5.0) == []
        with pytest.raises(LookupFailed):
            dns.ipv4_addresses("x.campus", 5.0)


def test_the_listener_asks_its_lists_by_dns(
    host: SmtpHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns, "ipv4_addresses", lambda name, seconds: ["127.0.0.2"])
    host.options.block_lists = block_lists.read("bl.campus")
    spool = Spool(host.options.queue_directory)

    def asked() -> bytes:
        listener = process.Listener(host.options, [], spool, has_to_listen=True)
        refusal = listener._limits._shared.block_lists.refusal("10.0.3.134")
        return refusal.text.encode() if refusal else b""

    # A listener gives up for good what this process will need.
    assert b"listed at bl.campus" in privileges.in_child(asked, 10, {spool.descriptor})
    spool.close()


# --- clients --------------------------------------------------------------------------------------


def on_list(host: SmtpHost) -> None:
    host.options.block_lists = block_lists.read("bl.campus")
    host.listed[ENTRY] = ["127.0.0.2"]


def test_a_stranger_on_a_list_is_refused_whatever_it_says(host: SmtpHost, lines: list[str]) -> None:
    on_list(host)
    refused = "550 5.7.1 Rejected: 10.0.3.134 listed at bl.campus"
    peer = host.connect(*STRANGER)
    assert peer.says("MAIL FROM:<emma@lab1.campus>") == [refused]
    assert lines[0] == (
        f"ruleset=check_relay, arg1=lab1.campus, arg2=10.0.3.134,"
        f" relay=lab1.campus [10.0.3.134], reject={refused}"
    )
    assert host.connect("10.0.3.9", "x").says("MAIL FROM:<a@b.campus>")[0].startswith("250")


@pytest.mark.parametrize("row", ["Connect:10.0.3.134 OK", "Connect:lab1.campus RELAY"])
def test_a_row_exempts_from_the_lists(host: SmtpHost, row: str) -> None:
    on_list(host)
    Path(host.options.access_file).write_text(row + "\n")
    assert host.connect(*STRANGER).says("MAIL FROM:<emma@lab1.campus>")[0].startswith("250")
    assert ENTRY not in host.asked


def test_who_may_relay_is_not_looked_for(host: SmtpHost) -> None:
    on_list(host)
    Path(host.options.relay_domains).write_text("10.0.3\n")
    host.connect(*STRANGER)
    host.connect("127.0.0.1", "localhost")
    assert host.asked == []


def test_with_delayed_checks_friends_get_mail_from_the_listed(host: SmtpHost) -> None:
    on_list(host)
    Path(host.options.access_file).write_text("Spam:dave@ FRIEND\n")
    host.options.delay_checks = "friend"
    said = host.connect(*STRANGER).says(
        "MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave@lab2.campus>", "RCPT TO:<carol@lab2.campus>"
    )
    assert [line[:9] for line in said] == ["250 2.1.0", "250 2.1.5", "550 5.7.1"]
