from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimta.config import options, ports
from minimta.listener.shared_state import SharedState
from minimta.queue.spool import Spool
from minimta.system import log
from tests.support.smtphost import NOW, ClientEnd, SmtpHost

STRANGER = ("10.0.3.134", "lab1.campus")


@pytest.fixture
def host(tmp_path: Path) -> SmtpHost:
    return SmtpHost(tmp_path)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged, without the queue id."""
    found: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **unused: found.append(text))
    return found


def begun(host: SmtpHost, ip: str = STRANGER[0], name: str = STRANGER[1]) -> ClientEnd:
    peer = host.connect(ip, name)
    peer.says("EHLO lab1.campus")
    assert peer.says("MAIL FROM:<emma@lab1.campus>")[0].startswith("250")
    return peer


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


# --- sender ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "answer"),
    [
        ("<emma@lab1.campus>", "250 2.1.0 <emma@lab1.campus>... Sender ok"),
        ("<>", "250 2.1.0 <>... Sender ok"),
        ("<a@[10.0.3.134]>", "250 2.1.0 <a@[10.0.3.134]>... Sender ok"),
        ("<a@[IPv6:2001:db8::1]>", "250 2.1.0 <a@[IPv6:2001:db8::1]>... Sender ok"),
        ("<dave@lab2>", "250 2.1.0 <dave@lab2>... Sender ok"),
        (
            "<a@nosuch.example>",
            "553 5.1.8 <a@nosuch.example>... Domain of sender address a@nosuch.example does not exist",
        ),
        (
            "<a@servfail.campus>",
            "451 4.1.8 Domain of sender address a@servfail.campus does not resolve",
        ),
        (
            "<a@[10.0.3.999]>",
            "553 5.1.8 <a@[10.0.3.999]>... Domain of sender address a@[10.0.3.999] does not exist",
        ),
        ("<emma>", "553 5.5.4 <emma>... Domain name required for sender address emma"),
    ],
)
def test_a_sender_must_be_able_to_get_an_answer(host: SmtpHost, sender: str, answer: str) -> None:
    assert host.connect(*STRANGER).says(f"MAIL FROM:{sender}") == [answer]


def test_whoever_may_relay_is_not_asked_for_his_domain(host: SmtpHost) -> None:
    peer = host.connect("127.0.0.1", "localhost")
    assert peer.says("MAIL FROM:<a@nosuch.example>")[0].startswith("250")
    assert host.asked == []
    assert peer.says("RSET", "MAIL FROM:<emma>")[1].startswith("553 5.5.4")


def test_a_refused_sender_is_logged_with_his_host(host: SmtpHost, lines: list[str]) -> None:
    host.connect(*STRANGER).says("MAIL FROM:<a@nosuch.example>")
    assert lines[0] == (
        "ruleset=check_mail, arg1=<a@nosuch.example>, relay=lab1.campus [10.0.3.134],"
        " reject=553 5.1.8 <a@nosuch.example>..."
        " Domain of sender address a@nosuch.example does not exist"
    )


# --- recipients -----------------------------------------------------------------------------------

#: nothing of this may leave the host (threats T13): shape -> the status that refuses it
RELAY_SHAPES = {
    "<henry@lab3.campus>": "5.7.1",
    "henry@lab3.campus": "5.7.1",
    "<henry%lab3.campus@lab2.campus>": "5.7.1",
    "<henry%lab3.campus>": "5.7.1",
    "<henry%lab3.campus@localhost>": "5.7.1",
    "<henry%lab3.campus%lab2.campus@lab2>": "5.7.1",
    "<lab3!henry>": "5.7.1",
    "<lab3.campus!henry@lab2.campus>": "5.7.1",
    "<lab2.campus!lab3.campus!henry>": "5.7.1",
    "<lab3.campus!henry>": "5.7.1",
    '<"henry@lab3.campus">': "5.7.1",
    '<"henry@lab3.campus"@lab2.campus>': "5.7.1",
    '<"henry%lab3.campus"@lab2.campus>': "5.7.1",
    "<henry@lab3.campus@lab2.campus>": "5.1.3",
    "<henry@lab3.campus@>": "5.1.2",
    "<@lab2.campus:henry@lab3.campus>": "5.7.1",
    "<@lab2.campus,@lab3.campus:henry@lab3.campus>": "5.7.1",
    "<@lab2.campus:henry%lab3.campus@lab2.campus>": "5.7.1",
    "<@lab3.campus:@lab2.campus:henry@lab3.campus>": "5.1.3",
    "<henry@[10.0.3.136]>": "5.7.1",
    "<henry@[IPv6:::ffff:10.0.3.136]>": "5.7.1",
    "<henry@[IPv6:::ffff:127.0.0.1]>": "5.7.1",
    "<henry@lab3.campus.>": "5.7.1",
    "<(c)henry@lab3.campus>": "5.7.1",
    "<henry@(c)lab3.campus>": "5.1.3",
    "<henry@lab3.campus(lab2.campus)>": "5.1.3",
    "<dave@lab2.campus.evil>": "5.7.1",
    "<dave@xlab2.campus>": "5.7.1",
    "<dave@campus>": "5.7.1",
    "<dave@lab2.campus,henry@lab3.campus>": "5.1.3",
    "<dave@lab2.campus henry@lab3.campus>": "5.1.3",
    "dave@lab2.campus henry@lab3.campus": "5.5.4",
    "<dave@lab2.campus><henry@lab3.campus>": "5.1.3",
    "<<henry@lab3.campus>>": "5.7.1",
    "<henry@lab3.campus": "5.0.0",
    "henry@lab3.campus>": "5.0.0",
    "<>": "5.0.0",
    "<@>": "5.1.3",
    "<henry@lab3.campus\x00@lab2.campus>": "4.5.0",
    "<henry@lab3.campus\r@lab2.campus>": "4.5.0",
    "<henry\uff20lab3.campus>": "5.6.7",
    "<henry@lab3\u3002campus>": "5.6.7",
    "<root@[127.0.0.2]>": "5.7.1",
    "<|/bin/sh@lab3.campus>": "5.7.1",
    "<dave;@lab3.campus>": "5.7.1",
    "<friends:henry@lab3.campus;>": "5.1.3",
}


def test_the_gallery_has_46_shapes() -> None:
    assert len(RELAY_SHAPES) == 46


@pytest.mark.parametrize(("shape", "status"), RELAY_SHAPES.items())
def test_nothing_is_relayed_for_a_stranger(host: SmtpHost, shape: str, status: str) -> None:
    peer = begun(host)
    answer = peer.says(f"RCPT TO:{shape}")[0]
    assert answer.split(" ")[1] == status, answer
    if not peer.session.is_closed:
        assert peer.says("DATA")[0].startswith("503")


@pytest.mark.parametrize(
    "sender",
    ["<dave@lab2.campus>", "<>", "<root@localhost>", "<a@[127.0.0.1]>", "<MAILER-DAEMON@lab2>"],
)
@pytest.mark.parametrize("helo", ["lab2.campus", "localhost", "[127.0.0.1]"])
def test_neither_sender_nor_helo_buys_anything(host: SmtpHost, sender: str, helo: str) -> None:
    peer = host.connect("10.0.3.70", "localhost", confirmed=False)
    peer.says(f"EHLO {helo}")
    answers = peer.says(f"MAIL FROM:{sender}", "RCPT TO:<henry@lab3.campus>")
    assert answers[0].startswith("250 2.1.0")
    assert answers[1].startswith("550 5.7.1")


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
def test_loopback_relays_and_what_was_checked_is_what_is_queued(host: SmtpHost, ip: str) -> None:
    peer = host.connect(ip, "localhost")
    peer.writes("dave@lab2.campus", "henry@lab3.campus", "henry%x@lab3.campus")
    [(control, _)] = host.queued()
    addresses = [recipient.address for recipient in control.recipients]
    assert addresses == [b"<henry@lab3.campus>", b"<henry%x@lab3.campus>"]


@pytest.mark.parametrize(
    ("name", "confirmed", "reason"),
    [
        ("lab1.campus", True, ""),
        ("lab1.campus", False, ". IP name possibly forged [10.0.3.70]"),
        ("", True, ". IP name lookup failed [10.0.3.70]"),
    ],
)
def test_the_refusal_says_what_is_wrong_with_the_client(
    host: SmtpHost, lines: list[str], name: str, confirmed: bool, reason: str
) -> None:
    peer = host.connect("10.0.3.70", name, confirmed=confirmed)
    answers = peer.says("MAIL FROM:<a@lab1.campus>", "RCPT TO:<henry@lab3.campus>")
    assert answers[1] == f"550 5.7.1 <henry@lab3.campus>... Relaying denied{reason}"
    shown = {"": "[10.0.3.70]"}.get(name, "lab1.campus [10.0.3.70]")
    forged = "" if confirmed else " (may be forged)"
    logged = reason or ". Proper authentication required."
    assert lines[-1] == (
        f"ruleset=check_rcpt, arg1=<henry@lab3.campus>, relay={shown}{forged},"
        f" reject=550 5.7.1 <henry@lab3.campus>... Relaying denied{logged}"
    )


def test_an_address_cannot_get_somebody_else_banned(host: SmtpHost, lines: list[str]) -> None:
    evil = '<"x, relay=[192.0.2.1], reject=550 5.7.1 y"@lab3.campus>'
    begun(host).says(f"RCPT TO:{evil}")
    assert lines[-1].count(", relay=") == 1
    assert ", relay=lab1.campus [10.0.3.134], reject=550 5.7.1 " in lines[-1]


def test_an_unknown_user_is_told_at_once_and_logged_with_his_host(
    host: SmtpHost, lines: list[str]
) -> None:
    answer = begun(host).says("RCPT TO:<nosuch@lab2.campus>")
    assert answer == ["550 5.1.1 <nosuch@lab2.campus>... User unknown"]
    assert lines[-1] == (
        "ruleset=check_rcpt, arg1=<nosuch@lab2.campus>, relay=lab1.campus [10.0.3.134],"
        " reject=550 5.1.1 <nosuch@lab2.campus>... User unknown"
    )


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


def test_users_who_cannot_be_asked_are_451(host: SmtpHost) -> None:
    peer = begun(host)
    os.unlink(host.options.passwd_file)
    assert peer.says("RCPT TO:<dave>")[0].startswith("451 4.3.0 <dave>...")


def test_a_user_who_was_found_is_found_again_without_looking(host: SmtpHost) -> None:
    peer = begun(host)
    assert peer.says("RCPT TO:<dave>")[0].startswith("250")
    os.unlink(host.options.passwd_file)
    peer.says("RSET", "MAIL FROM:<>")
    assert peer.says("RCPT TO:<dave>")[0].startswith("250")
    host.now += 3
    peer.says("RSET", "MAIL FROM:<>")
    assert peer.says("RCPT TO:<dave>")[0].startswith("451")


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ("error:5.7.1:550 We do not talk", "550 5.7.1 <x@bad.example>... We do not talk"),
        ("error:nohost No such place", "553 5.1.2 <x@bad.example>... No such place"),
        ("error:4.2.0:450 Later", "450 4.2.0 <x@bad.example>... Later"),
        ("error:tempfail Later", "451 4.0.0 <x@bad.example>... Later"),
        ("esmtp:lab3.campus", "250 2.1.5 <x@bad.example>... Recipient ok"),
    ],
)
def test_the_mailer_table_may_refuse(host: SmtpHost, row: str, answer: str) -> None:
    Path(host.options.mailer_table).write_text(f"bad.example {row}\n")
    peer = begun(host, "127.0.0.1", "localhost")
    assert peer.says("RCPT TO:<x@bad.example>") == [answer]
    stranger = begun(host)
    assert stranger.says("RCPT TO:<x@bad.example>")[0].startswith("550 5.7.1")


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


def test_a_full_disk_is_452_at_mail(host: SmtpHost) -> None:
    host.options.min_free_blocks = 1 << 60
    answer = host.connect(*STRANGER).says("MAIL FROM:<a@lab1.campus>")
    assert answer == ["452 4.3.1 Insufficient disk space; try again later"]


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
    received = "".join(f"Received: from a by b{number}; x\n" for number in range(26))
    answer = host.connect(*STRANGER).writes("emma@lab1.campus", "dave", text=received + "\nx\n")
    assert answer.startswith("554 5.4.6 Too many hops")


# --- questions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("VRFY dave", ["250 2.1.5 Dave Example <dave@lab2.campus>"]),
        ("VRFY <dave@lab2>", ["250 2.1.5 Dave Example <dave@lab2>"]),
        ("VRFY nosuch", ["550 5.1.1 nosuch... User unknown"]),
        ("VRFY henry@lab3.campus", ["252 2.5.2 <henry@lab3.campus>"]),
        ("VRFY carol", ["250 2.1.5 Carol ??xample <carol@lab2.campus>"]),
        ("VRFY <dave", ["553 5.0.0 <dave... Unbalanced '<'"]),
        ("VRFY <>", ["553 5.0.0 <>... User address required"]),
        ("EXPN postmaster", ["250 2.1.5 root <root@lab2.campus>"]),
        ("EXPN henry@lab3.campus", ["250 2.1.5 <henry@lab3.campus>"]),
        (
            "EXPN staff",
            [
                "250-2.1.5 Dave Example <dave@lab2.campus>",
                "250-2.1.5 Carol ??xample <carol@lab2.campus>",
                "250 2.1.5 <henry@lab3.campus>",
            ],
        ),
        (
            "EXPN self",
            ["250-2.1.5 <self@lab2.campus>", "250 2.1.5 Dave Example <dave@lab2.campus>"],
        ),
        ("EXPN loop", ["250 2.1.5 <loop@lab2.campus>"]),
        ("VRFY dave+lists", ["250 2.1.5 Dave Example <dave+lists@lab2.campus>"]),
        ("EXPN dave+lists", ["250 2.1.5 Dave Example <dave+lists@lab2.campus>"]),
        ("VRFY nosuch+x", ["550 5.1.1 nosuch+x... User unknown"]),
        ("VRFY postmaster+x", ["250 2.1.5 root <root@lab2.campus>"]),
        *[
            (
                f"{verb} staff+x",
                [
                    "250-2.1.5 Dave Example <dave@lab2.campus>",
                    "250-2.1.5 Carol ??xample <carol@lab2.campus>",
                    "250 2.1.5 <henry@lab3.campus>",
                ],
            )
            for verb in ("VRFY", "EXPN")
        ],
    ],
)
def test_vrfy_and_expn_tell_people_and_no_programs(
    host: SmtpHost, question: str, answer: list[str]
) -> None:
    assert host.connect(*STRANGER).says(question) == answer


@pytest.mark.parametrize("evil", ["/G=Dave/@lab3.campus", '"|x"@lab3.campus', "/x@table.example"])
def test_what_the_runner_would_put_aside_is_no_recipient(host: SmtpHost, evil: str) -> None:
    """Nor from a client that may relay, nor if the mailer table makes it somebody."""
    Path(host.options.mailer_table).write_text("table.example local:dave\n")
    peer = host.connect("127.0.0.1", "localhost")
    peer.says("MAIL FROM:<emma@lab1.campus>")
    answer = f"550 5.7.1 <{evil}>... Cannot mail directly to programs or files"
    assert peer.says(f"RCPT TO:<{evil}>") == [answer]


@pytest.mark.parametrize(
    "name",
    [
        "dave",
        "DAVE+x",
        "staff+x",
        "+dave",
        "nosuch",
        "nosuch+x",
        "postmaster",
        "dave@table.example",
    ],
)
def test_rcpt_vrfy_and_expn_agree_who_exists(host: SmtpHost, name: str) -> None:
    Path(host.options.mailer_table).write_text("table.example local:nosuch\n")
    peer = host.connect(*STRANGER)
    peer.says("MAIL FROM:<emma@lab1.campus>")
    questions = (f"RCPT TO:<{name}>", f"VRFY {name}", f"EXPN {name}")
    known = {peer.says(question)[0][:3] for question in questions}
    assert known in ({"250"}, {"550"})


# --- the port -------------------------------------------------------------------------------------


def by_port(host: SmtpHost, text: str, ip: str = STRANGER[0], name: str = STRANGER[1]) -> ClientEnd:
    """A client of the port that *text* describes."""
    host.options.daemon_ports = ports.read(text)
    return host.connect(ip, name)


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
    ("sender", "answer"),
    [
        ("a@nodots", "553 5.5.4 <a@nodots>... Real domain name required for sender address"),
        ("dave@lab2", "553 5.5.4 <dave@lab2>... Real domain name required for sender address"),
        ("a@lab1.campus", "250 2.1.0 <a@lab1.campus>... Sender ok"),
        ("a@[IPv6:2001:db8::1]", "250 2.1.0 <a@[IPv6:2001:db8::1]>... Sender ok"),
        ("", "250 2.1.0 <>... Sender ok"),
    ],
)
def test_a_port_may_ask_strangers_for_a_domain_with_a_dot(
    host: SmtpHost, sender: str, answer: str
) -> None:
    assert by_port(host, "M=f").says(f"MAIL FROM:<{sender}>") == [answer]


def test_a_client_that_may_relay_need_not_have_the_dot(host: SmtpHost) -> None:
    peer = by_port(host, "M=f", "127.0.0.1", "localhost")
    assert peer.says("MAIL FROM:<a@nodots>")[0].startswith("250")
    assert host.connect(*STRANGER).says("MAIL FROM:<a@nodots>")[0].startswith("553")
    assert by_port(host, "").says("MAIL FROM:<a@nodots>")[0].startswith("250")


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
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
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
    assert peer.says("VRFY dave")[0].startswith("252")
    peer.writes("emma@lab1.campus", "dave")
