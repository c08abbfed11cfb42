"""What leaves the runner has the addresses that others shall see; the queue keeps what came in."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimta.message.envelope import Envelope, Recipient
from minimta.routing import rewrite
from minimta.routing.local_host import LocalHost
from minimta.runner.deliver import Deliverer
from minimta.smtp.data import DataWriter
from tests.support.privatehost import DOWN, REFUSED, Elsewhere, PrivateHost
from tests.support.smtphost import SmtpHost

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


#: header and body that anything which takes them apart would put together otherwise
AS_WRITTEN = (
    b"Received: from a (b [10.0.3.9])\n by  c with SMTP;\n\tMon, 30 Nov 2026 00:00:00 +0000\n"
    b"DKIM-Signature:  v=1; d=far.example;\n\th=from :\n\t\tto; bh= abc=\n"
    b"ARC-Seal: i=1;cv=none\nList-Id: <a  b>\nList-Unsubscribe:<mailto:x>\n"
    b'Disposition-Notification-To: "X"   <x@far.example>\n'
    b'from: X <x@far.example>\nTo: a @ b (c),\n \t"d"@e\nSubject:\tn\xe4 \t\n'
    b"Message-ID: <1@far.example>\nDate: 30 Nov 26 00:00 GMT\n"
    b"\n.\n..\nFrom here\n>From there\n"
    + bytes(range(128, 256))
    + b"\t \n"
    + b"x" * 5000
    + b"\n\n\n"
)


def test_over_two_hosts_nothing_changes_but_what_was_received(tmp_path: Path) -> None:
    """RFC 5321 sections 4.4 and 6.4, RFC 6376 section 5.3: from socket to socket and again."""
    text = AS_WRITTEN
    for hop in ("one", "two"):
        (tmp_path / hop).mkdir()
        relay = SmtpHost(tmp_path / hop)
        relay.options.queue_la = 10000
        relay.options.sender_relay = relay.options.generics_table = ""
        peer, writer = relay.connect("127.0.0.1", "localhost"), DataWriter()
        peer.says(f"EHLO {hop}.campus", "MAIL FROM:<x@far.example>", "RCPT TO:<x@lab3.campus>")
        peer.says("DATA")
        assert peer.session.receive(writer.feed(text) + writer.finish())[:3] == b"250"
        (qid,) = (name[2:] for name in relay.files() if name[:2] == "qf")
        elsewhere, runner = Elsewhere({}), Deliverer(LocalHost(relay.options))
        runner.mailers["esmtp"] = elsewhere
        runner.attempt([qid])
        (text,) = elsewhere.texts
    assert text.endswith(AS_WRITTEN)
    added = text.removesuffix(AS_WRITTEN)
    assert [part.split()[0] for part in added.split(b"Received: from ")[1:]] == [
        b"two.campus", b"one.campus",
    ]  # fmt: skip
    assert added.count(b"\n\tby lab2.campus (") == 2
    assert b"Return-Path" not in text


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


def test_a_sender_relay_may_be_named_by_what_others_see(host: PrivateHost) -> None:
    table = "dave@provider.example [smtp.one]\n@lab1.campus [smtp.two]\n"
    Path(host.options.sender_relay).write_text(table)
    elsewhere = Elsewhere({})
    deliverer = host.deliverer(esmtp=elsewhere)
    deliverer.attempt([host.submit(DAVE, X)])  # as it is here comes first
    Path(host.options.sender_relay).write_text(table.replace("@lab1.campus", "@other.campus"))
    Path(host.options.generics_table).write_text("dave dave@provider.example\n")
    host.deliverer(esmtp=elsewhere).attempt([host.submit(DAVE, X)])
    assert [job.host for job in elsewhere.jobs] == ["[smtp.two]", "[smtp.one]"]
    assert elsewhere.jobs[1].reverse_path == b"dave@provider.example"


def test_while_that_is_unknown_mail_waits_and_is_sent_by_no_other_host(host: PrivateHost) -> None:
    Path(host.options.sender_relay).write_text("dave@provider.example [smtp.one]\n")
    Path(host.options.generics_table).mkdir()
    qid = host.submit(DAVE, X)
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt([qid])
    assert elsewhere.jobs == [] and "Is a directory" in host.control(qid).message


# --- SRS ---------------------------------------------------------------------------------------------------

FAR = b"<bob@far.example>"


@pytest.fixture
def forwarder(tmp_path: Path) -> PrivateHost:
    host = PrivateHost(tmp_path)
    host.options.srs_domain = "lab1.campus"
    host.options.srs_key_file = str(tmp_path / "srs-key")
    (tmp_path / "srs-key").write_text("a-secret-key\n")
    (tmp_path / "srs-key").chmod(0o600)
    host.aliases("postmaster: root", "list: x@lab2.campus, dave", "out: y@lab3.campus")
    return host


def senders(elsewhere: Elsewhere) -> dict[bytes, bytes]:
    """Recipient -> reverse-path."""
    return {user.name: job.reverse_path for job in elsewhere.jobs for user in job.users}


def test_mail_of_others_that_is_sent_on_gets_a_sender_of_ours(forwarder: PrivateHost) -> None:
    elsewhere = Elsewhere({})
    to = (b"<list@lab1.campus>", b"<z@lab2.campus>")
    forwarder.deliverer(esmtp=elsewhere).attempt([forwarder.submit(FAR, *to, text=TEXT)])
    found = senders(elsewhere)
    assert found[b"x@lab2.campus"].startswith(b"SRS0=")
    assert found[b"x@lab2.campus"].endswith(b"=far.example=bob@lab1.campus")
    assert found[b"z@lab2.campus"] == b"bob@far.example"  # it only passes through
    assert all(text.endswith(TEXT) for text in elsewhere.texts)
    assert forwarder.letters("dave")[0]["Return-Path"] == "<bob@far.example>"


def test_a_forward_file_and_the_tables_send_on_too(forwarder: PrivateHost) -> None:
    home = forwarder.root / "home" / "carol"
    home.mkdir()
    (home / ".forward").write_text("y@lab3.campus\n")
    for path in (forwarder.root, forwarder.root / "home", home):
        path.chmod(0o755)
    Path(forwarder.options.virtuser_table).write_text("v@lab1.campus w@lab3.campus\n")
    elsewhere = Elsewhere({})
    to = (b"<carol@lab1.campus>", b"<v@lab1.campus>")
    forwarder.deliverer(esmtp=elsewhere).attempt([forwarder.submit(FAR, *to)])
    assert [s[:5] for s in senders(elsewhere).values()] == [b"SRS0="] * 2


@pytest.mark.parametrize("sender", [b"<dave@lab1.campus>", b"<dave@campus>", b"<>"])
def test_our_own_mail_and_bounces_keep_their_sender(forwarder: PrivateHost, sender: bytes) -> None:
    forwarder.options.masquerade_as = "campus"
    elsewhere = Elsewhere({})
    forwarder.deliverer(esmtp=elsewhere).attempt([forwarder.submit(sender, b"<out@lab1.campus>")])
    assert senders(elsewhere) == {b"y@lab3.campus": sender[1:-1]}


def test_a_bounce_finds_the_way_back(forwarder: PrivateHost) -> None:
    elsewhere = Elsewhere({})
    forwarder.deliverer(esmtp=elsewhere).attempt([forwarder.submit(FAR, b"<out@lab1.campus>")])
    made = elsewhere.jobs[0].reverse_path
    forwarder.deliverer(esmtp=elsewhere).attempt([forwarder.submit(b"<>", b"<%b>" % made)])
    assert [(job.host, job.users[0].name, job.reverse_path) for job in elsewhere.jobs[1:]] == [
        ("far.example", b"bob@far.example", b"")
    ]


def test_it_is_found_again_at_a_retry(forwarder: PrivateHost) -> None:
    qid = forwarder.submit(FAR, b"<list@lab1.campus>")
    forwarder.deliverer(esmtp=Elsewhere({b"x@lab2.campus": DOWN})).attempt([qid])
    elsewhere = Elsewhere({})
    forwarder.deliverer(esmtp=elsewhere).attempt([qid])
    assert senders(elsewhere)[b"x@lab2.campus"].startswith(b"SRS0=")


def test_a_failure_is_told_to_the_sender_as_the_queue_has_it(forwarder: PrivateHost) -> None:
    elsewhere = Elsewhere({b"y@lab3.campus": REFUSED})
    forwarder.deliverer(esmtp=elsewhere).attempt([forwarder.submit(FAR, b"<out@lab1.campus>")])
    assert elsewhere.jobs[1].users[0].name == b"bob@far.example"
    assert elsewhere.jobs[1].reverse_path == b""


def test_without_the_option_nobody_is_rewritten(forwarder: PrivateHost) -> None:
    forwarder.options.srs_domain = ""
    elsewhere = Elsewhere({})
    forwarder.deliverer(esmtp=elsewhere).attempt([forwarder.submit(FAR, b"<out@lab1.campus>")])
    assert senders(elsewhere) == {b"y@lab3.campus": b"bob@far.example"}


@pytest.mark.parametrize("spoil", ["key", "domain"])
def test_what_srs_cannot_do_now_waits(forwarder: PrivateHost, spoil: str) -> None:
    if spoil == "key":
        Path(forwarder.options.srs_key_file).chmod(0o644)
    else:
        forwarder.options.srs_domain = "elsewhere.example"
    qid = forwarder.submit(FAR, b"<out@lab1.campus>")
    elsewhere = Elsewhere({})
    forwarder.deliverer(esmtp=elsewhere).attempt([qid])
    assert elsewhere.jobs == [] and forwarder.letters("root") == []
    why = "others may read or change the key" if spoil == "key" else "is no name of this host"
    assert why in forwarder.control(qid).message
