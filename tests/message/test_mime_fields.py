"""MIME fields that are too long for a reader (MaxMimeHeaderLength)."""

from __future__ import annotations

import time

import pytest

from minimta.message.mime_fields import too_long

#: as sendmail -bt shows its classes: $={checkMIMEHeaders}, $={checkMIMETextHeaders}
FIELDS = [
    "Content-Type", "Content-Disposition", "Content-Transfer-Encoding", "Content-ID", "MIME-Version",
    "Content-Description",
]  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_mime_has_an_end(name: str) -> None:
    field = name.encode() + b": " + b"x" * 20
    assert too_long([field], 20, 0) == ""
    assert too_long([b"Subject: hi", field + b"x"], 20, 0) == f"{name} field (21 octets, 20 max)"
    assert too_long([field * 100], 0, 0) == ""


def test_other_fields_may_be_as_long_as_they_like() -> None:
    assert too_long([b"Subject: " + b"x" * 9999, b"X-Content-Type: " + b"x" * 9999], 10, 10) == ""


@pytest.mark.parametrize(
    ("value", "longest"),
    [
        (b"text/plain; name=1234567890", 15),
        (b"text/plain;\n\tname=1234567890\n\t; a=b", 15),
        (b't/p; name="a;b;c;d"; x=y', 14),
        (b't/p; name="a\\";b"; x=y', 12),
        (b't/p; name="never closed; x=y', 23),
        (b"1234567890", 10),
        (b";;", 0),
        (b"", 0),
    ],
)
@pytest.mark.parametrize("name", ["Content-Type", "content-disposition"])
def test_a_parameter_has_an_end(name: str, value: bytes, longest: int) -> None:
    field = name.encode() + b": " + value
    assert too_long([field], 0, longest or 1) == ""
    if longest > 1:
        told = f"parameter of the {name} field ({longest} octets, {longest - 1} max)"
        assert too_long([field], 0, longest - 1) == told


def test_other_fields_have_no_parameters() -> None:
    assert too_long([b"Content-Description: " + b"x" * 999], 0, 10) == ""


def test_a_field_full_of_quotes_takes_no_time() -> None:
    begun = time.process_time()
    for value in (b'"' + b'\\"' * 130_000, b'"' * 260_001, b";" * 260_000):
        too_long([b"Content-Type: " + value], 0, 1000)
    assert time.process_time() - begun < 5
