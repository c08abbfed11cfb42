from __future__ import annotations

import errno
import os
import time
import tracemalloc
from pathlib import Path

import pytest

from minimta.config import options
from minimta.listener.shared_state import SharedState
from minimta.message import headers
from minimta.queue.control import OWN_MAIL
from minimta.queue.spool import Spool
from minimta.smtp.reply import reply
from minimta.system.users import Users
from tests.support.smtphost import NOW, STRANGER, ClientEnd, SmtpHost, begun, by_port

# --- a message ------------------------------------------------------------------------------------


def test_what_was_said_is_what_is_queued(host: SmtpHost) -> None:
    peer = host.connect(*STRANGER)
    peer.says("EHLO client.campus")
    peer.says("MAIL FROM:<emma@lab1.campus> BODY=8BITMIME RET=HDRS ENVID=QQ1 AUTH=x@y")
    peer.says("RCPT TO:<dave@lab2.campus> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;d@x")
    peer.says("RCPT TO:<carol>", "DATA")
    answer = peer.sends(b"Subject: x\r\n\r\n..dot\r\n.\r\n")
    [(control, body)] = host.queued()
    [qid] = [name[2:] for name in host.files() if name.startswith("qf")]
    assert answer == [f"250 2.0.0 {qid} Message accepted for delivery"]
    assert body == b".dot\n"
    assert control.created == NOW
    assert control.reverse_path == b"<emma@lab1.campus>"
    assert [(r.address, r.flags, r.original) for r in control.recipients] == [
        (b"<dave@lab2.campus>", "PNSD", b"rfc822;d@x"),
        (b"<carol>", "PFD", b""),
    ]
    assert (control.body_type, control.envid, control.auth) == (b"8BITMIME", b"QQ1", b"<>")
    assert "d" in control.flags
    assert "n" in control.flags
    assert control.macros[b"_"] == b"lab1.campus [10.0.3.134]"
    assert (control.macros[b"r"], control.macros[b"s"]) == (b"ESMTP", b"client.campus")


def test_a_mailbox_may_be_named_with_a_backslash_and_nothing_else(host: SmtpHost) -> None:
    peer = host.connect(*STRANGER)
    peer.says("EHLO client.campus")
    peer.says("MAIL FROM:<emma@lab1.campus>")
    codes = [
        peer.says(f"RCPT TO:<{path}>")[0][:3]
        for path in (
            "\\dave",
            "\\dave@lab2.campus",
            '"\\dave"@lab2.campus',
            "\\nosuch",
            "\\|/bin/x",
        )
    ]
    assert codes == ["250", "250", "250", "550", "550"]


def test_resent_bcc_is_blind_by_smtp_too(host: SmtpHost) -> None:
    peer = host.connect(*STRANGER)
    peer.says("EHLO client.campus")
    peer.says("MAIL FROM:<emma@lab1.campus>")
    peer.says("RCPT TO:<dave>", "DATA")
    peer.sends(b"To: x@y\r\nResent-Bcc: carol,\r\n hidden@z\r\n\r\nx\r\n.\r\n")
    [(control, _)] = host.queued()
    for mailer in ("local", "esmtp"):
        sent = headers.render(control.headers, mailer=mailer, reverse_path=b"", flags=control.flags)
        assert b"carol" not in sent and b"hidden" not in sent


@pytest.mark.parametrize(
    ("sender", "field"),
    [
        ("dave@lab2.campus", b"Dave Example <dave@lab2.campus>"),
        ("carol@lab2.campus", b"=?utf-8?q?Carol_=C3=89xample?= <carol@lab2.campus>"),
        ("DAVE@[10.0.3.135]", b"Dave Example <DAVE@[10.0.3.135]>"),
        ("nosuch@lab2.campus", b"nosuch@lab2.campus"),
        ("dave@lab1.campus", b"dave@lab1.campus"),
    ],
)
def test_a_from_that_is_added_names_a_sender_of_this_host(
    host: SmtpHost, sender: str, field: bytes
) -> None:
    assert host.connect(*STRANGER).writes(sender, "dave").startswith("250")
    [(control, _)] = host.queued()
    assert (b"F", b"From: " + field) in control.headers


def test_a_from_that_is_there_stays_as_it_is(host: SmtpHost) -> None:
    text = "From: <dave@lab2.campus>\n\nHi\n"
    assert host.connect(*STRANGER).writes("dave@lab2.campus", "dave", text=text)[:3] == "250"
    [(control, _)] = host.queued()
    assert [f for _, f in control.headers if b"rom:" in f] == [b"From: <dave@lab2.campus>"]


def test_a_sender_who_cannot_be_looked_up_gets_no_name_and_is_taken(
    host: SmtpHost, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    peer = host.connect(*STRANGER)
    peer.says("MAIL FROM:<dave@lab2.campus>", "RCPT TO:<carol>", "DATA")

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Users, "find", fails)
    assert peer.sends(b"Subject: x\r\n\r\nHi\r\n.\r\n")[-1][:3] == "250"
    [(control, _)] = host.queued()
    assert (b"F", b"From: dave@lab2.campus") in control.headers
    assert "cannot look up the sender's full name: Input/output error" in lines


@pytest.mark.parametrize("client", [STRANGER, ("127.0.0.1", "localhost")])
def test_no_address_of_mail_that_is_relayed_is_completed(
    host: SmtpHost, client: tuple[str, str]
) -> None:
    """RFC 6409 section 8: a submission may be, and nothing else (RFC 5321 section 6.4)."""
    fields = ["From: emma", "Sender: emma", "To: carol, dave (x)", "Cc: dave", "Reply-To: emma"]
    text = "\n".join((*fields, "", "Hi", ""))
    assert host.connect(*client).writes("emma@lab1.campus", "dave", text=text)[:3] == "250"
    [(control, _)] = host.queued()
    assert [field.decode() for _, field in control.headers[-5:]] == fields


def test_helo_is_smtp_in_the_trace(host: SmtpHost) -> None:
    peer = host.connect(*STRANGER)
    peer.says("HELO lab1.campus")
    peer.writes("emma@lab1.campus", "dave")
    [(control, _)] = host.queued()
    assert any(b" with SMTP id " in field for _, field in control.headers)


def test_two_messages_of_one_session_have_two_ids(host: SmtpHost) -> None:
    peer = host.connect(*STRANGER)
    answers = [peer.writes("emma@lab1.campus", "dave") for _ in range(2)]
    assert answers[0] != answers[1]
    assert len(host.queued()) == 2


def test_mail_without_helo_gets_a_warning(host: SmtpHost) -> None:
    host.connect(*STRANGER).writes("emma@lab1.campus", "dave")
    [(control, _)] = host.queued()
    warning = b"lab2.campus: lab1.campus [10.0.3.134] didn't use HELO protocol"
    assert (b"", b"X-Authentication-Warning: " + warning) in control.headers


@pytest.mark.parametrize("end", ["RSET", "EHLO x", "QUIT"])
def test_a_transaction_without_data_leaves_one_line_and_no_file(
    host: SmtpHost, lines: list[str], end: str
) -> None:
    begun(host).says(end)
    assert lines == [
        "from=<emma@lab1.campus>, size=0, class=0, nrcpts=0, proto=ESMTP,"
        " daemon=MTA, relay=lab1.campus [10.0.3.134]"
    ]
    assert host.files() == []


def test_a_connection_lost_in_the_text_leaves_nothing(host: SmtpHost, lines: list[str]) -> None:
    peer = begun(host)
    peer.says("RCPT TO:<dave>", "DATA")
    peer.sends(b"Subject: x\r\n\r\n" + b"x" * 100_000)
    assert host.files()
    peer.handler.lost("data")
    assert host.files() == []
    assert "info=unexpected close" in lines[0]
    assert lines[1].startswith("from=<emma@lab1.campus>, size=")


@pytest.mark.parametrize(
    ("end", "code"),
    [("looping", "554"), ("bare", "421"), ("filtered", "550"), ("discarded", "250")],
)
def test_of_a_long_text_that_is_not_taken_nothing_is_left(
    host: SmtpHost, monkeypatch: pytest.MonkeyPatch, end: str, code: str
) -> None:
    peer = begun(host)
    peer.says("RCPT TO:<dave>", "DATA")
    hops = b"Received: by x; y\r\n" * (200 if end == "looping" else 1)
    peer.sends(hops + b"\r\n" + b"a line of many\r\n" * 10_000)
    assert [name[:2] for name in host.files()] == ["df"]
    if end == "discarded":
        peer.handler._checks.discards = True
    no = reply(550, "5.7.1", "no") if end == "filtered" else None
    monkeypatch.setattr(peer.handler._filters, "message", lambda *unused: no)
    answers = peer.sends(b"x\ny\r\n.\r\n" if end == "bare" else b".\r\n")
    assert answers[0].startswith(code)
    assert host.files() == []


def test_of_chunks_that_are_refused_in_the_middle_nothing_is_left(host: SmtpHost) -> None:
    peer = begun(host)
    peer.says("RCPT TO:<dave>")
    text = b"Subject: x\r\n\r\n" + b"a line of many\r\n" * 10_000
    assert peer.sends(b"BDAT %d\r\n" % len(text) + text)[0].startswith("250")
    assert [name[:2] for name in host.files()] == ["df"]
    assert peer.sends(b"BDAT 5\r\na\rb\r\n")[0].startswith("554 5.6.0")
    assert host.files() == [], "at once"
    assert peer.sends(b"BDAT 3 LAST\r\nc\r\n")[0].startswith("5")
    assert host.files() == []


def test_a_connection_lost_before_is_told_with_the_last_command(
    host: SmtpHost, lines: list[str]
) -> None:
    begun(host).handler.lost("rcpt")
    assert lines[0] == "lost input channel from lab1.campus [10.0.3.134] to MTA after rcpt"


def test_a_bare_linefeed_leaves_nothing(host: SmtpHost, lines: list[str]) -> None:
    peer = begun(host)
    peer.says("RCPT TO:<dave>", "DATA")
    assert peer.sends(b"Subject: x\r\n\nbody\r\n.\r\n") == [
        "421 4.5.0 Bare linefeed (LF) not allowed"
    ]
    assert host.files() == []
    assert lines[0].endswith("info=Bare linefeed (LF) not allowed, where=body, status=tempfail")


@pytest.mark.parametrize("length", [998, 999, 5000, 300_000])
def test_a_line_of_any_length_arrives_whole(host: SmtpHost, length: int) -> None:
    """RFC 5321 section 4.5.3.1.6: 998 octets must; a longer line is never cut."""
    line = "x" * (length - 1) + "y\n"
    answer = host.connect(*STRANGER).writes(
        "emma@lab1.campus", "dave", text=f"Subject: x\n\n{line}z\n"
    )
    assert answer.startswith("250 2.0.0")
    assert host.queued()[0][1] == f"{line}z\n".encode()


#: headers and bodies that cost other servers their memory or their time
HOSTILE = {
    "nested comments": b"To: " + b"(" * 50_000 + b")" * 50_000 + b"\r\n\r\n",
    "unbalanced quotes": b'To: "' + b'\\"<' * 60_000 + b"\r\n\r\n",
    "many fields": b"A: b\r\n" * 100_000 + b"\r\n",
    "encoded words": b"Subject: " + b"=?utf-8?q?=41?= " * 16_000 + b"\r\n\r\n",
    "folds": b"Subject: x\r\n" + b" y\r\n" * 60_000 + b"\r\n",
    "nested MIME": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    + b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 3000,
    "one line of 50 MB": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_messages_cost_little_time_and_memory(host: SmtpHost, name: str) -> None:
    peer = begun(host, "127.0.0.1", "localhost")
    peer.says("RCPT TO:<dave>", "DATA")
    pieces = [HOSTILE[name]] if HOSTILE[name] else [b"\r\n", *[b"x" * 65536] * 800]
    begin = time.process_time()
    tracemalloc.start()
    try:
        for piece in pieces:
            assert peer.sends(piece) == []
        (answer,) = peer.sends(b"\r\n.\r\n")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer[:3] in ("250", "552")
    assert peak < 20 << 20
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_in_the_middle_of_the_text_is_told_at_its_end(
    host: SmtpHost, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    peer = begun(host)
    peer.says("RCPT TO:<dave>", "DATA")

    def fails(file: int, octets: bytes) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("minimta.system.files.write_all", fails)
        assert peer.sends(b"Subject: x\r\n\r\n" + b"y" * 200_000) == []
        assert peer.sends(b"\r\n.\r\n")[0][:3] == ("451" if number == errno.EIO else "452")
    assert host.files() == []
    assert peer.writes("emma@lab1.campus", "dave").startswith("250")


def test_no_inode_for_the_text_is_452(host: SmtpHost, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = begun(host)
    peer.says("RCPT TO:<dave>")

    def fails(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Spool, "create", fails)
    said = peer.says("DATA")
    if said[0].startswith("354"):
        said = peer.sends(b"Subject: x\r\n\r\n" + b"y" * 200_000 + b"\r\n.\r\n")
    assert said[0].startswith("452 4.3.1")
    assert host.files() == []


# --- recipients -----------------------------------------------------------------------------------


def test_the_same_recipient_again_is_answered_as_the_first_time(host: SmtpHost) -> None:
    peer = begun(host)
    names = ("dave@[10.0.3.135]", "DAVE@lab2", "dave", '"dave"@lab2.campus')
    for name in names:
        assert peer.says(f"RCPT TO:<{name}>") == ["250 2.1.5 <dave@[10.0.3.135]>... Recipient ok"]
    assert peer.says("RCPT TO:<dave+x>") == ["250 2.1.5 <dave+x>... Recipient ok"]
    peer.says("DATA")
    peer.sends(b".\r\n")
    assert len(host.queued()[0][0].recipients) == 2


def test_too_many_recipients_are_452_and_the_first_get_the_message(host: SmtpHost) -> None:
    host.options.max_recipients = 2
    peer = begun(host)
    answers = peer.says(*(f"RCPT TO:<{name}>" for name in ("dave", "carol", "root", "dave")))
    assert [answer[:9] for answer in answers] == [
        "250 2.1.5",
        "250 2.1.5",
        "452 4.5.3",
        "250 2.1.5",
    ]
    assert len(peer.says("DATA")) == 1
    assert peer.sends(b".\r\n")[0].startswith("250")


def test_of_5000_recipients_the_first_thousand_get_the_message(host: SmtpHost) -> None:
    """RFC 5321 sections 4.5.3.1.8 and 4.5.3.1.10: by default, too."""
    peer = begun(host)
    answers = peer.says(*(f"RCPT TO:<dave+{number}>" for number in range(5000)))
    assert [answer[:9] for answer in answers] == ["250 2.1.5"] * 1000 + ["452 4.5.3"] * 4000
    peer.says("DATA")
    assert peer.sends(b".\r\n")[0].startswith("250")
    assert sum(len(control.recipients) for control, _ in host.queued()) == 1000


# --- room -----------------------------------------------------------------------------------------


def test_a_size_that_is_too_big_is_552_at_once(host: SmtpHost) -> None:
    host.options.max_message_size = 1000
    peer = host.connect(*STRANGER)
    assert peer.says("MAIL FROM:<> SIZE=1001") == [
        "552 5.2.3 Message size exceeds fixed maximum message size (1000)"
    ]
    assert peer.says("MAIL FROM:<> SIZE=1000")[0].startswith("250")


def test_a_message_that_is_too_big_is_552_and_the_session_goes_on(host: SmtpHost) -> None:
    host.options.max_message_size = 1000
    peer = host.connect(*STRANGER)
    answer = peer.writes("emma@lab1.campus", "dave", text="Subject: x\n\n" + "y" * 1200 + "\n")
    assert answer == "552 5.2.3 Message exceeds maximum fixed size (1000)"
    assert host.files() == []
    assert peer.writes("emma@lab1.campus", "dave").startswith("250")


def test_one_that_never_ends_is_cut_off(host: SmtpHost) -> None:
    host.options.max_message_size = 1000
    peer = begun(host)
    peer.says("RCPT TO:<dave>", "DATA")
    chunk = b"x" * (1 << 20)
    answers = [peer.sends(chunk) for _ in range(18)]
    assert answers[15] == []
    assert any(answer and answer[0].startswith("552") for answer in answers)
    assert peer.session.is_closed


def test_a_size_beyond_the_disk_is_452(host: SmtpHost) -> None:
    answer = host.connect(*STRANGER).says("MAIL FROM:<> SIZE=1000000000000000000")
    assert answer == ["452 4.4.5 Insufficient disk space; try again later"]


def test_a_full_disk_is_452_at_mail_and_logged(host: SmtpHost, lines: list[str]) -> None:
    host.options.min_free_blocks = 1 << 60
    answer = host.connect(*STRANGER).says("MAIL FROM:<a@lab1.campus>")
    assert answer == ["452 4.3.1 Insufficient disk space; try again later"]
    [line] = [line for line in lines if line.startswith("low on space (")]
    assert line.endswith(f" blocks free) in {host.options.queue_directory}")


def test_a_queue_that_was_moved_away_takes_nothing(host: SmtpHost) -> None:
    peer = host.connect(*STRANGER)
    queue = Path(host.options.queue_directory)
    queue.rename(queue.with_name("away"))
    assert peer.says("NOOP")[0].startswith("250"), "it may come back"
    queue.mkdir(mode=0o700)
    answer = peer.says("MAIL FROM:<a@lab1.campus>")
    assert answer == ["451 4.3.0 The queue was moved; try again later"]
    queue.rmdir()
    queue.with_name("away").rename(queue)
    assert peer.says("MAIL FROM:<a@lab1.campus>")[0].startswith("250")


class FailingSpool(Spool):
    """Durable is nothing here."""

    error = 0

    def accept(self, qid: str, data: int, control: object, *, keep_lock: bool = False) -> None:
        self.unlink("df" + qid)
        raise OSError(self.error, os.strerror(self.error))


@pytest.mark.parametrize(("error", "answer"), [(28, "452 4.3.1"), (5, "451 4.3.0")])
def test_what_cannot_be_made_durable_is_not_accepted(
    host: SmtpHost, lines: list[str], error: int, answer: str
) -> None:
    spool = FailingSpool(host.options.queue_directory)
    spool.error = error
    shared = SharedState(host.options, spool, clock=lambda: NOW)
    client = host.connect("127.0.0.1", "localhost").handler._client
    peer = ClientEnd(shared, client)
    assert peer.writes("dave@lab2.campus", "carol").startswith(answer)
    assert host.files() == []
    assert any("SYSERR(root): queueing: " in line for line in lines)


def test_too_many_hops_are_refused(host: SmtpHost) -> None:
    received = "".join(f"Received: from a by b{number}; x\n" for number in range(101))
    answer = host.connect(*STRANGER).writes("emma@lab1.campus", "dave", text=received + "\nx\n")
    assert answer.startswith("554 5.4.6 Too many hops")


def test_too_long_a_mime_field_is_refused_and_not_cut(host: SmtpHost) -> None:
    host.options.max_mime_header_length = (100, 50)
    client = host.connect(*STRANGER)
    text = "Content-Disposition: attachment;\n\tfilename={}\n\nx\n"
    answer = client.writes("emma@lab1.campus", "dave", text=text.format("y" * 60))
    assert answer.startswith("554 5.6.0 Too long: parameter of the Content-Disposition field (69")
    assert host.files() == []
    assert client.writes("emma@lab1.campus", "dave", text=text.format("y" * 20)).startswith("250")


# --- the port -------------------------------------------------------------------------------------


def test_log_and_queue_say_by_which_port_a_message_came(host: SmtpHost, lines: list[str]) -> None:
    peer = by_port(host, "Name=MSA, Port=587, M=Eu")
    peer.writes("emma@lab1.campus", "dave")
    assert ", proto=SMTP, daemon=MSA, relay=lab1.campus [10.0.3.134]" in lines[-1]
    assert host.queued()[0][0].macros[b"{daemon_flags}"] == b"EE u"
    peer.says("MAIL FROM:<emma@lab1.campus>", "RSET")
    assert ", proto=SMTP, daemon=MSA, relay=lab1.campus [10.0.3.134]" in lines[-1]
    peer.handler.note_unused()
    assert lines[-1].endswith(" during connection to MSA")


def test_a_port_may_take_senders_without_a_domain_for_ours(host: SmtpHost) -> None:
    peer = by_port(host, "M=u")
    assert peer.says("MAIL FROM:<emma>") == ["250 2.1.0 <emma>... Sender ok"]
    assert peer.says("RCPT TO:<dave>") == ["250 2.1.5 <dave>... Recipient ok"]
    assert peer.says("RCPT TO:<henry@lab3.campus>")[0].startswith("550 5.7.1")
    peer.says("DATA")
    peer.sends(b"To: carol\r\n\r\n.\r\n")
    [(control, _)] = host.queued()
    assert control.reverse_path == b"<emma@lab2.campus>"
    assert [recipient.address for recipient in control.recipients] == [b"<dave@lab2.campus>"]
    assert (b"", b"To: carol@lab2.campus") in control.headers


def test_with_u_the_null_sender_stays_null(host: SmtpHost) -> None:
    by_port(host, "M=u").writes("", "dave")
    assert host.queued()[0][0].reverse_path == b"<>"


@pytest.mark.parametrize(
    ("port", "option", "load", "macro"),
    [
        ("", "background", 0.0, None),
        ("", "queueonly", 0.0, b"q"),
        ("DeliveryMode=q", "background", 0.0, b"q"),
        ("DeliveryMode=d", "background", 0.0, b"d"),
        ("DeliveryMode=b", "queueonly", 0.0, None),
        ("queueLA=3", "background", 2.9, None),
        ("queueLA=3", "background", 3.1, b"q"),
        ("queueLA=3, DeliveryMode=b", "queueonly", 3.1, b"q"),
    ],
)
def test_messages_of_a_port_have_its_delivery_mode(
    host: SmtpHost,
    monkeypatch: pytest.MonkeyPatch,
    port: str,
    option: str,
    load: float,
    macro: bytes | None,
) -> None:
    monkeypatch.setattr("minimta.system.load.average", lambda: load)
    host.options.delivery_mode = option
    by_port(host, port).writes("emma@lab1.campus", "dave")
    assert host.queued()[0][0].macros.get(b"{deliveryMode}") == macro


def test_goaway_is_as_sendmail_has_it(host: SmtpHost) -> None:
    host.options.set(options.by_name("PrivacyOptions"), "goaway")
    peer = host.connect(*STRANGER)
    assert peer.says("MAIL FROM:<emma@lab1.campus>")[0].startswith("503 5.0.0")
    offered = {line[4:] for line in peer.says("EHLO x")}
    assert "DSN" in offered
    assert "EXPN" not in offered
    # A user and nobody look alike.
    assert peer.says("VRFY dave") == peer.says("VRFY nosuch")
    assert peer.says("VRFY dave")[0].startswith("252")
    assert peer.says("EXPN staff") == peer.says("EXPN nosuch")
    assert peer.says("EXPN staff")[0].startswith("502")
    peer.writes("emma@lab1.campus", "dave")


def test_the_queue_knows_whether_mail_is_of_our_own(host: SmtpHost) -> None:
    """Only that is signed on its way out (DKIM): who may relay is one of ours."""
    for ip, is_ours in (("10.0.3.134", False), ("127.0.0.1", True)):
        peer = host.connect(ip, "lab1.campus")
        peer.says("EHLO lab1.campus")
        assert peer.writes("emma@lab1.campus", "dave@lab2.campus").startswith("250")
        [(control, _)] = host.queued()
        assert (OWN_MAIL in control.macros) is is_ours
        for path in host.mqueue.iterdir():
            path.unlink()
