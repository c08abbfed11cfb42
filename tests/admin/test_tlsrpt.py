"""minimta tlsrpt: reports in the form of RFC 8460."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from freezegun import freeze_time

from minimta.admin import verbs
from minimta.mailers.remote.lines import ResultLine
from minimta.mailers.remote.tls_results import TlsResults

POLICY = ("version: STSv1", "mode: testing", "mx: *.mail.company-y.example", "max_age: 86400")
Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of the verb, in a host that has counted on 2016-04-01."""
    cf = tmp_path / "cf"
    cf.write_text(f"HostName = mta.company-x.example\nQueueDirectory = {tmp_path}/mqueue\n")
    cf.chmod(0o644)
    results = TlsResults(f"{tmp_path}/mqueue.tlsrpt")
    results.open()
    y, z = "company-y.example", "company-z.example"
    with freeze_time("2016-04-01 12:00"):
        for result in ("", "certificate-expired", "", "certificate-expired"):
            results.note(ResultLine(y, "sts", "mx1.mail.company-y.example", result, POLICY))
        results.note(ResultLine(z, "no-policy-found", "mx.company-z.example", ""))
    results.close()
    return lambda *words: verbs.main(["tlsrpt", "-C", str(cf), *words])


def test_a_report_has_the_form_of_the_rfc(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    """RFC 8460 section 4.4, appendix B."""
    assert run("2016-04-01") == os.EX_OK
    first, second = map(json.loads, capfd.readouterr().out.splitlines())
    assert first == {
        "organization-name": "mta.company-x.example",
        "date-range": {
            "start-datetime": "2016-04-01T00:00:00Z",
            "end-datetime": "2016-04-01T23:59:59Z",
        },
        "contact-info": "postmaster@mta.company-x.example",
        "report-id": "2016-04-01T00:00:00Z_company-y.example",
        "policies": [
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-domain": "company-y.example",
                    "policy-string": list(POLICY),
                    "mx-host": ["*.mail.company-y.example"],
                },
                "summary": {
                    "total-successful-session-count": 2,
                    "total-failure-session-count": 2,
                },
                "failure-details": [
                    {
                        "result-type": "certificate-expired",
                        "receiving-mx-hostname": "mx1.mail.company-y.example",
                        "failed-session-count": 2,
                    }
                ],
            }
        ],
    }
    [policy] = second["policies"]
    assert policy["policy"] == {
        "policy-type": "no-policy-found",
        "policy-domain": "company-z.example",
    }
    assert "failure-details" not in policy


def test_without_a_day_it_is_yesterday(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    with freeze_time("2016-04-02 00:00:01"):
        assert run() == os.EX_OK
    assert len(capfd.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["2016-04-02"], os.EX_NOINPUT, "nothing was counted on 2016-04-02"),
        (["../passwd"], os.EX_USAGE, "'../passwd' is no day"),
        (["2026-13-01"], os.EX_USAGE, "'2026-13-01' is no day; write it as 2026-11-30"),
        (["2026-02-29"], os.EX_USAGE, "'2026-02-29' is no day"),
        (["20160402"], os.EX_USAGE, "'20160402' is no day"),
        ([""], os.EX_USAGE, "'' is no day"),
        (["2016-04-01", "x"], os.EX_USAGE, "cannot make sense of x"),
    ],
)
def test_what_cannot_be_reported_says_why(
    run: Run, capfd: pytest.CaptureFixture[str], words: list[str], code: int, why: str
) -> None:
    assert run(*words) == code
    assert capfd.readouterr().err.startswith(f"minimta tlsrpt: {why}")
