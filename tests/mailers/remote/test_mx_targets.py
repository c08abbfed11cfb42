from __future__ import annotations

import socket

import pytest

from minimta.mailers.remote.mx_targets import (
    MAX_TARGETS,
    NextHop,
    Ourselves,
    TargetFinder,
    Unroutable,
    may_ask_dns,
    parse,
)
from minimta.message.outcome import Fate, Outcome
from minimta.system.dns import Resolver
from minimta.system.resolv_conf import ResolvConf
from tests.support.fakedns import FakeDns, Zone

OURSELVES = Ourselves(
    "lab1.campus",
    frozenset({b"lab1.campus", b"lab1", b"localhost"}),
    frozenset({"127.0.0.1", "::1", "10.0.3.134"}),
)


class Found:
    """What a TargetFinder gave."""

    def __init__(
        self, zone: Zone, hop: str, *, option: str = "", refuse_private: bool = False
    ) -> None:
        self.noted: list[Outcome] = []
        self.end: Outcome | None = None
        self.relays: list[str] = []
        self.port = 0
        with FakeDns(zone) as server:
            config = ResolvConf(servers=(server.address,), search=("corp.test",))
            resolver = Resolver(budget=5.0, config=config, hosts="/nonexistent/hosts")
            (parsed,) = parse(hop)
            finder = TargetFinder(
                parsed,
                OURSELVES,
                resolver,
                option=option,
                note=self.noted.append,
                shuffle=lambda hosts: hosts.reverse(),
                refuse_private=refuse_private,
            )
            try:
                for target in finder.targets():
                    self.relays.append(target.relay)
                    self.port = target.port
            except Unroutable as nowhere:
                self.end = nowhere.outcome


@pytest.mark.parametrize(
    ("text", "hop"),
    [
        ("lab2.campus", NextHop("lab2.campus", 25, bracketed=False)),
        ("lab2.campus.", NextHop("lab2.campus", 25, bracketed=False)),
        ("lab2.campus:26", NextHop("lab2.campus", 26, bracketed=False)),
        ("[10.0.3.135]", NextHop("10.0.3.135", 25, bracketed=True)),
        ("[10.0.3.135]:2525", NextHop("10.0.3.135", 2525, bracketed=True)),
        ("[IPv6:2001:db8::1]", NextHop("2001:db8::1", 25, bracketed=True)),
        ("[ipv6:::1]:26", NextHop("::1", 26, bracketed=True)),
        ("[mx.campus]:2525", NextHop("mx.campus", 2525, bracketed=True)),
    ],
)
def test_every_form_of_a_next_hop_is_understood(text: str, hop: NextHop) -> None:
    assert parse(text) == [hop]


def test_ports_have_names_and_next_hops_an_order() -> None:
    assert parse("[mx.campus]:submissions, mx2.campus:Submission,[::1]:smtp") == [
        NextHop("mx.campus", 465, bracketed=True),
        NextHop("mx2.campus", 587, bracketed=False),
        NextHop("::1", 25, bracketed=True),
    ]


@pytest.mark.parametrize("text", ["lab2.campus", "[mx.campus]:587", "[10.0.3.135]", "x.campus:26"])
def test_the_key_of_a_next_hop_leads_to_it(text: str) -> None:
    (hop,) = parse(text)
    assert hop.key == text


@pytest.mark.parametrize(
    "text",
    [
        "a,,b",
        "a,",
        "a:nosuch",
        "",
        "[]",
        "[x",
        ":25",
        "a:0",
        "a:65536",
        "a:x",
        "a:-1",
        "[a]25",
        "a:２５",
        "a:1_0",
        "a:+5",
    ],
)
def test_what_is_no_next_hop_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="bad next hop"):
        parse(text)


def test_hosts_come_by_preference_and_equal_ones_shuffled() -> None:
    zone: Zone = {
        "d.campus": {"MX": ["20 c.campus.", "10 a.campus.", "10 b.campus."]},
        "a.campus": {"A": ["10.1.0.1"]},
        "b.campus": {"A": ["10.1.0.3"], "AAAA": ["2001:db8::3"]},
        "c.campus": {"A": ["10.1.0.4"]},
    }
    assert Found(zone, "d.campus").relays == [
        "b.campus. [2001:db8::3]",
        "b.campus. [10.1.0.3]",
        "a.campus. [10.1.0.1]",
        "c.campus. [10.1.0.4]",
    ]


def test_an_exchanger_that_is_an_address_or_an_alias_spoils_nothing() -> None:
    """RFC 5321 section 5.1 forbids both; RFC 974 servers are found with them all the same."""
    zone: Zone = {
        "d.campus": {"MX": ["5 10.1.0.9.", "10 alias.campus.", "20 real.campus."]},
        "alias.campus": {"CNAME": ["host.campus."]},
        "host.campus": {"A": ["10.1.0.1"]},
        "real.campus": {"A": ["10.1.0.2"]},
    }
    found = Found(zone, "d.campus")
    assert found.relays == ["alias.campus. [10.1.0.1]", "real.campus. [10.1.0.2]"]


@pytest.mark.parametrize(
    ("records", "relays"),
    [
        ({"AAAA": ["2001:db8::1"]}, ["m.campus. [2001:db8::1]"]),
        ({"A": ["10.1.0.1"]}, ["m.campus. [10.1.0.1]"]),
    ],
)
def test_a_host_may_have_one_family_alone(
    records: dict[str, str | list[str]], relays: list[str]
) -> None:
    zone: Zone = {"d.campus": {"MX": ["10 m.campus."]}, "m.campus": records}
    assert Found(zone, "d.campus").relays == relays


def test_a_domain_without_mx_is_its_own_host() -> None:
    found = Found({"lab2.campus": {"A": ["10.0.3.135"]}}, "Lab2.campus:26")
    assert found.relays == ["Lab2.campus. [10.0.3.135]"]
    assert found.port == 26


def test_the_address_of_a_domain_with_mx_is_never_used() -> None:
    zone: Zone = {"d.campus": {"MX": ["10 gone.campus."], "A": ["10.1.0.1"]}}
    found = Found(zone, "d.campus")
    assert found.relays == []
    (outcome,) = found.noted
    assert outcome.text == "Host unknown (Name server: gone.campus.: host not found)"
    assert (outcome.fate, outcome.status, outcome.exit_code) == (Fate.FAILED, "5.1.2", 68)
    assert (outcome.relay, outcome.remote_mta) == ("gone.campus.", "gone.campus")


def test_the_null_mx_is_a_bounce() -> None:
    found = Found({"nullmx.campus": {"MX": ["0 ."], "A": ["10.1.0.1"]}}, "nullmx.campus")
    assert found.end is not None
    assert (found.end.fate, found.end.status) == (Fate.FAILED, "5.1.10")
    assert found.end.diagnostic == "556 5.1.10 Domain does not accept mail (null MX)"


@pytest.mark.parametrize(
    ("zone", "fate", "status", "text", "relay"),
    [
        (
            {},
            Fate.FAILED,
            "5.1.2",
            "Host unknown (Name server: d.campus: host not found)",
            "d.campus",
        ),
        (
            {"d.campus": {"TXT": ['"x"']}},
            Fate.FAILED,
            "5.1.2",
            "Host unknown (Name server: d.campus: no data known)",
            "d.campus",
        ),
        (
            {"d.campus": "SERVFAIL"},
            Fate.DEFERRED,
            "4.4.3",
            "Name server: d.campus.: host name lookup failure",
            "d.campus.",
        ),
        (
            {"d.campus": {"MX": ["10 m.campus."]}, "m.campus": "SERVFAIL"},
            Fate.DEFERRED,
            "4.4.3",
            "Name server: m.campus.: host name lookup failure",
            "m.campus.",
        ),
    ],
)
def test_a_failed_lookup_reads_as_recorded(
    zone: Zone, fate: Fate, status: str, text: str, relay: str
) -> None:
    found = Found(zone, "d.campus")
    outcome = found.end or found.noted[0]
    assert (outcome.fate, outcome.status, outcome.text) == (fate, status, text)
    assert outcome.relay == relay
    assert found.relays == []


def with_us(preference: int, name: str = "lab1.campus.") -> Zone:
    return {
        "d.campus": {"MX": ["10 a.campus.", "20 b.campus.", f"{preference} {name}"]},
        "a.campus": {"A": ["10.1.0.1"]},
        "b.campus": {"A": ["10.1.0.2"]},
        "alias.campus": {"A": ["10.0.3.134"]},
        "mapped.campus": {"AAAA": ["::ffff:10.0.3.134"]},
        "inward.campus": {"A": ["127.0.0.53"]},
    }


@pytest.mark.parametrize(
    "name",
    ["lab1.campus.", "LAB1.campus.", "alias.campus.", "mapped.campus.", "inward.campus."],
)
@pytest.mark.parametrize(
    ("preference", "relays"),
    [
        (30, ["a.campus. [10.1.0.1]", "b.campus. [10.1.0.2]"]),
        (20, ["a.campus. [10.1.0.1]"]),
        (15, ["a.campus. [10.1.0.1]"]),
        (10, []),
        (5, []),
    ],
)
def test_the_list_is_cut_where_we_are_in_it(name: str, preference: int, relays: list[str]) -> None:
    found = Found(with_us(preference, name), "d.campus")
    assert found.relays == relays
    assert (found.end is None) == bool(relays)
    if found.end:
        assert (found.end.fate, found.end.status) == (Fate.FAILED, "5.4.6")
        assert found.end.transcript == (
            "554 5.0.0 MX list for d.campus. points back to lab1.campus",
        )


INWARD = ["127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.3.134"]
NOWHERE = ["0.1.2.3", "169.254.169.254", "224.0.0.1"]


@pytest.mark.parametrize("address", [*INWARD, *NOWHERE])
def test_addresses_that_lead_inward_or_nowhere_are_not_connected_to(address: str) -> None:
    zone: Zone = {"d.campus": {"MX": ["10 m.campus."]}, "m.campus": {"A": [address]}}
    found = Found(zone, "d.campus")
    assert found.relays == []
    outcome = found.end or found.noted[-1]
    assert outcome.status == ("5.4.6" if address in INWARD else "5.4.4")


@pytest.mark.parametrize(
    "address", ["::1", "::", "fe80::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.1.1"]
)
def test_the_same_for_ipv6(address: str) -> None:
    assert Found({"d.campus": {"AAAA": [address]}}, "d.campus").relays == []


@pytest.mark.parametrize("hop", ["[127.0.0.1]:2525", "[IPv6:::1]", "[169.254.1.1]"])
def test_an_address_that_was_configured_may_be_any(hop: str) -> None:
    assert len(Found({}, hop, option="SmartHost").relays) == 1
    untrusted = Found({}, hop)
    assert untrusted.relays == []
    assert untrusted.end is not None
    assert untrusted.end.status == ("5.4.4" if "169" in hop else "5.4.6")


PRIVATE = ["10.1.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "fd00::1", "::ffff:10.1.0.1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_may_be_refused_where_nobody_configured_them(address: str) -> None:
    kind = "AAAA" if ":" in address else "A"
    zone: Zone = {
        "d.campus": {"MX": ["10 m.campus.", "20 good.campus."]},
        "m.campus": {kind: [address]},
        "good.campus": {"A": ["8.8.4.4"]},
        "alone.campus": {kind: [address]},
    }
    literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
    assert len(Found(zone, "d.campus").relays) == 2
    assert Found(zone, "d.campus", refuse_private=True).relays == ["good.campus. [8.8.4.4]"]
    for hop in ("alone.campus", literal):
        found = Found(zone, hop, refuse_private=True)
        outcome = found.end or found.noted[-1]
        assert (found.relays, outcome.fate, outcome.status) == ([], Fate.FAILED, "5.4.4")
        assert len(Found(zone, hop, option="SmartHost", refuse_private=True).relays) == 1


def test_a_bracketed_name_is_looked_up_without_mx() -> None:
    found = Found({}, "[localhost]:2525", option="SmartHost")
    assert "[localhost] [127.0.0.1]" in found.relays


def test_an_address_is_tried_once_however_often_it_is_listed() -> None:
    zone: Zone = {
        "d.campus": {"MX": ["10 a.campus.", "20 b.campus."]},
        "a.campus": {"A": ["10.1.0.1"]},
        "b.campus": {"A": ["10.1.0.1", "10.1.0.2"]},
    }
    assert Found(zone, "d.campus").relays == ["a.campus. [10.1.0.1]", "b.campus. [10.1.0.2]"]


def test_a_hundred_addresses_are_enough() -> None:
    hosts = [f"h{n}.campus" for n in range(40)]
    zone: Zone = {
        "d.campus": {"MX": [f"{n} {host}." for n, host in enumerate(hosts)]},
        **{host: {"A": [f"10.1.{n}.{k}" for k in range(10)]} for n, host in enumerate(hosts)},
    }
    assert len(Found(zone, "d.campus").relays) == MAX_TARGETS


@pytest.mark.parametrize(
    ("number", "fate"),
    [
        (socket.EAI_NONAME, Fate.FAILED),
        (socket.EAI_NODATA, Fate.FAILED),
        (socket.EAI_AGAIN, Fate.DEFERRED),
        (socket.EAI_FAIL, Fate.DEFERRED),
        (socket.EAI_SYSTEM, Fate.DEFERRED),
        (socket.EAI_MEMORY, Fate.DEFERRED),
    ],
)
def test_only_a_name_that_does_not_exist_fails_for_good(
    number: int, fate: Fate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(*_: object, **__: object) -> object:
        raise socket.gaierror(number, "why not")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    found = Found({}, "[mx.campus]")
    assert found.end is not None and found.end.fate is fate


def test_localhost_in_brackets_needs_no_hosts_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "a minimal system")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    found = Found({}, "[localhost]:2525", option="SmartHost")
    assert found.relays == ["[localhost] [::1]", "[localhost] [127.0.0.1]"]


# --- next hops that an option names ---------------------------------------------------------------

SEARCHED: Zone = {
    "mailhub.corp.test": {"A": ["10.1.0.1"]},
    "hub.dept.corp.test": {"MX": ["10 mailhub.corp.test."]},
}


@pytest.mark.parametrize(
    ("hop", "option", "relays"),
    [
        ("mailhub", "SmartHost", ["mailhub.corp.test. [10.1.0.1]"]),
        ("mailhub:2525", "MailerTable", ["mailhub.corp.test. [10.1.0.1]"]),
        ("hub.dept", "SmartHost", ["mailhub.corp.test. [10.1.0.1]"]),
        ("mailhub.corp.test", "SmartHost", ["mailhub.corp.test. [10.1.0.1]"]),
        # somebody wrote to dave@mailhub, or made a typing error in dave@hub.dept.example
        ("mailhub", "", ["mailhub.corp.test. [10.1.0.1]"]),
        ("hub.dept", "", []),
    ],
)
def test_a_short_name_is_completed(hop: str, option: str, relays: list[str]) -> None:
    assert Found(SEARCHED, hop, option=option).relays == relays


NO_GOOD: dict[str, tuple[Zone, str]] = {
    "nosuch": ({}, "Host unknown (Name server: {}: host not found)"),
    "nosuch.campus": ({}, "Host unknown (Name server: {}: host not found)"),
    "txt.campus": ({"txt.campus": {"TXT": ['"x"']}}, "(Name server: {}: no data known)"),
    "null.campus": ({"null.campus": {"MX": ["0 ."]}}, "Domain does not accept mail (null MX)"),
    "us.campus": ({"us.campus": {"MX": ["0 lab1.campus."]}}, "points back to lab1.campus"),
    "[127.0.0.1.nosuch.invalid]": ({}, "Host unknown"),
}


@pytest.mark.parametrize("option", ["SmartHost", "MailerTable"])
@pytest.mark.parametrize("hop", NO_GOOD)
def test_a_configured_next_hop_that_is_no_good_is_named_and_returns_no_mail(
    hop: str, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(
        socket, "getaddrinfo", getaddrinfo
    )  # no name server of this machine is asked
    zone, reason = NO_GOOD[hop]
    found = Found(zone, hop, option=option)
    assert found.relays == []
    assert found.end is not None
    name = hop.strip("[]")
    assert found.end.text.startswith(f"Local configuration error: {option} {name}: ")
    assert reason.format(name) in found.end.text
    assert (found.end.fate, found.end.status, found.end.exit_code) == (Fate.DEFERRED, "4.3.5", 75)
    plain = Found(zone, hop)
    assert (plain.end or plain.noted[-1]).fate is Fate.FAILED


@pytest.mark.parametrize("records", ["NXDOMAIN", {"A": ["169.254.1.1"]}])
def test_so_is_one_whose_exchangers_are_no_good(records: str | dict[str, str | list[str]]) -> None:
    zone: Zone = {"d.campus": {"MX": ["10 mx.campus."]}, "mx.campus": records}
    found = Found(zone, "d.campus", option="SmartHost")
    assert (found.relays, found.end) == ([], None)
    (outcome,) = found.noted
    assert outcome.text.startswith("Local configuration error: SmartHost d.campus: Host unknown")
    assert outcome.fate is Fate.DEFERRED


def test_name_servers_in_trouble_are_not_the_administrators_fault() -> None:
    found = Found({"d.campus": "SERVFAIL"}, "d.campus", option="SmartHost")
    assert found.end is not None
    assert found.end.text == "Name server: d.campus.: host name lookup failure"


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ("lab2.campus", True),
        ("[mx.campus]", True),
        ("[mailhub]:587", True),
        ("[10.0.3.4],[mx.campus]", True),
        ("[10.0.3.4]", False),
        ("[10.0.3.4]:587,[IPv6:::1]:2526", False),
        ("[", False),
    ],
)
def test_names_may_need_name_servers(text: str, may: bool) -> None:
    """A host in brackets as well: dnspython has to be there before the worker has no rights."""
    assert may_ask_dns(text) is may
