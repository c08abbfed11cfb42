"""RedirectAll: of a host that is a copy, no letter reaches anybody outside but one."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimta.message.envelope import Recipient
from minimta.runner import queue_run, redirect
from minimta.system import log
from tests.support.privatehost import DOWN, REFUSED, Elsewhere, PrivateHost

EMMA, DAVE = b"<emma@lab1.campus>", b"<dave@lab1.campus>"
X, Y = b"<x@lab2.campus>", b"<y@lab3.campus>"
TESTER = b"tester@staging.example"


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    host = PrivateHost(tmp_path)
    host.options.redirect_all = TESTER.decode()
    return host


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged."""
    found: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: found.append(text))
    return found


def sent_to(elsewhere: Elsewhere) -> list[bytes]:
    return [user.name for job in elsewhere.jobs for user in job.users]


def test_one_address_gets_what_is_for_other_hosts_once(host: PrivateHost, lines: list[str]) -> None:
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt([host.submit(EMMA, X, Y, DAVE)])
    assert sent_to(elsewhere) == [TESTER]
    assert [job.host for job in elsewhere.jobs] == ["staging.example"]
    assert len(host.letters("dave")) == 1
    assert host.letters("emma") == [] and host.files() == []
    assert f"RedirectAll: {X.decode()}, {Y.decode()} to {TESTER.decode()}" in lines


def test_without_the_option_mail_goes_where_it_is_for(host: PrivateHost) -> None:
    host.options.redirect_all = ""
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt([host.submit(EMMA, X, Y)])
    assert sent_to(elsewhere) == [X[1:-1], Y[1:-1]]


def test_nothing_leads_around_it_by_an_alias_or_a_forward(host: PrivateHost) -> None:
    host.aliases("postmaster: root", "list: x@lab2.campus, carol")
    home = host.root / "home" / "dave"
    home.mkdir()
    (home / ".forward").write_text("y@lab3.campus\n")
    for path in (host.root, host.root / "home", home):
        path.chmod(0o755)
    (home / ".forward").chmod(0o644)
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt([host.submit(EMMA, b"<list@lab1.campus>", DAVE)])
    assert sent_to(elsewhere) == [TESTER]
    assert len(host.letters("carol")) == 1 and host.letters("dave") == []


def test_nor_does_a_row_of_the_mailer_table_or_a_smart_host(host: PrivateHost) -> None:
    Path(host.options.mailer_table).write_text("lab2.campus esmtp:[192.0.2.1]\n")
    host.options.smart_host = "[192.0.2.2]"
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt([host.submit(EMMA, X, Y)])
    assert sent_to(elsewhere) == [TESTER]
    assert elsewhere.jobs[0].host == "[192.0.2.2]"


def test_bounces_are_redirected_too(host: PrivateHost) -> None:
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt([host.submit(X, b"<nosuch@lab1.campus>")])
    assert sent_to(elsewhere) == [TESTER]
    assert b"Subject: Returned mail" in elsewhere.texts[0]


def test_a_blind_recipient_is_in_no_header_and_no_parameter(host: PrivateHost) -> None:
    elsewhere = Elsewhere({})
    blind = Recipient(b"<hidden@lab3.campus>", "PNF", original=b"rfc822;hidden@lab3.campus")
    text = b"To: x@lab2.campus\nBcc: hidden@lab3.campus\n\nbody\n"
    host.deliverer(esmtp=elsewhere).attempt([host.submit(EMMA, X, blind, text=text)])
    assert b"hidden" not in elsewhere.texts[0]
    assert [user.original for job in elsewhere.jobs for user in job.users] == [b""]


def test_a_retry_goes_to_the_one_address_and_not_twice(host: PrivateHost) -> None:
    qid = host.submit(EMMA, X, Y)
    host.deliverer(esmtp=Elsewhere({TESTER: DOWN})).attempt([qid])
    assert [r.address for r in host.control(qid).recipients] == [TESTER]
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt([qid])
    assert sent_to(elsewhere) == [TESTER] and host.files() == []


def test_the_one_address_may_be_of_this_host(host: PrivateHost) -> None:
    host.options.redirect_all = "tester"
    host.aliases("postmaster: root", "tester: carol")
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt([host.submit(EMMA, X, Y, b"<carol@lab1.campus>")])
    assert elsewhere.jobs == [] and len(host.letters("carol")) == 1


@pytest.mark.parametrize("alias", ["", "tester: x@lab2.campus", "tester: dave, other@lab3.campus"])
def test_an_address_that_leads_nowhere_or_outside_makes_mail_wait(
    host: PrivateHost, alias: str
) -> None:
    host.options.redirect_all = "tester"
    host.aliases("postmaster: root", *filter(None, [alias]))
    qid = host.submit(EMMA, X)
    elsewhere = Elsewhere({})
    for _ in range(2):
        host.deliverer(esmtp=elsewhere).attempt([qid])
    assert elsewhere.jobs == [] and host.letters("emma") == []
    assert host.control(qid).message.startswith("Deferred: RedirectAll: ")
    assert [r.address for r in host.control(qid).recipients] == [X]


def test_an_address_that_is_gone_at_the_next_attempt_makes_mail_wait(host: PrivateHost) -> None:
    host.options.redirect_all = "carol"
    mailbox = Path(host.options.mailbox_directory, "carol")
    mailbox.mkdir()  # she cannot have it now
    qid = host.submit(EMMA, X)
    host.deliverer().attempt([qid])
    assert [r.address for r in host.control(qid).recipients] == [b"carol"]
    passwd = Path(host.options.passwd_file)
    passwd.write_text(passwd.read_text().replace("carol:x", "other:x"))
    host.deliverer().attempt([qid])
    assert host.letters("emma") == []
    assert host.control(qid).message == "Deferred: RedirectAll: User unknown"


def test_what_any_recipient_asked_to_be_told_is_told(host: PrivateHost) -> None:
    elsewhere = Elsewhere({TESTER: REFUSED})
    never, failure = Recipient(X, "PN"), Recipient(Y, "PNF")
    host.deliverer(esmtp=elsewhere).attempt([host.submit(EMMA, never)])
    assert host.letters("emma") == []
    host.deliverer(esmtp=elsewhere).attempt([host.submit(EMMA, never, failure)])
    assert len(host.letters("emma")) == 1


def test_a_run_says_it_at_its_start(host: PrivateHost, lines: list[str]) -> None:
    queue_run.run(host.options, [], verbose=False)
    told = "RedirectAll: all mail for other hosts goes to tester@staging.example"
    assert lines[0] == told == redirect.notice(host.options)
    lines.clear()
    host.options.redirect_all = ""
    queue_run.run(host.options, [], verbose=False)
    assert not any("RedirectAll" in line for line in lines)
