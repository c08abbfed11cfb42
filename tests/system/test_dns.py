from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from minimta.system import dns
from minimta.system.dns import MAX_EXCHANGERS, LookupFailed, Resolver
from tests.support.fakedns import FakeDns, Zone

NO_HOSTS = "/nonexistent/hosts"


def exchangers(zone: Zone, domain: str, *, budget: float = 5.0) -> list[tuple[int, str]]:
    with FakeDns(zone) as server:
        resolver = Resolver(budget=budget, nameserver=server.address, hosts_file=NO_HOSTS)
        return resolver.mail_exchangers(domain)


def addresses(zone: Zone, host: str, *, budget: float = 5.0, hosts: str = NO_HOSTS) -> list[str]:
    with FakeDns(zone) as server:
        resolver = Resolver(budget=budget, nameserver=server.address, hosts_file=hosts)
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


@pytest.mark.parametrize("answer", ["SERVFAIL", "REFUSED", "SILENT"])
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
    assert len(addresses(zone, "many.campus")) == dns.MAX_ADDRESSES


def test_the_hosts_file_is_asked_first_for_addresses(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# x\n127.0.0.1 localhost\n10.0.0.9 Mail.campus mail # y\n::9 mail.campus\n")
    assert addresses({}, "mail.campus", hosts=str(hosts)) == ["10.0.0.9", "::9"]
    assert addresses({}, "mail", hosts=str(hosts)) == ["10.0.0.9"]


def test_a_domain_of_the_hosts_file_alone_exists(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("10.0.0.9 mail.campus\n")
    with FakeDns({}) as server:
        resolver = Resolver(nameserver=server.address, hosts_file=str(hosts))
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
from minimta.system import dns
dns.load()
before = set(sys.modules)
resolver = dns.Resolver(nameserver={server.address})
print(resolver.mail_exchangers("a.campus"), resolver.addresses("a.campus"))
try:
    resolver.addresses("nosuch.campus")
except dns.LookupFailed:
    print(sorted(set(sys.modules) - before))
"""
        root = Path(dns.__file__).parent.parent.parent
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=root, capture_output=True, check=True, text=True
        )
    assert done.stdout.splitlines() == ["[(10, 'm.campus')] ['::1', '10.0.0.1']", "[]"]


def test_all_questions_share_one_budget() -> None:
    zone: Zone = {"slow.campus": "SILENT", "lab2.campus": {"A": ["10.0.3.135"]}}
    with FakeDns(zone) as server:
        resolver = Resolver(budget=0.2, nameserver=server.address, hosts_file=NO_HOSTS)
        with pytest.raises(LookupFailed):
            resolver.mail_exchangers("slow.campus")
        asked = len(server.asked)
        with pytest.raises(LookupFailed) as failure:
            resolver.addresses("lab2.campus")
        assert failure.value.temporary
        assert len(server.asked) == asked


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
        resolver = Resolver(budget=2.0, nameserver=server.address, hosts_file=NO_HOSTS)
        monkeypatch.setattr(dns, "Resolver", lambda: resolver)
        assert dns.resolves("x.campus") is verdict
