"""minimta trace ADDRESS: rewriting, the access table, MTA-STS."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from minimta.admin.address_rules import AddressRules
from minimta.mailers.remote import sts_cache
from minimta.mailers.remote.sts_cache import StsCache
from minimta.routing.local_host import LocalHost
from tests.support.privatehost import PrivateHost


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    return PrivateHost(tmp_path)


def told(host: PrivateHost, bare: bytes) -> list[str]:
    return list(AddressRules(LocalHost(host.options)).lines(bare))


@pytest.mark.parametrize("bare", [b"emma", b"x@lab2.campus", b"|/bin/cat", b"/var/file"])
def test_where_nothing_is_special_nothing_is_told(host: PrivateHost, bare: bytes) -> None:
    assert told(host, bare) == []


def test_a_row_of_the_generics_table_is_named(host: PrivateHost) -> None:
    table = Path(host.options.generics_table)
    table.write_text("# who\nemma  emma.example@example.org\n")
    host.options.masquerade_envelope = True
    shown = "leaves as emma.example@example.org, From: emma.example@example.org"
    assert told(host, b"emma") == [f"as a sender: {shown} ({table} line 2)"]


def test_masquerading_is_told_of_header_and_envelope(host: PrivateHost) -> None:
    host.options.masquerade_as = "example.org"
    host.options.masquerade_envelope = False
    shown = "leaves as emma@lab1.campus, From: emma@example.org"
    assert told(host, b"emma") == [f"as a sender: {shown} (MasqueradeAs = example.org)"]


def test_what_the_access_table_says_is_told_with_its_line(host: PrivateHost) -> None:
    table = Path(host.options.access_file)
    table.write_text(
        "# rules\nFrom:pest@lab2.campus REJECT\nTo:lab3.campus RELAY\nTo:gone@lab3.campus "
        "ERROR:5.1.1:550 moved away\n"
    )
    assert told(host, b"pest@lab2.campus") == [
        f"access: from it REJECT (550 5.7.1 Access denied), by {table} line 2"
    ]
    assert told(host, b"x@lab3.campus") == [f"access: to it RELAY, by {table} line 3"]
    assert told(host, b"gone@lab3.campus") == [
        f"access: to it ERROR (550 5.1.1 moved away), by {table} line 4"
    ]


def test_a_table_that_cannot_be_understood_is_told(host: PrivateHost) -> None:
    Path(host.options.access_file).write_text("From:pest@lab2.campus REJCT\n")
    (line,) = told(host, b"pest@lab2.campus")
    assert line.startswith("cannot be told now: ") and "REJCT" in line


def test_a_policy_of_mta_sts_that_was_fetched_is_told(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, close = list[StsCache](), StsCache.close

    def noted(cache: StsCache) -> None:
        closed.append(cache)
        close(cache)

    monkeypatch.setattr(StsCache, "close", noted)
    path = Path(sts_cache.beside(host.options.queue_directory))
    path.mkdir()
    fetched = int(time.time()) - 60
    (path / "lab2.campus").write_text(
        "version: STSv1\nmode: enforce\nmx: mx.lab2.campus\nmax_age: 86400\n"
        f"id: 2026\nfetched: {fetched}\n"
    )
    (line,) = told(host, b"x@lab2.campus")
    assert line.startswith("MTA-STS of lab2.campus: enforce, mx.lab2.campus, fetched ")
    assert told(host, b"x@lab3.campus") == []
    assert len(closed) == 2
