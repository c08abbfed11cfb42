from __future__ import annotations

from pathlib import Path

import pytest

from minimta.mailers.remote.mx_targets import parse
from minimta.mailers.remote.tls_policy import NO_TLS, Level, Policy, TlsPolicies
from minimta.maps.cdbwriter import write_cdb
from tests.support.jobs import options

ONES, TWOS = "1" * 64, "ab" * 32


def policy(hop: str, *rows: str, logs_in: bool = False) -> Policy:
    table = dict(row.encode().split(None, 1) for row in rows)
    (one,) = parse(hop)
    return TlsPolicies(table, "/t").policy(one, logs_in=logs_in)


def test_without_a_row_tls_is_used_if_it_can_be_had() -> None:
    found = policy("lab2.campus")
    assert (found.level, found.implicit, found.is_binding) == (Level.MAY, False, False)


def test_where_we_log_in_the_configured_name_is_verified() -> None:
    found = policy("[smtp.example.org]:587", logs_in=True)
    assert (found.level, found.names) == (Level.VERIFY, ("smtp.example.org",))
    assert found.logs_in


@pytest.mark.parametrize("hop", ["[mx.campus]:465", "mx.campus:submissions", "[mx.campus]:smtps"])
def test_port_465_is_tls_from_the_first_octet(hop: str) -> None:
    """RFC 8314 section 3.3. There nothing goes in clear even if nothing is asked for."""
    found = policy(hop)
    assert (found.level, found.implicit, found.is_binding) == (Level.MAY, True, True)
    assert not policy("[mx.campus]:587").implicit


@pytest.mark.parametrize("hop", ["[mx.campus]:465", "[mx.campus]:25"])
def test_none_is_none_on_every_port(hop: str) -> None:
    found = policy(hop, ". none")
    assert (found.level, found.implicit, found.is_binding) == (Level.NONE, False, False)
    assert not NO_TLS.is_binding


@pytest.mark.parametrize(
    ("hop", "key"),
    [
        ("[mx.campus]:587", "[mx.campus]:587"),
        ("[mx.campus]:587", "[mx.campus]"),
        ("[mx.campus]:587", "mx.campus:587"),
        ("[mx.campus]:587", "mx.campus"),
        ("[MX.Campus]:587", "mx.campus"),
        ("[mx.campus]:587", ".campus"),
        ("mx.campus", "mx.campus:25"),
        ("a.b.campus", ".b.campus"),
        ("a.b.campus", ".campus"),
        ("a.b.campus", "."),
        ("[10.0.3.9]", "[10.0.3.9]"),
        ("[10.0.3.9]", "10.0.3.9"),
        ("[IPv6:::1]:26", "[::1]:26"),
        ("[10.0.3.9]", "."),
    ],
)
def test_a_row_is_found_by_what_the_next_hop_is(hop: str, key: str) -> None:
    assert policy(hop, f"{key} encrypt").level is Level.ENCRYPT
    assert policy(hop, f"{key} encrypt").origin == f"row {key} of /t"


@pytest.mark.parametrize(
    ("hop", "key"),
    [
        ("mx.campus", "[mx.campus]"),
        ("campus", ".campus"),
        ("[mx.campus]:587", "[mx.campus]:25"),
        ("mx.evilcampus", ".campus"),
        ("[10.0.3.9]", ".3.9"),
    ],
)
def test_a_row_of_another_next_hop_is_not(hop: str, key: str) -> None:
    assert policy(hop, f"{key} encrypt").level is Level.MAY


def test_the_nearest_row_counts() -> None:
    rows = (". none", ".campus may", "mx.campus encrypt", "[mx.campus] verify")
    assert policy("[mx.campus]:26", *rows).level is Level.VERIFY
    assert policy("[mx.campus]:26", *rows, f"[mx.campus]:26 fingerprint sha256:{ONES}").level is (
        Level.FINGERPRINT
    )


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("none", Policy(Level.NONE)),
        ("May", Policy(Level.MAY)),
        ("encrypt", Policy(Level.ENCRYPT)),
        ("encrypt implicit", Policy(Level.ENCRYPT, implicit=True)),
        ("verify", Policy(Level.VERIFY, ("mx.campus",))),
        ("verify match=A.example,.b.example", Policy(Level.VERIFY, ("a.example", ".b.example"))),
        ("verify match=a match=b implicit", Policy(Level.VERIFY, ("a", "b"), implicit=True)),
        (f"fingerprint sha256:{ONES}", Policy(Level.FINGERPRINT, (), (ONES,))),
        (
            f"fingerprint SHA256:{':'.join(['AB'] * 32)} sha256:{ONES}",
            Policy(Level.FINGERPRINT, (), (TWOS, ONES)),
        ),
    ],
)
def test_what_a_row_says(row: str, expected: Policy) -> None:
    found = policy("mx.campus", f"mx.campus {row}")
    assert found == Policy(
        expected.level,
        expected.names,
        expected.fingerprints,
        expected.implicit,
        "row mx.campus of /t",
    )


@pytest.mark.parametrize("explicit", ["none", "may", "encrypt"])
def test_a_row_counts_more_than_that_we_log_in(explicit: str) -> None:
    """The explicit "unverified" for a peer whose certificate is broken."""
    found = policy("[mx.campus]:587", f"mx.campus {explicit}", logs_in=True)
    assert found.level.value == explicit


@pytest.mark.parametrize(
    "row",
    [
        "verfy", "secure", "none implicit", "may match=a", "encrypt sha256:" + ONES, "verify sha256:" + ONES,
        "fingerprint", "fingerprint match=a", "fingerprint sha256:", "fingerprint sha256:" + ONES[1:],
        "fingerprint sha256:" + "g" * 64, "fingerprint md5:" + "1" * 32, "verify mx.campus", "verify m\xfcller",
    ],
)  # fmt: skip
def test_a_row_that_makes_no_sense_is_told(row: str) -> None:
    with pytest.raises(ValueError, match=r"^row mx\.campus of /t: "):
        policy("mx.campus", f"mx.campus {row}")


def test_no_table_is_no_rows_and_a_directory_is_no_table(tmp_path: Path) -> None:
    (hop,) = parse("mx.campus")
    configured = options(tls_policy=str(tmp_path / "nosuch"))
    assert TlsPolicies.read(configured).policy(hop).level is Level.MAY
    with pytest.raises(IsADirectoryError):
        TlsPolicies.read(options(tls_policy=str(tmp_path)))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("encrypt", "encrypt (row . of /t)"),
        ("verify implicit", "verify, as mx.campus, from the first octet (row . of /t)"),
        ("verify match=a,b", "verify, as a or b (row . of /t)"),
    ],
)
def test_a_policy_is_told_in_words(row: str, told: str) -> None:
    assert policy("[mx.campus]", f". {row}").told() == told
    assert policy("[mx.campus]:465").told() == "may, from the first octet (port 465)"


def test_the_database_that_makemap_made_counts(tmp_path: Path) -> None:
    (hop,) = parse("[mx.campus]:587")
    table = tmp_path / "tls-policy"
    table.write_text("[mx.campus]:587 none\n")
    rows = [(b"[mx.campus]:587", b"verify"), (b"[mx.campus]:587", b"may")]
    write_cdb(f"{table}.cdb", rows)
    assert TlsPolicies.read(options(tls_policy=str(table))).policy(hop).level is Level.VERIFY


def test_a_damaged_database_is_no_table_without_rows(tmp_path: Path) -> None:
    (tmp_path / "tls-policy.cdb").write_bytes(b"no database")
    with pytest.raises(OSError, match=r"."):
        TlsPolicies.read(options(tls_policy=str(tmp_path / "tls-policy")))


def test_without_a_name_there_is_no_table() -> None:
    (hop,) = parse("mx.campus")
    assert TlsPolicies.read(options(tls_policy="")).policy(hop).level is Level.MAY
