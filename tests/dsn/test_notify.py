"""What a report is made of: the message, who gets a copy, what of it is hidden."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from minimta.config.options import Options
from minimta.dsn.multipart import OriginalMessage, Report, ReportEntry, ReportKind
from minimta.dsn.notify import Notifier
from minimta.message.envelope import Recipient
from minimta.message.outcome import Fate, Outcome
from minimta.queue.control import Control

QID = "6AM9WlS1002504"
CREATED, NOW = 1795300000, 1795339967.0
UNKNOWN = Outcome(Fate.FAILED, "5.1.1", "User unknown", exit_code=os.EX_NOUSER)
BUSY = Outcome(Fate.DEFERRED, "4.4.1", "Connection refused", exit_code=os.EX_TEMPFAIL)
SENT = Outcome(Fate.SENT, "2.0.0", "Sent")


@pytest.fixture
def control() -> Control:
    made = Control(CREATED, b"<emma@lab1.campus>", [])
    made.macros = {b"_": b"lab2.campus [10.0.3.135]", b"r": b"ESMTP", b"s": b"lab2.campus"}
    made.envid = b"QQ314"
    return made


def entry(outcome: Outcome, flags: str = "PSFD") -> ReportEntry:
    return ReportEntry(Recipient(b"<dave@lab1.campus>", flags), outcome)


def reports(control: Control, *entries: ReportEntry, **settings: object) -> list[Report]:
    options = Options()
    for name, value in settings.items():
        setattr(options, name, value)
    return Notifier(options, "lab1.campus", NOW).reports(control, QID, entries)


def test_a_report_says_all_of_the_message_and_of_its_recipients(control: Control) -> None:
    failed = entry(UNKNOWN)
    original = OriginalMessage(QID, CREATED, b"lab2.campus [10.0.3.135]", b"lab2.campus", b"QQ314")
    assert reports(control, failed, timeout_queuewarn=3600, timeout_queuereturn=7200) == [
        Report(
            ReportKind.FAILURE,
            b"<emma@lab1.campus>",
            original,
            (failed,),
            "lab1.campus",
            NOW,
            waited=3600,
            queuereturn=7200,
        )
    ]


def test_what_did_not_come_by_smtp_has_no_name_of_helo(control: Control) -> None:
    del control.macros[b"r"]
    [report] = reports(control, entry(UNKNOWN))
    assert (report.original.client, report.original.helo) == (b"lab2.campus [10.0.3.135]", b"")
    control.macros.clear()
    [report] = reports(control, entry(UNKNOWN))
    assert (report.original.client, report.original.helo) == (b"", b"")


@pytest.mark.parametrize(
    ("outcome", "kind", "code", "copy"),
    [
        (UNKNOWN, ReportKind.FAILURE, os.EX_NOUSER, b""),
        (UNKNOWN, ReportKind.FAILURE, os.EX_SOFTWARE, b"postmaster"),
        (UNKNOWN, ReportKind.FAILURE, os.EX_CONFIG, b"postmaster"),
        (BUSY, ReportKind.DELAY, os.EX_CONFIG, b""),
        (SENT, ReportKind.RECEIPT, os.EX_OK, b""),
    ],
)
def test_of_a_failure_that_only_the_postmaster_can_mend_they_get_a_copy(
    control: Control, outcome: Outcome, kind: ReportKind, code: int, copy: bytes
) -> None:
    one = entry(replace(outcome, exit_code=code))
    [report] = reports(control, one, timeout_queuewarn=3600)
    assert (report.kind, report.copy) == (kind, copy)
    whole, *others = reports(control, one, timeout_queuewarn=3600, postmaster_copy="carol")
    assert whole == report
    note = [(ReportKind.POSTMASTER, b"carol", b"", True)] * (kind is ReportKind.FAILURE)
    assert [(one.kind, one.to, one.copy, one.header_only) for one in others] == note


@pytest.mark.parametrize("hides", [True, False])
def test_noactualrecipient_is_for_reports(control: Control, hides: bool) -> None:
    flags = frozenset({"noactualrecipient"} if hides else ())
    [report] = reports(control, entry(UNKNOWN), privacy_options=flags)
    assert report.hides_actual is hides
