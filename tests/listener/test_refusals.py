"""Which senders and recipients are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.smtphost import STRANGER, SmtpHost, begun, by_port

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


@pytest.mark.parametrize(
    ("sender", "answer"),
    [
        (
            "<a@NULLMX.example>",
            "550 5.7.27 <a@NULLMX.example>... Domain of sender address a@NULLMX.example does not accept mail (null MX)",
        ),
        (
            "<a@tired.example>",
            "451 4.1.8 Domain of sender address a@tired.example does not resolve",
        ),
        ("<a@lab2.campus>", "250 2.1.0 <a@lab2.campus>... Sender ok"),
        ("<a@[10.0.3.134]>", "250 2.1.0 <a@[10.0.3.134]>... Sender ok"),
        ("<>", "250 2.1.0 <>... Sender ok"),
        ("<emma@lab1.campus>", "250 2.1.0 <emma@lab1.campus>... Sender ok"),
    ],
)
@pytest.mark.parametrize("accepts", [False, True])
def test_a_domain_that_takes_no_mail_sends_none(
    host: SmtpHost, sender: str, answer: str, accepts: bool
) -> None:
    host.options.refuse_null_mx = True
    host.options.accept_unresolvable = accepts
    assert host.connect(*STRANGER).says(f"MAIL FROM:{sender}") == [answer]


def test_without_the_option_a_domain_that_takes_no_mail_may_send(host: SmtpHost) -> None:
    peer = host.connect(*STRANGER)
    assert peer.says("MAIL FROM:<a@nullmx.example>")[0].startswith("250")


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

#: nothing of this may leave the host (open relay tricks): shape -> the status that refuses it
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


def test_users_who_cannot_be_asked_are_451(host: SmtpHost) -> None:
    peer = begun(host)
    os.unlink(host.options.passwd_file)
    assert peer.says("RCPT TO:<dave>")[0].startswith("451 4.3.0 <dave>...")


def test_while_our_names_cannot_be_read_all_is_451_and_then_good_again(
    host: SmtpHost, lines: list[str]
) -> None:
    names = Path(host.options.local_host_names)
    names.rename(names.with_name("aside"))
    names.mkdir()
    peer = host.connect(*STRANGER)
    peer.says("EHLO lab1.campus")
    assert peer.says("MAIL FROM:<dave@lab2.campus>")[0].startswith("451 4.1.8")
    assert peer.says("MAIL FROM:<>", "RCPT TO:<dave@[10.0.3.135]>", "RCPT TO:<x@lab3.campus>") == [
        "250 2.1.0 <>... Sender ok",
        "451 4.3.0 <dave@[10.0.3.135]>... Cannot look it up now; try again later",
        "451 4.3.0 <x@lab3.campus>... Cannot look it up now; try again later",
    ]
    assert lines[-1] == f"cannot look up <x@lab3.campus>: {names}: Is a directory"
    names.rmdir()
    names.with_name("aside").rename(names)
    assert peer.says("RCPT TO:<dave@[10.0.3.135]>", "RCPT TO:<x@lab3.campus>") == [
        "250 2.1.5 <dave@[10.0.3.135]>... Recipient ok",
        "550 5.7.1 <x@lab3.campus>... Relaying denied",
    ]
    names.unlink()
    names.mkdir()  # what was read once counts; this listener may be unable to read it again
    assert peer.says("RSET", "MAIL FROM:<>", "RCPT TO:<carol@[10.0.3.135]>")[2].startswith("250")


def test_a_user_who_was_found_is_found_again_without_looking(host: SmtpHost) -> None:
    peer = begun(host)
    assert peer.says("RCPT TO:<dave>")[0].startswith("250")
    os.unlink(host.options.passwd_file)
    peer.says("RSET", "MAIL FROM:<>")
    assert peer.says("RCPT TO:<dave>")[0].startswith("250")
    host.elapsed += 3
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


WRITTEN = [
    ("error:5.1.6:550 He has moved", "550 5.1.6 {}... He has moved"),
    ("error:550 5.1.6 He has moved", "550 5.1.6 {}... He has moved"),
    ("error:nouser No such list", "550 5.1.1 {}... User unknown"),
    ("error:4.2.1:450 Later", "450 4.2.1 {}... Later"),
    ("dave, error:5.1.6:550 No", ""),
    ("error:550 No, error:550 No", ""),
]


@pytest.mark.parametrize(("value", "answer"), WRITTEN)
@pytest.mark.parametrize("client", [STRANGER, ("127.0.0.1", "localhost")])
def test_an_alias_that_is_one_error_is_refused(
    host: SmtpHost, lines: list[str], client: tuple[str, str], value: str, answer: str
) -> None:
    Path(host.options.alias_files[0]).write_text(f"gone: {value}\n")
    peer = begun(host, *client)
    shown = "<gone+x@lab2.campus>"
    told = peer.says(f"RCPT TO:{shown}")
    assert told == [answer.format(shown) or f"250 2.1.5 {shown}... Recipient ok"]
    refused = f"{shown}... {answer.partition('... ')[2]}"
    assert [line for line in lines if line.startswith(shown)] == ([refused] if answer else [])
    for verb in ("VRFY", "EXPN"):
        (reply,) = peer.says(f"{verb} gone")
        assert reply == answer.format("gone") or (not answer and reply.startswith("250"))


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
