"""What others refused, in words."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from minimta.admin import mail_log
from minimta.admin.doctor import refusals
from minimta.mailers.remote import host_status, login_memory
from minimta.mailers.remote.host_status import HostMemory, HostStatus
from minimta.mailers.remote.login_memory import LoginMemory
from minimta.queue.spool import Spool
from tests.support.patient import Machine

GOOGLE = "535 5.7.8 Username and Password not accepted. p=BadCredentials"
SES = (
    "554 Message rejected: Email address is not verified. The following identities failed the check"
)


def test_a_login_that_was_refused(machine: Machine) -> None:
    assert not machine.told(refusals.logins)
    memory = LoginMemory(login_memory.beside(machine.options.queue_directory))
    memory.refused("smtp.gmail.com:587 emma", "state", time.time(), f"password refused: {GOOGLE}")
    [found] = machine.found(refusals.logins)
    assert found.exit_code == 69
    assert found.subject == "smtp.gmail.com:587 emma"
    assert "the login was refused 1 times, and is not tried before" in found.text
    assert "(Google does not know this user with this password)" in found.text
    assert "app password" in found.remedy
    machine.changes["is_root"] = False
    assert "only root can tell" in machine.told(refusals.logins)[0]


def waits(machine: Machine, message: str, *statuses: str) -> str:
    """*statuses*: what is said of each recipient."""
    rcpts = [b"<x%d@far.example>" % number for number in range(max(1, len(statuses)))]
    qid = machine.host.submit(b"<emma@vm1.example.org>", *rcpts)
    spool = Spool(machine.options.queue_directory)
    locked = spool.lock(qid)
    assert locked is not None
    locked.control.message = message
    for recipient, status in zip(locked.control.recipients, statuses, strict=False):
        recipient.message = status
    locked.rewrite(0)
    locked.release()
    spool.close()
    return qid


def test_what_waits_for_a_refusal_is_told_with_the_providers_meaning(machine: Machine) -> None:
    first = waits(machine, f"Deferred: {SES}")
    waits(machine, f"Deferred: {SES}")
    waits(machine, "Deferred: Connection refused by far.example.")
    [found] = machine.found(refusals.waiting)
    assert found.exit_code == 69
    assert found.subject == f"2 wait, {first}"
    assert found.text.startswith("Amazon SES sends only from addresses that were verified there")
    assert "production access" in found.remedy


def test_a_message_counts_once_for_each_reason(machine: Machine) -> None:
    full = "452 4.2.2 Mailbox full"
    qid = waits(machine, f"Deferred: {SES}", SES, full, full)
    found = machine.found(refusals.waiting)
    assert [one.subject for one in found] == [f"1 wait, {qid}"] * 2
    assert [one.exit_code for one in found] == [69, 0]


def test_a_full_mailbox_is_the_affair_of_its_owner(machine: Machine) -> None:
    waits(machine, "Deferred: 452 4.2.2 Mailbox full")
    [found] = machine.found(refusals.waiting)
    assert found.exit_code == 0
    assert found.text.startswith("the recipient's mailbox is full")


def test_what_a_host_said_that_took_nothing(machine: Machine) -> None:
    said = (
        "554 5.7.1 Service unavailable; Client host [198.51.100.7] blocked using zen.spamhaus.org"
    )
    path = host_status.beside(machine.options.queue_directory)
    memory = HostMemory(path, time.time())
    memory.open()
    memory.note(HostStatus("mx.far.example", 0, "5.7.1", 69, said))
    memory.close()
    [line] = machine.told(refusals.hosts)
    assert line.startswith("mx.far.example: this host's address is on a block list")


@pytest.fixture
def log_file(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = machine.host.root / "mail.log"
    path.touch()
    monkeypatch.setattr(mail_log, "places", lambda options: [str(path)])
    return path


def test_what_was_returned_is_told_from_the_log(machine: Machine, log_file: Path) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(machine.patient.now - 60))
    fact = "mailer=esmtp, relay=smtp.example.org. [203.0.113.25], dsn=5.7.1"
    said = "553 5.7.1 <root@vm1.lan>: Sender address rejected: not owned by user emma"
    log_file.write_text(
        f"{now} vm1 sm-mta[96]: 6AM9CfOn000096: to=<x@far.example>, {fact}, stat={said}\n"
        f"{now} vm1 sm-mta[96]: 6AM9CfOn000097: to=<x@far.example>, {fact.replace('5.7.1', '2.0.0')}, stat=Sent\n"
    )
    [found] = machine.found(refusals.returned)
    assert found.subject == "1 returned within a day, 6AM9CfOn000096"
    assert found.text.startswith("this login may not send as that address")
    assert "MasqueradeAs" in found.remedy
    machine.options.log_to = "stderr"
    assert not machine.found(refusals.returned)


def test_a_file_of_the_log_that_nobody_can_make_is_told(
    machine: Machine, log_file: Path, tmp_path: Path
) -> None:
    log_file.write_text("")
    machine.options.log_to = f"stderr, {tmp_path}/none/mail.log, {tmp_path}/mail.log"
    assert machine.told(refusals.returned) == [
        f"{tmp_path}/none/mail.log: Warning: LogTo: there is no directory {tmp_path}/none: the log"
        f" goes to syslog: mkdir {tmp_path}/none"
    ]


def test_a_log_that_is_not_there_or_cannot_be_read_is_unknown(
    machine: Machine, log_file: Path
) -> None:
    log_file.unlink()
    told = [f"mail log: unknown: {log_file}: there is no such file"]
    assert machine.told(refusals.returned) == told
    log_file.mkdir()
    assert machine.told(refusals.returned)[0].startswith("mail log: unknown: ")
