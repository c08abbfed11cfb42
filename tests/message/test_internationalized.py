"""Addresses beyond ASCII: RFC 6531, RFC 5890."""

from __future__ import annotations

import pytest

from minimta.message import address
from minimta.message.internationalized import a_labels, downgraded, folded


@pytest.mark.parametrize(
    ("domain", "labels"),
    [
        ("müller.example", b"xn--mller-kva.example"),
        ("MÜLLER.Example", b"xn--mller-kva.example"),
        ("mu\u0308ller.example", b"xn--mller-kva.example"),
        ("faß.example", b"xn--fa-hia.example"),
        ("fass.example", b"fass.example"),
        ("παράδειγμα.δοκιμή", b"xn--hxajbheg2az3al.xn--jxalpdlp"),
        ("例え.テスト", b"xn--r8jz45g.xn--zckzah"),
        ("उदाहरण.परीक्षा", b"xn--p1b6ci4b4b3a.xn--11b5bs3a9aj6g"),
        ("a.käse.example", b"a.xn--kse-qla.example"),
        ("Lab2.Campus", b"lab2.campus"),
    ],
)
def test_a_domain_in_a_labels(domain: str, labels: bytes) -> None:
    assert a_labels(domain.encode()) == labels
    assert address.domain_key(domain.encode()) == labels
    assert address.domain_key(domain.encode() + b".") == labels


@pytest.mark.parametrize(
    "domain",
    [
        "k\u202ese.example", "käse。example", "käse．example", "ｌab2.campus", "käse\u200d.example",
        "-käse.example", "käse-.example", "\u0308a.example", "ab--ö.example", "ö" * 63 + ".example",
        "☃.example", "kä se.example", "kä/se.example", "kä\u00a0se.x", "kä..example", ".käse",
        "ö." * 130 + "x", "a b.käse", "a>.käse", "①.example", "㎏.example",
    ],
)  # fmt: skip
def test_what_no_host_can_be_called(domain: str) -> None:
    assert a_labels(domain.encode()) == b""


def test_what_is_no_utf8_is_no_domain() -> None:
    assert a_labels(b"k\xe4se.example") == b""
    assert folded(b"K\xc3\x84\xff") == b"k\xc3\x84\xff"


@pytest.mark.parametrize(
    ("local", "domain", "whole"),
    [
        (b"dave", "käse.example", b"dave@xn--kse-qla.example"),
        ("dävé".encode(), "käse.example", b""),
        (b"dave", "käse。example", b""),
        ("dävé".encode(), "x.example", b""),
    ],
)
def test_only_what_loses_nothing_is_downgraded(local: bytes, domain: str, whole: bytes) -> None:
    assert downgraded(local, domain.encode()) == whole


def test_names_are_the_same_in_any_case_and_form() -> None:
    forms = ["JÖRG", "jörg", "Jo\u0308rg", "JO\u0308RG"]
    assert {address.folded(form.encode()) for form in forms} == {"jörg".encode()}
    assert address.folded(b"DAVE") == b"dave"
