"""The order of the checks, and what stands between the access table and a reply."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from minimta.config.ports import Port
from minimta.listener import relaying
from minimta.listener.peer import Peer
from minimta.listener.rights import at_connect
from minimta.queue.control import decode
from minimta.system import hostnames
from tests.listener.test_refusals import RELAY_SHAPES
from tests.support.smtphost import STRANGER, SmtpHost, begun

ELSEWHERE = "RCPT TO:<henry@lab3.campus>"


def table(host: SmtpHost, text: str) -> None:
    Path(host.options.access_file).write_text(text)


def relay_domains(host: SmtpHost, text: str) -> None:
    Path(host.options.relay_domains).write_text(text)


# --- relaying -------------------------------------------------------------------------------------


def test_a_name_that_does_not_lead_back_relays_nothing(host: SmtpHost) -> None:
    table(host, "Connect:lab1.campus RELAY\n")
    relay_domains(host, "lab1.campus\n")
    for confirmed, code in ((True, "250"), (False, "550")):
        peer = host.connect(*STRANGER, confirmed=confirmed)
        assert peer.says("MAIL FROM:<emma@lab1.campus>", ELSEWHERE)[1].startswith(code)


@pytest.mark.parametrize(
    ("domains", "rows", "code"),
    [("lab1.campus\n", "", "450 4.4.0"), ("", "x OK\n", "450 4.4.0"), ("", "", "550 5.7.1")],
)
def test_a_name_that_cannot_be_known_now_is_later_where_a_name_might_relay(
    host: SmtpHost, domains: str, rows: str, code: str
) -> None:
    for text, write in ((domains, relay_domains), (rows, table)):
        if text:
            write(host, text)
    peer = host.connect(STRANGER[0], confirmed=False, certain=False)
    said = peer.says("MAIL FROM:<emma@lab1.campus>", ELSEWHERE, "RCPT TO:<dave@lab2.campus>")
    assert (said[1][:9], said[2][:3]) == (code, "250")


def test_neither_sender_nor_helo_relay(host: SmtpHost) -> None:
    table(host, "Connect:good.campus RELAY\nFrom:good.campus RELAY\nTo:good.campus RELAY\n")
    relay_domains(host, "fine.campus\n")
    peer = host.connect(*STRANGER)
    for name in ("good.campus", "fine.campus"):
        assert peer.says(f"HELO {name}")[0].startswith("250")
        said = peer.says(f"MAIL FROM:<a@{name}>", ELSEWHERE)
        assert said[1].startswith("550 5.7.1")


@pytest.mark.parametrize("shape", RELAY_SHAPES)
def test_no_trick_leads_through_a_domain_that_anybody_may_send_to(
    host: SmtpHost, shape: str
) -> None:
    relay_domains(host, "sink.campus\n")
    table(host, "To:sink.campus RELAY\n10.0.3.136 RELAY\n")
    peer = begun(host)
    answer = peer.says(f"RCPT TO:{shape}")[0]
    assert answer[0] in "45", answer


@pytest.mark.parametrize(
    "shape", ["henry%lab3.campus@sink.campus", "lab3!henry@sink.campus", '"a@b"@sink.campus']
)
def test_who_takes_mail_for_a_domain_is_no_way_through_it(host: SmtpHost, shape: str) -> None:
    relay_domains(host, "sink.campus\n")
    assert begun(host).says(f"RCPT TO:<{shape}>")[0].startswith("550 5.7.1")


def test_relay_is_not_trust_in_senders(host: SmtpHost) -> None:
    relay_domains(host, "10.0.3\n")
    peer = host.connect(*STRANGER)
    assert peer.says("MAIL FROM:<a@nosuch.example>")[0].startswith("553 5.1.8")


def test_a_client_that_a_table_lets_relay_need_not_await_replies(host: SmtpHost) -> None:
    relay_domains(host, "10.0.3\n")
    assert host.connect(*STRANGER).says("EHLO x", "NOOP")[-1] == "250 2.0.0 OK"


def test_loopback_relays_unless_it_is_not_trusted(host: SmtpHost) -> None:
    table(host, "Connect:127.0.0.1 RELAY\n")
    for trust, code in ((True, "250"), (False, "550")):
        host.options.trust_loopback = trust
        peer = host.connect("127.0.0.1", "localhost")
        assert peer.says("MAIL FROM:<emma@lab1.campus>", ELSEWHERE)[1].startswith(code)


def test_the_log_says_once_that_a_gateway_relays(
    host: SmtpHost, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostnames, "gateways", lambda: {"172.17.0.1"})
    relay_domains(host, "172.17\n10.0.3\n")
    shared = host.shared_state()
    for ip in ("172.17.0.1", "172.17.0.1", "10.0.3.4", "192.0.2.1"):
        rights = at_connect(ip, Port())
        client = Peer(ip, "", confirmed=False, port=Port(), rights=rights)
        relaying.grant(client, shared, shared.access_rows())
        assert client.rights.may_relay is (ip != "192.0.2.1")
    assert lines == [
        "Warning: relaying for 172.17.0.1, a gateway of this host: clients behind it (Docker's"
        " proxy, NAT) all have this address, and may relay"
    ]


def test_a_kernel_that_does_not_tell_of_gateways_refuses_no_mail(
    host: SmtpHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> set[str]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(hostnames, "gateways", fails)
    relay_domains(host, "10.0.3\n")
    peer = host.connect(*STRANGER)
    assert peer.says("MAIL FROM:<emma@lab1.campus>", ELSEWHERE)[1].startswith("250")


# --- senders --------------------------------------------------------------------------------------


def test_ok_exempts_a_sender_from_the_look_at_his_domain(host: SmtpHost) -> None:
    table(host, "From:ok@nosuch.example OK\n")
    peer = host.connect(*STRANGER)
    assert peer.says("MAIL FROM:<ok@nosuch.example>")[0].startswith("250")
    assert peer.says("RSET", "MAIL FROM:<x@nosuch.example>")[1].startswith("553 5.1.8")


def test_the_null_sender_is_not_looked_for(host: SmtpHost) -> None:
    table(host, "From:@ REJECT\n@ REJECT\nFrom: REJECT\n")
    assert host.connect(*STRANGER).says("MAIL FROM:<>")[0].startswith("250")


@pytest.mark.parametrize("domain", ["nosuch.example", "servfail.campus"])
def test_unresolvable_domains_may_be_accepted(host: SmtpHost, domain: str) -> None:
    host.options.accept_unresolvable = True
    assert host.connect(*STRANGER).says(f"MAIL FROM:<a@{domain}>")[0].startswith("250")
    assert host.asked == []


# --- recipients -----------------------------------------------------------------------------------


def test_rows_for_recipients_refuse_them(host: SmtpHost) -> None:
    table(host, "To:dave@lab2.campus REJECT\nTo:carol@ ERROR:5.2.1:550 Carol is on leave\n")
    assert begun(host).says("RCPT TO:<dave>", "RCPT TO:<carol@lab2.campus>") == [
        "250 2.1.5 <dave>... Recipient ok",
        "550 5.2.1 <carol@lab2.campus>... Carol is on leave",
    ]
    assert begun(host).says("RCPT TO:<dave@lab2.campus>") == [
        "550 5.2.1 <dave@lab2.campus>... Mailbox disabled for this recipient"
    ]


@pytest.mark.parametrize(("on", "code"), [(False, "250"), (True, "550")])
def test_untagged_rows_are_for_recipients_with_blocklist_recipients(
    host: SmtpHost, on: bool, code: str
) -> None:
    table(host, "dave@ REJECT\n")
    host.options.blocklist_recipients = on
    assert begun(host).says("RCPT TO:<dave@lab2.campus>")[0].startswith(code)


def test_who_is_in_no_row_gets_his_letter_and_who_is_discarded_gets_none(host: SmtpHost) -> None:
    table(host, "To:carol@ DISCARD\n")
    peer = host.connect(*STRANGER)
    peer.writes("emma@lab1.campus", "carol@lab2.campus", "dave@lab2.campus")
    peer.writes("emma@lab1.campus", "carol@lab2.campus")
    (control, _), *others = host.queued()
    assert ([one.address for one in control.recipients], others) == (
        [b"<dave@lab2.campus>"],
        [],
    )


def test_what_is_thrown_away_leaves_nothing_and_ends_with_its_message(host: SmtpHost) -> None:
    table(host, "From:trash@ DISCARD\n")
    peer = host.connect(*STRANGER)
    assert peer.writes("trash@lab1.campus", "dave@lab2.campus").startswith("250 2.0.0 ")
    assert host.files() == []
    peer.writes("emma@lab1.campus", "dave@lab2.campus")
    assert len(host.queued()) == 1


def test_a_client_in_a_discard_row_gets_rid_of_all_its_mail(
    host: SmtpHost, lines: list[str]
) -> None:
    table(host, "Connect:10.0.3 DISCARD\n")
    peer = host.connect(*STRANGER)
    for _ in range(2):
        assert peer.writes("emma@lab1.campus", "dave@lab2.campus").startswith("250 2.0.0 ")
    assert host.files() == []
    assert "ruleset=check_relay, arg1=lab1.campus, arg2=10.0.3.134" in lines[0]


@pytest.mark.parametrize("row", ["From:emma@", "To:dave@", "Connect:10.0.3", "Connect:lab1.campus"])
@pytest.mark.parametrize("delay", ["no", "yes"])
def test_what_is_held_is_accepted_whole_and_no_run_takes_it(
    host: SmtpHost, lines: list[str], row: str, delay: str
) -> None:
    table(host, f"{row} QUARANTINE:to be seen\n")
    host.options.delay_checks = delay
    peer = host.connect(*STRANGER)
    assert peer.writes("emma@lab1.campus", "dave@lab2.campus").startswith("250 2.0.0 ")
    assert [name[:2] for name in host.files()] == ["df", "hf"]
    held = decode((host.mqueue / host.files()[1]).read_bytes())
    assert (held.quarantine, len(held.recipients)) == ("to be seen", 1)
    assert any(line.endswith(", quarantine=to be seen") for line in lines)


def test_quarantine_ends_with_its_message(host: SmtpHost) -> None:
    table(host, "From:q@ QUARANTINE:x\n")
    peer = host.connect(*STRANGER)
    peer.writes("q@lab1.campus", "dave@lab2.campus")
    peer.writes("emma@lab1.campus", "dave@lab2.campus")
    assert [name[:2] for name in host.files()] == ["df", "df", "hf", "qf"]


def test_held_or_not_an_unknown_user_is_one(host: SmtpHost) -> None:
    table(host, "To:lab2.campus QUARANTINE:x\n")
    assert begun(host).says("RCPT TO:<nosuch@lab2.campus>")[0].startswith("550 5.1.1")


# --- DelayChecks ----------------------------------------------------------------------------------

DELAYED = "Connect:10.0.3 REJECT\nSpam:dave@ FRIEND\nSpam:carol@ HATER\n"


@pytest.mark.parametrize(
    ("mode", "refused"),
    [("yes", ["dave", "carol", "root"]), ("friend", ["carol", "root"]), ("hater", ["carol"])],
)
def test_friends_and_haters_of_spam(host: SmtpHost, mode: str, refused: list[str]) -> None:
    table(host, DELAYED)
    host.options.delay_checks = mode
    peer = begun(host)
    names = ("dave", "carol", "root")
    replies = peer.says(*(f"RCPT TO:<{name}@lab2.campus>" for name in names))
    assert [n for n, answer in zip(names, replies, strict=True) if answer[0] == "5"] == refused


def test_with_delayed_checks_an_unknown_user_is_one_before_all_else(host: SmtpHost) -> None:
    table(host, DELAYED)
    host.options.delay_checks = "yes"
    assert begun(host).says("RCPT TO:<nosuch@lab2.campus>")[0].startswith("550 5.1.1")
    assert begun(host).says(ELSEWHERE)[0].startswith("550 5.7.1 <henry@lab3.campus>... Relaying")


def test_delayed_checks_judge_the_sender_too(host: SmtpHost) -> None:
    host.options.delay_checks = "yes"
    peer = host.connect(*STRANGER)
    said = peer.says("MAIL FROM:<a@nosuch.example>", "RCPT TO:<dave@lab2.campus>")
    assert [line[:9] for line in said] == ["250 2.1.0", "553 5.1.8"]


def test_with_delayed_checks_who_has_logged_in_is_no_stranger(host: SmtpHost) -> None:
    table(host, DELAYED)
    host.options.delay_checks = "yes"
    peer = begun(host)
    client = peer.handler._client
    client.rights = replace(client.rights, identity="dave", may_relay=True)
    assert peer.says("RCPT TO:<carol@lab2.campus>", ELSEWHERE)[0].startswith("250")


# --- trouble --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["access_file", "relay_domains"])
def test_a_table_that_cannot_be_read_is_later_and_then_it_is_read(
    host: SmtpHost, lines: list[str], what: str
) -> None:
    path = Path(getattr(host.options, what))
    path.write_bytes(b"x\0y OK\n")
    peer = host.connect(*STRANGER)
    said = peer.says("MAIL FROM:<emma@lab1.campus>")[0]
    assert said == ("451 4.3.0 <emma@lab1.campus>... Cannot look it up now; try again later")
    assert any(f"{path}: is no text" in line for line in lines)
    path.write_text("10.0.3 RELAY\n" if what == "access_file" else "10.0.3\n")
    assert peer.says("MAIL FROM:<emma@lab1.campus>", ELSEWHERE)[1].startswith("250")


def test_a_table_that_breaks_within_a_session_is_later(host: SmtpHost) -> None:
    peer = begun(host)
    Path(host.options.access_file).write_bytes(b"x\0y OK\n")
    assert peer.says("RCPT TO:<dave@lab2.campus>")[0].startswith("451 4.3.0")


@pytest.mark.parametrize("row", ["From:emma@ REJCT\n", "Connect:10.0.3 REJCT\n", "campus OKAY\n"])
def test_a_row_that_makes_no_sense_is_later_for_whom_it_concerns(
    host: SmtpHost, lines: list[str], row: str
) -> None:
    table(host, row)
    assert host.connect(*STRANGER).says("MAIL FROM:<emma@lab1.campus>")[0].startswith("451 4.3.0")
    assert any(row.split()[1] in line for line in lines)
    other = host.connect("192.0.2.1", "x.example")
    assert other.says("MAIL FROM:<a@example.org>")[0].startswith("250")


def test_421_in_a_row_ends_the_session(host: SmtpHost) -> None:
    table(host, "From:pest@ 421 Go\n")
    peer = host.connect(*STRANGER)
    assert peer.says("MAIL FROM:<pest@lab1.campus>", "NOOP") == [
        "421 4.0.0 <pest@lab1.campus>... Go"
    ]
    assert peer.session.is_closed


# --- TLS (TLS_Clt:) -------------------------------------------------------------------------------

MAIL = "MAIL FROM:<emma@lab1.campus>"
NONE = "other side does not support STARTTLS"


@pytest.mark.parametrize(
    ("rows", "reply"),
    [
        ("TLS_Clt: VERIFY", f"454 4.7.0 {NONE}"),
        ("TLS_Clt:lab1.campus PERM+VERIFY", f"503 5.7.0 {NONE}"),
        ("TLS_Clt:campus TEMP+VERIFY", f"403 4.7.0 {NONE}"),
        (
            "TLS_Clt:10.0.3 ENCR:112",
            "454 4.7.0 encryption too weak 0 less than 112",
        ),
        ("TLS_Clt: VERIFY\nTLS_Clt:10.0.3.134 NO", "250 2.1.0 <emma@lab1.campus>... Sender ok"),
        ("TLS_Clt:10.0.4 VERIFY", "250 2.1.0 <emma@lab1.campus>... Sender ok"),
        ("TLS_Srv: VERIFY", "250 2.1.0 <emma@lab1.campus>... Sender ok"),
        (
            "TLS_Clt: VERFY",
            "451 4.3.0 <emma@lab1.campus>... Cannot look it up now; try again later",
        ),
    ],
)
@pytest.mark.parametrize("delay", ["no", "yes", "friend"])
def test_a_client_without_the_tls_that_its_row_wants_sends_nothing(
    host: SmtpHost, lines: list[str], rows: str, reply: str, delay: str
) -> None:
    table(host, f"{rows}\nSpam:dave@ FRIEND\nConnect:10.0.3 RELAY\n")
    host.options.delay_checks = delay
    peer = host.connect(*STRANGER)
    assert peer.says(MAIL) == [reply]
    if reply[0] != "2":
        assert peer.says("RCPT TO:<dave@lab2.campus>")[0].startswith("503")
    if reply[:3] in ("454", "503", "403"):
        assert (
            f"ruleset=check_mail, arg1=<emma@lab1.campus>, relay=lab1.campus [10.0.3.134], reject={reply}"
            in lines
        )


def test_a_name_that_is_not_proved_is_no_exception(host: SmtpHost) -> None:
    table(host, "TLS_Clt: VERIFY\nTLS_Clt:lab1.campus NONE\n")
    assert host.connect(*STRANGER).says(MAIL)[0].startswith("250")
    assert host.connect(*STRANGER, confirmed=False).says(MAIL)[0].startswith("454")
