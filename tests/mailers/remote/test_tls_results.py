"""What is kept of how TLS came out, day by day."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from freezegun import freeze_time

from minimta.mailers.remote import tls_results
from minimta.mailers.remote.lines import ResultLine
from minimta.mailers.remote.tls_results import PolicyCounts, TlsResults, counts, forget_old

DAY = "2026-11-30"
POLICY = ("version: STSv1", "mode: enforce", "mx: mx.b.example", "max_age: 9")
GOOD = ResultLine("b.example", "sts", "mx.b.example", "", POLICY)
BAD = ResultLine("b.example", "sts", "mx.b.example", "certificate-expired", POLICY)
NONE = ResultLine("a.example", "no-policy-found", "mx.a.example", "starttls-not-supported")


@pytest.fixture
def results(tmp_path: Path) -> Iterator[TlsResults]:
    kept = TlsResults(str(tmp_path / "mqueue.tlsrpt"))
    kept.open()
    yield kept
    kept.close()


def test_what_came_of_a_day_is_counted_by_policy(results: TlsResults, tmp_path: Path) -> None:
    with freeze_time("2026-11-30 12:00"):
        for line in (GOOD, BAD, NONE, GOOD, BAD, GOOD):
            results.note(line)
    with freeze_time("2026-12-01 00:00:01"):
        results.note(GOOD)
    found = counts(str(tmp_path / "mqueue.tlsrpt"), DAY)
    assert found == [
        PolicyCounts(
            "a.example",
            "no-policy-found",
            (),
            0,
            Counter({("starttls-not-supported", "mx.a.example"): 1}),
        ),
        PolicyCounts(
            "b.example", "sts", POLICY, 3, Counter({("certificate-expired", "mx.b.example"): 2})
        ),
    ]
    assert counts(str(tmp_path / "mqueue.tlsrpt"), "2026-12-01")[0].successes == 1


def test_others_may_not_read_where_mail_goes(results: TlsResults, tmp_path: Path) -> None:
    results.note(GOOD)
    [file] = (tmp_path / "mqueue.tlsrpt").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_line_that_is_cut_short_counts_for_nothing(results: TlsResults, tmp_path: Path) -> None:
    with freeze_time("2026-11-30 12:00"):
        results.note(GOOD)
        file = tmp_path / "mqueue.tlsrpt" / DAY
        whole = file.read_bytes()
        file.write_bytes(whole + whole[:20] + b"\n[]\n1\n{}\n" + whole)
    assert counts(str(tmp_path / "mqueue.tlsrpt"), DAY)[0].successes == 2


def test_a_day_has_an_end(
    results: TlsResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results.note(GOOD)
    [file] = (tmp_path / "mqueue.tlsrpt").iterdir()
    size = file.stat().st_size
    monkeypatch.setattr(tls_results, "_MOST", size)
    results.note(GOOD)
    assert file.stat().st_size == size


def test_old_days_are_removed(results: TlsResults, tmp_path: Path) -> None:
    directory = tmp_path / "mqueue.tlsrpt"
    for name in ("2026-11-18", "2026-11-20", DAY, "other"):
        (directory / name).touch()
    with freeze_time("2026-11-30 12:00"):
        forget_old(str(directory))
    assert sorted(os.listdir(directory)) == ["2026-11-20", DAY, "other"]
    forget_old(str(tmp_path / "nothing"))


def test_lines_of_many_processes_stay_whole(results: TlsResults, tmp_path: Path) -> None:
    """Each attempt has a process of its own, and all write to one file."""
    children = []
    for _ in range(4):
        child = os.fork()
        if not child:
            for _ in range(200):
                results.note(BAD)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    [file] = (tmp_path / "mqueue.tlsrpt").iterdir()
    lines = file.read_bytes().splitlines()
    assert len(lines) == 800
    assert all(json.loads(line)["domain"] == "b.example" for line in lines)
    assert time.strftime("%Y-%m", time.gmtime()) in file.name
