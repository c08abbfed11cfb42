"""Which addresses of a next hop are talked to, from which of ours, and under which name."""

from __future__ import annotations

import pytest

from minimta.config import ports
from minimta.config.values import fallback_hosts
from minimta.mailers.remote.mx_targets import Ourselves
from minimta.message.outcome import Fate
from minimta.system.dns import Resolver
from tests.mailers.remote.test_delivery import deliver, only
from tests.support.fakedns import FakeDns, Zone
from tests.support.fakesmtp import FakeSmtp, Refusing
from tests.support.jobs import job, options

SHORT = Ourselves("lab1", frozenset({b"lab1"}))


def peer_sees(server: FakeSmtp) -> list[str]:
    return [told[0] for told in server.commands]


@pytest.mark.parametrize(
    ("rows", "address", "is_reached"),
    [
        ("", "127.0.0.1", True),
        ("", "::1", True),
        ("Family=inet", "127.0.0.1", True),
        ("Family=inet", "::1", False),
        ("Family=inet6", "127.0.0.1", False),
        ("Family=inet6", "::1", True),
        ("Addr=::1", "127.0.0.1", False),
        ("F=inet; F=inet6", "::1", True),
        ("F=inet; F=inet6", "127.0.0.1", True),
    ],
)
def test_only_the_families_of_client_port_options_are_used(
    rows: str, address: str, is_reached: bool
) -> None:
    configured = options()
    configured.client_ports = ports.read_client(rows)
    with FakeSmtp(address=address) as server:
        outcome = only(deliver(job(server.host), configured=configured))
        assert len(server.commands) == is_reached
    assert outcome.fate is (Fate.SENT if is_reached else Fate.DEFERRED)
    assert is_reached or "ClientPortOptions" in outcome.text


def test_a_host_is_reached_from_the_address_that_is_said() -> None:
    configured = options(host_name="lab1")
    configured.client_ports = ports.read_client("Family=inet, Addr=127.0.0.9")
    with FakeSmtp() as server:
        only(deliver(job(server.host), configured=configured, ourselves=SHORT))
        assert peer_sees(server) == ["EHLO [127.0.0.9]"]


def test_an_address_that_is_not_ours_delays_and_is_named() -> None:
    configured = options()
    configured.client_ports = ports.read_client("Addr=192.0.2.1")
    with FakeSmtp() as server:
        outcome = only(deliver(job(server.host), configured=configured))
    assert outcome.fate is Fate.DEFERRED
    assert "cannot use 192.0.2.1 (ClientPortOptions): Cannot assign requested" in outcome.text


@pytest.mark.parametrize(("address", "said"), [("127.0.0.1", "[127.0.0.1]"), ("::1", "[IPv6:::1]")])
def test_a_name_without_a_dot_is_not_said(address: str, said: str) -> None:
    """RFC 5321 section 4.1.4."""
    with FakeSmtp(address=address) as server:
        assert only(deliver(job(server.host), ourselves=SHORT)).fate is Fate.SENT
        assert peer_sees(server) == [f"EHLO {said}"]


def test_helo_says_the_address_too() -> None:
    with FakeSmtp(answers={"EHLO": ["500 what?"]}) as server:
        deliver(job(server.host), ourselves=SHORT)
        assert server.commands[0][:2] == ["EHLO [127.0.0.1]", "HELO [127.0.0.1]"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("Family=inet", (ports.ClientPort("inet"),)),
        ("Addr=10.0.3.1", (ports.ClientPort("inet", "10.0.3.1"),)),
        ("A=[::1]; Family=inet", (ports.ClientPort("inet6", "::1"), ports.ClientPort("inet"))),
    ],
)
def test_rows_of_client_port_options(text: str, expected: tuple[ports.ClientPort, ...]) -> None:
    assert ports.read_client(text) == expected


@pytest.mark.parametrize(
    "text",
    ["Family=inet7", "Family=inet, Addr=::1", "Port=25", "M=h", "Name=x", "Addr=mx.campus", "x"],
)
def test_what_is_no_row_of_client_port_options_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ports.read_client(text)


def test_after_one_family_the_other_is_tried() -> None:
    with FakeSmtp() as server, Refusing("127.0.0.2", server.port):
        hops = f"[IPv6:::1]:{server.port},{server.host}"
        assert only(deliver(job(hops))).fate is Fate.SENT


# --- options that lead elsewhere ------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_helo_name_is_what_is_said(address: str) -> None:
    configured = options()
    configured.helo_name = "out.example.org"
    with FakeSmtp(address=address) as server:
        assert only(deliver(job(server.host), configured=configured)).fate is Fate.SENT
        assert peer_sees(server) == ["EHLO out.example.org"]


def test_connect_only_to_takes_all_connections() -> None:
    configured = options()
    configured.connect_only_to = "127.0.0.1"
    with FakeSmtp() as server:
        outcome = only(deliver(job(f"[192.0.2.1]:{server.port}"), configured=configured))
    assert outcome.fate is Fate.SENT and len(server.messages) == 1


DEAD: Zone = {"d.campus": {"MX": ["10 dead.campus."]}, "dead.campus": {"A": ["127.0.0.9"]}}


@pytest.mark.usefixtures("loopback_is_the_world")
@pytest.mark.parametrize(
    ("zone", "option", "goes"),
    [
        (DEAD, "fallback_mx_host", True),
        ({"d.campus": "SERVFAIL"}, "fallback_mx_host", True),
        ({}, "fallback_mx_host", False),
        ({}, "fallback_smart_host", True),
        (DEAD, "fallback_smart_host", False),
        ({"d.campus": {"MX": ["0 ."]}}, "fallback_smart_host", False),
        ({"d.campus": {"MX": ["0 ."]}}, "fallback_mx_host", False),
    ],
)
def test_a_fallback_is_for_what_it_is_for(zone: Zone, option: str, goes: bool) -> None:
    configured = options()
    with FakeSmtp() as last:
        setattr(configured, option, f"[127.0.0.1]:{last.port}")
        with FakeDns(zone) as server:
            resolver = Resolver(budget=5.0, nameserver=server.address, hosts="/nonexistent/hosts")
            outcome = only(
                deliver(
                    job(f"d.campus:{last.port}", "x@d.campus"),
                    configured=configured,
                    resolver=resolver,
                )
            )
    assert (outcome.fate is Fate.SENT) is goes
    assert len(last.messages) == goes


def test_what_stands_in_brackets_has_no_fallback() -> None:
    configured = options()
    with FakeSmtp() as last:
        configured.fallback_mx_host = f"[127.0.0.1]:{last.port}"
        outcome = only(deliver(job(f"[127.0.0.9]:{last.port}"), configured=configured))
    assert outcome.fate is Fate.DEFERRED and not last.messages


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("last.example", "last.example"),
        ("relay:last.example", "last.example"),
        ("[h1]:[h2]", "[h1],[h2]"),
        ("10.0.3.9, h2:587", "[10.0.3.9],h2:587"),
        ("", ""),
    ],
)
def test_fallback_hosts_are_said_as_a_smart_host_is(text: str, hosts: str) -> None:
    assert fallback_hosts(text) == hosts
