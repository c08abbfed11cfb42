"""Which TLSA records count, and for which certificates."""

from __future__ import annotations

import hashlib

import pytest

from minimta.system import tlsa
from minimta.system.tlsa import TlsaRecord

OWN, AUTHORITY = b"own certificate", b"authority's"


def record(usage: int, matching: int = 1, octets: int = 32) -> TlsaRecord:
    return TlsaRecord(usage, 0, matching, bytes(octets))


def of(usage: int, certificate: bytes, matching: int = 1) -> TlsaRecord:
    digests = {1: hashlib.sha256, 2: hashlib.sha512}
    data = digests[matching](certificate).digest() if matching else certificate
    return TlsaRecord(usage, 0, matching, data)


@pytest.mark.parametrize(
    ("one", "is_usable"),
    [
        (record(3), True),
        (record(2), True),
        (record(3, 2, 64), True),
        (record(3, 0, 900), True),
        (record(0), False),
        (record(1), False),
        (record(4), False),
        (record(255), False),
        (record(3, 1, 31), False),
        (record(3, 2, 32), False),
        (record(3, 0, 0), False),
        (record(3, 3), False),
        (TlsaRecord(3, 2, 1, bytes(32)), False),
    ],
)
def test_what_counts(one: TlsaRecord, is_usable: bool) -> None:
    assert one.is_usable is is_usable
    assert tlsa.usable([one]) == ((one,) if is_usable else ())


def test_of_two_digests_only_the_stronger_counts() -> None:
    """RFC 7671 section 9: who breaks SHA-256 gains nothing where there is SHA-512."""
    weak, strong = of(3, OWN), of(3, AUTHORITY, 2)
    assert tlsa.usable([weak, strong]) == (strong,)
    other_thing = of(2, OWN)
    assert tlsa.usable([other_thing, strong]) == (other_thing, strong)
    whole = TlsaRecord(3, 0, 0, OWN)
    assert tlsa.usable([whole, weak, strong]) == (whole, strong)


@pytest.mark.parametrize("matching", [0, 1, 2])
def test_usage_3_is_for_the_hosts_own_certificate_alone(matching: int) -> None:
    assert tlsa.is_pinned([of(3, OWN, matching)], [OWN, AUTHORITY])
    assert not tlsa.is_pinned([of(3, AUTHORITY, matching)], [OWN, AUTHORITY])
    assert not tlsa.is_pinned([of(2, OWN, matching)], [OWN, AUTHORITY])
    assert not tlsa.is_pinned([of(3, OWN, matching)], [])


@pytest.mark.parametrize("matching", [1, 2])
def test_usage_2_is_for_what_stands_behind_it(matching: int) -> None:
    assert list(tlsa.anchors([of(2, AUTHORITY, matching)], [OWN, AUTHORITY])) == [AUTHORITY]
    assert not list(tlsa.anchors([of(2, OWN, matching)], [OWN, AUTHORITY]))
    assert not list(tlsa.anchors([of(3, AUTHORITY, matching)], [OWN, AUTHORITY]))


def test_an_authority_that_the_record_itself_is_need_not_be_sent() -> None:
    assert list(tlsa.anchors([TlsaRecord(2, 0, 0, AUTHORITY)], [OWN])) == [AUTHORITY]


def test_a_key_of_what_is_no_certificate_is_no_match() -> None:
    assert not TlsaRecord(3, 1, 1, bytes(32)).is_for(OWN)


def test_a_record_is_told_as_a_zone_has_it() -> None:
    assert TlsaRecord(3, 1, 1, b"\x0b\x9f").told() == "3 1 1 0b9f"
