from __future__ import annotations

import itertools
import tracemalloc

import pytest

from minimta.smtp.auth import AuthCommand
from minimta.smtp.reply import reply
from minimta.smtp.server import Session
from minimta.smtp.state import AFTER, State, out_of_order
from tests.smtp.test_data import FALSE_ENDS
from tests.support.fakelogins import FakeLogins
from tests.support.fakereceiver import FakeReceiver, codes, session

#: commands of a whole session, one group a line, and the code that answers each command
DIALOGUE = [
    (b"EHLO lab1.campus\n", ["250"]),
    (
        b"MAIL FROM:<emma@lab1.campus>\nRCPT TO:<dave@lab2.campus>\nDATA\n",
        ["250 2.1.0", "250 2.1.5", "354"],
    ),
    (b"Subject: x\n\n..one\n.\n", ["250 2.0.0"]),
    (b"RSET\nNOOP\nQUIT\n", ["250 2.0.0", "250 2.0.0", "221 2.0.0"]),
]
EOLS = [b"\r\n", b"\n"]
REACH = {
    State.IDLE: b"",
    State.MAIL: b"MAIL FROM:<a@b>\r\n",
    State.RCPT: b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n",
    State.BDAT: b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 1\r\nx",
}
LINES = {
    "EHLO": b"EHLO x",
    "HELO": b"HELO x",
    "MAIL": b"MAIL FROM:<e@f>",
    "RCPT": b"RCPT TO:<g@h>",
    "VRFY": b"VRFY dave",
    "EXPN": b"EXPN dave",
    "AUTH": b"AUTH PLAIN AGVtbWEAc2VjcmV0",
    "BDAT": b"BDAT 0",
}


@pytest.mark.parametrize("eol", EOLS)
@pytest.mark.parametrize("size", [*range(1, 31), 64])
def test_any_chunking_of_a_whole_session_gives_the_same_replies(eol: bytes, size: int) -> None:
    receiver = FakeReceiver()
    smtp = session(receiver)
    for sent, expected in DIALOGUE:
        octets, replies = sent.replace(b"\n", eol), b""
        for start in range(0, len(octets), size):
            replies += smtp.receive(octets[start : start + size])
        assert codes(replies) == expected
    assert smtp.is_closed
    assert receiver.messages == [b"Subject: x\n\n.one\n"]


@pytest.mark.parametrize(
    "behind", [b"S", b"Subject: x\r\n\r\nHi\r\n.\r\n", b".\r\nMAIL FROM:<e@f>"]
)
def test_text_before_the_354_is_no_text_and_ends_the_session(behind: bytes) -> None:
    receiver = FakeReceiver()
    smtp = session(receiver)
    sent = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n" + behind
    assert codes(smtp.receive(sent)) == ["250 2.1.0", "250 2.1.5", "554 5.5.0"]
    assert smtp.is_closed
    assert receiver.messages == []
    assert receiver.resets >= 1
    assert any("rejecting server DATA" in note for note in receiver.notes)


def test_a_group_may_end_with_data_and_go_on_behind_the_final_dot() -> None:
    receiver = FakeReceiver()
    smtp = session(receiver)
    begin = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"
    assert codes(smtp.receive(begin)) == ["250 2.1.0", "250 2.1.5", "354"]
    assert codes(smtp.receive(b"x\r\n.\r\n" + begin)) == [
        "250 2.0.0", "250 2.1.0", "250 2.1.5", "354",
    ]  # fmt: skip
    assert codes(smtp.receive(b"y\r\n.\r\nQUIT\r\n")) == ["250 2.0.0", "221 2.0.0"]
    assert receiver.messages == [b"x\n", b"y\n"]


@pytest.mark.parametrize("verb", ["DATA", "RSET", "QUIT"])
def test_what_has_no_argument_is_not_done_with_one(verb: str) -> None:
    smtp = session(FakeReceiver())
    smtp.receive(REACH[State.RCPT])
    assert codes(smtp.receive(f"{verb} now\r\n".encode())) == ["501 5.5.4"]
    assert smtp.state is State.RCPT
    assert codes(smtp.receive(f"{verb}  \r\n".encode()))[0][:1] in "23"


def test_text_that_comes_together_with_data_is_text_where_nobody_must_wait() -> None:
    receiver = FakeReceiver()
    smtp = Session(receiver, host="lab2.campus", client="x", unawaited=frozenset(("EHLO", "DATA")))
    assert codes(smtp.receive(b"EHLO x\r\nNOOP\r\n")) == ["250", "250 2.0.0"]
    sent = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nQUIT\r\n.\r\nQUIT\r\n"
    assert codes(smtp.receive(sent)) == ["250 2.1.0", "250 2.1.5", "354", "250 2.0.0", "221 2.0.0"]
    assert receiver.messages == [b"QUIT\n"]


@pytest.mark.parametrize(
    ("state", "verb"),
    [pair for pair in itertools.product(REACH, sorted({v for _, v in AFTER if v != "."}))],
)
def test_every_verb_in_every_state_is_as_the_table_has_it(state: State, verb: str) -> None:
    smtp = session(FakeReceiver(), has_tls=True, has_etrn=True, auth=AuthCommand(FakeLogins()))
    smtp.receive(REACH[state])
    assert smtp.state is state
    answer = smtp.receive(LINES.get(verb, verb.encode()) + b"\r\n")
    if out_of_order(state, verb):
        assert codes(answer)[0].startswith("503")
        assert smtp.state is state
    else:
        assert int(answer[:3]) < 400
        assert smtp.state is AFTER[state, verb]


@pytest.mark.parametrize("verb", ["EHLO x", "HELO x", "RSET", "QUIT"])
def test_what_ends_a_transaction_tells_the_receiver(verb: str) -> None:
    receiver = FakeReceiver()
    smtp = session(receiver)
    smtp.receive(REACH[State.RCPT])
    smtp.receive(verb.encode() + b"\r\n")
    assert receiver.resets >= 1


@pytest.mark.parametrize("code", [452, 554])
def test_after_the_final_dot_the_transaction_is_over_whatever_the_answer(code: int) -> None:
    receiver = FakeReceiver(end_of_data=reply(code, f"{code // 100}.3.0", "no"))
    smtp = session(receiver)
    smtp.receive(REACH[State.RCPT] + b"DATA\r\n")
    assert codes(smtp.receive(b"x\r\n.\r\nRCPT TO:<a@b>\r\n"))[1] == "503 5.0.0"


def test_without_a_recipient_data_is_503_and_the_session_goes_on() -> None:
    smtp = session(FakeReceiver(rcpt=reply(550, "5.1.1", "User unknown")))
    smtp.receive(REACH[State.RCPT])
    assert codes(smtp.receive(b"DATA\r\nNOOP\r\n")) == ["503 5.0.0", "250 2.0.0"]


def test_the_answer_to_ehlo_lists_the_extensions_once() -> None:
    smtp = session(FakeReceiver(), max_message_size=1000)
    lines = smtp.receive(b"EHLO lab1.campus\r\n").decode().split("\r\n")[:-1]
    assert lines[0] == "250-lab2.campus Hello lab1.campus [10.0.3.134], pleased to meet you"
    offered = [line[4:] for line in lines[1:]]
    wanted = {"ENHANCEDSTATUSCODES", "PIPELINING", "8BITMIME", "SIZE 1000", "DSN", "HELP", "EXPN"}
    wanted |= {"CHUNKING", "BINARYMIME", "SMTPUTF8"}
    assert set(offered) == wanted
    assert len(offered) == len(wanted)


def test_helo_has_one_line() -> None:
    answer = session(FakeReceiver()).receive(b"HELO lab1.campus\r\n")
    assert answer == b"250 lab2.campus Hello lab1.campus [10.0.3.134], pleased to meet you\r\n"


# --- line ends ------------------------------------------------------------------------------------


def test_whoever_begins_with_bare_linefeeds_is_not_offered_pipelining() -> None:
    assert b"PIPELINING" not in session(FakeReceiver()).receive(b"EHLO x\n")
    assert b"PIPELINING" in session(FakeReceiver()).receive(b"EHLO x\r\n")


def test_a_dialogue_pasted_with_bare_linefeeds_is_served() -> None:
    receiver = FakeReceiver()
    smtp = session(receiver)
    pasted = (
        b"HELO lab1.campus\nMAIL FROM: emma@lab1.campus\nRCPT TO: dave@lab2.campus\nDATA\n"
        b"Subject: x\n\nHi\n.\nQUIT\n"
    )
    assert codes(smtp.receive(pasted))[-2:] == ["250 2.0.0", "221 2.0.0"]
    assert receiver.messages == [b"Subject: x\n\nHi\n"]


@pytest.mark.parametrize("verb", [b"EHLO", b"HELO"])
def test_commands_before_the_answer_to_ehlo_are_refused_for_good(verb: bytes) -> None:
    smtp = session(FakeReceiver())
    answer = smtp.receive(verb + b" x\r\nMAIL FROM:<a@b>\r\n")
    assert codes(answer) == ["554 5.5.0", "550 5.0.0"]
    assert codes(smtp.receive(b"RCPT TO:<a@b>\r\nQUIT\r\n")) == ["550 5.0.0", "221 2.0.0"]


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (b"NOOP\r\n", b"NOOP\n"),
        (b"NOOP\r\n", b"NO\rOP\r\n"),
        (b"NOOP\r\n", b"NOOP\r\r\n"),
        (b"NOOP\r\n", b"NO\0OP\r\n"),
        (b"NOOP\n", b"NOOP\r\n"),
        (b"NOOP\n", b"NO\rOP\n"),
        (b"NOOP\n", b"NO\0OP\n"),
        (b"", b"NO\rOP\n"),
        (b"", b"NO\0OP\r\n"),
    ],
)
def test_a_mixed_line_end_in_a_command_ends_the_session(first: bytes, later: bytes) -> None:
    smtp = session(FakeReceiver())
    answer = smtp.receive(first + later + b"NOOP\r\nNOOP\n")
    assert codes(answer) == [*(["250 2.0.0"] if first else []), "421 4.5.0"]
    assert smtp.is_closed


@pytest.mark.parametrize("false_end", FALSE_ENDS)
@pytest.mark.parametrize("stepwise", [True, False], ids=["stepwise", "burst"])
def test_nothing_is_smuggled_behind_a_false_end(false_end: bytes, stepwise: bool) -> None:
    receiver = FakeReceiver()
    smtp = session(receiver)
    smtp.receive(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
    parts = [
        b"Subject: one\r\n\r\nbody" + false_end,
        b"MAIL FROM:<evil@x>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        b"Subject: two\r\n\r\nsmuggled\r\n.\r\n",
    ]
    for part in parts if stepwise else [b"".join(parts)]:
        if not smtp.is_closed:
            answer = smtp.receive(part)
            premature = part is not parts[-1] and stepwise
            assert not (premature and answer.startswith(b"250"))
    assert len(receiver.mails) == 1
    assert all(b"smuggled" in message for message in receiver.messages)
    assert len(receiver.messages) + len(receiver.violations) == 1


@pytest.mark.parametrize("eol", EOLS)
def test_a_violation_in_the_text_keeps_nothing_and_ends_the_session(eol: bytes) -> None:
    receiver = FakeReceiver()
    smtp = session(receiver)
    begin = b"MAIL FROM:<a@b>\nRCPT TO:<c@d>\nDATA\n".replace(b"\n", eol)
    smtp.receive(begin)
    other = b"\n" if eol == b"\r\n" else b"\r\n"
    assert codes(smtp.receive(b"Subject: x" + other + b"." + other)) == ["421 4.5.0"]
    assert smtp.is_closed
    assert receiver.messages == []
    assert receiver.resets >= 1


# --- not a mail client ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        *(b"%s / HTTP/1.1" % verb for verb in (b"GET", b"POST", b"HEAD", b"PUT", b"DELETE")),
        *(b"%s / HTTP/1.1" % verb for verb in (b"TRACE", b"PATCH", b"post")),
        *(b"PRI * HTTP/2.0", b"CONNECT x:25 HTTP/1.0", b"USER root"),
        b"PROXY TCP4 10.0.3.1 10.0.3.135 1025 25",
    ],
)
def test_a_browser_is_cut_off_before_its_body(line: bytes) -> None:
    receiver = FakeReceiver()
    smtp = session(receiver)
    answer = smtp.receive(line + b"\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n")
    assert codes(answer) == ["421 4.7.0"]
    assert smtp.is_closed
    assert receiver.mails == []


def test_a_tls_hello_is_cut_off() -> None:
    receiver = FakeReceiver()
    smtp = session(receiver)
    assert codes(smtp.receive(b"\x16\x03\x01\x02\x00\x01")) == ["421 4.7.0"]
    assert smtp.is_closed
    assert any("TLS handshake on a plain port" in note for note in receiver.notes)


def test_who_talks_before_the_greeting_may_only_leave() -> None:
    smtp = session(FakeReceiver())
    assert smtp.rejection().startswith(b"554 lab2.campus")
    answer = smtp.receive(b"EHLO x\r\n") + smtp.receive(b"MAIL FROM:<a@b>\r\nHELP\r\nRSET\r\n")
    assert codes(answer) == ["250", "550 5.0.0", "550 5.0.0", "250 2.0.0"]


# --- limits ---------------------------------------------------------------------------------------


def test_a_line_of_2048_octets_is_taken_and_a_longer_one_left_out() -> None:
    smtp = session(FakeReceiver())
    assert codes(smtp.receive(b"NOOP " + b"x" * 2041 + b"\r\n")) == ["250 2.0.0"]
    assert codes(smtp.receive(b"NOOP " + b"x" * 2042 + b"\r\nNOOP\r\n")) == [
        "500 5.5.2",
        "250 2.0.0",
    ]


@pytest.mark.parametrize("size", [7, 1000, 1 << 16])
def test_behind_a_line_that_is_too_long_the_session_is_in_step(size: int) -> None:
    """RFC 5321 section 4.5.3.1.9."""
    smtp, sent = session(FakeReceiver()), b"NOOP " + b"x" * 5000 + b"\r\nVRFY dave\r\nNOOP\r\n"
    replies = b"".join(smtp.receive(sent[i : i + size]) for i in range(0, len(sent), size))
    assert codes(replies) == ["500 5.5.2", "252 2.5.2", "250 2.0.0"]


@pytest.mark.parametrize("size", [1000, 20000])
def test_a_line_without_end_ends_the_session_and_is_noted(size: int) -> None:
    receiver = FakeReceiver()
    smtp = session(receiver)
    replies = b""
    for _ in range(13000 // size + 1):
        replies += smtp.receive(b"x" * size)
    assert codes(replies) == ["421 4.7.0"]
    assert any("SMTP violation, input too long" in note for note in receiver.notes)


def test_bad_commands_cost_time_and_at_last_the_session() -> None:
    smtp = session(FakeReceiver())
    for number in range(1, 26):
        assert codes(smtp.receive(b"FOO\r\n")) == ["500 5.5.1"]
        assert smtp.throttle.pause == max(0, number - 10)
    assert codes(smtp.receive(b"FOO\r\nNOOP\r\n")) == ["421 4.7.0"]
    assert smtp.is_closed


def test_many_dead_recipients_among_good_ones_do_not_end_the_session() -> None:
    receiver = FakeReceiver()
    smtp = session(receiver, bad_rcpt_throttle=10)
    smtp.receive(b"MAIL FROM:<a@b>\r\n")
    for _ in range(120):
        assert codes(smtp.receive(b"RCPT TO:<c@d>\r\n")) == ["250 2.1.5"]
    receiver.answers["rcpt"] = reply(550, "5.1.1", "User unknown")
    for _ in range(110):
        assert codes(smtp.receive(b"RCPT TO:<e@f>\r\n")) == ["550 5.1.1"]
    assert smtp.throttle.pause == 100
    assert codes(smtp.receive(b"DATA\r\n")) == ["354"]


def test_a_harvester_is_cut_off() -> None:
    smtp = session(FakeReceiver(rcpt=reply(550, "5.1.1", "User unknown")))
    smtp.receive(b"MAIL FROM:<a@b>\r\n")
    answers = [codes(smtp.receive(b"RCPT TO:<c@d>\r\n"))[0] for _ in range(101)]
    assert answers == ["550 5.1.1"] * 100 + ["421 4.7.0"]


def test_recipients_that_may_come_later_are_not_held_against_anybody() -> None:
    smtp = session(
        FakeReceiver(rcpt=reply(452, "4.5.3", "Too many recipients")), bad_rcpt_throttle=1
    )
    smtp.receive(b"MAIL FROM:<a@b>\r\n")
    assert codes(smtp.receive(b"RCPT TO:<c@d>\r\n" * 4000)) == ["452 4.5.3"] * 4000
    assert smtp.throttle.pause == 0


@pytest.mark.parametrize(("verb", "free"), [(b"NOOP", 20), (b"VRFY dave", 5), (b"EHLO x", 20)])
def test_idle_talk_becomes_slow_and_is_logged_once(verb: bytes, free: int) -> None:
    receiver = FakeReceiver()
    smtp = session(receiver)
    for _ in range(free + 3):
        smtp.receive(verb + b"\r\n")
    assert smtp.throttle.pause == 3
    assert sum("possible SMTP attack" in note for note in receiver.notes) == 1


@pytest.mark.parametrize("line", [b"VRFY dave", b"EXPN staff"])
def test_questions_without_end_end_the_session(line: bytes) -> None:
    smtp = session(FakeReceiver())
    replies = [codes(smtp.receive(line + b"\r\n"))[-1] for _ in range(250)]
    assert not any(code.startswith("421") for code in replies)
    assert codes(smtp.receive(line + b"\r\n")) == ["421 4.7.0"]


@pytest.mark.parametrize("line", [b"VRFY dave", b"EXPN staff"])
def test_mail_between_questions_does_not_make_them_free(line: bytes) -> None:
    """Who may say MAIL before each could ask through a dictionary."""
    smtp = session(FakeReceiver())
    for _ in range(8):
        smtp.receive(b"MAIL FROM:<a@b>\r\n" + line + b"\r\nRSET\r\n")
    assert smtp.throttle.pause == 3
    for _ in range(242):
        assert (
            codes(smtp.receive(b"MAIL FROM:<a@b>\r\n" + line + b"\r\nRSET\r\n"))[-1] == "250 2.0.0"
        )
    assert codes(smtp.receive(b"MAIL FROM:<a@b>\r\n" + line + b"\r\n"))[-1] == "421 4.7.0"


def test_talk_between_messages_is_no_idle_talk() -> None:
    smtp = session(FakeReceiver())
    for _ in range(20):
        assert codes(smtp.receive(b"NOOP\r\n" * 20)) == ["250 2.0.0"] * 20
        assert codes(smtp.receive(b"MAIL FROM:<a@b>\r\nRSET\r\n")) == ["250 2.1.0", "250 2.0.0"]
    assert smtp.throttle.take_pause() == 0


def test_what_comes_at_once_costs_a_minute_at_most() -> None:
    smtp = session(FakeReceiver())
    smtp.receive(b"NOOP\r\n" * 200)
    assert smtp.throttle.take_pause() == 60
    assert smtp.throttle.take_pause() == 0


# --- other commands -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"ONEX", '500 5.5.1 Command unrecognized: "ONEX"'),
        (b"TURN", '502 5.5.1 Command not implemented: "TURN"'),
        *[
            (
                b"%s FROM:<x@y>" % verb,
                f'502 5.5.1 Command not implemented: "{verb.decode()} FROM:<x@y>"',
            )
            for verb in (b"SEND", b"SAML", b"SOML")
        ],
        (b"ETRN lab3.campus", "502 5.7.0 Sorry, we do not allow this operation"),
        (b"VERB", "502 5.7.0 Verbose unavailable"),
        (b"STARTTLS", "454 4.3.3 TLS not available after start"),
        (b"EXPN", "501 5.5.2 Argument required"),
        (b"VRFY", "501 5.5.2 Argument required"),
        (b"HELP nosuch", '504 5.3.0 HELP topic "nosuch" unknown'),
        (b"\x1b[2J", '500 5.5.1 Command unrecognized: "?[2J"'),
        (b"", '500 5.5.1 Command unrecognized: ""'),
    ],
)
def test_what_is_not_served_is_said_so(line: bytes, answer: str) -> None:
    assert session(FakeReceiver()).receive(line + b"\r\n") == answer.encode() + b"\r\n"


@pytest.mark.parametrize("topic", [b"", b" MAIL", b" rcpt", b" DSN"])
def test_help_is_214(topic: bytes) -> None:
    assert codes(session(FakeReceiver()).receive(b"HELP" + topic + b"\r\n")) == ["214 2.0.0"]


def test_privacy_hides_users() -> None:
    smtp = session(FakeReceiver(), "novrfy", "noexpn")
    assert codes(smtp.receive(b"VRFY dave\r\nEXPN dave\r\n")) == ["252 2.5.2", "502 5.7.0"]
    assert b"EXPN" not in smtp.receive(b"EHLO x\r\n")


def test_privacy_demands_helo() -> None:
    smtp = session(FakeReceiver(), "needmailhelo", "needvrfyhelo", "needexpnhelo")
    refused = codes(smtp.receive(b"MAIL FROM:<a@b>\r\nVRFY dave\r\nEXPN dave\r\n"))
    assert refused == ["503 5.0.0"] * 3
    smtp.receive(b"EHLO x\r\n")
    accepted = codes(smtp.receive(b"VRFY dave\r\nEXPN dave\r\nMAIL FROM:<a@b>\r\n"))
    assert accepted == ["252 2.5.2", "250 2.1.5", "250 2.1.0"]


def test_privacy_refuses_receipts() -> None:
    smtp = session(FakeReceiver(), "noreceipts")
    assert b"DSN" not in smtp.receive(b"EHLO x\r\n")
    assert codes(smtp.receive(b"MAIL FROM:<a@b> RET=FULL\r\n")) == ["504 5.7.0"]


def test_a_receiver_that_has_enough_ends_the_session_in_the_middle_of_the_text() -> None:
    receiver = FakeReceiver(text=reply(552, "5.2.3", "far too big"))
    smtp = session(receiver)
    smtp.receive(REACH[State.RCPT] + b"DATA\r\n")
    assert codes(smtp.receive(b"x" * 100)) == ["552 5.2.3"]
    assert smtp.is_closed


def test_every_reply_to_a_noop_flood_is_given_and_memory_stays_small() -> None:
    smtp, flood = session(FakeReceiver()), b"NOOP\r\n" * 10_000
    assert codes(smtp.receive(flood)) == ["250 2.0.0"] * 10_000
    tracemalloc.start()
    try:
        for _ in range(4):
            smtp.receive(flood)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100_000


# --- STARTTLS -------------------------------------------------------------------------------------


def offered(smtp: Session) -> list[str]:
    """What EHLO offers."""
    lines = smtp.receive(b"EHLO lab1.campus\r\n").decode().split("\r\n")
    return [line[4:] for line in lines[1:-1]]


def test_starttls_is_offered_where_it_can_be_had_and_not_inside_tls() -> None:
    """RFC 3207 section 4."""
    assert "STARTTLS" not in offered(session(FakeReceiver()))
    smtp = session(FakeReceiver(), has_tls=True)
    assert offered(smtp)[-2:] == ["STARTTLS", "HELP"]
    assert smtp.receive(b"starttls\r\n") == b"220 2.0.0 Ready to start TLS\r\n"
    smtp.secured()
    assert "STARTTLS" not in offered(smtp)
    assert smtp.receive(b"STARTTLS\r\n") == b"503 5.5.1 TLS already active\r\n"
    assert smtp.state is State.IDLE


def test_starttls_has_no_argument_and_no_place_in_a_transaction() -> None:
    smtp = session(FakeReceiver(), has_tls=True)
    assert codes(smtp.receive(b"STARTTLS now\r\n")) == ["501 5.5.2"]
    assert codes(smtp.receive(b"MAIL FROM:<a@b>\r\nSTARTTLS\r\n")) == ["250 2.1.0", "503 5.5.0"]
    assert codes(smtp.receive(b"RCPT TO:<c@d>\r\nSTARTTLS\r\n")) == ["250 2.1.5", "503 5.5.0"]
    assert smtp.state is State.RCPT


@pytest.mark.parametrize("more", [b"NOOP\r\n", b"M", b"\r\n", b"\x16\x03\x01"])
def test_what_stands_behind_starttls_ends_the_session(more: bytes) -> None:
    """CVE-2011-0411: whoever is between the two ends may have put it there."""
    receiver = FakeReceiver()
    smtp = session(receiver, has_tls=True)
    assert codes(smtp.receive(b"EHLO x\r\n"))[-1] == "250"
    assert codes(smtp.receive(b"STARTTLS\r\n" + more)) == ["554 5.5.0"]
    assert smtp.is_closed
    assert any("rejecting server STARTTLS" in note for note in receiver.notes)


def test_a_handshake_is_not_read_as_commands() -> None:
    smtp = session(FakeReceiver(), has_tls=True)
    smtp.receive(b"STARTTLS\r\n")
    assert smtp.receive(b"QUIT\r\n") == b""
    assert smtp.state is State.HANDSHAKE


def test_after_the_handshake_the_client_has_said_nothing_yet() -> None:
    """RFC 3207 section 4.2."""
    smtp = session(FakeReceiver(), "needmailhelo", has_tls=True)
    smtp.receive(b"EHLO x\r\n")
    smtp.receive(b"STARTTLS\r\n")
    smtp.secured()
    assert codes(smtp.receive(b"MAIL FROM:<a@b>\n")) == ["503 5.0.0"]  # another line end, too


def test_what_a_client_did_wrong_is_not_forgotten_by_a_handshake() -> None:
    smtp = session(FakeReceiver(), has_tls=True)
    smtp.receive(b"BAD\r\n" * 25)
    smtp.receive(b"STARTTLS\r\n")
    smtp.secured()
    assert codes(smtp.receive(b"BAD\r\n")) == ["421 4.7.0"]


def test_max_noop_commands_says_how_many_are_free() -> None:
    smtp = session(FakeReceiver(), max_noop_commands=3)
    for number in range(1, 6):
        assert codes(smtp.receive(b"NOOP\r\n")) == ["250 2.0.0"]
        assert smtp.throttle.pause == max(0, number - 3)


def test_with_soft_bounce_nothing_is_refused_for_good() -> None:
    receiver = FakeReceiver(rcpt=reply(550, "5.1.1", "User unknown"))
    smtp = session(receiver, soft_bounce=True)
    assert codes(smtp.receive(b"FOO\r\n")) == ["400 4.5.1"]
    assert smtp.receive(b"MAIL FROM:<a@b>\r\n").startswith(b"250")
    assert smtp.receive(b"RCPT TO:<c@d>\r\n") == b"450 4.1.1 User unknown\r\n"
