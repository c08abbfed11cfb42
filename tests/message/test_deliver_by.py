"""BY= (RFC 2852), in Sendmail's words and in its control file."""

from __future__ import annotations

import pytest

from minimta.message.deliver_by import BadDeliverBy, DeliverBy, of_lines, parse


@pytest.mark.parametrize(
    ("value", "wish"),
    [
        (b"600;R", DeliverBy(600, True, False)),
        (b"+600;rt", DeliverBy(600, True, True)),
        (b"600;NT", DeliverBy(600, False, True)),
        (b"-10;N", DeliverBy(-10, False, False)),
        (b"999999999;N", DeliverBy(999999999, False, False)),
    ],
)
def test_a_wish(value: bytes, wish: DeliverBy) -> None:
    assert parse(value) == wish


@pytest.mark.parametrize(
    ("value", "status", "text"),
    [
        (b"", "5.5.2", "BY= missing ';'"),
        (b"600", "5.5.2", "BY= missing ';'"),
        (b"1e3;R", "5.5.2", "BY= missing ';'"),
        (b"1000000000;R", "5.5.2", "BY= missing ';'"),
        (b"120;X", "5.5.2", "illegal by-mode 'X'"),
        (b"120;", "5.5.2", "illegal by-mode ''"),
        (b"120;RX", "5.5.2", "illegal by-trace 'X'"),
        (b"0;R", "5.5.4", "mode R requires BY time > 0"),
        (b"-1;R", "5.5.4", "mode R requires BY time > 0"),
    ],
)
def test_what_is_none(value: bytes, status: str, text: str) -> None:
    with pytest.raises(BadDeliverBy) as raised:
        parse(value)
    assert (raised.value.status, str(raised.value)) == (status, text)


@pytest.mark.parametrize("value", [b"600;R", b"600;RT", b"600;N", b"600;NT", b"-10;N"])
def test_the_control_file_says_it_as_sendmail_does(value: bytes) -> None:
    assert of_lines([b"Xother", parse(value).line()]) == parse(value)


def test_the_line_is_sendmails() -> None:
    assert parse(b"600;NT").line() == b"!\x11 600"  # recorded
    assert parse(b"600;R").line() == b"!\x02 600"
    assert of_lines([]) is None and of_lines([b"!x"]) is None


def test_the_next_hop_has_what_is_left() -> None:
    wish = parse(b"600;RT")
    assert wish.left(1000.0, 1100.0) == 500
    assert wish.parameter(500) == b"500;RT"
    assert wish.parameter(-5) == b"1;RT"  # it is not returned in the middle of a transaction
    assert parse(b"60;N").parameter(-40) == b"-40;N"


@pytest.mark.parametrize(
    ("value", "now", "attempts", "last_attempt", "is_over"),
    [
        (b"600;R", 1599.0, 1, 1500.0, False),
        (b"600;R", 1600.0, 1, 1500.0, True),
        (b"600;N", 9999.0, 1, 1500.0, False),  # its sender is told, and it is tried on
        (b"600;R", 1600.0, 0, 0.0, False),  # nobody has tried it
        # A day without an attempt: the machine was off.
        (b"600;R", 100_000.0, 1, 13_600.0, True),
        (b"600;R", 100_000.0, 1, 13_599.0, False),
        (b"600;R", 100_000.0, 1, 0.0, False),
        (b"200000;R", 300_000.0, 1, 100_000.0, True),
        (b"200000;R", 300_000.0, 1, 99_999.0, False),
    ],
)
def test_what_is_over_goes_back_if_it_was_tried_lately(
    value: bytes, now: float, attempts: int, last_attempt: float, is_over: bool
) -> None:
    wish = parse(value)
    assert wish.is_over(1000.0, now, attempts=attempts, last_attempt=last_attempt) is is_over


def test_a_wish_of_decades_ago_still_has_nine_digits() -> None:
    """RFC 2852 section 4: the next hop would refuse more."""
    assert parse(b"60;N").parameter(-(10**10)) == b"-999999999;N"
