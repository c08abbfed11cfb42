"""How often clients connect."""

from __future__ import annotations

import pytest

from minimta.listener.rates import ClientRates, PortThrottle


def test_connections_of_the_last_minute_count() -> None:
    rates = ClientRates()
    assert [rates.count("x", now) for now in (0, 1, 30, 59)] == [1, 2, 3, 4]
    assert rates.count("x", 62) == 3
    assert rates.count("x", 1000) == 1


def test_each_client_has_its_own_number() -> None:
    rates = ClientRates()
    assert [rates.count(name, 0) for name in ("x", "y", "x")] == [1, 1, 2]


def test_who_has_not_been_here_for_longest_is_forgotten() -> None:
    rates = ClientRates(most=2)
    for name in ("x", "y", "x", "z"):
        rates.count(name, 0)
    assert (rates.count("x", 0), rates.count("y", 0)) == (3, 1)


def test_what_is_kept_of_a_client_does_not_grow() -> None:
    rates = ClientRates()
    for now in range(1000):
        rates.count("x", now)
    assert len(rates._seen["x"]) <= 7


@pytest.mark.parametrize(
    ("most", "times", "pauses"),
    [
        (1, [10.0, 11.0, 12.5], [0, 0, 0]),
        (1, [10.0, 10.25], [0, 0.75]),
        (1, [10.0, 10.25, 11.0], [0, 0.75, 1.0]),
        (2, [10.0, 10.5, 10.75], [0, 0, 0.25]),
        (0, [10.0, 10.0, 10.0], [0, 0, 0]),
    ],
)
def test_a_second_brings_only_so_many(most: int, times: list[float], pauses: list[float]) -> None:
    throttle = PortThrottle(most)
    assert [throttle.pause(now) for now in times] == pauses


@pytest.mark.parametrize("window", [1, 5, 60, 600])
def test_the_window_is_as_long_as_it_is_said(window: int) -> None:
    rates = ClientRates(window)
    assert [rates.count("x", now) for now in (0, 0, window * 0.8)] == [1, 2, 3]
    assert rates.count("x", window * 3) == 1
