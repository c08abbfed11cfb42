"""What a client wants of the way of its message: REQUIRETLS, DELIVERBY; and ETRN."""

from __future__ import annotations

import pytest

from tests.support.fakereceiver import FakeReceiver, codes, session


def test_requiretls_is_offered_and_taken_inside_tls_only() -> None:
    receiver = FakeReceiver()
    smtp = session(receiver, has_tls=True)
    assert b"REQUIRETLS" not in smtp.receive(b"EHLO x\r\n")
    assert codes(smtp.receive(b"MAIL FROM:<a@b> REQUIRETLS\r\n")) == ["530 5.7.10"]
    smtp.receive(b"STARTTLS\r\n")
    smtp.secured()
    assert b"250-REQUIRETLS\r\n" in smtp.receive(b"EHLO x\r\n")
    assert codes(smtp.receive(b"MAIL FROM:<a@b> REQUIRETLS\r\n")) == ["250 2.1.0"]
    assert receiver.mails[0].parameters.requires_tls


@pytest.mark.parametrize(
    ("least", "line"), [(0, b"DELIVERBY\r\n"), (60, b"DELIVERBY 60\r\n"), (-1, b"")]
)
def test_deliverby_is_offered_as_the_option_says(least: int, line: bytes) -> None:
    offered = session(FakeReceiver(), deliver_by_min=least).receive(b"EHLO x\r\n")
    assert (line in offered) if line else (b"DELIVERBY" not in offered)


@pytest.mark.parametrize(
    ("value", "code"), [(b"59;R", "555 5.5.2"), (b"60;R", "250 2.1.0"), (b"59;N", "250 2.1.0")]
)
def test_what_must_be_there_in_time_needs_the_least_time(value: bytes, code: str) -> None:
    smtp = session(FakeReceiver(), deliver_by_min=60)
    assert codes(smtp.receive(b"MAIL FROM:<a@b> BY=%b\r\n" % value)) == [code]


def test_etrn_is_for_ports_and_without_noetrn() -> None:
    offered = session(FakeReceiver(), has_etrn=True).receive(b"EHLO x\r\nETRN lab3.campus\r\n")
    smtp = session(FakeReceiver(), has_etrn=True)
    assert b"250-ETRN\r\n" in smtp.receive(b"EHLO x\r\n")
    assert codes(smtp.receive(b"ETRN lab3.campus\r\n")) == ["250 2.0.0"]
    assert b"554" in offered  # EHLO is waited for
    for other in (session(FakeReceiver()), session(FakeReceiver(), "noetrn", has_etrn=True)):
        assert b"ETRN" not in other.receive(b"EHLO x\r\n")
        assert codes(other.receive(b"ETRN lab3.campus\r\n")) == ["502 5.7.0"]


def test_etrn_is_logged_and_counts_as_use() -> None:
    receiver = FakeReceiver()
    smtp = session(receiver, has_etrn=True)
    smtp.receive(b"ETRN lab3.campus\r\n")
    assert receiver.notes == ["lab1.campus [10.0.3.134]: ETRN lab3.campus"]
    assert smtp.was_used
