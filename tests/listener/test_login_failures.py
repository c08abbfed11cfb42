"""Who guesses passwords is slowed down and shut out."""

from __future__ import annotations

import pytest

from minimta.listener import login_failures
from minimta.listener.login_failures import MEMORY, LoginFailures


class Failures(LoginFailures):
    def __init__(self, most: int = 20) -> None:
        self.now = 1000.0
        super().__init__(most, lambda: self.now)


def test_each_failure_costs_more_up_to_five_seconds() -> None:
    failures = Failures()
    assert [failures.failed("192.0.2.1") for _ in range(7)] == [1, 2, 3, 4, 5, 5, 5]
    assert failures.failed("192.0.2.2") == 1


def test_after_too_many_an_address_is_shut_out_for_ten_minutes() -> None:
    failures = Failures(3)
    for _ in range(2):
        failures.failed("192.0.2.1")
    assert not failures.is_shut_out("192.0.2.1")
    failures.failed("192.0.2.1")
    assert failures.is_shut_out("192.0.2.1")
    assert not failures.is_shut_out("192.0.2.2")
    failures.now += MEMORY
    assert not failures.is_shut_out("192.0.2.1")
    assert failures.failed("192.0.2.1") == 1


def test_nought_shuts_nobody_out() -> None:
    failures = Failures(0)
    for _ in range(100):
        failures.failed("192.0.2.1")
    assert not failures.is_shut_out("192.0.2.1")


def test_a_network_of_ipv6_is_one_client() -> None:
    failures = Failures(2)
    failures.failed("2001:db8::1")
    failures.failed("2001:db8::2:1")
    assert failures.is_shut_out("2001:db8::3")
    assert not failures.is_shut_out("2001:db8:0:1::1")


def test_memory_is_bounded_and_the_longest_quiet_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_failures, "MOST_KNOWN", 3)
    failures = Failures()
    for ip in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.1", "192.0.2.4"):
        failures.failed(ip)
    assert len(failures._known) == 3
    assert failures.count("192.0.2.1") == 2
    assert failures.count("192.0.2.2") == 0
