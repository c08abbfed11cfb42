"""What an administrator may write behind "error:"."""

from __future__ import annotations

import os

import pytest

from minimta.routing import refusal
from minimta.routing.refusal import Refusal


def shown(found: Refusal) -> str:
    return f"{found.code} {found.status} {found.text}"


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("5.1.6:550 He has moved", "550 5.1.6 He has moved"),
        ("5.1.6: 550 He has moved", "550 5.1.6 He has moved"),
        ("5.1.6:He has moved", "553 5.1.6 He has moved"),
        ("550 He has moved", "550 5.0.0 He has moved"),
        ("550 5.1.6 He has moved", "550 5.1.6 He has moved"),
        ("5.1.6 550 He has moved", "550 5.1.6 He has moved"),
        ("5.1.6:550 5.1.6 He has moved", "550 5.1.6 He has moved"),
        (
            "5.1.6:551 Not here; please try <he@lab3.campus>",
            "551 5.1.6 Not here; please try <he@lab3.campus>",
        ),
        ("5.1.6:550 5.7.1 He has moved", "550 5.1.6 He has moved"),
        ("5.1.6:550", "550 5.1.6 User has moved"),
        ("nouser No such user", "553 5.1.1 No such user"),
        ("NoUser 550 No such user", "550 5.1.1 No such user"),
        ("nouser", "553 5.1.1 User unknown"),
        ("nohost No such place", "553 5.1.2 No such place"),
        ("tempfail Later", "451 4.0.0 Later"),
        ("4.2.0:450 Later", "450 4.2.0 Later"),
        ("450 Later", "450 4.0.0 Later"),
        ("Go away", "553 5.0.0 Go away"),
        ("550-Go away", "553 5.0.0 550-Go away"),
        ("250 Fine", "553 5.0.0 250 Fine"),
        ("5.7.1:550 Line\rtwo", "550 5.7.1 Line?two"),
    ],
)
def test_code_status_and_text_are_told_apart_and_said_once(text: str, reply: str) -> None:
    assert shown(refusal.of_error(*refusal.error_of(text))) == reply


@pytest.mark.parametrize(
    "text", ["4.2.0:550 No", "5.2.0:450 Later", "4.2.0:No", "4.2.0:550 5.1.1 No"]
)
def test_what_contradicts_itself_waits(text: str) -> None:
    found = refusal.of_error(*refusal.error_of(text))
    assert (found.status, found.is_final, found.exit_code) == ("4.2.0", False, os.EX_TEMPFAIL)
    assert 400 <= found.code < 500


@pytest.mark.parametrize(
    ("value", "reply"),
    [
        (b"error:5.1.6:550 He has moved", "550 5.1.6 He has moved"),
        (b'"error:5.1.6:550 He, too"', "550 5.1.6 He, too"),
        (b"Error:550 He has moved (last year)", "550 5.0.0 He has moved (last year)"),
        (b"error:5.1.6", "553 5.1.6 User has moved"),
        (b"error:5.0.0:Closed", "553 5.0.0 Closed"),
        (b"error:nouser No such list", "550 5.1.1 User unknown"),
        (b"error:", "550 5.1.1 User unknown"),
    ],
)
def test_an_alias_that_is_one_error_is_refused(value: bytes, reply: str) -> None:
    found = refusal.of_alias(value)
    assert found is not None and shown(found) == reply


@pytest.mark.parametrize(
    "value",
    [b"dave", b"", b"dave, error:5.1.6:550 No", b"error:550 No, error:550 No", b"x-error:y"],
)
def test_an_alias_that_leads_elsewhere_is_not(value: bytes) -> None:
    assert refusal.of_alias(value) is None


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("5.1.1", os.EX_NOUSER),
        ("5.1.6", os.EX_NOUSER),
        ("5.1.2", os.EX_NOHOST),
        ("5.7.1", os.EX_UNAVAILABLE),
        ("4.7.1", os.EX_TEMPFAIL),
    ],
)
def test_the_status_decides_the_exit_code(status: str, code: int) -> None:
    assert refusal.of_error(status, "No").exit_code == code
