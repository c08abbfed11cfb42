"""LIMITS (RFC 9422), as a client reads it and as we say it."""

from __future__ import annotations

import pytest

from minimta.smtp.limits import Limits, keyword, parse
from tests.support.fakereceiver import FakeReceiver, session


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("RCPTMAX=20", Limits(recipients=20)),
        ("mailmax=1 RCPTMAX=999999 RCPTDOMAINMAX=3", Limits(1, 999999, 3)),
        ("", Limits()),
        ("RCPTMAX=0 MAILMAX=-1 RCPTDOMAINMAX=1e3", Limits()),
        ("RCPTMAX=1000000", Limits()),
        ("RCPTMAX=\u0661 MAILMAX= =3 X-MAX=3", Limits()),
        ("RCPTMAX", Limits()),
    ],
)
def test_what_is_no_limit_is_none(text: str, limits: Limits) -> None:
    assert parse(text) == limits


def test_ours_is_that_of_the_option() -> None:
    assert keyword(100) == "LIMITS RCPTMAX=100"
    assert keyword(0) == ""
    assert parse(keyword(10**9).partition(" ")[2]) == Limits(recipients=999_999)
    offered = session(FakeReceiver(), max_recipients=100).receive(b"EHLO x\r\n")
    assert b"250-LIMITS RCPTMAX=100\r\n" in offered
    assert b"LIMITS" not in session(FakeReceiver()).receive(b"EHLO x\r\n")
