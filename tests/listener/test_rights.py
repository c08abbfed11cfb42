from __future__ import annotations

import pytest

from minimta.config.ports import Port
from minimta.listener import rights as relay


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_may_relay(ip: str) -> None:
    assert relay.may_relay(ip)


@pytest.mark.parametrize(
    "ip",
    ["10.0.3.134", "127.0.0.2", "::", "::ffff:10.0.0.1", "0.0.0.0", "2001:db8::1", "", "localhost"],
)
def test_nobody_else_may(ip: str) -> None:
    assert not relay.may_relay(ip)


@pytest.mark.parametrize(
    ("ip", "ours", "may"),
    [
        ("10.0.3.135", "10.0.3.135", True),
        ("2001:db8::1", "2001:db8::1", True),
        ("10.0.3.134", "10.0.3.135", False),
        ("10.0.3.134", "", False),
        ("", "", False),
    ],
)
def test_who_comes_from_the_address_it_connects_to_is_this_host(
    ip: str, ours: str, may: bool
) -> None:
    rights = relay.at_connect(ip, Port(), ours)
    assert (rights.may_relay, rights.trusts_sender) == (may, may)


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1", "10.0.3.135"])
def test_this_host_is_trusted_no_more_if_a_proxy_stands_before_us(ip: str) -> None:
    rights = relay.at_connect(ip, Port(), "10.0.3.135", trusts_loopback=False)
    assert (rights.may_relay, rights.trusts_sender) == (False, False)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("10.0.3.134", True),
        ("10.0.3.999", False),
        ("::1", True),
        ("2001:db8::g", False),
        ("", False),
    ],
)
def test_an_address_is_an_address(text: str, is_one: bool) -> None:
    assert relay.is_ip(text) is is_one


@pytest.mark.parametrize(
    ("bare", "asks"),
    [
        (b"henry%lab3@lab2", True),
        (b"lab3!henry", True),
        (b'"henry@lab3"@lab2', True),
        (b"henry@lab2", False),
        (b"hen-ry+x@lab2", False),
    ],
)
def test_a_local_part_that_asks_to_be_sent_on_is_told(bare: bytes, asks: bool) -> None:
    assert relay.looks_like_route(bare) is asks
