"""Filters (milter) between the listener and its clients; the filter is one of ours, on a real socket."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.config import filters, ports
from minimta.listener import connection, rights
from minimta.listener.starttls import Secured
from minimta.milter.protocol import Action, Stage, Wish
from minimta.queue.collect import Incoming
from minimta.system.certificates import PeerCertificate
from minimta.system.tls_values import TlsFacts
from tests.support.fakefilter import ALL, Answer, FakeFilter, reply
from tests.support.listening import Listening
from tests.support.smtphost import STRANGER, ClientEnd, SmtpHost

Filter = Callable[..., FakeFilter]


@pytest.fixture
def use(host: SmtpHost, tmp_path: Path) -> Iterator[Filter]:
    """Start a filter, and have the host use it, behind those that were started before."""
    started: list[FakeFilter] = []

    def start(
        answers: dict[str, Answer] | None = None,
        *,
        flags: str = "T",
        times: str = "C:5s;S:5s;R:5s;E:5s",
        **more: int | bytes,
    ) -> FakeFilter:
        name = f"filter{len(started)}"
        one = FakeFilter(tmp_path / name, answers, **more)  # type: ignore[arg-type]
        started.append(one)
        row = filters.read(one.row(flags=flags, times=times, name=name))
        host.options.mail_filters = (*host.options.mail_filters, *row)
        host.options.input_mail_filters = (*host.options.input_mail_filters, name)
        return one

    yield start
    for one in started:
        one.__exit__(None, None, None)


def greeted(host: SmtpHost) -> ClientEnd:
    peer = host.connect(*STRANGER)
    assert peer.says("EHLO lab1.campus")[0].startswith("250")
    return peer


TEXT = "From: emma@lab1.campus\nTo:dave@lab2.campus\nSubject: a\n\tb\n\nHi\nthere\n"


# --- what a filter is told ------------------------------------------------------------------------


def test_a_filter_is_told_everything_in_order(host: SmtpHost, use: Filter) -> None:
    one = use()
    peer = greeted(host)
    peer.says("FROB nicate")
    peer.says("MAIL FROM:<emma@lab1.campus> BODY=8BITMIME", "RCPT TO:<dave> NOTIFY=NEVER", "DATA")
    assert peer.sends(TEXT.replace("\n", "\r\n").encode() + b".\r\n")[0].startswith("250 2.0.0")
    peer.says("QUIT")
    peer.handler.end()
    assert one.all_said() == "OCHUMRTLLLNBEQ"
    assert one.data("C") == [b"lab1.campus\x004\0\0" + b"10.0.3.134\0"]
    assert one.data("H") == [b"lab1.campus\0"]
    assert one.data("U") == [b"FROB nicate\0"]
    assert one.data("M") == [b"<emma@lab1.campus>\0BODY=8BITMIME\0"]
    assert one.data("R") == [b"<dave>\0NOTIFY=NEVER\0"]
    assert one.data("L") == [
        b"From\0emma@lab1.campus\0",
        b"To\0dave@lab2.campus\0",
        b"Subject\0a\n\tb\0",
    ]
    assert one.data("B") == [b"Hi\r\nthere\r\n"]


def test_macros_come_with_their_events(host: SmtpHost, use: Filter) -> None:
    one = use()
    peer = greeted(host)
    peer.writes("emma@lab1.campus", "dave", text="Message-Id: <1@x>\n\nHi\n")
    [(control, _)] = host.queued()
    [qid] = [name[2:].encode() for name in host.files() if name.startswith("qf")]
    assert control.macros[b"r"] == b"ESMTP"
    assert one.macros["C"] == {
        b"j": b"lab2.campus",
        b"_": b"lab1.campus [10.0.3.134]",
        b"{daemon_name}": b"MTA",
        b"{if_name}": b"localhost",
    }
    assert one.macros["H"] == {}
    assert one.macros["M"] == {
        b"i": qid,
        b"{mail_mailer}": b"esmtp",
        b"{mail_host}": b"lab1.campus.",
        b"{mail_addr}": b"emma@lab1.campus",
    }
    assert one.macros["R"] == {
        b"{rcpt_mailer}": b"local",
        b"{rcpt_host}": b"",
        b"{rcpt_addr}": b"dave",
    }
    assert one.macros["E"] == {b"{msg_id}": b"<1@x>"}
    peer.writes("emma@lab1.campus", "dave")
    [made] = [
        field
        for control, _ in host.queued()
        for _, field in control.headers
        if field.startswith(b"Message-Id: <2")
    ]
    assert one.macros["E"] == {b"{msg_id}": made.removeprefix(b"Message-Id: ")}


def test_the_options_say_which_macros_and_the_filter_may_ask_for_others(
    host: SmtpHost, use: Filter
) -> None:
    host.options.milter_macros_connect = filters.macros("{client_addr}, {client_name}")
    wanted = struct.pack(">I", Stage.HELO) + b"s, {client_port} r\0"
    one = use(symbols=wanted)
    greeted(host)
    assert one.macros["C"] == {b"{client_addr}": b"10.0.3.134", b"{client_name}": b"lab1.campus"}
    assert one.macros["H"] == {b"s": b"lab1.campus", b"{client_port}": b"0", b"r": b"ESMTP"}


def test_tls_and_logins_are_macros_too(host: SmtpHost, use: Filter) -> None:
    one = use()
    peer = host.connect(*STRANGER)
    facts = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, "OK")
    shown = PeerCertificate(issuer="/CN=ca", subject="/CN=lab1")
    peer.client.secured = Secured(facts, certificate=shown)
    peer.client.mechanism = "PLAIN"
    peer.client.rights = rights.after_login(peer.client.rights, "emma")
    peer.says("EHLO lab1.campus")
    peer.says("MAIL FROM:<emma@lab1.campus> AUTH=e+2Bmma@lab1.campus", "RSET")
    assert one.macros["H"] == {
        b"{tls_version}": b"TLSv1.3",
        b"{cipher}": b"TLS_AES_256_GCM_SHA384",
        b"{cipher_bits}": b"256",
        b"{cert_subject}": b"/CN=lab1",
        b"{cert_issuer}": b"/CN=ca",
    }
    logins = {name: value for name, value in one.macros["M"].items() if name.startswith(b"{auth")}
    assert logins == {
        b"{auth_type}": b"PLAIN",
        b"{auth_authen}": b"emma",
        b"{auth_ssf}": b"0",
        b"{auth_author}": b"e+mma@lab1.campus",
    }
    peer.client.mechanism = ""
    peer.says("MAIL FROM:<emma@lab1.campus>", "RSET")
    assert not [name for name in one.macros["M"] if name.startswith(b"{auth")]


def test_what_comes_in_chunks_is_told_like_what_comes_by_data(host: SmtpHost, use: Filter) -> None:
    one = use({"T": b"r"})
    peer = greeted(host)
    peer.says("MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>")
    assert peer.sends(b"BDAT 14\r\nSubject: x\r\n\r\n") == ["550 5.7.1 Command rejected"]
    one.answers["T"] = b"c"
    peer.says("RSET", "MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>")
    assert peer.sends(b"BDAT 14\r\nSubject: x\r\n\r\n")[0].startswith("250")
    one.answers["E"] = b"4"
    assert peer.sends(b"BDAT 4 LAST\r\nHi\r\nNOOP\r\n") == [
        "421 4.7.0 lab2.campus closing connection"
    ]
    assert peer.session.is_closed
    assert one.data("B") == [b"Hi\r\n"]
    assert host.files() == []
    one.answers.clear()
    peer = greeted(host)
    peer.says("MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>")
    assert peer.sends(b"BDAT 4 LAST\r\nHi\r\n")[0].startswith("250 2.0.0")


def test_what_a_filter_does_not_want_is_not_sent(host: SmtpHost, use: Filter) -> None:
    unwanted = sum(wish for wish in Wish if wish.name and wish.name.startswith("NO_"))
    one = use(wishes=unwanted)
    assert greeted(host).writes("emma@lab1.campus", "dave").startswith("250")
    assert one.said == "OE"


def test_nobody_waits_for_an_answer_that_will_not_come(host: SmtpHost, use: Filter) -> None:
    mute = sum(wish for wish in Wish if wish.name and wish.name.startswith("MUTE_"))
    one = use(wishes=mute, flags="R")
    assert greeted(host).writes("emma@lab1.campus", "dave", text=TEXT).startswith("250")
    assert one.said == "OCHMRTLLLNBE"


def test_the_blank_behind_the_colon_is_for_who_wants_it(host: SmtpHost, use: Filter) -> None:
    one = use(wishes=Wish.LEADING_SPACE)
    greeted(host).writes("emma@lab1.campus", "dave", text=TEXT)
    assert one.data("L")[0] == b"From\0 emma@lab1.campus\0"
    assert one.data("L")[1] == b"To\0dave@lab2.campus\0"


@pytest.mark.parametrize("wishes", [0, Wish.REJECTED_RCPT], ids=["not wanted", "wanted"])
def test_refused_recipients_are_for_who_wants_them(
    host: SmtpHost, use: Filter, wishes: int
) -> None:
    one = use(wishes=wishes)
    peer = greeted(host)
    assert peer.says("MAIL FROM:<emma@lab1.campus>")[0].startswith("250")
    assert peer.says("RCPT TO:<nosuch>")[0].startswith("550 5.1.1")
    peer.handler.end()
    one.all_said()
    assert one.data("R") == ([b"<nosuch>\0"] if wishes else [])
    assert one.macros["R"] == {
        b"{rcpt_mailer}": b"error",
        b"{rcpt_host}": b"5.1.1",
        b"{rcpt_addr}": b"550 5.1.1 User unknown",
    }


def test_the_body_comes_in_large_pieces_with_crlf(host: SmtpHost, use: Filter) -> None:
    one = use()
    text = "Subject: x\n\n" + "0123456789abcde\n" * 20_000
    assert greeted(host).writes("emma@lab1.campus", "dave", text=text).startswith("250")
    pieces = one.data("B")
    assert [len(piece) for piece in pieces] == [65535] * 5 + [340_000 - 5 * 65535]
    assert b"".join(pieces) == b"0123456789abcde\r\n" * 20_000
    assert host.queued()[0][1] == b"0123456789abcde\n" * 20_000


def test_larger_packets_are_for_who_can_take_them(host: SmtpHost, use: Filter) -> None:
    host.options.milter_max_data_size = 262143
    one, other = use(wishes=0x10000000), use()
    text = "Subject: x\n\n" + "0123456789abcde\n" * 10_000
    assert greeted(host).writes("emma@lab1.campus", "dave", text=text).startswith("250")
    assert [len(piece) for piece in one.data("B")] == [170_000]
    assert len(other.data("B")) == 3


def test_skip_ends_the_body_and_nothing_else(host: SmtpHost, use: Filter) -> None:
    one = use({"B": b"s"})
    text = "Subject: x\n\n" + "0123456789abcde\n" * 20_000
    assert greeted(host).writes("emma@lab1.campus", "dave", text=text).startswith("250")
    assert one.said == "OCHMRTLNBE"


def test_accept_ends_the_message_or_the_session(host: SmtpHost, use: Filter) -> None:
    message, session = use({"R": b"a"}), use({"H": b"a"})
    peer = greeted(host)
    for _ in range(2):
        assert peer.writes("emma@lab1.campus", "dave").startswith("250")
    assert message.said == "OCHMRMR"
    assert session.all_said() == "OCHQ"


def test_a_message_that_ends_without_a_verdict_is_aborted(host: SmtpHost, use: Filter) -> None:
    one = use()
    peer = greeted(host)
    peer.says("MAIL FROM:<emma@lab1.campus>", "RSET", "MAIL FROM:<emma@lab1.campus>")
    peer.handler.end()
    peer.says("RSET")
    assert one.all_said() == "OCHMAMQ"


def test_the_second_filter_sees_what_the_first_has_changed(host: SmtpHost, use: Filter) -> None:
    use({"E": [reply(b"h", b"X-One", b"1"), b"b" + b"New\r\n", reply(b"+", b"<carol>"), b"c"]})
    second = use()
    assert greeted(host).writes("emma@lab1.campus", "dave", text=TEXT).startswith("250")
    assert second.data("L")[-1] == b"X-One\x001\0"
    assert second.data("B") == [b"New\r\n"]


def test_a_port_may_have_filters_of_its_own(host: SmtpHost, use: Filter) -> None:
    first, second = use(), use()
    host.options.daemon_ports = ports.read("Name=MSA, InputMailFilters=filter1")
    greeted(host).writes("emma@lab1.campus", "dave")
    assert (first.said, second.sessions) == ("", 1)
    host.options.daemon_ports = ports.read("Name=MSA, InputMailFilters=")
    greeted(host)
    assert second.sessions == 1


# --- verdicts -------------------------------------------------------------------------------------

OWN = reply(b"y", b"550 5.7.1 Go away, 100%%")


@pytest.mark.parametrize("letter", "MRTLNBE")
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"r", "5[05][04] 5.7.1 Command rejected"),
        (b"t", "451 4.3.2 Please try again later"),
        (OWN, "550 5.7.1 Go away, 100%"),
        (b"4", "421 4.7.0 lab2.campus closing connection"),
        (reply(b"y", b"421 4.3.2 Bye"), "421 4.3.2 Bye"),
    ],
)
def test_a_verdict_is_the_reply_to_its_command(
    host: SmtpHost, use: Filter, letter: str, answer: bytes, expected: str
) -> None:
    use({letter: answer})
    peer = greeted(host)
    replies = peer.says("MAIL FROM:<emma@lab1.campus>")
    if letter != "M":
        replies = peer.says("RCPT TO:<dave>")
    if letter not in "MR":
        replies = peer.says("DATA")
    if letter not in "MRT":
        replies = peer.sends(b"Subject: x\r\n\r\nHi\r\n.\r\n")
    [found] = replies
    rejected = "50" if letter in "MRT" else "54"
    about = {"M": "<emma@lab1.campus>... ", "R": "<dave>... "}.get(letter, "")
    if found.startswith("5"):
        expected = expected.replace("5.7.1 ", f"5.7.1 {about}")
    assert found == expected.replace("[05][04]", rejected)
    assert host.files() == []
    assert peer.session.is_closed == found.startswith("421")


def test_a_reply_of_several_lines_stays_one(host: SmtpHost, use: Filter) -> None:
    use({"E": reply(b"y", b"550-5.7.1 spam\r\n550-5.7.1 \xc3\xa9\r\n550 5.7.1 bye")})
    peer = greeted(host)
    peer.says("MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>", "DATA")
    assert peer.sends(b"\r\nHi\r\n.\r\n") == ["550-5.7.1 spam", "550-5.7.1 ?", "550 5.7.1 bye"]


def test_who_is_refused_at_connect_hears_it_at_each_command(host: SmtpHost, use: Filter) -> None:
    one = use({"C": b"r"})
    peer = host.connect(*STRANGER)
    assert peer.says("EHLO lab1.campus")[0].startswith("250")
    assert peer.says("MAIL FROM:<emma@lab1.campus>") == ["550 5.0.0 Command rejected"]
    assert peer.says("QUIT")[0].startswith("221")
    assert one.all_said() == "OCQ"


def test_who_is_refused_at_helo_may_call_itself_otherwise(host: SmtpHost, use: Filter) -> None:
    use({"H": lambda data: OWN if data == b"bad.example\0" else b"c"})
    peer = host.connect(*STRANGER)
    assert peer.says("EHLO bad.example")[0].startswith("250")
    assert peer.says("MAIL FROM:<emma@lab1.campus>") == ["550 5.7.1 Go away, 100%"]
    assert peer.says("EHLO lab1.campus")[0].startswith("250")
    assert peer.says("MAIL FROM:<emma@lab1.campus>")[0].startswith("250")


def test_the_session_may_end_at_helo(host: SmtpHost, use: Filter) -> None:
    use({"H": b"4"})
    peer = host.connect(*STRANGER)
    assert peer.says("EHLO lab1.campus") == ["421 4.7.0 lab2.campus closing connection"]
    assert peer.session.is_closed


def test_an_unknown_command_may_have_the_answer_of_a_filter(host: SmtpHost, use: Filter) -> None:
    use({"U": reply(b"y", b"500 5.5.1 What?")})
    assert greeted(host).says("FROB") == ["500 5.5.1 What?"]


@pytest.mark.parametrize("letter", "MRTLNBE")
def test_discard_accepts_the_message_and_keeps_nothing(
    host: SmtpHost, use: Filter, letter: str
) -> None:
    use({letter: b"d"})
    peer = greeted(host)
    assert peer.writes("emma@lab1.campus", "dave").startswith("250 2.0.0")
    assert host.files() == []
    use_again = peer.says("MAIL FROM:<carol@lab2.campus>")
    assert use_again[0].startswith("250")


def test_what_we_refuse_stays_refused_whatever_a_filter_says(host: SmtpHost, use: Filter) -> None:
    use({"R": b"d"}, wishes=Wish.REJECTED_RCPT)
    peer = greeted(host)
    peer.says("MAIL FROM:<emma@lab1.campus>")
    assert peer.says("RCPT TO:<x@lab3.campus>")[0].startswith("550 5.7.1")
    peer.says("RCPT TO:<dave>", "RSET")


# --- changes --------------------------------------------------------------------------------------


def fields(host: SmtpHost) -> list[bytes]:
    [(control, _)] = host.queued()
    return [field for _, field in control.headers]


def test_fields_are_added_inserted_changed_and_taken_away(host: SmtpHost, use: Filter) -> None:
    text = "From: a@b\nX-A: 1\nX-A: 2\nX-B: 1\nDate: today\nMessage-Id: <1@x>\n\nHi\n"
    changes: list[bytes] = [
        reply(b"h", b"X-New", b"n\r\n\tm"),
        reply(b"i", b"X-Top", b"t", index=0),
        reply(b"i", b"X-First", b"f", index=0),
        reply(b"i", b"X-Below", b"b", index=3),
        reply(b"i", b"X-Second", b"s", index=12),
        reply(b"h", b"Received", b"by a filter"),
        reply(b"m", b"x-a", b"changed", index=2),
        reply(b"m", b"X-B", b"", index=1),
        reply(b"m", b"X-C", b"", index=1),
        reply(b"m", b"X-D", b"made", index=1),
        b"p",
        b"c",
    ]
    use({"E": changes})
    assert greeted(host).writes("emma@lab1.campus", "dave", text=text).startswith("250")
    found = fields(host)
    assert found[0].startswith(b"Return-Path")
    assert found[1:3] == [b"X-First: f", b"X-Top: t"]
    assert found[3] == b"Received: by a filter"
    assert found[4].startswith(b"Received: from lab1.campus")
    assert found[5:] == [
        *(
            b"X-Below: b",
            b"From: a@b",
            b"X-Second: s",
            b"X-A: 1",
            b"x-a: changed",
            b"Date: today",
            b"Message-Id: <1@x>",
        ),
        *(b"X-New: n\n\tm", b"X-D: made"),
    ]


def test_a_value_cannot_begin_a_field_of_its_own(host: SmtpHost, use: Filter) -> None:
    use({"E": [reply(b"h", b"X-New", b"n\nX-Forged: 1\n\nbody"), b"c"]})
    assert greeted(host).writes("emma@lab1.campus", "dave").startswith("250")
    assert fields(host)[-1] == b"X-New: n\n\tX-Forged: 1\n\tbody"


def test_sender_and_recipients_may_be_changed(host: SmtpHost, use: Filter) -> None:
    changes = [
        reply(b"e", b"<other@lab1.campus>", b"RET=HDRS ENVID=q1"),
        reply(b"+", b"<carol@lab2.campus>"),
        reply(b"+", b"<Carol@lab2.campus>"),
        reply(b"2", b"<henry@lab3.campus>", b"NOTIFY=NEVER"),
        reply(b"-", b"<dave@lab2.campus>"),
        reply(b"+", b"<staff>"),
        b"a",
    ]
    use({"E": changes})
    assert greeted(host).writes("emma@lab1.campus", "dave").startswith("250")
    [(control, _)] = host.queued()
    assert control.reverse_path == b"<other@lab1.campus>"
    assert b"\n\tfor <dave>; " in control.headers[1][1]
    assert (control.envid, "n" in control.flags) == (b"q1", True)
    assert [(one.address, one.flags) for one in control.recipients] == [
        (b"<carol@lab2.campus>", "PFD"),
        (b"<henry@lab3.campus>", "PN"),
        (b"<staff>", "PFD"),
    ]


def test_a_message_without_recipients_is_accepted_and_gone(host: SmtpHost, use: Filter) -> None:
    use({"E": [reply(b"-", b"<dave>"), b"c"]})
    assert greeted(host).writes("emma@lab1.campus", "dave").startswith("250")
    assert host.files() == []


@pytest.mark.parametrize("size", [1, 100, 70_000, 300_000])
def test_the_body_may_be_replaced_by_a_longer_or_shorter_one(
    host: SmtpHost, use: Filter, size: int
) -> None:
    text = b"0123456789abcd\r\n" * (size // 16) + b"end"
    pieces = [b"b" + text[i : i + 60_001] for i in range(0, len(text), 60_001)]
    use({"E": [*pieces, b"c"]})
    old = "Subject: x\n\n" + "old old old\n" * 10_000
    assert greeted(host).writes("emma@lab1.campus", "dave", text=old).startswith("250")
    [(control, body)] = host.queued()
    assert body == text.replace(b"\r\n", b"\n") + b"\n"
    assert control.size == len(body)


def test_what_has_replaced_it_is_known_when_another_disk_is_to_have_it(
    host: SmtpHost, use: Filter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read of it there is compared with what was written."""
    real = Incoming.commit

    def commit(incoming: Incoming) -> str:
        with open(tmp_path / "there", "wb") as file:
            incoming.copy_body(file.fileno())
        return real(incoming)

    monkeypatch.setattr(Incoming, "commit", commit)
    use({"E": [b"bnew\r\n", b"c"]})
    assert greeted(host).writes("emma@lab1.campus", "dave").startswith("250")
    assert (tmp_path / "there").read_bytes() == b"new\n"


def test_a_crlf_may_be_cut_between_two_pieces(host: SmtpHost, use: Filter) -> None:
    use({"E": [b"bone\r", b"b\ntwo\r\n", b"c"]})
    assert greeted(host).writes("emma@lab1.campus", "dave").startswith("250")
    assert host.queued()[0][1] == b"one\ntwo\n"


def test_octets_beyond_ascii_in_a_new_body_are_noted(host: SmtpHost, use: Filter) -> None:
    use({"E": [b"b\xc3\xa9\r\n", b"c"]})
    assert greeted(host).writes("emma@lab1.campus", "dave").startswith("250")
    assert "8" in host.queued()[0][0].flags


@pytest.mark.parametrize("above", [0, -1])
@pytest.mark.parametrize(
    ("answers", "level", "logged"),
    [
        ({}, 10, "Milter (filter0): init success to negotiate"),
        ({"H": b"r"}, 4, "Milter: helo=lab1.campus, reject=550 5.0.0 Command rejected"),
        (
            {"M": b"r"},
            4,
            "Milter: from=<emma@lab1.campus>, reject=550 5.7.1 <emma@lab1.campus>... Command rejected",
        ),
        ({"R": b"r"}, 4, "Milter: to=<dave>, reject=550 5.7.1 <dave>... Command rejected"),
        ({"T": b"r"}, 4, "Milter: cmd=data, reject=550 5.7.1 Command rejected"),
        ({"E": b"r"}, 4, "Milter: data, reject=554 5.7.1 Command rejected"),
        ({"E": b"d"}, 4, "Milter: data, discard"),
        ({"E": [b"bnew\r\n", b"c"]}, 8, "Milter message: body replaced"),
        ({"M": b"x"}, 1, "Milter (filter0): to error state"),
        ({"M": b"x"}, 1, "Milter (filter0): bogus response 'x'"),
    ],
)
def test_what_a_filter_does_is_logged_from_its_level_on(
    host: SmtpHost,
    use: Filter,
    lines: list[str],
    answers: dict[str, Answer],
    level: int,
    logged: str,
    above: int,
) -> None:
    host.options.milter_log_level = level + above
    use(answers)
    greeted(host).writes("emma@lab1.campus", "dave")
    assert any(logged in line for line in lines) is (above == 0)


def test_a_filter_that_fails_is_logged_with_its_fault_before_its_state(
    host: SmtpHost, use: Filter, lines: list[str]
) -> None:
    """As Sendmail has them: who reads the log finds the reason above."""
    host.options.milter_log_level = 1
    use({"M": b"x"})
    greeted(host).writes("emma@lab1.campus", "dave")
    first, second = (line.partition("Milter (filter0): ")[2] for line in lines if "filter0" in line)
    assert (first, second) == ("bogus response 'x'", "to error state")


def test_quarantine_holds_the_message(host: SmtpHost, use: Filter) -> None:
    use({"E": [reply(b"q", b"looks\nodd"), b"c"]})
    assert greeted(host).writes("emma@lab1.campus", "dave").startswith("250")
    [held] = [name for name in host.files() if name.startswith("hf")]
    assert b"qlooks?odd\n" in (host.mqueue / held).read_bytes()


# --- failure --------------------------------------------------------------------------------------

LIES: list[Answer] = [
    b"",  # hangs up
    b"x",  # no such answer
    b"cc",  # something behind it
    b"s",  # skip, which is for the body
    b"h" + b"X\0y\0",  # a change before the end
    b"p",
    b"y",
    b"y250 ok\0",
    b"y550 a",
    b"y550-a\r\n551 b\0",
    b"y550 4.0.0 a\0",
    b"raw\0\0\0\0",
    b"raw\xff\xff\xff\xffc",
    b"raw\0\0\0\x09c",
]


@pytest.mark.parametrize("lie", LIES, ids=repr)
@pytest.mark.parametrize(
    ("flags", "expected"),
    [("", "250"), ("T", "451 4.3.2"), ("R", "550 5.7.1"), ("4", "421 4.7.0")],
)
def test_a_filter_that_lies_has_failed(
    host: SmtpHost, use: Filter, lie: Answer, flags: str, expected: str
) -> None:
    use({"M": lie}, flags=flags, times="R:1s")
    assert greeted(host).says("MAIL FROM:<emma@lab1.campus>")[0].startswith(expected)


BAD_CHANGES = [
    [b"h"],
    [b"hX\0"],
    [b"h\0y\0"],
    [b"hA B\0y\0"],
    [b"hA:\0y\0"],
    [b"hX\0a\rb\0"],
    [b"hX\0y\0z\0"],
    [b"i\0\0\0"],
    [b"m\0\0\0\x01X\0y"],
    [b"e\0"],
    [b"e<a@b\0"],
    [b"+|/bin/sh\0"],
    [b"+</etc/passwd>\0"],
    [b"+<a@b>\0NOTIFY=NEVER\0"],
    [b"2<a@b>\0FROB=1\0"],
    [b"-"],
    [b"bone\rtwo\r\n"],
    [b"bone\0two\r\n"],
    [b"bone\r"],
    [b"q"],
    [b"s"],
    [b"O"],
]


@pytest.mark.parametrize("bad", BAD_CHANGES, ids=repr)
def test_nothing_is_changed_by_a_filter_that_fails(
    host: SmtpHost, use: Filter, bad: list[bytes]
) -> None:
    good = [reply(b"h", b"X-Good", b"1"), reply(b"+", b"<carol>"), b"bNew\r\n"]
    use({"E": [*good, *bad, b"c"]}, flags="", times="R:1s")
    assert greeted(host).writes("emma@lab1.campus", "dave", text=TEXT).startswith("250")
    [(control, body)] = host.queued()
    assert body == b"Hi\nthere\n"
    assert [one.address for one in control.recipients] == [b"<dave>"]
    assert not any(b"X-Good" in field for _, field in control.headers)


@pytest.mark.parametrize(
    ("change", "needed"),
    [
        (reply(b"h", b"X", b"y"), Action.ADD_HEADER),
        (reply(b"i", b"X", b"y", index=1), Action.ADD_HEADER),
        (reply(b"m", b"X", b"y", index=1), Action.CHANGE_HEADER),
        (reply(b"e", b"<a@lab1.campus>"), Action.CHANGE_SENDER),
        (reply(b"+", b"<carol>"), Action.ADD_RECIPIENT),
        (reply(b"2", b"<carol>"), Action.ADD_RECIPIENT_WITH_PARAMETERS),
        (reply(b"-", b"<carol>"), Action.DELETE_RECIPIENT),
        (b"bx\r\n", Action.REPLACE_BODY),
        (reply(b"q", b"why"), Action.QUARANTINE),
    ],
)
def test_what_was_not_negotiated_may_not_be_done(
    host: SmtpHost, use: Filter, change: bytes, needed: Action
) -> None:
    one = use({"E": [change, b"c"]}, actions=ALL & ~needed)
    assert greeted(host).writes("emma@lab1.campus", "dave").startswith("451 4.3.2")
    one._terms = struct.pack(">III", 6, needed, 0)
    assert greeted(host).writes("emma@lab1.campus", "dave").startswith("250")


@pytest.mark.parametrize(
    "terms",
    [
        b"",
        struct.pack(">II", 6, 0),
        struct.pack(">III", 1, 0, 0),
        struct.pack(">III", 7, 0, 0),
        struct.pack(">III", 6, 0x200, 0),
        struct.pack(">III", 6, 0, 0x200000),
        struct.pack(">IIII", 6, 0, 0, 9) + b"x\0",
    ],
)
def test_a_negotiation_that_makes_no_sense_is_a_failure(
    host: SmtpHost, use: Filter, terms: bytes
) -> None:
    use({"O": b"O" + terms}, flags="4")
    peer = host.connect(*STRANGER)
    assert peer.says("MAIL FROM:<emma@lab1.campus>") == ["421 4.7.0 lab2.campus closing connection"]


def test_old_filters_are_not_told_what_they_cannot_know(host: SmtpHost, use: Filter) -> None:
    two, three = use(version=2, actions=0x1F), use(version=3, actions=0x1F)
    peer = greeted(host)
    peer.says("FROB")
    assert peer.writes("emma@lab1.campus", "dave").startswith("250")
    assert two.said == "OCHMRLNBE"
    assert three.said == "OCHUMRLNBE"


@pytest.mark.parametrize(
    ("flags", "expected"), [("", "250"), ("T", "451 4.3.2"), ("R", "550 5.0.0"), ("4", "421 4.7.0")]
)
def test_where_no_filter_listens_its_row_says_what_that_means(
    host: SmtpHost, tmp_path: Path, flags: str, expected: str
) -> None:
    host.options.mail_filters = filters.read(f"gone, S=unix:{tmp_path}/gone, F={flags}")
    host.options.input_mail_filters = ("gone",)
    peer = host.connect(*STRANGER)
    assert peer.says("MAIL FROM:<emma@lab1.campus>")[0].startswith(expected)


def test_a_filter_that_hangs_costs_its_time_and_its_session(host: SmtpHost, use: Filter) -> None:
    one = use({"R": None}, times="R:1s", flags="")
    peer = greeted(host)
    assert peer.writes("emma@lab1.campus", "dave").startswith("250")
    assert peer.writes("emma@lab1.campus", "dave").startswith("250")
    assert one.said == "OCHMR"


def test_a_filter_that_is_always_at_work_is_at_its_end_after_a_while(
    host: SmtpHost, use: Filter
) -> None:
    def babble(data: bytes) -> Iterator[bytes]:
        for _ in range(50):
            yield b"p"
            time.sleep(0.05)
        yield b"c"

    one = use({"E": babble}, times="R:1s;E:1s")
    assert greeted(host).writes("emma@lab1.campus", "dave").startswith("451 4.3.2")
    one.answers["E"] = lambda data: [b"p", b"p", b"c"]
    assert greeted(host).writes("emma@lab1.campus", "dave").startswith("250")


def test_a_packet_without_end_is_not_waited_for(host: SmtpHost, use: Filter) -> None:
    use({"M": b"raw\x7f\xff\xff\xffc" + b"x" * 70_000}, times="R:9s")
    begun = time.monotonic()
    assert greeted(host).says("MAIL FROM:<emma@lab1.campus>")[0].startswith("451 4.3.2")
    assert time.monotonic() - begun < 5


def test_a_filter_that_changes_without_end_is_cut_off(host: SmtpHost, use: Filter) -> None:
    use({"E": [reply(b"h", b"X-Many", b"y")] * 10_001 + [b"c"]})
    assert greeted(host).writes("emma@lab1.campus", "dave").startswith("451 4.3.2")
    assert host.files() == []


def test_a_new_body_keeps_the_limit_of_messages(host: SmtpHost, use: Filter) -> None:
    host.options.max_message_size = 1000
    use({"E": [b"b" + b"x" * 900 + b"\r\n", b"b" + b"x" * 900, b"c"]})
    assert greeted(host).writes("emma@lab1.campus", "dave").startswith("451 4.3.2")


# --- the daemon -----------------------------------------------------------------------------------


def test_the_end_of_a_connection_is_told(
    host: SmtpHost, use: Filter, start: Callable[..., Listening]
) -> None:
    one = use()
    peer = start().connect()
    assert peer.answer().startswith("220")
    peer.says("QUIT")
    peer.answer()
    assert one.data("C")[0].startswith(b"localhost\x004")
    assert one.data("C")[0].endswith(b"127.0.0.1\0")
    assert struct.unpack(">H", one.data("C")[0][11:13])[0] == peer.socket.getsockname()[1]
    assert one.all_said() == "OCQ"


def test_an_ipv6_address_is_written_as_sendmail_does(host: SmtpHost, use: Filter) -> None:
    host.options.milter_macros_connect = filters.macros("{client_addr} {client_name}")
    one = use()
    host.connect("2001:db8::1", "")
    assert one.data("C") == [b"[IPv6:2001:db8::1]\x006\0\0IPv6:2001:db8::1\0"]
    assert one.macros["C"] == {
        b"{client_addr}": b"IPv6:2001:db8::1",
        b"{client_name}": b"[IPv6:2001:db8::1]",
    }


@pytest.mark.parametrize(
    ("level", "expected"), [(-1, (True, False)), (0, (False, False)), (13, (True, True))]
)
def test_milter_log_level_says_how_much_is_told(
    host: SmtpHost, use: Filter, lines: list[str], level: int, expected: tuple[bool, bool]
) -> None:
    host.options.milter_log_level = level
    use({"E": [reply(b"h", b"X-New", b"n"), b"c"]})
    greeted(host).writes("emma@lab1.campus", "dave")
    told = "Milter add: header: X-New" in lines, "milter=filter0, action=mail, continue" in lines
    assert told == expected


def test_the_time_of_a_slow_filter_is_not_held_against_the_client(
    host: SmtpHost,
    use: Filter,
    start: Callable[..., Listening],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def slow(data: bytes) -> bytes:
        time.sleep(1.2)
        return b"c"

    monkeypatch.setattr(connection, "_SLOW_AFTER", 1.0)
    host.options.min_data_rate = 1 << 40
    use({"R": slow})
    peer = start().connect()
    peer.answer()
    peer.socket.sendall(b"MAIL FROM:<emma@lab1.campus>\r\n")
    peer.answer()
    peer.socket.sendall(b"RCPT TO:<dave>\r\n")
    peer.answer()
    peer.socket.sendall(b"DATA\r\n")
    assert peer.answer().startswith("354")
    peer.socket.sendall(b"Subject: x\r\n\r\n")
    peer.socket.sendall(b"Hi\r\n.\r\n")
    assert peer.answer().startswith("250 2.0.0")


def test_what_our_own_checks_refuse_no_filter_sees(host: SmtpHost, use: Filter) -> None:
    one = use()
    Path(host.options.access_file).write_text("Connect:10.0.3.134 REJECT\n")
    host.connect(*STRANGER)
    assert one.said == ""
