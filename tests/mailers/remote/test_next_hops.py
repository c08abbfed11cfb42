"""Which addresses of a next hop are talked to, from which of ours, and under which name."""

from __future__ import annotations

import pytest

from minimta.config import ports
from minimta.mailers.remote.mx_targets import Ourselves
from minimta.message.outcome import Fate
from tests.mailers.remote.test_delivery import deliver, only
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
