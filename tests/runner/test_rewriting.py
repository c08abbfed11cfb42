"""What leaves the runner has the addresses that others shall see; the queue keeps what came in."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimta.message.envelope import Envelope, Recipient
from minimta.routing import rewrite
from tests.support.privatehost import DOWN, REFUSED, Elsewhere, PrivateHost

DAVE, CAROL, X = b"<dave@lab1.campus>", b"<carol@lab1.campus>", b"<x@lab2.campus>"
TEXT = b"From: Dave Example <dave@lab1.campus>\nTo: carol@lab1.campus\nSubject: hello\n\nbody dave@lab1.campus\n"


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    host = PrivateHost(tmp_path)
    host.options.masquerade_as = "campus"
    host.options.masquerade_envelope = True
    return host


def test_other_hosts_see_the_masqueraded_sender(host: PrivateHost) -> None:
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt([host.submit(DAVE, X, text=TEXT)])
    assert [job.reverse_path for job in elsewhere.jobs] == [b"dave@campus"]
    assert b"\nFrom: Dave Example <dave@campus>\nTo: carol@lab1.campus\n" in elsewhere.texts[0]
    assert elsewhere.texts[0].endswith(b"\n\nbody dave@lab1.campus\n")


def test_a_mailbox_of_this_host_has_it_too(host: PrivateHost) -> None:
    """Recorded: local/masq."""
    host.deliverer().attempt([host.submit(DAVE, CAROL, text=TEXT)])
    (letter,) = host.letters("carol")
    assert (
        letter["Return-Path"] == "<dave@campus>" and letter["From"] == "Dave Example <dave@campus>"
    )
    raw = Path(host.options.mailbox_directory, "carol").read_bytes()
    assert raw.startswith(b"From dave@campus ")


def test_the_table_rewrites_the_header_alone_without_masquerade_envelope(host: PrivateHost) -> None:
    """Recorded: local/generics."""
    host.options.masquerade_as, host.options.masquerade_envelope = "", False
    Path(host.options.generics_table).write_text("dave dave.example@campus\n")
    host.deliverer().attempt([host.submit(DAVE, CAROL, text=TEXT)])
    (letter,) = host.letters("carol")
    assert letter["From"] == "Dave Example <dave.example@campus>"
    assert letter["Return-Path"] == "<dave@lab1.campus>"


def test_the_queue_keeps_what_came_in(host: PrivateHost) -> None:
    qid = host.submit(DAVE, X, text=TEXT)
    before = host.control(qid)
    host.deliverer(esmtp=Elsewhere({b"x@lab2.campus": DOWN})).attempt([qid])
    after = host.control(qid)
    assert (after.headers, after.reverse_path) == (before.headers, before.reverse_path)


def test_a_bounce_goes_to_the_sender_as_the_queue_has_it(host: PrivateHost) -> None:
    elsewhere = Elsewhere({b"x@lab2.campus": REFUSED})
    host.deliverer(esmtp=elsewhere).attempt([host.submit(DAVE, X, text=TEXT)])
    (bounce,) = host.letters("dave")
    assert bounce["To"] == "<dave@lab1.campus>" and bounce["Return-Path"] == "<>"
    assert "From: Dave Example <dave@lab1.campus>" in bounce.as_string()


def test_our_own_report_to_another_host_has_a_masqueraded_author(host: PrivateHost) -> None:
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt([host.submit(X, b"<nosuch@lab1.campus>")])
    assert elsewhere.jobs[0].reverse_path == b""
    assert b"\nFrom: Mail Delivery Subsystem <MAILER-DAEMON@campus>\n" in elsewhere.texts[0]


def test_mail_of_others_passes_octet_for_octet(host: PrivateHost) -> None:
    text = b"From:  (c) X <x@far.example>\nTo: dave @ lab1.campus,\n\t y\nDKIM-Signature: a\n\nb\n"
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt([host.submit(b"<x@far.example>", X, text=text)])
    assert elsewhere.texts[0].endswith(text)
    assert elsewhere.jobs[0].reverse_path == b"x@far.example"


def test_the_owner_of_a_list_is_masqueraded_as_sender(host: PrivateHost) -> None:
    host.aliases("postmaster: root", "list: x@lab2.campus", "owner-list: dave")
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt(
        [host.submit(b"<a@far.example>", b"<list@lab1.campus>")]
    )
    assert [job.reverse_path for job in elsewhere.jobs] == [b"dave@campus"]


@pytest.mark.parametrize("spoil", ["directory", "slip", "class"])
def test_what_cannot_be_rewritten_now_waits_and_says_why(host: PrivateHost, spoil: str) -> None:
    path = Path(host.options.generics_table)
    if spoil == "directory":
        path.mkdir()
    elif spoil == "slip":
        path.write_text("dave two words\n")
    else:
        host.options.exposed_users = (str(path),)
    qid = host.submit(DAVE, X, CAROL, text=TEXT)
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt([qid])
    assert elsewhere.jobs == [] and host.letters("carol") == [] and host.letters("dave") == []
    assert host.control(qid).message.startswith(f"Deferred: {path}: ")
    path.rmdir() if spoil == "directory" else path.unlink() if spoil == "slip" else path.touch()
    host.deliverer(esmtp=elsewhere).attempt([qid])
    assert len(elsewhere.jobs) == len(host.letters("carol")) == 1 and host.files() == []


def test_without_options_nothing_is_rewritten_and_nothing_read(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.options.masquerade_as = ""

    def never(here: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(rewrite, "rewriter", never)
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt([host.submit(DAVE, X, text=TEXT)])
    assert [job.reverse_path for job in elsewhere.jobs] == [b"dave@lab1.campus"]


def test_what_was_submitted_here_is_completed_first(host: PrivateHost) -> None:
    def by_command(envelope: Envelope) -> None:
        envelope.client = b"dave@localhost"
        envelope.protocol = envelope.helo = b""

    elsewhere = Elsewhere({})
    text = b"From: dave\nTo: a b\nCc: carol\n\nbody\n"
    recipient = Recipient(X, "PFD")
    qid = host.submit(b"dave", recipient, text=text, envelope=by_command)
    host.deliverer(esmtp=elsewhere).attempt([qid])
    assert elsewhere.jobs[0].reverse_path == b"dave@campus"
    assert (
        b"\nFrom: dave@campus\nTo: a@lab1.campus, b@lab1.campus\nCc: carol@lab1.campus\n"
        in (elsewhere.texts[0])
    )
