"""The text of a policy, and the record that announces it (RFC 8461 section 3)."""

from __future__ import annotations

import random

import pytest

from minimta.mailers.remote import sts_policy
from minimta.mailers.remote.sts_policy import StsPolicy, id_of, read, written

#: RFC 8461 section 3.2
EXAMPLE = (
    b"version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\n"
    b"mx: backupmx.example.com\nmax_age: 604800\n"
)
HOSTS = ("mail.example.com", "*.example.net", "backupmx.example.com")


def test_the_example_of_the_rfc_is_read() -> None:
    assert read(EXAMPLE) == StsPolicy("enforce", 604800, HOSTS)


@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE.replace(b"\n", b"\r\n"),
        EXAMPLE.removesuffix(b"\n"),
        EXAMPLE.replace(b": ", b":"),
        EXAMPLE.replace(b": ", b" :\t "),
        EXAMPLE.replace(
            b"max_age", b"x-new.key: \xc3\xa9\xff".replace(b"\xff", b"") + b"\nmax_age"
        ),
        EXAMPLE + b"mode: none\nmax_age: 5\nversion: STSv2\n",
        EXAMPLE.replace(b"mail.example", b"MAIL.Example"),
    ],
)
def test_what_means_the_same(text: bytes) -> None:
    """Section 3.2: either line end, white space, unknown keys; of two the first."""
    assert read(text) == read(EXAMPLE)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "no version"),
        (EXAMPLE.replace(b"STSv1", b"STSv2"), "no version"),
        (EXAMPLE.replace(b"version: STSv1\n", b""), "no version"),
        (EXAMPLE.replace(b"enforce", b"enforced"), "mode"),
        (EXAMPLE.replace(b"mode: enforce\n", b""), "mode"),
        (EXAMPLE.replace(b"604800", b"-1"), "max_age"),
        (EXAMPLE.replace(b"604800", b"1e9"), "max_age"),
        (EXAMPLE.replace(b"604800", b"99999999999"), "max_age"),
        (EXAMPLE.replace(b"604800", "١٢".encode()), "max_age"),
        (EXAMPLE.replace(b"max_age: 604800\n", b""), "max_age"),
        (EXAMPLE.replace(b"*.example.net", b"*example.net"), "mx line"),
        (EXAMPLE.replace(b"*.example.net", b"mx.*.net"), "mx line"),
        (EXAMPLE.replace(b"*.example.net", b"*"), "mx line"),
        (EXAMPLE.replace(b"*.example.net", b"a b"), "mx line"),
        (EXAMPLE.replace(b"*.example.net", b""), "mx line"),
        (EXAMPLE.replace(b"*.example.net", b"x" * 300), "mx line"),
        (b"version: STSv1\nmode: enforce\nmax_age: 5\n", "no mx line"),
        (EXAMPLE + b"<html>\n", "no key"),
        (EXAMPLE + b"\xff\n", "no text"),
        (EXAMPLE + b"".join(b"mx: m%d.example\n" % number for number in range(100)), "mx line"),
    ],
)
def test_what_is_no_policy_says_why(text: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read(text)


def test_mode_none_needs_no_hosts() -> None:
    assert read(b"version: STSv1\nmode: none\nmax_age: 5\n") == StsPolicy("none", 5, ())


def test_more_than_a_year_is_a_year() -> None:
    assert read(EXAMPLE.replace(b"604800", b"9999999999")).max_age == sts_policy.MAX_AGE


def test_what_is_written_is_read_back() -> None:
    for policy in (read(EXAMPLE), StsPolicy("none", 0, ()), StsPolicy("testing", 9, ("a",))):
        assert read(written(policy)) == policy


@pytest.mark.parametrize(
    ("host", "is_named"),
    [
        ("mail.example.com", True),
        ("MAIL.example.com.", True),
        ("mx.example.net", True),
        ("example.net", False),
        ("a.b.example.net", False),
        ("mail.example.org", False),
        ("xmail.example.com", False),
        ("", False),
    ],
)
def test_an_asterisk_is_one_label(host: str, is_named: bool) -> None:
    """Section 4.1."""
    assert read(EXAMPLE).names(host) is is_named


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ([b"v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        ([b"v=STSv1;id=a"], "a"),
        ([b"other", b"v=STSv1; x=y; id=a ;"], "a"),
        ([b"v=STSv1; id=a; id=b"], "a"),
        ([], ""),
        ([b"v=STSv1"], ""),
        ([b"v=STSv1; id="], ""),
        ([b"v=STSv1; id=a-b"], ""),
        ([b"v=STSv1; id=" + b"a" * 33], ""),
        ([b"v=STSv2; id=a"], ""),
        ([b"v=STSv11; id=a"], ""),
        ([b"id=a; v=STSv1"], ""),
        ([b"v=STSv1; id=a", b"v=STSv1; id=b"], ""),
    ],
)
def test_the_id_of_the_record(texts: list[bytes], found: str) -> None:
    """Section 3.1: two records are none."""
    assert id_of(texts) == found


def test_ten_thousand_hostile_texts_are_policies_or_value_errors() -> None:
    chance = random.Random(8461)
    for _ in range(10_000):
        text = bytearray(EXAMPLE)
        for _ in range(chance.randint(1, 8)):
            place = chance.randrange(len(text))
            text[place : place + chance.randint(0, 5)] = chance.randbytes(chance.randint(0, 5))
        try:
            policy = read(bytes(text))
        except ValueError:
            continue
        assert read(written(policy)) == policy
