"""One attempt: what is recorded, reported, kept and dropped."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from minimta.mailers.job import Job
from minimta.mailers.remote import reply_outcomes
from minimta.message.envelope import Envelope, Recipient
from minimta.message.outcome import Fate, Outcome
from minimta.queue import collect
from minimta.queue.commit import PlainCommitter
from minimta.queue.control import Control
from minimta.queue.directory import QueueDirectory
from minimta.queue.locked import LockedMessage
from minimta.queue.put_aside import take_back
from minimta.queue.spool import Spool
from minimta.runner import deliver, rounds
from minimta.runner.deliver import AttemptResult, Deliverer
from minimta.system import files, log
from minimta.system.slots import of_queue
from minimta.system.users import Users
from tests.support.privatehost import BUSY, DOWN, REFUSED, SENT, Elsewhere, PrivateHost

EMMA, DAVE, CAROL = b"<emma@lab1.campus>", b"<dave@lab1.campus>", b"<carol@lab1.campus>"
X, Y = b"<x@lab2.campus>", b"<y@lab3.campus>"
NOW = 1795339967.0


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    return PrivateHost(tmp_path, now=NOW)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged."""
    found: list[str] = []

    def line(qid: str, text: str, *, level: int = 9, error: bool = False) -> None:
        found.append(f"{qid}: {text}")

    monkeypatch.setattr(log, "line", line)
    return found


def subjects(host: PrivateHost, user: str) -> list[str]:
    return [str(letter["Subject"]) for letter in host.letters(user)]


# --- who gets what, and what is left -----------------------------------------------------------------


def test_a_delivered_message_leaves_the_queue_empty(host: PrivateHost) -> None:
    qid = host.submit(EMMA, DAVE)
    (report,) = host.deliverer().attempt([qid])
    assert (report.locked, report.exit_code) == (False, 0)
    assert subjects(host, "dave") == ["hello"]
    assert host.files() == []


def test_while_our_names_cannot_be_read_all_waits_and_mailq_says_why(
    host: PrivateHost, lines: list[str]
) -> None:
    names = Path(host.options.local_host_names)
    names.mkdir()
    elsewhere = Elsewhere({b"x@lab2.campus": SENT})
    qid = host.submit(EMMA, DAVE, b"<dave@list.campus>", X)
    host.deliverer(esmtp=elsewhere).attempt([qid])
    assert elsewhere.jobs == []
    assert host.control(qid).message == f"Deferred: {names}: Is a directory"
    assert [line for line in lines if ": to=" in line and "stat=Deferred" not in line] == []
    names.rmdir()
    names.write_text("list.campus\n")
    host.deliverer(esmtp=elsewhere).attempt([qid])
    assert subjects(host, "dave") == ["hello"]
    assert host.files() == []


def test_a_job_knows_what_named_its_next_hop(host: PrivateHost) -> None:
    """An address that somebody wrote to is not the one that the mailer table names."""
    Path(host.options.mailer_table).write_text("lab2.campus esmtp:[10.0.0.5]\n")
    elsewhere = Elsewhere({})
    qid = host.submit(EMMA, X, Y, b"<z@[10.0.0.5]>")
    host.deliverer(esmtp=elsewhere).attempt([qid])
    assert {(job.host, job.option, job.users[0].name) for job in elsewhere.jobs} == {
        ("[10.0.0.5]", "MailerTable", b"x@lab2.campus"),
        ("lab3.campus", "", b"y@lab3.campus"),
        ("[10.0.0.5]", "", b"z@[10.0.0.5]"),
    }


def test_the_mailbox_gets_one_return_path_and_the_next_hop_none(host: PrivateHost) -> None:
    elsewhere = Elsewhere({})
    text = b"Return-Path: <old@x>\nSubject: hello\n\nbody\n"
    qid = host.submit(EMMA, DAVE, X, text=text)
    host.deliverer(esmtp=elsewhere).attempt([qid])
    assert host.letters("dave")[0].get_all("Return-Path") == [EMMA.decode()]
    assert b"Return-Path" not in elsewhere.texts[0]
    assert elsewhere.texts[0].endswith(b"\n\nbody\n")


def test_a_message_that_another_holds_is_left_alone(host: PrivateHost) -> None:
    qid = host.submit(EMMA, DAVE)
    message = Spool(host.options.queue_directory).lock(qid)
    assert message is not None
    with message:
        (report,) = host.deliverer().attempt([qid])
    assert report.locked
    assert host.letters("dave") == []


@pytest.mark.parametrize("mode", ["queueonly", "deferred"])
def test_what_was_queued_for_a_full_run_waits_for_it(host: PrivateHost, mode: str) -> None:
    host.options.delivery_mode = mode
    qid = host.submit(EMMA, DAVE)
    host.deliverer().attempt([qid], fresh=True)
    assert host.letters("dave") == []
    assert host.control(qid).attempts == 0
    host.deliverer().attempt([qid])
    assert subjects(host, "dave") == ["hello"]


def test_what_the_peer_did_stands_alone_in_mailq(host: PrivateHost) -> None:
    broken = Outcome(Fate.DEFERRED, "4.4.2", "reply: read error from drop.campus.")
    qid = host.submit(EMMA, X)
    host.deliverer(esmtp=Elsewhere({b"x@lab2.campus": broken})).attempt([qid])
    assert host.control(qid).message == "reply: read error from drop.campus."


def test_a_quarantined_message_is_not_run(host: PrivateHost) -> None:
    qid = host.submit(EMMA, DAVE)
    host.rewrite(qid, lambda control: setattr(control, "quarantine", "looks bad"))
    host.deliverer().attempt([qid])
    assert host.letters("dave") == []
    assert host.queued() == [qid]


def test_a_duplicate_user_gets_the_message_once(host: PrivateHost) -> None:
    host.aliases("team: dave, carol", "both: team, dave")
    qid = host.submit(EMMA, DAVE, b"<both@lab1.campus>", b"<DAVE@lab1>")
    host.deliverer().attempt([qid])
    assert len(host.letters("dave")) == len(host.letters("carol")) == 1


def test_recipients_of_one_next_hop_share_a_job(host: PrivateHost) -> None:
    elsewhere = Elsewhere({})
    qid = host.submit(EMMA, X, b"<z@lab2.campus>", Y)
    host.deliverer(esmtp=elsewhere).attempt([qid])
    hops = {job.host: [user.name for user in job.users] for job in elsewhere.jobs}
    assert hops == {"lab2.campus": [b"x@lab2.campus", b"z@lab2.campus"], "lab3.campus": [Y[1:-1]]}


def test_messages_of_a_batch_reach_the_mailer_together(host: PrivateHost) -> None:
    calls: list[int] = []

    class Counting(Elsewhere):
        def deliver(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Mapping[bytes, Outcome]]]:
            calls.append(len(jobs))
            return super().deliver(jobs)

    qids = [host.submit(EMMA, X) for _ in range(5)]
    host.deliverer(esmtp=Counting({})).attempt(qids)
    assert calls == [5]


def test_dsn_parameters_reach_the_next_hop(host: PrivateHost) -> None:
    def parameters(envelope: Envelope) -> None:
        envelope.ret, envelope.envid, envelope.body_type = b"HDRS", b"QQ314", b"8BITMIME"

    asked = Recipient(X, "PNSF", original=b"rfc822;X@campus")
    elsewhere = Elsewhere({})
    qid = host.submit(EMMA, asked, Recipient(Y, "PN"), envelope=parameters)
    host.deliverer(esmtp=elsewhere).attempt([qid])
    first, second = elsewhere.jobs
    assert (first.ret, first.envid, first.body_type) == (b"HDRS", b"QQ314", b"8BITMIME")
    assert (first.users[0].notify, first.users[0].original) == (
        "SUCCESS,FAILURE",
        b"rfc822;X@campus",
    )
    assert second.users[0].notify == "NEVER"


def test_an_unqualified_sender_is_completed_for_another_host_only(host: PrivateHost) -> None:
    def by_command(envelope: Envelope) -> None:
        envelope.protocol = envelope.helo = b""

    elsewhere = Elsewhere({})
    text = b"From: Emma <emma>\nSubject: s\n\nb\n"
    qid = host.submit(b"emma", DAVE, X, text=text, envelope=by_command)
    host.deliverer(esmtp=elsewhere).attempt([qid])
    assert elsewhere.jobs[0].reverse_path == b"emma@lab1.campus"
    assert b"From: Emma <emma@lab1.campus>\n" in elsewhere.texts[0]
    assert host.letters("dave")[0]["Return-Path"] == "<emma>"


def test_what_came_by_smtp_is_not_completed(host: PrivateHost) -> None:
    elsewhere = Elsewhere({})
    qid = host.submit(EMMA, X, text=b"From: Emma <emma>\nSubject: s\n\nb\n")
    host.deliverer(esmtp=elsewhere).attempt([qid])
    assert b"From: Emma <emma>\n" in elsewhere.texts[0]


# --- delays ------------------------------------------------------------------------------------------


def test_a_delay_is_written_down_with_its_reason(host: PrivateHost) -> None:
    host.options.min_queue_age = 1800
    qid = host.submit(EMMA, DAVE, X)
    before = host.control(qid)
    host.deliverer(esmtp=Elsewhere({X[1:-1]: DOWN})).attempt([qid])
    after = host.control(qid)
    assert [r.address for r in after.recipients] == [X]
    assert (after.last_attempt, after.attempts) == (int(NOW), 1)
    assert after.priority == before.priority + host.options.retry_factor
    assert after.message == "Deferred: Connection refused by lab2.campus."
    assert after.recipients[0].message == ""
    path = Path(host.options.queue_directory, "qf" + qid)
    assert path.stat().st_mtime == NOW + 1800


def test_a_reply_is_kept_with_its_recipient(host: PrivateHost) -> None:
    qid = host.submit(EMMA, X)
    host.deliverer(esmtp=Elsewhere({X[1:-1]: BUSY})).attempt([qid])
    assert host.control(qid).recipients[0].message == "Deferred: 452 4.2.2 Mailbox full"


def test_an_expansion_stays_expanded_and_is_not_repeated(host: PrivateHost) -> None:
    host.aliases("team: dave, x@lab2.campus")
    qid = host.submit(EMMA, b"<team@lab1.campus>")
    host.deliverer(esmtp=Elsewhere({X[1:-1]: DOWN})).attempt([qid])
    assert [(r.flags, r.address) for r in host.control(qid).recipients] == [("FDA", X[1:-1])]
    host.deliverer().attempt([qid])
    assert len(host.letters("dave")) == 1
    assert host.files() == []


def test_a_host_that_refuses_connections_is_not_asked_again_in_this_run(host: PrivateHost) -> None:
    elsewhere = Elsewhere({X[1:-1]: DOWN})
    deliverer = host.deliverer(esmtp=elsewhere)
    first, second = host.submit(EMMA, X), host.submit(EMMA, b"<z@lab2.campus>")
    deliverer.attempt([first])
    deliverer.attempt([second])
    assert len(elsewhere.jobs) == 1
    assert host.control(second).message == host.control(first).message
    assert f"af{first}" in host.files()
    assert f"af{second}" not in host.files(), "nobody was asked for it"


@pytest.mark.parametrize(
    "said", [BUSY, replace(BUSY, status="4.4.1", diagnostic="451 4.4.1 z.example: timed out")]
)
def test_a_host_that_refuses_one_user_is_asked_again(host: PrivateHost, said: Outcome) -> None:
    elsewhere = Elsewhere({X[1:-1]: said})
    deliverer = host.deliverer(esmtp=elsewhere)
    deliverer.attempt([host.submit(EMMA, X)])
    deliverer.attempt([host.submit(EMMA, X)])
    assert len(elsewhere.jobs) == 2


# --- bounces -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "told"), [(64, 64), (67, 67), (78, 78), (75, 0), (1, 69), (63, 69), (79, 69), (99, 69)]
)
def test_only_exit_codes_of_sysexits_reach_who_submitted(
    host: PrivateHost, code: int, told: int
) -> None:
    host.aliases(f'fails: "|exit {code}"')
    (report,) = host.deliverer().attempt([host.submit(EMMA, b"<fails@lab1.campus>")])
    assert report.exit_code == told


def test_failures_of_a_message_make_one_bounce_to_the_sender(host: PrivateHost) -> None:
    qid = host.submit(EMMA, b"<nosuch@lab1.campus>", X, DAVE)
    (report,) = host.deliverer(esmtp=Elsewhere({X[1:-1]: REFUSED})).attempt([qid])
    assert report.exit_code == os.EX_NOUSER
    (bounce,) = host.letters("emma")
    assert bounce["Return-Path"] == "<>"
    assert bounce["From"] == "Mail Delivery Subsystem <MAILER-DAEMON>"
    text = bounce.as_string()
    assert "Final-Recipient: RFC822; nosuch@lab1.campus" in text
    assert "Final-Recipient: RFC822; x@lab2.campus" in text
    assert "dave" not in text.partition("Content-Type: message/rfc822")[0]
    assert "\nbody\n" in text
    assert host.files() == []


@pytest.mark.parametrize(
    "recipient", [b"<gone@lab1.campus>", b"<list@lab1.campus>", b"<x@gone.example>"]
)
def test_what_error_says_stands_in_the_bounce_once(
    host: PrivateHost, lines: list[str], recipient: bytes
) -> None:
    host.aliases("gone: error:5.1.6:550 He has moved", "list: gone, dave")
    Path(host.options.mailer_table).write_text("gone.example error:5.1.6:550 He has moved\n")
    host.deliverer().attempt([host.submit(EMMA, recipient)])
    (bounce,) = host.letters("emma")
    text = bounce.as_string()
    refused = "gone" if b"list" in recipient else recipient.decode().strip("<>")
    assert f"\n550 5.1.6 {refused}... He has moved\n" in text.replace("<", "").replace(">", "")
    assert "\n    (reason: 550 5.1.6 He has moved)\n" in text
    assert "\nStatus: 5.1.6\n" in text and "; 550 5.1.6 He has moved\n" in text
    assert text.count("He has moved") == 3  # reason, transcript, Diagnostic-Code
    assert any(line.endswith(", stat=He has moved") for line in lines)


def test_a_bounce_to_another_host_is_a_queue_file_as_recorded(host: PrivateHost) -> None:
    qid = host.submit(X, b"<nosuch@lab1.campus>")
    host.deliverer(esmtp=Elsewhere({X[1:-1]: DOWN})).attempt([qid])
    (bounce,) = host.queued()
    control = host.control(bounce)
    assert control.reverse_path == b"MAILER-DAEMON"
    assert "r" in control.flags
    assert [(r.flags, r.address) for r in control.recipients] == [("PF", X)]
    assert control.macros[b"_"] == control.macros[b"s"] == b"localhost"


def test_the_next_hop_sees_a_bounce_with_the_null_reverse_path(host: PrivateHost) -> None:
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt([host.submit(X, b"<nosuch@lab1.campus>")])
    assert elsewhere.jobs[0].reverse_path == b""
    assert b"\nFrom: Mail Delivery Subsystem <MAILER-DAEMON@lab1.campus>\n" in elsewhere.texts[0]


@pytest.mark.parametrize(
    "flags, bounces", [("PFD", 1), ("PNF", 1), ("PNS", 0), ("PN", 0), ("PND", 0)]
)
def test_notify_decides_whether_a_failure_is_reported(
    host: PrivateHost, flags: str, bounces: int
) -> None:
    host.deliverer().attempt([host.submit(EMMA, Recipient(b"<nosuch@lab1.campus>", flags))])
    assert len(host.letters("emma")) == bounces
    assert host.files() == []


def test_a_failure_for_the_null_sender_goes_to_the_postmaster_only(host: PrivateHost) -> None:
    host.deliverer().attempt([host.submit(b"<>", b"<nosuch@lab1.campus>")])
    assert subjects(host, "root") == ["Postmaster notify: see transcript for details"]
    assert host.files() == []


def test_without_a_double_bounce_address_it_goes_to_nobody(host: PrivateHost) -> None:
    host.options.double_bounce_address = ""
    host.deliverer().attempt([host.submit(b"<>", b"<nosuch@lab1.campus>")])
    assert host.files() == [] and host.letters("root") == []


def double_bounce(host: PrivateHost, *aliases: str) -> Deliverer:
    """A message whose bounce, and the report of that, reach nobody: tried, and then three times."""
    host.aliases(*aliases)
    deliverer = host.deliverer(esmtp=Elsewhere({b"me@gmail.com": REFUSED}))
    deliverer.attempt([host.submit(b"<nobodyhere@lab1.campus>", b"<nosuch@lab1.campus>")])
    for _ in range(3):
        deliverer.attempt(host.queued())
    return deliverer


def without_user(host: PrivateHost, *names: str) -> None:
    path = Path(host.options.passwd_file)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if line.partition(":")[0] not in names))


@pytest.mark.parametrize(
    "aliases",
    [
        ["postmaster: nosuch2"],
        ["postmaster: root", "root: rooot"],
        ["postmaster: root", "root: me@gmail.com"],
        ["postmaster: root", "root: error:5.1.1:550 nobody"],
    ],
)
def test_a_double_bounce_that_fails_comes_to_roots_own_mailbox(
    host: PrivateHost, lines: list[str], aliases: list[str]
) -> None:
    double_bounce(host, *aliases)
    assert subjects(host, "root") == ["Postmaster notify: see transcript for details"]
    assert host.files() == []
    assert len([line for line in lines if "postmaster notify" in line]) == 1


def test_a_sender_who_does_not_exist_here_costs_the_postmaster_one_message(
    host: PrivateHost, lines: list[str]
) -> None:
    qid = host.submit(b"<nobodyhere@lab1.campus>", b"<nosuch@lab1.campus>")
    host.deliverer().attempt([qid])
    (told,) = host.letters("root")
    assert told["Subject"] == "Postmaster notify: see transcript for details"
    status = told.as_string().partition("message/delivery-status")[2]
    assert status.partition("message/rfc822")[0].count("Final-Recipient: ") == 1
    assert "Final-Recipient: RFC822; nosuch@lab1.campus" in status
    assert f"\nwith id {qid}\n" in told.as_string()
    assert [line.split(": ", 2)[2] for line in lines if "notify" in line or "sender:" in line] == [
        "postmaster notify: User unknown"
    ]
    (about_sender,) = [line for line in lines if "to=<nobodyhere@lab1.campus>" in line]
    assert re.sub(r"pri=\d+", "pri=N", about_sender) == (
        f"{qid}: to=<nobodyhere@lab1.campus>, delay=00:00:00, mailer=local, pri=N, dsn=5.1.1,"
        " reply=550 5.1.1 User unknown, stat=User unknown"
    )
    assert host.files() == []


def test_while_users_cannot_be_looked_up_a_bounce_is_queued_for_the_sender(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    qid = host.submit(b"<nobodyhere@lab1.campus>", X)
    deliverer = host.deliverer(esmtp=Elsewhere({X[1:-1]: REFUSED}))
    with monkeypatch.context() as patch:

        def fails(*_: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        patch.setattr(Users, "find", fails)
        deliverer.attempt([qid])
    (bounce,) = host.queued()
    assert [r.address for r in host.control(bounce).recipients] == [b"<nobodyhere@lab1.campus>"]


def test_a_double_bounce_is_told_once_however_often_it_is_tried(
    host: PrivateHost, lines: list[str]
) -> None:
    deliverer = host.deliverer(esmtp=Elsewhere({X[1:-1]: REFUSED}))
    deliverer.attempt([host.submit(X, b"<nosuch@lab1.campus>")])
    for _ in range(3):
        deliverer.attempt(host.queued())
    (told,) = host.letters("root")
    assert told.as_string().count("Subject: Postmaster notify") == 1
    assert len([line for line in lines if "return to sender: User unknown" in line]) == 1
    assert not any("postmaster notify" in line for line in lines)
    assert host.files() == []


@pytest.mark.parametrize("code", [70, 78])
def test_the_postmaster_gets_the_bounce_of_a_program_that_is_wrong_itself(
    host: PrivateHost, code: int
) -> None:
    host.aliases("postmaster: root", f'fails: "|echo some output; exit {code}"')
    host.deliverer().attempt([host.submit(EMMA, b"<fails@lab1.campus>")])
    (bounce,), (copy,) = host.letters("emma"), host.letters("root")
    assert copy.as_string() == bounce.as_string()
    assert bounce["To"] == "<emma@lab1.campus>, postmaster"
    assert bounce["Subject"] == "Returned mail: see transcript for details"
    assert bounce["Auto-Submitted"] == "auto-generated (failure)"
    assert f"\nDiagnostic-Code: X-Unix; {code}\n" in bounce.as_string()
    assert "\nbody\n" in copy.as_string()
    assert host.files() == []


@pytest.mark.parametrize("code", [64, 65, 67, 69, 71, 72, 73, 76, 77, 1])
def test_of_other_failures_of_programs_only_the_sender_hears(host: PrivateHost, code: int) -> None:
    host.aliases("postmaster: root", f'fails: "|exit {code}"')
    host.deliverer().attempt([host.submit(EMMA, b"<fails@lab1.campus>")])
    assert host.letters("root") == []


def test_a_mail_loop_is_told_to_the_postmaster_too(host: PrivateHost) -> None:
    loop = reply_outcomes.loops_back("mxself.campus", "lab1.campus")
    host.deliverer(esmtp=Elsewhere({X[1:-1]: loop})).attempt([host.submit(EMMA, X)])
    assert subjects(host, "root") == subjects(host, "emma")
    assert subjects(host, "root") == ["Returned mail: see transcript for details"]


def test_a_postmaster_who_is_the_sender_gets_one(host: PrivateHost) -> None:
    host.aliases("postmaster: root", 'fails: "|exit 78"')
    host.deliverer().attempt([host.submit(b"<postmaster@lab1.campus>", b"<fails@lab1.campus>")])
    assert subjects(host, "root") == ["Returned mail: see transcript for details"]


def test_that_the_postmasters_copy_failed_is_told_to_nobody(
    host: PrivateHost, lines: list[str]
) -> None:
    host.aliases("postmaster: nosuch2", 'fails: "|exit 78"')
    host.deliverer().attempt([host.submit(EMMA, b"<fails@lab1.campus>")])
    assert subjects(host, "emma") == ["Returned mail: see transcript for details"]
    assert host.letters("root") == [] and host.files() == []
    assert not any("return to sender" in line for line in lines)


def test_a_copied_bounce_that_its_sender_refuses_is_one_double_bounce(
    host: PrivateHost, lines: list[str]
) -> None:
    host.aliases("postmaster: root", 'fails: "|exit 78"')
    host.deliverer(esmtp=Elsewhere({X[1:-1]: REFUSED})).attempt(
        [host.submit(X, b"<fails@lab1.campus>")]
    )
    assert subjects(host, "root") == [
        "Returned mail: see transcript for details",
        "Postmaster notify: see transcript for details",
    ]
    assert len([line for line in lines if "return to sender" in line]) == 1


def with_blind_copy(host: PrivateHost, *recipients: bytes, archive: str) -> AttemptResult:
    """EMMA's message to *recipients*, tried where AlwaysBcc is *archive*."""
    host.options.always_bcc = archive
    told: list[str] = []
    deliverer = host.deliverer(esmtp=Elsewhere({X[1:-1]: REFUSED}), tell=told.append)
    (result,) = deliverer.attempt([host.submit(EMMA, *recipients)])
    assert not any(archive in line for line in told)
    return result


def test_always_bcc_gets_each_message_once_and_is_in_none(host: PrivateHost) -> None:
    with_blind_copy(host, DAVE, archive="carol")
    (letter,) = host.letters("carol")
    assert "carol" not in letter.as_string()
    assert letter.as_string() == host.letters("dave")[0].as_string()


@pytest.mark.parametrize(
    "archive", ["nosuch", "x@lab2.campus", "archive"], ids=["unknown", "refused", "program"]
)
def test_that_always_bcc_failed_is_told_to_the_postmaster_and_to_no_sender(
    host: PrivateHost, archive: str
) -> None:
    host.aliases("postmaster: root", 'archive: "|exit 70"')
    result = with_blind_copy(host, DAVE, archive=archive)
    assert result.exit_code == os.EX_OK
    assert subjects(host, "root") == ["Postmaster notify: see transcript for details"]
    assert host.letters("emma") == [] and len(host.letters("dave")) == 1
    assert host.files() == []


def test_a_bounce_to_the_sender_does_not_name_the_blind_copy(host: PrivateHost) -> None:
    assert with_blind_copy(host, b"<nosuch@lab1.campus>", archive="x@lab2.campus").exit_code == 67
    (bounce,) = host.letters("emma")
    assert "x@lab2.campus" not in bounce.as_string()
    assert len(host.letters("root")) == 1


def test_always_bcc_that_waits_is_not_added_again(host: PrivateHost) -> None:
    host.options.always_bcc = "y@lab3.campus"
    qid = host.submit(EMMA, X)
    down = Elsewhere({X[1:-1]: DOWN, Y[1:-1]: DOWN})
    for _ in range(2):
        host.deliverer(esmtp=down).attempt([qid])
    assert [r.address for r in host.control(qid).recipients] == [X, Y[1:-1]]
    well = Elsewhere({})
    host.deliverer(esmtp=well).attempt([qid])
    assert sorted(user.name for job in well.jobs for user in job.users) == [X[1:-1], Y[1:-1]]
    assert host.files() == [] and host.letters("emma") == []


def test_without_root_it_comes_to_postmasters_own_mailbox(host: PrivateHost) -> None:
    path = Path(host.options.passwd_file)
    path.write_text(path.read_text().replace("root:", "postmaster:", 1))
    double_bounce(host, "postmaster: nosuch2")
    assert subjects(host, "postmaster") == ["Postmaster notify: see transcript for details"]
    assert host.files() == []


def test_without_either_it_comes_to_dead_letter_drop(host: PrivateHost) -> None:
    drop = host.root / "dead.letter"
    host.options.dead_letter_drop = str(drop)
    without_user(host, "root")
    double_bounce(host, "postmaster: nosuch2")
    assert b"\nSubject: Postmaster notify: see transcript for details\n" in drop.read_bytes()
    assert host.files() == []


def test_a_double_bounce_that_can_be_saved_nowhere_is_put_aside_and_never_loops(
    host: PrivateHost, lines: list[str]
) -> None:
    without_user(host, "root")
    double_bounce(host, "postmaster: nosuch2")
    assert host.queued() == []
    assert [name[:2] for name in host.files()] == ["Qf", "af", "df"]
    assert any("savemail panic" in line for line in lines)
    assert len([line for line in lines if "postmaster notify" in line]) == 1


def test_a_last_mailbox_that_cannot_be_written_now_is_waited_for(host: PrivateHost) -> None:
    mailbox = Path(host.options.mailbox_directory, "root")
    mailbox.mkdir()
    deliverer = double_bounce(host, "postmaster: nosuch2")
    (waiting,) = host.queued()
    assert host.control(waiting).message.startswith("Deferred: ")
    mailbox.rmdir()
    deliverer.attempt([waiting])
    assert subjects(host, "root") == ["Postmaster notify: see transcript for details"]
    assert host.files() == []


@pytest.mark.parametrize(("flags", "told"), [("PF", []), ("PN", ["not returned: <x@lab2.campus>"])])
def test_the_log_names_whose_failure_nobody_hears_of(
    host: PrivateHost, lines: list[str], flags: str, told: list[str]
) -> None:
    qid = host.submit(EMMA, Recipient(X, flags))
    host.deliverer(esmtp=Elsewhere({X[1:-1]: REFUSED})).attempt([qid])
    assert [line for line in lines if "not returned" in line] == [f"{qid}: {one}" for one in told]
    assert len(host.letters("emma")) == len(told) ^ 1


def test_what_was_put_aside_is_free_while_others_are_delivered(host: PrivateHost) -> None:
    Path(host.options.mailbox_directory, "root").mkdir()
    double_bounce(host, "postmaster: nosuch2")
    (waiting,) = host.queued()
    without_user(host, "root")
    is_free: list[bool] = []

    def look(job: Job) -> None:
        directory = QueueDirectory(host.options.queue_directory)
        is_free.append(take_back(directory, waiting))
        directory.close()

    elsewhere = Elsewhere({})
    elsewhere.before = look
    host.deliverer(esmtp=elsewhere).attempt([waiting, host.submit(EMMA, X)])
    assert is_free == [True]
    assert host.queued() == [waiting]


def test_a_remote_failure_of_a_bounce_is_returned_to_the_postmaster(
    host: PrivateHost, lines: list[str]
) -> None:
    host.deliverer(esmtp=Elsewhere({X[1:-1]: REFUSED})).attempt(
        [host.submit(X, b"<nosuch@lab1.campus>")]
    )
    assert subjects(host, "root") == ["Postmaster notify: see transcript for details"]
    assert any(": return to sender: User unknown" in line for line in lines)


def test_a_failing_bounce_from_elsewhere_is_no_double_bounce_of_ours(host: PrivateHost) -> None:
    """Whoever writes our marks into a message by SMTP does not make it vanish into Qf."""
    text = b"Auto-Submitted: auto-generated (postmaster-notification)\nSubject: s\n\nb\n"
    host.deliverer().attempt([host.submit(b"<>", b"<nosuch@lab1.campus>", text=text)])
    assert len(host.letters("root")) == 1


def test_a_large_message_comes_back_as_its_header(host: PrivateHost) -> None:
    text = b"Subject: large\n\n" + b"y" * 70 + b"\n"
    qid = host.submit(EMMA, b"<nosuch@lab1.campus>", text=text + b"yyyy\n" * 20000)
    host.deliverer().attempt([qid])
    (bounce,) = host.letters("emma")
    assert "text/rfc822-headers" in bounce.as_string()
    assert len(bounce.as_string()) < 5000


def test_ret_hdrs_returns_the_header_alone(host: PrivateHost) -> None:
    def headers_only(envelope: Envelope) -> None:
        envelope.ret = b"HDRS"

    qid = host.submit(EMMA, b"<nosuch@lab1.campus>", envelope=headers_only)
    host.deliverer().attempt([qid])
    assert "\nbody\n" not in host.letters("emma")[0].as_string()


def test_a_message_near_the_size_limit_still_bounces(host: PrivateHost) -> None:
    qid = host.submit(EMMA, b"<nosuch@lab1.campus>", text=b"Subject: s\n\n" + b"y\n" * 15000)
    host.options.max_message_size = 10000
    host.deliverer().attempt([qid])
    assert "text/rfc822-headers" in host.letters("emma")[0].as_string()


def test_failed_recipients_wait_while_the_bounce_cannot_be_queued(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    qid = host.submit(EMMA, b"<nosuch@lab1.campus>", DAVE)
    with monkeypatch.context() as patch:

        def full(*unused: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(PlainCommitter, "commit", full)
        host.deliverer().attempt([qid])
    assert [r.address for r in host.control(qid).recipients] == [b"<nosuch@lab1.campus>"]
    assert host.control(qid).message.startswith("Deferred: ")
    said = "SYSERR(root): cannot queue a report: "
    assert any(line.startswith(f"{qid}: {said}") for line in lines)
    host.deliverer().attempt([qid])
    assert len(host.letters("emma")) == len(host.letters("dave")) == 1
    assert host.files() == []


def test_of_a_bounce_that_finds_no_room_nothing_is_left(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    qid = host.submit(EMMA, b"<nosuch@lab1.campus>")
    monkeypatch.setattr(collect, "_IN_MEMORY", 10)
    write_all = files.write_all

    def full(file: int, text: bytes) -> None:
        if os.path.basename(os.readlink(f"/proc/self/fd/{file}")).startswith("df"):
            os.write(file, text[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        write_all(file, text)

    monkeypatch.setattr(files, "write_all", full)
    host.deliverer().attempt([qid])
    assert [name for name in host.files() if name[:2] != "af"] == ["df" + qid, "qf" + qid]


def test_the_bounce_is_durable_before_the_failed_are_dropped(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    accept, retire = Spool.accept, LockedMessage.retire

    def accepted(spool: Spool, qid: str, data: int, control: Control, **more: bool) -> None:
        accept(spool, qid, data, control, **more)
        steps.append("accepted")

    def removed(message: LockedMessage) -> None:
        steps.append("removed")
        retire(message)

    qid = host.submit(EMMA, b"<nosuch@lab1.campus>")
    monkeypatch.setattr(Spool, "accept", accepted)
    monkeypatch.setattr(LockedMessage, "retire", removed)
    host.deliverer().attempt([qid])
    assert steps == ["accepted", "removed", "removed"]


def test_who_has_it_is_written_down_before_the_bounce_is_queued(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[bytes] = []
    accept = Spool.accept

    def accepted(spool: Spool, qid: str, data: int, control: Control, **more: bool) -> None:
        waiting.extend(r.address for r in host.control(original).recipients)
        accept(spool, qid, data, control, **more)

    original = host.submit(EMMA, DAVE, b"<nosuch@lab1.campus>")
    monkeypatch.setattr(Spool, "accept", accepted)
    host.deliverer().attempt([original])
    assert waiting == [b"<nosuch@lab1.campus>"]


# --- receipts, warnings, expiry ------------------------------------------------------------------------


def test_a_receipt_is_sent_when_asked_for(host: PrivateHost) -> None:
    host.deliverer().attempt([host.submit(EMMA, Recipient(DAVE, "PNS"), CAROL)])
    (receipt,) = host.letters("emma")
    assert receipt["Subject"] == "Return receipt"
    assert "Action: delivered (to mailbox)" in receipt.as_string()
    assert "carol" not in receipt.as_string()
    assert "\nbody\n" not in receipt.as_string()


def test_relayed_is_said_only_when_the_next_hop_says_nothing_itself(host: PrivateHost) -> None:
    passed_on = Outcome(Fate.SENT, "2.0.0", "Sent", dsn_passed_on=True)
    elsewhere = Elsewhere({Y[1:-1]: passed_on})
    qid = host.submit(EMMA, Recipient(X, "PNS"), Recipient(Y, "PNS"))
    host.deliverer(esmtp=elsewhere).attempt([qid])
    (receipt,) = host.letters("emma")
    assert "Action: relayed" in receipt.as_string()
    assert "y@lab3.campus" not in receipt.as_string().partition("text/rfc822-headers")[0]


def test_the_null_sender_gets_no_receipt(host: PrivateHost) -> None:
    host.deliverer().attempt([host.submit(b"<>", Recipient(DAVE, "PNS"))])
    assert host.files() == [] and host.letters("root") == []


def aged(host: PrivateHost, seconds: float, *, rested: float = 1800) -> str:
    """A message for a host that is down, *seconds* old, last tried *rested* seconds ago."""
    qid = host.submit(EMMA, X)

    def change(control: Control) -> None:
        control.created = int(NOW - seconds)
        control.attempts, control.last_attempt = 3, int(NOW - rested)

    host.rewrite(qid, change)
    return qid


def down(host: PrivateHost, qid: str) -> None:
    host.deliverer(esmtp=Elsewhere({X[1:-1]: DOWN})).attempt([qid])


def test_one_warning_is_sent_after_four_hours(host: PrivateHost) -> None:
    qid = aged(host, 4 * 3600 + 1)
    down(host, qid)
    assert subjects(host, "emma") == ["Warning: could not send message for past 4 hours"]
    assert "w" in host.control(qid).flags
    assert host.control(qid).message == "Warning: could not send message for past 4 hours"
    down(host, qid)
    assert len(host.letters("emma")) == 1


def test_no_warning_before_four_hours(host: PrivateHost) -> None:
    down(host, aged(host, 4 * 3600 - 1))
    assert host.letters("emma") == []


@pytest.mark.parametrize("precedence", [b"bulk", b"List", b"junk"])
def test_no_warning_for_bulk_mail(host: PrivateHost, precedence: bytes) -> None:
    qid = aged(host, 5 * 3600)
    host.rewrite(qid, lambda c: c.headers.append((b"", b"Precedence: " + precedence)))
    down(host, qid)
    assert host.letters("emma") == []


@pytest.mark.parametrize("flags, warnings", [("PFD", 1), ("PND", 1), ("PNF", 0), ("PN", 0)])
def test_notify_decides_whether_a_delay_is_reported(
    host: PrivateHost, flags: str, warnings: int
) -> None:
    qid = aged(host, 5 * 3600)
    host.rewrite(qid, lambda c: setattr(c.recipients[0], "flags", flags))
    down(host, qid)
    assert len(host.letters("emma")) == warnings


def test_no_warning_for_the_null_sender(host: PrivateHost) -> None:
    qid = aged(host, 5 * 3600)
    host.rewrite(qid, lambda c: setattr(c, "reverse_path", b"<>"))
    down(host, qid)
    assert host.letters("emma") == host.letters("root") == []


def test_after_five_days_it_comes_back_after_one_more_try(
    host: PrivateHost, lines: list[str]
) -> None:
    down(host, aged(host, 5 * 86400 + 1))
    (bounce,) = host.letters("emma")
    assert "Status: 4.4.7" in bounce.as_string()
    assert host.files() == []
    assert any("DSN: Cannot send message for 5 days" in line for line in lines)


def test_a_message_that_gets_through_in_the_last_try_does_not_come_back(host: PrivateHost) -> None:
    host.deliverer().attempt([aged(host, 5 * 86400 + 1)])
    assert host.letters("emma") == [] and host.files() == []


def test_a_jump_of_the_clock_bounces_nothing(host: PrivateHost) -> None:
    qid = aged(host, 10 * 365 * 86400, rested=10 * 365 * 86400)
    down(host, qid)
    assert host.queued() == [qid]
    host.now = NOW + 1800
    down(host, qid)
    assert host.queued() == []


def test_a_clock_set_back_bounces_nothing_and_still_tries(host: PrivateHost) -> None:
    qid = aged(host, -10 * 365 * 86400, rested=-10 * 365 * 86400)
    down(host, qid)
    assert host.queued() == [qid]
    assert host.control(qid).attempts == 4


# --- trouble -----------------------------------------------------------------------------------------


def test_a_message_is_recorded_before_its_next_act(host: PrivateHost) -> None:
    qid = host.submit(EMMA, DAVE, CAROL, X)
    seen: list[list[bytes]] = []
    deliverer = host.deliverer()
    local = deliverer.mailers["local"]
    deliver = local.deliver

    def noting(jobs: Sequence[Job]) -> Iterator[tuple[Job, Mapping[bytes, Outcome]]]:
        seen.append([r.address for r in host.control(qid).recipients])
        return deliver(jobs)

    local.deliver = noting  # type: ignore[method-assign]
    deliverer.mailers["esmtp"].before = lambda job: seen.append(  # type: ignore[attr-defined]
        [r.address for r in host.control(qid).recipients]
    )
    deliverer.attempt([qid])
    assert seen == [[DAVE, CAROL, X], [CAROL, X], [X]]


def test_a_message_that_cannot_be_recorded_is_stopped_and_rests(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    qid, other = host.submit(EMMA, DAVE, CAROL), host.submit(EMMA, DAVE)
    deliverer = host.deliverer()
    with monkeypatch.context() as patch:

        def read_only(message: LockedMessage, due: float, *, lasting: bool = True) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        patch.setattr(LockedMessage, "rewrite", read_only)
        deliverer.attempt([qid, other])
    assert len(host.letters("dave")) == 2
    assert host.letters("carol") == []
    assert host.queued() == [qid]
    assert any("cannot record" in line for line in lines)
    mtime = Path(host.options.queue_directory, "qf" + qid).stat().st_mtime
    assert mtime == NOW + 300


def test_on_a_full_disk_nobody_has_it_again_and_again(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    """Only what needs no record is done: a message for one, which goes away, and makes room."""
    qid, other = host.submit(EMMA, DAVE, CAROL), host.submit(EMMA, DAVE)
    receipt = host.submit(EMMA, Recipient(CAROL, "PSFD"))
    asked: list[int] = []

    def is_full(queue: QueueDirectory, octets: int) -> bool:
        asked.append(octets)
        return False

    with monkeypatch.context() as patch:
        patch.setattr(QueueDirectory, "has_room", is_full)
        host.deliverer().attempt([qid, other, receipt])
    assert len(asked) == 2 and min(asked) > 256
    assert (len(host.letters("dave")), host.letters("carol")) == (1, [])
    assert sorted(host.queued()) == sorted([qid, receipt])
    text = "SYSERR(root): no room to record who gets it: nobody does before there is"
    assert [line for line in lines if "room" in line] == [f"{q}: {text}" for q in (qid, receipt)]
    mtime = Path(host.options.queue_directory, "qf" + qid).stat().st_mtime
    assert mtime == NOW + 300
    host.deliverer().attempt([qid])
    assert (len(host.letters("dave")), len(host.letters("carol"))) == (2, 1)


def test_a_record_that_failed_is_tried_again_after_the_next_act(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs for other hosts are under way together; when the disk has room again all is written."""
    qid = host.submit(EMMA, X, Y, b"<z@lab4.campus>")
    elsewhere = Elsewhere({b"z@lab4.campus": BUSY})
    rewrite = LockedMessage.rewrite

    def full_at_first(message: LockedMessage, due: float, *, lasting: bool = True) -> None:
        if len(elsewhere.jobs) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        rewrite(message, due, lasting=lasting)

    monkeypatch.setattr(LockedMessage, "rewrite", full_at_first)
    host.deliverer(esmtp=elsewhere).attempt([qid])
    assert [r.address for r in host.control(qid).recipients] == [b"<z@lab4.campus>"]


def test_a_poisoned_message_costs_a_line_and_not_the_others(
    host: PrivateHost, lines: list[str]
) -> None:
    qids = [host.submit(EMMA, X) for _ in range(3)]

    def poison(job: Job) -> None:
        if job.qid == qids[1]:
            raise ZeroDivisionError("poison")

    elsewhere = Elsewhere({})
    elsewhere.before = poison
    host.deliverer(esmtp=elsewhere).attempt(qids)
    assert host.queued() == [qids[1]]
    assert host.control(qids[1]).attempts == 1
    assert host.control(qids[1]).message.startswith("Deferred: ")
    assert any("ZeroDivisionError: poison" in line for line in lines)


def test_a_mailer_that_forgets_a_job_or_a_user_delays_it(host: PrivateHost) -> None:
    class Forgetful(Elsewhere):
        def deliver(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Mapping[bytes, Outcome]]]:
            yield jobs[0], {b"x@lab2.campus": SENT}

    qids = [host.submit(EMMA, X, b"<z@lab2.campus>"), host.submit(EMMA, X)]
    host.deliverer(esmtp=Forgetful({})).attempt(qids)
    assert [r.address for r in host.control(qids[0]).recipients] == [b"<z@lab2.campus>"]
    assert [r.address for r in host.control(qids[1]).recipients] == [X]


def test_trouble_in_an_expansion_delays_the_message(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    deliverer = host.deliverer()

    def broken(*unused: object, **also: object) -> None:
        raise RuntimeError("bug")

    qid = host.submit(EMMA, DAVE)
    monkeypatch.setattr(deliver, "expand", broken)
    deliverer.attempt([qid])
    assert host.control(qid).attempts == 1
    assert any("RuntimeError: bug" in line for line in lines)


def test_a_damaged_message_is_put_aside_and_the_postmaster_hears_once(host: PrivateHost) -> None:
    good, bad = host.submit(EMMA, DAVE), host.submit(EMMA, DAVE)
    Path(host.options.queue_directory, "qf" + bad).write_bytes(b"V8\nYfoo\n.\n")
    deliverer = host.deliverer()
    deliverer.attempt([bad, good])
    deliverer.attempt(host.queued())
    assert len(host.letters("dave")) == 1
    (note,) = host.letters("root")
    assert f"Qf{bad}" in note.get_payload()
    assert "Qf" + bad in host.files()


def test_too_many_hops_bounce_without_a_delivery(host: PrivateHost) -> None:
    qid = host.submit(EMMA, DAVE)
    host.rewrite(qid, lambda c: c.headers.extend([(b"", b"Received: from a by b; x")] * 100))
    host.deliverer().attempt([qid])
    assert host.letters("dave") == []
    assert "Status: 5.4.6" in host.letters("emma")[0].as_string()


def test_stop_between_two_acts_keeps_what_was_done(host: PrivateHost) -> None:
    qid = host.submit(EMMA, DAVE, CAROL)
    deliverer = host.deliverer(stop=lambda: bool(host.letters("dave")))
    deliverer.attempt([qid])
    assert len(host.letters("dave")) == 1 and host.letters("carol") == []
    assert [r.address for r in host.control(qid).recipients] == [CAROL]
    host.deliverer().attempt([qid])
    assert len(host.letters("dave")) == len(host.letters("carol")) == 1


def test_it_is_asked_whether_to_go_on_when_local_mail_is_done_and_before_the_rest(
    host: PrivateHost,
) -> None:
    steps: list[tuple[int, int]] = []
    elsewhere = Elsewhere({})

    def go_on() -> bool:
        steps.append((len(host.letters("dave")), len(elsewhere.jobs)))
        return True

    host.deliverer(esmtp=elsewhere).attempt([host.submit(EMMA, X, DAVE)], go_on=go_on)
    assert steps == [(1, 0)]
    assert len(elsewhere.jobs) == 1


def test_nobody_is_asked_if_nothing_slow_is_left(host: PrivateHost) -> None:
    asked: list[str] = []

    def go_on() -> bool:
        asked.append("once")
        return False

    host.deliverer().attempt([host.submit(EMMA, DAVE)], go_on=go_on)
    assert not asked


def test_programs_come_after_the_mailboxes_of_all(host: PrivateHost) -> None:
    host.aliases('both: "|exit 0", dave')
    qids = [host.submit(EMMA, b"<both@lab1.campus>"), host.submit(EMMA, CAROL)]
    seen: list[tuple[int, int, list[bytes]]] = []

    def look() -> bool:
        waiting = [r.address for r in host.control(qids[0]).recipients]
        seen.append((len(host.letters("dave")), len(host.letters("carol")), waiting))
        return True

    host.deliverer().attempt(qids, go_on=look)
    assert seen[0] == (1, 1, [b'"|exit 0"'])
    assert host.queued() == []


def test_if_it_may_not_go_on_the_local_part_is_done_and_the_rest_waits_untouched(
    host: PrivateHost,
) -> None:
    qid = host.submit(EMMA, X, DAVE)
    host.deliverer().attempt([qid], go_on=lambda: False)
    assert len(host.letters("dave")) == 1
    control = host.control(qid)
    assert [r.address for r in control.recipients] == [X]
    assert control.attempts == 0
    assert control.message == "Deferred: waits for one of MaxQueueChildren deliveries to end"


def test_what_waits_for_a_slot_says_so_and_stays_as_it_is(host: PrivateHost) -> None:
    host.aliases(f"list: {X.decode()[1:-1]}, y@lab2.campus")
    qid = host.submit(EMMA, b"<list@lab1.campus>")
    host.deliverer().attempt([qid], go_on=lambda: False)
    control = host.control(qid)
    assert [r.address for r in control.recipients] == [b"<list@lab1.campus>"]
    assert (control.attempts, control.last_attempt) == (0, 0)
    assert control.message == "Deferred: waits for one of MaxQueueChildren deliveries to end"


def test_programs_of_one_user_leave_slots_for_others(host: PrivateHost) -> None:
    host.aliases('one: "|exit 0"')
    slots = of_queue(host.options)
    user = host.options.default_user
    places = [slots.place_at(f"prog {user}") for _ in range(slots.most)]
    qid, other = host.submit(EMMA, b"<one@lab1.campus>"), host.submit(EMMA, X)
    deliverer = host.deliverer()
    deliverer.attempt([qid, other])
    assert host.queued() == [qid]
    assert host.control(qid).message == f"Deferred: waits for 8 deliveries to programs of {user}"
    assert deliverer.held == {qid: 0.0}
    for place in places:
        assert place is not None
        place.close()
    host.deliverer().attempt([qid])
    assert host.queued() == []


def test_programs_that_hang_cost_an_attempt_their_time_limit_once(host: PrivateHost) -> None:
    host.options.timeout_program = 1
    host.aliases(*(f'hangs{n}: "|sleep 6{n}"' for n in range(3)), 'two: "|exit 0"')
    hanging = [host.submit(EMMA, b"<hangs%d@lab1.campus>" % n) for n in range(3)]
    behind, other = host.submit(EMMA, b"<two@lab1.campus>"), host.submit(EMMA, X)
    deliverer = host.deliverer()
    deliverer.attempt([*hanging, behind, other])
    assert set(host.queued()) == {*hanging, behind}
    assert deliverer.held == dict.fromkeys([*hanging[1:], behind], 0.0)
    user = host.options.default_user
    why = f"Deferred: waits for another delivery to programs of {user}, which take long"
    assert host.control(behind).message == why
    host.deliverer().attempt([behind])
    assert set(host.queued()) == set(hanging)


def test_only_one_attempt_waits_for_a_locked_mailbox(host: PrivateHost) -> None:
    lock = locked(host, "dave")
    waits = of_queue(host.options).place_at("lock mailbox dave", 1)
    assert waits is not None
    qid = host.submit(EMMA, DAVE)
    priority = host.control(qid).priority
    begun = time.monotonic()
    deliverer = host.deliverer()
    deliverer.attempt([qid])
    assert time.monotonic() - begun < 10
    why = "Deferred: waits for another delivery to mailbox dave, which is locked"
    assert host.control(qid).message == why
    assert deliverer.held == {qid: 0.0}
    assert host.control(qid).priority == priority, "nothing was tried"
    waits.close()
    os.close(lock)
    host.deliverer().attempt([qid])
    assert len(host.letters("dave")) == 1


def test_what_v_shows_is_as_recorded(host: PrivateHost) -> None:
    said: list[str] = []
    qid = host.submit(EMMA, DAVE, b"<nosuch@lab1.campus>")
    host.options.double_bounce_address = ""
    host.rewrite(qid, lambda c: setattr(c, "reverse_path", b"<>"))
    host.deliverer(say=said.append).attempt([qid])
    assert said == [
        "<nosuch@lab1.campus>... User unknown",
        "<dave@lab1.campus>... Connecting to local...",
        "<dave@lab1.campus>... Sent",
    ]


def test_the_to_line_has_sendmails_fields_in_order(host: PrivateHost, lines: list[str]) -> None:
    down_there = Outcome(
        Fate.DEFERRED,
        "4.4.1",
        "Connection refused by lab2.campus.",
        relay="lab2.campus. [10.0.3.135]",
    )
    qid = host.submit(EMMA, X)
    host.now = NOW + 31
    host.deliverer(esmtp=Elsewhere({X[1:-1]: down_there})).attempt([qid])
    ids = f"({os.getuid()}/{os.getgid()})"
    pri = 30000 + len(b"Subject: hello\nTo: somebody\n\nbody\n")
    assert (
        f"{qid}: to=<x@lab2.campus>, ctladdr=<emma@lab1.campus> {ids}, delay=00:00:31, "
        f"xdelay=00:00:00, mailer=esmtp, pri={pri}, relay=lab2.campus. [10.0.3.135], dsn=4.4.1, "
        "stat=Deferred: Connection refused by lab2.campus."
    ) in lines


# --- locked mailboxes -----------------------------------------------------------------------------


def locked(host: PrivateHost, name: str) -> int:
    """A mailbox that another program has locked, until the descriptor is closed."""
    path = Path(host.options.mailbox_directory, name)
    path.touch(0o600)
    file = os.open(path, os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def test_a_locked_mailbox_is_left_and_tried_again_after_the_others(host: PrivateHost) -> None:
    lock = locked(host, "dave")
    elsewhere = Elsewhere({})
    qids = [host.submit(EMMA, DAVE, CAROL), host.submit(EMMA, DAVE), host.submit(EMMA, CAROL, X)]
    begun = time.monotonic()

    def go_on() -> bool:
        """All that is quick is done: another child may begin with what is new."""
        assert time.monotonic() - begun < 5
        assert len(host.letters("carol")) == 2
        assert elsewhere.jobs == []
        return True

    def before(job: Job) -> None:
        assert host.letters("dave") == []
        os.close(lock)

    elsewhere.before = before
    host.deliverer(esmtp=elsewhere).attempt(qids, go_on=go_on)
    assert len(host.letters("dave")) == 2
    assert host.files() == []


def test_locked_mailboxes_are_waited_for_together(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "_BUSY_TIME", 1.0)
    locks = [locked(host, name) for name in ("dave", "carol", "emma")]
    qids = [host.submit(X, one) for one in (DAVE, CAROL, EMMA)]
    begun = time.monotonic()
    host.deliverer().attempt(qids, go_on=lambda: True)
    assert time.monotonic() - begun < 8
    for qid in qids:
        control = host.control(qid)
        assert (control.attempts, control.message[-10:]) == (1, " is locked")
    for lock in locks:
        os.close(lock)


def test_without_a_slot_a_locked_mailbox_waits_for_another_attempt(host: PrivateHost) -> None:
    lock = locked(host, "dave")
    qid = host.submit(EMMA, DAVE, CAROL)
    deliverer = host.deliverer()
    deliverer.attempt([qid], go_on=lambda: False)
    assert [one.address for one in host.control(qid).recipients] == [DAVE]
    assert host.control(qid).attempts == 0
    os.close(lock)
    deliverer.attempt([qid], go_on=lambda: False)
    assert len(host.letters("dave")) == len(host.letters("carol")) == 1
    assert host.files() == []


@pytest.mark.root
def test_while_run_as_user_is_not_found_what_the_listener_wrote_waits(host: PrivateHost) -> None:
    qid = host.submit(b"<emma@lab1.campus>", b"<dave@lab1.campus>")
    for kind in ("qf", "df"):
        os.chown(Path(host.options.queue_directory, kind + qid), 4711, 4711)
    host.options.run_as_user = "nobody-of-this-name"
    host.deliverer().attempt([qid])
    assert host.files() == ["df" + qid, "qf" + qid]
    assert not host.letters("dave")
    host.options.run_as_user = ""
    for kind in ("qf", "df"):
        os.chown(Path(host.options.queue_directory, kind + qid), 0, 0)
    host.deliverer().attempt([qid])
    assert len(host.letters("dave")) == 1


# --- options that change what becomes of a failure, or of time -----------------------------------------


@pytest.mark.parametrize(
    ("field", "late"), [(b"urgent", True), (b"Urgent", True), (b"normal", False), (b"", False)]
)
def test_a_priority_has_times_of_its_own(host: PrivateHost, field: bytes, late: bool) -> None:
    host.options.timeout_queuewarn_urgent = 3600
    qid = aged(host, 2 * 3600)
    if field:
        host.rewrite(qid, lambda c: c.headers.append((b"", b"Priority: " + field)))
    down(host, qid)
    expected = ["Warning: could not send message for past 1 hour"] if late else []
    assert subjects(host, "emma") == expected


def test_what_has_no_class_is_normal_and_that_may_be_shorter(host: PrivateHost) -> None:
    host.options.timeout_queuereturn_normal = 3600
    host.options.timeout_queuewarn_normal = 0
    down(host, aged(host, 2 * 3600))
    (bounce,) = host.letters("emma")
    assert "Message could not be delivered for 1 hour" in bounce.as_string()


def test_a_bounce_that_waits_may_be_given_up_earlier(host: PrivateHost) -> None:
    host.options.timeout_queuereturn_dsn = 3600
    qid = aged(host, 2 * 3600)
    host.rewrite(qid, lambda c: setattr(c, "flags", "r" + c.flags))
    down(host, qid)
    assert host.files() == []


def test_a_soft_bounce_waits_and_is_returned_at_its_end(host: PrivateHost) -> None:
    host.options.soft_bounce = True
    qid = host.submit(EMMA, b"<nosuch@lab1.campus>", X)
    host.deliverer(esmtp=Elsewhere({X[1:-1]: REFUSED})).attempt([qid])
    assert host.letters("emma") == []
    assert len(host.control(qid).recipients) == 2
    assert host.control(qid).message.startswith("Deferred: ")
    host.rewrite(qid, lambda c: setattr(c, "created", int(NOW - 6 * 86400)))
    host.deliverer(esmtp=Elsewhere({X[1:-1]: REFUSED})).attempt([qid])
    assert subjects(host, "emma") == ["Returned mail: see transcript for details"]


def test_the_postmaster_copy_has_the_header_and_not_the_text(host: PrivateHost) -> None:
    host.options.postmaster_copy = "carol"
    host.deliverer().attempt([host.submit(EMMA, b"<nosuch@lab1.campus>")])
    (bounce,), (copy,) = host.letters("emma"), host.letters("carol")
    assert "\nbody\n" in bounce.as_string()
    assert copy["Subject"] == "Postmaster notify: see transcript for details"
    assert "Subject: hello" in copy.as_string() and "\nbody\n" not in copy.as_string()
    assert host.letters("root") == [] and host.files() == []


def test_who_gets_a_copy_hears_of_a_double_bounce_once(host: PrivateHost) -> None:
    host.options.postmaster_copy = "carol"
    host.deliverer().attempt([host.submit(b"<>", b"<nosuch@lab1.campus>")])
    assert host.letters("carol") == [] and len(host.letters("root")) == 1


@pytest.mark.parametrize("is_file", [True, False])
def test_a_bounce_begins_with_what_error_header_says(
    host: PrivateHost, is_file: bool, tmp_path: Path
) -> None:
    text = "Ask $j for help."
    (tmp_path / "header").write_text(f"{text}\n\u00fc\n")
    host.options.error_header = str(tmp_path / "header") if is_file else text
    host.deliverer().attempt([host.submit(EMMA, b"<nosuch@lab1.campus>")])
    (bounce,) = host.letters("emma")
    first = bounce.get_payload(0).get_payload()  # type: ignore[union-attr]
    lines = ["Ask lab1.campus for help.", *(["?"] if is_file else []), ""]
    assert str(first).split("\n")[: len(lines)] == lines
    assert "The original message was received" in str(first).split("\n")[len(lines)]


@pytest.mark.parametrize("name", ["nonexistent", ""])
def test_without_the_file_of_error_header_a_bounce_goes_all_the_same(
    host: PrivateHost, tmp_path: Path, lines: list[str], name: str
) -> None:
    host.options.error_header = str(tmp_path / name)
    host.deliverer().attempt([host.submit(EMMA, b"<nosuch@lab1.campus>")])
    assert len(host.letters("emma")) == 1
    told = [line for line in lines if "SYSERR(root): ErrorHeader: " in line]
    assert len(told) == (not name), "a directory cannot be read, and what is not there is empty"
