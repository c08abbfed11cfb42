from __future__ import annotations

import errno
import functools
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest

from minimta.system import dns as lookups
from minimta.system import resolv_conf
from minimta.system.dns import MAX_EXCHANGERS, Resolver
from minimta.system.dns_wire import LookupFailed
from minimta.system.resolv_conf import ResolvConf
from minimta.system.silent_servers import SilentServers
from minimta.system.tlsa import usable
from tests.support.fakedns import FakeDns, Zone

NO_HOSTS = "/nonexistent/hosts"


def exchangers(zone: Zone, domain: str, *, budget: float = 5.0) -> list[tuple[int, str]]:
    with FakeDns(zone) as server:
        resolver = Resolver(budget=budget, nameserver=server.address, hosts=NO_HOSTS)
        return resolver.mail_exchangers(domain)


def addresses(zone: Zone, host: str, *, budget: float = 5.0, hosts: str = NO_HOSTS) -> list[str]:
    with FakeDns(zone) as server:
        resolver = Resolver(budget=budget, nameserver=server.address, hosts=hosts)
        return resolver.addresses(host)


def test_exchangers_come_by_preference_in_small_letters() -> None:
    zone: Zone = {"lab2.campus": {"MX": ["20 B.campus.", "10 a.campus.", "20 c.campus."]}}
    assert exchangers(zone, "Lab2.campus") == [
        (10, "a.campus"),
        (20, "b.campus"),
        (20, "c.campus"),
    ]


def test_a_domain_without_mx_has_no_exchangers() -> None:
    assert exchangers({"lab2.campus": {"A": ["10.0.3.135"]}}, "lab2.campus") == []


def test_the_null_mx_is_an_exchanger_without_a_name() -> None:
    assert exchangers({"nullmx.campus": {"MX": ["0 ."]}}, "nullmx.campus") == [(0, "")]


def test_a_null_mx_beside_others_means_nothing() -> None:
    """RFC 7505 section 3."""
    zone: Zone = {"odd.campus": {"MX": ["0 .", "10 a.campus.", "20 ."]}}
    assert exchangers(zone, "odd.campus") == [(10, "a.campus")]


def test_a_domain_that_is_denied_when_asked_for_mx_may_have_an_address() -> None:
    """RFC 5321 section 5.1: the address counts where there is no MX."""
    for kind in ("A", "AAAA"):
        address = "10.0.3.135" if kind == "A" else "2001:db8::1"
        assert exchangers({"odd.campus": {"MX": "NXDOMAIN", kind: [address]}}, "odd.campus") == []


@pytest.mark.parametrize("answer", ["SERVFAIL", "SILENT"])
def test_a_domain_that_is_denied_may_exist_if_its_address_cannot_be_asked(answer: str) -> None:
    zone: Zone = {"odd.campus": {"MX": "NXDOMAIN", "A": answer, "AAAA": "NXDOMAIN"}}
    with pytest.raises(LookupFailed) as failure:
        exchangers(zone, "odd.campus", budget=0.4)
    assert failure.value.temporary


def test_an_alias_is_followed() -> None:
    zone: Zone = {
        "www.campus": {"CNAME": ["web.campus."]},
        "web.campus": {"CNAME": ["lab2.campus."]},
        "lab2.campus": {"MX": ["10 a.campus."]},
    }
    assert exchangers(zone, "www.campus") == [(10, "a.campus")]


def test_an_alias_loop_is_a_temporary_failure() -> None:
    zone: Zone = {"a.campus": {"CNAME": ["b.campus."]}, "b.campus": {"CNAME": ["a.campus."]}}
    with pytest.raises(LookupFailed) as failure:
        exchangers(zone, "a.campus")
    assert failure.value.temporary


def test_a_name_that_does_not_exist_is_gone_for_good() -> None:
    with pytest.raises(LookupFailed, match=r"nosuch\.example: host not found") as failure:
        exchangers({}, "nosuch.example")
    assert not failure.value.temporary


@pytest.mark.parametrize("answer", ["SERVFAIL", "REFUSED", "SILENT", "LAME"])
def test_a_name_server_in_trouble_is_temporary(answer: str) -> None:
    with pytest.raises(LookupFailed, match="host name lookup failure") as failure:
        exchangers({"lab2.campus": answer}, "lab2.campus", budget=0.3)
    assert failure.value.temporary


@pytest.mark.parametrize("name", ["a" * 64 + ".campus", "a..campus", "x." * 128 + "campus", "a\\9"])
def test_what_cannot_be_a_name_does_not_exist(name: str) -> None:
    with pytest.raises(LookupFailed) as failure:
        exchangers({}, name)
    assert not failure.value.temporary


def test_a_long_answer_comes_over_tcp_and_is_capped_at_the_best() -> None:
    records = [f"{n} host-{n}.with-a-long-name.campus." for n in range(300, 0, -1)]
    found = exchangers({"many.campus": {"MX": records}}, "many.campus")
    assert len(found) == MAX_EXCHANGERS
    assert found[0] == (1, "host-1.with-a-long-name.campus")
    assert found == sorted(found)


def test_an_answer_of_almost_64_kib_is_capped_too() -> None:
    # No two names have an end in common that could be said once.
    labels = [".".join([f"{n}{'x' * 55}"] * 3) for n in range(1, 321)]
    records = [f"{n} {label}.campus." for n, label in enumerate(labels, 1)]
    found = exchangers({"many.campus": {"MX": records}}, "many.campus")
    assert [preference for preference, _ in found] == [*range(1, MAX_EXCHANGERS + 1)]


@pytest.mark.parametrize("length", [3, 40])
def test_a_long_chain_of_aliases_is_followed_or_a_delay(length: int) -> None:
    zone: dict[str, str | dict[str, str | list[str]]] = {
        f"a{n}.campus": {"CNAME": [f"a{n + 1}.campus."]} for n in range(length)
    }
    zone[f"a{length}.campus"] = {"MX": ["10 mx.campus."]}
    try:
        assert exchangers(zone, "a0.campus") == [(10, "mx.campus")]
    except LookupFailed as failure:
        assert length > 16 and failure.temporary


def test_both_families_are_asked() -> None:
    zone: Zone = {"lab2.campus": {"A": ["10.0.3.135"], "AAAA": ["2001:db8::1"]}}
    assert addresses(zone, "lab2.campus") == ["2001:db8::1", "10.0.3.135"]


@pytest.mark.parametrize(("bad", "good"), [("AAAA", "A"), ("A", "AAAA")])
def test_one_family_in_trouble_does_not_hide_the_other(bad: str, good: str) -> None:
    address = "10.0.3.135" if good == "A" else "2001:db8::1"
    assert addresses({"lab2.campus": {bad: "SERVFAIL", good: [address]}}, "lab2.campus") == [
        address
    ]


def test_no_address_beside_trouble_is_temporary() -> None:
    with pytest.raises(LookupFailed) as failure:
        addresses({"lab2.campus": {"AAAA": "SERVFAIL"}}, "lab2.campus")
    assert failure.value.temporary


def test_no_address_at_all_is_no_data_for_good() -> None:
    with pytest.raises(LookupFailed, match=r"txtonly\.campus: no data known") as failure:
        addresses({"txtonly.campus": {"TXT": ['"x"']}}, "txtonly.campus")
    assert not failure.value.temporary


def test_addresses_are_capped() -> None:
    many = [f"10.1.{n // 250}.{n % 250 + 1}" for n in range(400)]
    zone: Zone = {"many.campus": {"A": many, "AAAA": ["2001:db8::1"]}}
    assert len(addresses(zone, "many.campus")) == lookups.MAX_ADDRESSES


def test_the_hosts_file_is_asked_first_for_addresses(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# x\n127.0.0.1 localhost\n10.0.0.9 Mail.campus mail # y\n::9 mail.campus\n")
    assert addresses({}, "mail.campus", hosts=str(hosts)) == ["10.0.0.9", "::9"]
    assert addresses({}, "mail", hosts=str(hosts)) == ["10.0.0.9"]


@pytest.mark.parametrize("name", ["localhost", "LocalHost"])
def test_localhost_is_this_host_without_a_hosts_file_too(tmp_path: Path, name: str) -> None:
    """RFC 6761 section 6.3; a line of the file counts before."""
    assert addresses({}, name, hosts=NO_HOSTS) == ["::1", "127.0.0.1"]
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.2 localhost\n")
    assert addresses({}, name, hosts=str(hosts)) == ["127.0.0.2"]


def test_a_domain_of_the_hosts_file_alone_exists(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("10.0.0.9 mail.campus\n")
    with FakeDns({}) as server:
        resolver = Resolver(nameserver=server.address, hosts=str(hosts))
        assert resolver.mail_exchangers("mail.campus") == []
        assert resolver.mail_exchangers("mail.campus") == []


def test_after_load_no_question_imports_anything() -> None:
    zone: Zone = {
        "a.campus": {"CNAME": ["d.campus."]},
        "d.campus": {"MX": ["10 m.campus."], "A": ["10.0.0.1"], "AAAA": ["::1"]},
    }
    with FakeDns(zone) as server:
        script = f"""
import sys
from minimta.system import dns, dns_wire
dns.load()
before = set(sys.modules)
resolver = dns.Resolver(nameserver={server.address})
print(resolver.mail_exchangers("a.campus"), resolver.addresses("a.campus"))
try:
    resolver.addresses("nosuch.campus")
except dns_wire.LookupFailed:
    print(sorted(set(sys.modules) - before))
"""
        root = Path(lookups.__file__).parent.parent.parent
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=root, capture_output=True, check=True, text=True
        )
    assert done.stdout.splitlines() == ["[(10, 'm.campus')] ['::1', '10.0.0.1']", "[]"]


# --- time -----------------------------------------------------------------------------------------


def test_a_silent_question_leaves_time_for_the_next() -> None:
    zone: Zone = {"slow.campus": "SILENT", "lab2.campus": {"A": ["10.0.3.135"]}}
    with FakeDns(zone) as server:
        resolver = Resolver(budget=2.0, nameserver=server.address, hosts=NO_HOSTS)
        with pytest.raises(LookupFailed) as failure:
            resolver.mail_exchangers("slow.campus")
        assert failure.value.temporary
        assert resolver.addresses("lab2.campus") == ["10.0.3.135"]


def test_all_questions_share_one_budget() -> None:
    with FakeDns({f"{n}.campus": "SILENT" for n in range(50)}) as server:
        resolver = Resolver(budget=0.4, nameserver=server.address, hosts=NO_HOSTS)
        begun = time.monotonic()
        for n in range(50):
            with pytest.raises(LookupFailed) as failure:
                resolver.mail_exchangers(f"{n}.campus")
            assert failure.value.temporary
        assert time.monotonic() - begun < 0.8
        assert len({name for name, _ in server.asked}) < 20


def test_one_destination_costs_half_a_minute_at_most() -> None:
    assert lookups.BUDGET <= 30
    assert MAX_EXCHANGERS <= 50 and lookups.MAX_ADDRESSES <= 100


def test_nothing_is_asked_twice() -> None:
    zone: Zone = {"lab2.campus": {"A": ["10.0.3.135"]}, "bad.campus": "SERVFAIL"}
    with FakeDns(zone) as server:
        resolver = Resolver(nameserver=server.address, hosts=NO_HOSTS)
        for _ in range(2):
            assert resolver.addresses("Lab2.campus") == ["10.0.3.135"]
            with pytest.raises(LookupFailed):
                resolver.mail_exchangers("bad.campus")
        asked = [(name, kind) for name, kind in server.asked if name == "lab2.campus"]
        assert asked == [("lab2.campus", "A"), ("lab2.campus", "AAAA")]


@pytest.mark.parametrize(("silent", "spoken"), [("AAAA", "A"), ("A", "AAAA")])
def test_a_family_that_is_not_answered_does_not_hide_the_other(silent: str, spoken: str) -> None:
    """RFC 4074 section 4.1: name servers that leave questions for AAAA without an answer."""
    address = {"A": "10.0.3.135", "AAAA": "2001:db8::1"}[spoken]
    zone: Zone = {
        "lab2.campus": {"MX": [f"10 mx{n}.campus." for n in range(4)]},
        **{f"mx{n}.campus": {silent: "SILENT", spoken: [address]} for n in range(4)},
    }
    with FakeDns(zone) as server:
        resolver = Resolver(budget=3.0, nameserver=server.address, hosts=NO_HOSTS)
        for _, host in resolver.mail_exchangers("lab2.campus"):
            assert resolver.addresses(host) == [address]


def test_what_is_not_needed_is_waited_for_a_shorter_time() -> None:
    zone: Zone = {"lab2.campus": {"A": ["10.0.3.135"], "AAAA": "SILENT"}}
    begun = time.monotonic()
    assert addresses(zone, "lab2.campus", budget=4.0) == ["10.0.3.135"]
    assert time.monotonic() - begun < 1.6


def two_servers(first: FakeDns, second: FakeDns, **options: Any) -> ResolvConf:
    return ResolvConf(servers=(first.address, second.address), **options)


LAB2: Zone = {"lab2.campus": {"MX": ["10 lab2.campus."], "A": ["10.0.3.135"]}}
DEAD: Zone = {"lab2.campus": "SILENT"}


@pytest.mark.parametrize("timeout", [1, 10, 30])
def test_a_dead_server_does_not_eat_the_time_of_the_good_one(timeout: int) -> None:
    with FakeDns(DEAD) as dead, FakeDns(LAB2) as good:
        config = two_servers(dead, good, timeout=timeout)
        resolver = Resolver(budget=3.0, config=config, hosts=NO_HOSTS, silent=SilentServers())
        assert resolver.mail_exchangers("lab2.campus") == [(10, "lab2.campus")]
        assert resolver.addresses("lab2.campus") == ["10.0.3.135"]


def test_a_server_that_was_silent_is_asked_last_by_all_that_share_the_memory() -> None:
    silent = SilentServers()
    with FakeDns(DEAD) as dead, FakeDns(LAB2) as good:
        for _ in range(3):
            config = two_servers(dead, good)
            resolver = Resolver(budget=3.0, config=config, hosts=NO_HOSTS, silent=silent)
            resolver.mail_exchangers("lab2.campus")
        assert (len(dead.asked), len(good.asked)) == (1, 3)


def test_a_server_in_trouble_is_asked_once_and_the_next_one_answers() -> None:
    for trouble in ("SERVFAIL", "REFUSED", "NOTIMP", "FORMERR", "LAME"):
        with FakeDns({"lab2.campus": trouble}) as bad, FakeDns(LAB2) as good:
            config = two_servers(bad, good)
            resolver = Resolver(config=config, hosts=NO_HOSTS, silent=SilentServers())
            assert resolver.mail_exchangers("lab2.campus") == [(10, "lab2.campus")], trouble
            assert (len(bad.asked), len(good.asked)) == (1, 1)


def test_a_port_where_nobody_listens_costs_no_time() -> None:
    with FakeDns({}) as gone:
        pass
    with FakeDns(LAB2) as good:
        begun = time.monotonic()
        config = two_servers(gone, good, timeout=30)
        resolver = Resolver(config=config, hosts=NO_HOSTS, silent=SilentServers())
        assert resolver.mail_exchangers("lab2.campus") == [(10, "lab2.campus")]
        assert time.monotonic() - begun < 3


def test_the_number_of_attempts_is_that_of_resolv_conf() -> None:
    for attempts in (1, 3):
        with FakeDns(DEAD) as dead:
            config = ResolvConf(servers=(dead.address,), attempts=attempts)
            resolver = Resolver(budget=1.0, config=config, hosts=NO_HOSTS, silent=SilentServers())
            with pytest.raises(LookupFailed):
                resolver.mail_exchangers("lab2.campus")
            assert len(dead.asked) == attempts


@pytest.mark.parametrize(("rotate", "firsts"), [(False, 1), (True, 2)])
def test_rotate_spreads_the_questions(rotate: bool, firsts: int) -> None:
    with FakeDns(LAB2) as one, FakeDns(LAB2) as other:
        config = two_servers(one, other, rotate=rotate)
        for _ in range(40):
            resolver = Resolver(config=config, hosts=NO_HOSTS, silent=SilentServers())
            resolver.mail_exchangers("lab2.campus")
        assert bool(one.asked) + bool(other.asked) == firsts


@pytest.mark.parametrize("options", [{"use_vc": True}, {"edns0": True}])
def test_other_ways_to_ask_find_the_same(options: dict[str, bool]) -> None:
    with FakeDns(LAB2) as server:
        config = ResolvConf(servers=(server.address,), **options)  # type: ignore[arg-type]
        found = Resolver(config=config, hosts=NO_HOSTS).mail_exchangers("lab2.campus")
        assert found == [(10, "lab2.campus")]


def test_what_is_no_response_to_the_question_is_not_heard() -> None:
    """Forged or broken datagrams before the true one (CVE-2023-29483)."""
    forged = dns.message.make_response(dns.message.make_query("lab2.campus", "MX", id=7))
    forged.set_rcode(dns.rcode.NXDOMAIN)
    cut = bytearray(forged.to_wire())
    cut[2] |= 0x02  # TC
    noise = (b"", b"x", b"\0" * 12, forged.to_wire(), bytes(cut), bytes(cut[:14]))
    with FakeDns(LAB2, noise=noise) as server:
        resolver = Resolver(nameserver=server.address, hosts=NO_HOSTS)
        assert resolver.mail_exchangers("lab2.campus") == [(10, "lab2.campus")]


# --- our own files --------------------------------------------------------------------------------


def with_files(server: FakeDns, directory: Path, conf: bytes, hosts: bytes = b"") -> Resolver:
    """A Resolver that reads both files; the port of the only server is that of *server*."""
    (directory / "resolv.conf").write_bytes(conf)
    (directory / "hosts").write_bytes(hosts)
    config = replace(
        resolv_conf.parse((directory / "resolv.conf").read_bytes(), "lab1"),
        servers=(server.address,),
    )
    return Resolver(budget=2.0, config=config, hosts=str(directory / "hosts"))


ODD_SEARCHES = [
    *(b"search .corp.test lan\n", b"search corp..test\n", b"domain .local\n", b"search corp\\\n"),
    *(b"search " + b"x" * 70 + b".test\n", b"search _x.test ~.\n", b"search *.corp.test\n"),
    *(b"search " + b"x." * 200 + b"\n", b"search \xff\xfe \\300.test\n", b"search .\n"),
]


@pytest.mark.parametrize("line", ODD_SEARCHES)
def test_no_search_line_is_so_odd_that_a_name_is_not_found(line: bytes, tmp_path: Path) -> None:
    zone: Zone = {**LAB2, "mailhub": {"A": ["10.0.3.9"]}}
    with FakeDns(zone) as server:
        resolver = with_files(server, tmp_path, line)
        assert resolver.mail_exchangers("lab2.campus") == [(10, "lab2.campus")]
        assert resolver.full_name("lab2.campus") == "lab2.campus"
        assert resolver.full_name("mailhub") == "mailhub"


@pytest.mark.parametrize(
    "line",
    [b"10.9.9.256", b"010.0.0.1", b"10.1", b"10.0.0.1,", b"mail", b"fe80::1%lo", b"\xff\0"],
)
def test_a_hosts_line_that_libc_leaves_out_leaves_the_name_to_the_servers(
    line: bytes, tmp_path: Path
) -> None:
    with FakeDns(LAB2) as server:
        resolver = with_files(server, tmp_path, b"", line + b" lab2.campus\n")
        assert resolver.addresses("lab2.campus") == ["10.0.3.135"]


def unreadable(kind: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Path of a file that cannot be read for a reason that has the name *kind*."""
    path = directory / "file"
    if kind == "EISDIR":
        path.mkdir()
        return str(path)

    def refuse(name: str, *given: Any, **more: Any) -> int:
        if name == str(path):
            raise OSError(getattr(errno, kind), os.strerror(getattr(errno, kind)), name)
        return really(name, *given, **more)

    really = os.open
    monkeypatch.setattr(os, "open", refuse)
    return str(path)


TROUBLES = ["EIO", "EACCES", "EMFILE", "ENOMEM", "EISDIR", "ENOTDIR", "ELOOP"]


@pytest.mark.parametrize("kind", TROUBLES)
@pytest.mark.parametrize("file", ["hosts", "conf"])
def test_a_file_that_cannot_be_read_is_temporary(
    file: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeDns({}) as server:
        path = unreadable(kind, tmp_path, monkeypatch)
        given: dict[str, Any] = {"hosts": NO_HOSTS, file: path}
        if file == "hosts":
            given["nameserver"] = server.address
        resolver = Resolver(budget=1.0, **given)
        for ask in (resolver.mail_exchangers, resolver.addresses, resolver.full_name):
            with pytest.raises(LookupFailed, match=path) as failure:
                ask("lab2.campus")
            assert failure.value.temporary


def test_a_file_that_is_not_there_is_empty(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    resolver = Resolver(budget=0.1, hosts=gone, conf=gone)
    with pytest.raises(LookupFailed, match=r"host name lookup failure$"):
        resolver.addresses("lab2.campus")  # libc's default: a server on this host


def test_the_name_of_the_kernel_need_not_be_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("x" * 64, "a..b", "caf\udce9", ""):
        monkeypatch.setattr("socket.gethostname", lambda name=name: name)
        with FakeDns(LAB2) as server:
            resolver = Resolver(nameserver=server.address, hosts=NO_HOSTS)
            assert resolver.addresses("lab2.campus") == ["10.0.3.135"]


SHORT: Zone = {
    "mailhub.corp.test": {"A": ["10.0.3.9"]},
    "mx.lan": {"MX": ["10 mailhub.corp.test."]},
    "dept.corp.test": {"TXT": ['"x"']},
}


@pytest.mark.parametrize(
    ("name", "full"),
    [("mailhub", "mailhub.corp.test"), ("mx", "mx.lan"), ("inhosts", "inhosts")],
)
def test_a_short_name_is_completed_if_it_is_searched(name: str, full: str, tmp_path: Path) -> None:
    with FakeDns(SHORT) as server:
        resolver = with_files(server, tmp_path, b"search corp.test lan\n", b"10.0.3.7 inhosts\n")
        assert resolver.full_name(name) == full


def test_a_short_name_of_the_hosts_file_needs_no_server(tmp_path: Path) -> None:
    with FakeDns({}) as server:
        resolver = with_files(server, tmp_path, b"search corp.test\n", b"10.0.3.7 inhosts\n")
        assert resolver.mail_exchangers(resolver.full_name("inhosts")) == []
        assert resolver.addresses("inhosts") == ["10.0.3.7"]
        assert server.asked == []


@pytest.mark.parametrize(
    ("zone", "temporary"),
    [
        ({}, False),
        ({"dept.corp.test": {"TXT": ['"x"']}}, False),
        ({"dept.corp.test": "SERVFAIL"}, True),
        ({"dept.lan": "SERVFAIL"}, True),
        ({"dept": "SERVFAIL"}, True),
    ],
)
def test_a_short_name_is_unknown_if_no_candidate_may_exist(
    zone: Zone, temporary: bool, tmp_path: Path
) -> None:
    with FakeDns(zone) as server:
        resolver = with_files(server, tmp_path, b"search corp.test lan\n")
        with pytest.raises(LookupFailed) as failure:
            resolver.full_name("dept")
        assert failure.value.temporary == temporary


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        ({"MX": ["10 a.campus."]}, True),
        ({"A": ["10.0.3.135"]}, True),
        ({"AAAA": ["2001:db8::1"]}, True),
        ({"MX": ["0 ."]}, True),
        ({"CNAME": ["other.campus."]}, True),
        ({"TXT": ['"x"']}, False),
        ("NXDOMAIN", False),
        ("SERVFAIL", None),
    ],
)
def test_a_sender_domain_resolves_if_mail_could_go_there(
    records: str | dict[str, str | list[str]],
    verdict: bool | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    zone: Zone = {"x.campus": records, "other.campus": {"A": ["10.0.3.135"]}}
    with FakeDns(zone) as server:
        resolver = Resolver(budget=2.0, nameserver=server.address, hosts=NO_HOSTS)
        monkeypatch.setattr(lookups, "Resolver", lambda: resolver)
        assert lookups.resolves("x.campus") is verdict


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        ({"MX": ["0 ."]}, True),
        ({"MX": ["0 .", "10 a.campus."]}, False),
        ({"MX": ["10 a.campus."]}, False),
        ({"A": ["10.0.3.135"]}, False),
        ("NXDOMAIN", False),
        ("SERVFAIL", None),
    ],
)
def test_a_null_mx_says_that_a_domain_takes_no_mail(
    records: str | dict[str, str | list[str]],
    verdict: bool | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with FakeDns({"x.campus": records}) as server:
        resolver = Resolver(budget=2.0, nameserver=server.address, hosts=NO_HOSTS)
        monkeypatch.setattr(lookups, "Resolver", lambda: resolver)
        assert lookups.has_null_mx("x.campus") is verdict


@pytest.mark.parametrize("changed", ["resolv.conf", "hosts"])
def test_a_file_that_changes_counts_for_the_next_destination(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf, hosts = tmp_path / "resolv.conf", tmp_path / "hosts"
    conf.write_bytes(b"nameserver 127.0.0.9\n")  # where nobody listens
    hosts.write_bytes(b"")
    files = functools.partial(Resolver, budget=2.0, conf=str(conf), hosts=str(hosts))
    monkeypatch.setattr(lookups, "Resolver", files)
    with FakeDns({"lab2": {"MX": ["10 mx.campus."]}}) as server:
        monkeypatch.setattr(resolv_conf, "PORT", server.address[1])
        assert lookups.resolves("lab2") is None
        if changed == "hosts":
            hosts.write_bytes(b"10.9.9.9 lab2\n")
        else:
            conf.write_bytes(b"nameserver 127.0.0.1\n")
        assert lookups.resolves("lab2") is True


# -- what DNSSEC vouches for ----------------------------------------------------------------------

SIGNED: Zone = {
    "mx.campus": {"A": ["10.0.3.135"]},
    "_25._tcp.mx.campus": {"TLSA": [f"3 1 1 {'ab' * 32}"]},
}


@pytest.mark.parametrize(
    ("others", "trust_ad", "counts"),
    [
        ((), False, True),
        ((("192.0.2.1", 53),), False, False),
        ((("192.0.2.1", 53),), True, True),
    ],
)
def test_the_word_of_the_servers_counts_if_all_are_here_or_trusted(
    others: tuple[tuple[str, int], ...], trust_ad: bool, counts: bool
) -> None:
    """One elsewhere would be asked for what the one here found to be bogus."""
    with FakeDns(SIGNED, signed=["campus"]) as server:
        config = ResolvConf(servers=(server.address, *others), trust_ad=trust_ad)
        resolver = Resolver(config=config, hosts=NO_HOSTS)
        assert resolver.can_vouch is counts
        assert resolver.vouched_names("mx.campus") == (["mx.campus"] if counts else [])
        assert bool(resolver.tlsa("mx.campus", 25)) is counts


@pytest.mark.parametrize(
    ("signed", "names"),
    [
        (["campus", "hoster.example"], ["real.hoster.example", "mx.campus"]),
        (["campus"], ["mx.campus"]),
        (["hoster.example"], []),
    ],
)
def test_records_of_an_alias_may_stand_where_dnssec_vouches(
    signed: list[str], names: list[str]
) -> None:
    """RFC 7672 section 2.2.2: at the end of the alias, or at the host itself."""
    zone: Zone = {
        "mx.campus": {"CNAME": ["real.hoster.example."]},
        "real.hoster.example": {"A": ["10.0.3.135"]},
    }
    with FakeDns(zone, signed=signed) as server:
        resolver = Resolver(config=ResolvConf(servers=(server.address,)), hosts=NO_HOSTS)
        assert resolver.vouched_names("mx.campus") == names


class Vouching(FakeDns):
    """It says that it has validated everything, whether it was asked or not."""

    def answer(self, wire: bytes) -> dns.message.Message | None:
        reply = super().answer(wire)
        assert reply is not None
        reply.flags |= dns.flags.AD
        return reply


@pytest.mark.parametrize("believed", [False, True])
def test_a_server_elsewhere_that_vouches_unasked_is_not_believed(believed: bool) -> None:
    """RFC 6840 section 5.7: the bit in a response is for who has asked, and can trust the way."""
    with Vouching({"mx.campus": {"MX": ["10 mx.campus."], "A": ["10.0.3.135"]}}) as server:
        config = ResolvConf(servers=(server.address, ("192.0.2.1", 53)), trust_ad=believed)
        resolver = Resolver(config=config, hosts=NO_HOSTS, make_validator=lambda servers: None)
        assert resolver.is_vouched("mx.campus", "MX") is believed
        assert resolver.vouched_names("mx.campus") == (["mx.campus"] if believed else [])


def test_of_a_host_whose_addresses_we_have_dns_is_not_asked(tmp_path: Path) -> None:
    """Else a server that is silent would delay mail that needs none."""
    hosts = tmp_path / "hosts"
    hosts.write_text("10.0.3.135 mx.campus\n")
    with FakeDns(SIGNED, signed=["campus"]) as server:
        config = ResolvConf(servers=(server.address,))
        assert Resolver(config=config, hosts=str(hosts)).vouched_names("mx.campus") == []
        assert server.asked == []


def test_addresses_that_cannot_be_had_now_are_not_called_unsigned() -> None:
    """Else who makes the second question fail would have mail sent without DANE."""
    with FakeDns({"mx.campus": "SERVFAIL"}, signed=["campus"]) as server:
        config = ResolvConf(servers=(server.address,))
        with pytest.raises(LookupFailed) as failed:
            Resolver(config=config, hosts=NO_HOSTS).vouched_names("mx.campus")
        assert failed.value.temporary


def test_a_validator_of_our_own_is_asked_where_their_word_does_not_count() -> None:
    class Own:
        def __init__(self) -> None:
            self.asked: list[str] = []

        def ask(self, name: str, kind: int, seconds: float) -> tuple[bytes, bool]:
            self.asked.append(name)
            if name == "bogus.campus":
                raise OSError("bogus")
            query = dns.message.make_query(name, dns.rdatatype.RdataType(kind))
            reply = FakeDns(SIGNED).answer(query.to_wire())
            assert reply is not None
            return reply.to_wire(), name.endswith("mx.campus")

    own = Own()
    config = ResolvConf(servers=(("192.0.2.1", 53),))
    resolver = Resolver(config=config, hosts=NO_HOSTS, make_validator=lambda servers: own)  # type: ignore[arg-type,return-value]
    assert resolver.can_vouch
    assert resolver.vouched_names("mx.campus") == ["mx.campus"]
    assert [record.told() for record in resolver.tlsa("mx.campus", 25)] == [f"3 1 1 {'ab' * 32}"]
    assert resolver.tlsa("other.campus", 25) == []
    with pytest.raises(LookupFailed) as raised:
        resolver.addresses("bogus.campus")
    assert raised.value.temporary
    assert own.asked[0] == "mx.campus"


def test_texts_are_whole() -> None:
    zone: Zone = {"_mta-sts.campus": {"TXT": ['"v=STSv1; " "id=1;"', "other"]}}
    with FakeDns(zone) as server:
        resolver = Resolver(nameserver=server.address, hosts=NO_HOSTS)
        assert sorted(resolver.texts("_mta-sts.campus")) == [b"other", b"v=STSv1; id=1;"]
        assert resolver.texts("_mta-sts.lab") == []


class Damaging(FakeDns):
    """Beside each TLSA record there is one whose digest is too short."""

    def _fill(self, reply: dns.message.Message, name: str, kind: str) -> str | None:
        answer = super()._fill(reply, name, kind)
        if kind == "TLSA" and answer == "NOERROR":
            wire = b"\x03\x01\x01" + bytes(31)
            one = dns.rdata.GenericRdata(dns.rdataclass.IN, dns.rdatatype.TLSA, wire)
            reply.answer.append(dns.rrset.from_rdata(f"{name}.", 60, one))
        return answer


def test_a_tlsa_record_that_makes_no_sense_hides_no_other() -> None:
    zone: Zone = {**SIGNED, "_25._tcp.bad.campus": {"A": ["10.0.3.1"]}}
    with Damaging(zone, signed=["campus"]) as server:
        resolver = Resolver(nameserver=server.address, hosts=NO_HOSTS)
        both = resolver.tlsa("mx.campus", 25)
        assert [record.told() for record in usable(both)] == [f"3 1 1 {'ab' * 32}"]
        assert len(both) == 2
        # dnspython 2.3 reads it as it is.
        [bad] = resolver.tlsa("bad.campus", 25)
        assert not bad.is_usable
        assert resolver.tlsa("none.campus", 25) == []
