from __future__ import annotations

from collections.abc import Sequence

import pytest

from minimta.smtp.client import Client, PeerClosed, Transaction
from minimta.smtp.reply import ReplyError

EHLO = b"250-lab2.campus Hello\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 1000\r\n250 DSN\r\n"
PLAIN_EHLO = b"250-lab2.campus\r\n250 HELP\r\n"


def transaction(*names: str) -> Transaction:
    lines = [f"RCPT To:<{name}>".encode() for name in names or ("x@lab2.campus",)]
    return Transaction(b"MAIL From:<emma@lab1.campus>", lines)


def greeted(ehlo: bytes = EHLO) -> Client:
    client = Client("lab1.campus")
    client.receive(b"220 lab2.campus ESMTP\r\n")
    assert client.take() == b"EHLO lab1.campus\r\n"
    client.receive(ehlo)
    assert client.take() == b""
    return client


def play(client: Client, server: Sequence[bytes]) -> list[bytes]:
    """Feed one answer for each thing the client says; return what it said."""
    said = []
    for answer in server:
        said.append(client.take())
        client.receive(answer)
    assert client.take() == b""
    return said


def test_nothing_is_said_before_the_greeting() -> None:
    client = Client("lab1.campus")
    assert client.take() == b""
    assert client.awaiting == "greeting"


def test_ehlo_gives_name_and_extensions() -> None:
    client = greeted(
        b"250-Lab2.campus hi\r\n250-size=5\r\n250-Auth=PLAIN X=Y\r\n250 pipelining\r\n"
    )
    assert client.peer_name == "Lab2.campus"
    assert client.extensions == {"SIZE": "5", "AUTH": "PLAIN X=Y", "PIPELINING": ""}


@pytest.mark.parametrize(
    ("lines", "offered"),
    [
        (b"250-AUTH PLAIN\r\n250 AUTH=LOGIN\r\n", "PLAIN LOGIN"),
        (b"250-AUTH=LOGIN\r\n250 auth PLAIN X\r\n", "LOGIN PLAIN X"),
        (b"250-AUTH\r\n250 AUTH PLAIN\r\n", "PLAIN"),
    ],
)
def test_mechanisms_may_stand_in_several_lines(lines: bytes, offered: str) -> None:
    client = greeted(b"250-lab2.campus\r\n" + lines)
    assert client.extensions == {"AUTH": offered}
    client.hello()
    assert client.extensions == {}


@pytest.mark.parametrize("code", [b"500", b"502", b"550"])
def test_helo_follows_a_refused_ehlo(code: bytes) -> None:
    client = Client("lab1.campus")
    client.receive(b"220 old.campus\r\n")
    assert client.take() == b"EHLO lab1.campus\r\n"
    client.receive(code + b" what?\r\n")
    assert client.take() == b"HELO lab1.campus\r\n"
    client.receive(b"250 old.campus\r\n")
    assert (client.peer_name, client.extensions, client.awaiting) == ("old.campus", {}, "")


@pytest.mark.parametrize(
    "greeting",
    [b"554 go away\r\n", b"421 busy\r\n", b"450 x\r\n", b"354 x\r\n", b"300 x\r\n"],
)
def test_a_greeting_that_is_no_welcome_ends_it(greeting: bytes) -> None:
    with pytest.raises(PeerClosed) as closed:
        Client("lab1.campus").receive(greeting)
    assert closed.value.command == "greeting"


@pytest.mark.parametrize("answers", [[b"300 x\r\n"], [b"499 x\r\n"], [b"500 x\r\n", b"300 x\r\n"]])
def test_an_answer_to_ehlo_that_is_no_welcome_ends_it(answers: list[bytes]) -> None:
    client = Client("lab1.campus")
    with pytest.raises(PeerClosed) as closed:
        play(client, [b"220 lab2.campus\r\n", *answers])
    assert closed.value.command == ("EHLO", "HELO")[len(answers) - 1]


def test_a_second_ehlo_forgets_what_the_first_one_said() -> None:
    client = greeted(b"250-lab2.campus\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 SIZE 5\r\n")
    client.hello()
    assert (client.peer_name, client.extensions) == ("", {})
    assert client.take() == b"EHLO lab1.campus\r\n"
    client.receive(b"250-mx.campus\r\n250 8BITMIME\r\n")
    assert (client.peer_name, client.extensions) == ("mx.campus", {"8BITMIME": ""})
    client.begin(transaction())
    assert client.take() == b"MAIL From:<emma@lab1.campus>\r\n"  # no group any more


def test_a_helo_after_a_second_ehlo_has_no_extensions() -> None:
    client = greeted()
    client.hello()
    play(client, [b"500 what?\r\n", b"250 lab2.campus\r\n"])
    assert (client.peer_name, client.extensions) == ("lab2.campus", {})


def test_a_group_is_one_write_with_pipelining() -> None:
    client = greeted()
    client.begin(transaction("x@lab2.campus", "y@lab2.campus"))
    assert client.take() == (
        b"MAIL From:<emma@lab1.campus>\r\nRCPT To:<x@lab2.campus>\r\n"
        b"RCPT To:<y@lab2.campus>\r\nDATA\r\n"
    )


def test_one_command_at_a_time_without_pipelining() -> None:
    client = greeted(PLAIN_EHLO)
    client.begin(transaction())
    said = play(client, [b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"])
    assert said == [
        b"MAIL From:<emma@lab1.campus>\r\n",
        b"RCPT To:<x@lab2.campus>\r\n",
        b"DATA\r\n",
    ]
    assert client.wants_content


@pytest.mark.parametrize("size", range(1, 60))
def test_any_chunking_of_the_answers_gives_the_same_end(size: int) -> None:
    client = greeted()
    sent = transaction("x@lab2.campus", "y@lab2.campus")
    client.begin(sent)
    client.take()
    wire = b"250 ok\r\n250-a\r\n250 b\r\n550 5.1.1 no\r\n354 go\r\n"
    for start in range(0, len(wire), size):
        assert not client.wants_content
        client.receive(wire[start : start + size])
    assert client.wants_content
    client.content_sent()
    assert client.awaiting == "."
    client.receive(b"250 2.0.0 Ok\r\n")
    assert [reply.code for reply in sent.rcpt] == [250, 550]
    assert sent.final is not None and sent.final.enhanced == "2.0.0"


CUT_WIRE = b"220 hi\r\n" + EHLO + b"250 ok\r\n250 ok\r\n354 go\r\n250 done\r\n"


@pytest.mark.parametrize("cut", range(len(CUT_WIRE)))
def test_a_conversation_cut_anywhere_has_no_final_reply(cut: int) -> None:
    client = Client("lab1.campus")
    sent = transaction()
    begun = False
    for octet in CUT_WIRE[:cut]:
        client.receive(bytes([octet]))
        client.take()
        if not client.awaiting and client.wants_content:
            client.content_sent()
        elif not client.awaiting and not begun:
            begun = True
            client.begin(sent)
            client.take()
    assert sent.final is None
    assert client.awaiting


def test_all_refused_after_a_354_ends_with_a_lone_dot() -> None:
    client = greeted()
    sent = transaction("x@lab2.campus", "y@lab2.campus")
    client.begin(sent)
    said = play(client, [b"250 ok\r\n550 no\r\n550 no\r\n354 go\r\n", b"554 no recipients\r\n"])
    assert said[1] == b".\r\n"
    assert not client.wants_content
    assert sent.final is None
    client.begin(transaction())
    assert client.take().startswith(b"MAIL")


def test_a_transaction_left_half_open_is_reset_before_the_next() -> None:
    client = greeted()
    client.begin(transaction())
    play(client, [b"250 ok\r\n550 no\r\n503 need RCPT\r\n"])
    client.begin(transaction())
    assert client.take().startswith(b"RSET\r\nMAIL From:")


def test_without_pipelining_data_is_not_said_when_all_are_refused() -> None:
    client = greeted(PLAIN_EHLO)
    client.begin(transaction())
    play(client, [b"250 ok\r\n", b"452 full\r\n"])
    client.begin(transaction())
    said = play(client, [b"250 reset\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"])
    assert said[0] == b"RSET\r\n"


@pytest.mark.parametrize("ehlo", [EHLO, PLAIN_EHLO])
def test_a_refused_mail_needs_no_reset(ehlo: bytes) -> None:
    client = greeted(ehlo)
    sent = transaction()
    client.begin(sent)
    play(client, [b"550 no\r\n" + (b"503 no\r\n503 no\r\n" if ehlo is EHLO else b"")])
    assert sent.mail is not None and sent.mail.code == 550
    client.begin(transaction())
    assert client.take().startswith(b"MAIL")


@pytest.mark.parametrize("answer", [b"500 what?\r\n", b"300 go on\r\n"])
def test_a_refused_reset_is_a_broken_conversation(answer: bytes) -> None:
    client = greeted()
    client.begin(transaction())
    play(client, [b"250 ok\r\n550 no\r\n503 no\r\n"])
    client.begin(transaction())
    client.take()
    with pytest.raises(ReplyError):
        client.receive(answer)


# -- the first code of a class, and the last -------------------------------------------------------


@pytest.mark.parametrize("code", [b"300", b"399"])
def test_all_codes_with_a_3_ask_for_the_content(code: bytes) -> None:
    client = greeted()
    client.begin(transaction())
    play(client, [b"250 ok\r\n250 ok\r\n%b go\r\n" % code])
    assert client.wants_content


@pytest.mark.parametrize("code", [b"299", b"400"])
def test_no_other_code_asks_for_the_content(code: bytes) -> None:
    client = greeted()
    client.begin(transaction())
    play(client, [b"250 ok\r\n250 ok\r\n%b what?\r\n" % code])
    assert not client.wants_content
    client.begin(transaction())
    assert client.take().startswith(b"RSET\r\nMAIL From:")


def test_an_intermediate_answer_takes_no_recipient() -> None:
    client = greeted(PLAIN_EHLO)
    sent = transaction()
    client.begin(sent)
    play(client, [b"299 ok\r\n", b"300 what?\r\n"])  # and no DATA
    assert not sent.has_recipient
    client.begin(transaction())
    assert client.take() == b"RSET\r\n"


@pytest.mark.parametrize("ehlo", [EHLO, PLAIN_EHLO])
@pytest.mark.parametrize("chunk", [b"", b"x\r\n"])
def test_an_intermediate_answer_to_mail_begins_nothing(ehlo: bytes, chunk: bytes) -> None:
    client = greeted(ehlo)
    client.begin(Transaction(b"MAIL From:<a@b>", [b"RCPT To:<x@lab2.campus>"], chunk))
    play(client, [b"300 what?\r\n" + (b"503 no\r\n503 no\r\n" if ehlo is EHLO else b"")])
    client.begin(transaction())
    assert client.take().startswith(b"MAIL")


@pytest.mark.parametrize(("code", "is_over"), [(b"299", True), (b"300", False)])
def test_a_chunk_that_is_not_taken_leaves_a_transaction(code: bytes, is_over: bool) -> None:
    client = greeted()
    client.begin(Transaction(b"MAIL From:<a@b>", [b"RCPT To:<x@lab2.campus>"], b"x\r\n"))
    play(client, [b"250 ok\r\n250 ok\r\n%b x\r\n" % code])
    client.begin(transaction())
    assert client.take().startswith(b"MAIL" if is_over else b"RSET\r\nMAIL")


@pytest.mark.parametrize("replies", [b"421 bye\r\n", b"250 ok\r\n421 bye\r\n"])
def test_a_421_before_the_final_dot_ends_the_session(replies: bytes) -> None:
    client = greeted()
    sent = transaction()
    client.begin(sent)
    client.take()
    with pytest.raises(PeerClosed):
        client.receive(replies)
    assert sent.final is None


def test_a_421_to_the_final_dot_is_its_answer_and_the_end() -> None:
    client = greeted()
    sent = transaction()
    client.begin(sent)
    play(client, [b"250 ok\r\n250 ok\r\n354 go\r\n"])
    client.content_sent()
    client.receive(b"421 4.3.2 shutting down\r\n")
    assert sent.final is not None and sent.final.code == 421
    assert client.closing


def test_a_reply_too_many_is_not_the_answer_to_the_content() -> None:
    client = greeted()
    sent = transaction()
    client.begin(sent)
    client.take()
    with pytest.raises(ReplyError):
        client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n250 accepted, believe me\r\n")
    assert sent.final is None


@pytest.mark.parametrize("extra", [b"250 x\r\n", b"25"])
def test_a_reply_to_nothing_breaks_the_conversation(extra: bytes) -> None:
    with pytest.raises(ReplyError):
        greeted(EHLO + extra)


def test_an_acceptance_stands_even_with_rubbish_behind_it() -> None:
    client = greeted()
    sent = transaction()
    client.begin(sent)
    play(client, [b"250 ok\r\n250 ok\r\n354 go\r\n"])
    client.content_sent()
    with pytest.raises(PeerClosed):
        client.receive(b"250 ok\r\n421 idle too long\r\n")
    assert sent.final is not None and sent.final.code == 250


def test_the_dialogue_is_told_line_by_line() -> None:
    lines: list[str] = []
    client = Client("lab1.campus", say=lines.append)
    client.receive(b"220 lab2.campus ESMTP\r\n")
    client.take()
    client.receive(b"250-lab2.campus\r\n250 SIZE 5\r\n")
    client.quit()
    client.take()
    assert lines == [
        "220 lab2.campus ESMTP",
        ">>> EHLO lab1.campus",
        "250-lab2.campus",
        "250 SIZE 5",
        ">>> QUIT",
    ]


@pytest.mark.parametrize("bad", [b"a\r\nRSET", b"a\0", b"a\x1b", b"a\xe9", b"a\x7f"])
def test_no_line_with_a_control_or_8bit_character_is_said(bad: bytes) -> None:
    client = greeted()
    with pytest.raises(ValueError, match="forge"):
        client.begin(Transaction(b"MAIL From:<a@b>", [b"RCPT To:<%b>" % bad]))
    assert client.take() == b""


# -- STARTTLS --------------------------------------------------------------------------------------


def test_after_the_handshake_ehlo_is_said_again_and_all_is_forgotten() -> None:
    """RFC 3207 section 4.2."""
    client = greeted()
    client.starttls()
    assert client.take() == b"STARTTLS\r\n"
    client.receive(b"220 go\r\n")
    assert client.wants_handshake
    assert client.take() == b""
    client.secured()
    assert (client.extensions, client.peer_name, client.wants_handshake) == ({}, "", False)
    assert client.take() == b"EHLO lab1.campus\r\n"
    client.receive(b"250-other.campus\r\n250 DSN\r\n")
    assert (client.extensions, client.peer_name) == ({"DSN": ""}, "other.campus")


@pytest.mark.parametrize("answer", [b"454 4.7.0 later", b"501 no", b"554 no", b"300 x"])
def test_a_refused_starttls_leaves_all_as_it_was(answer: bytes) -> None:
    client = greeted()
    before = dict(client.extensions)
    client.starttls()
    client.take()
    client.receive(answer + b"\r\n")
    assert not client.wants_handshake
    assert client.extensions == before
    client.begin(transaction())
    assert client.take().startswith(b"MAIL")


def test_a_421_to_starttls_ends_the_session() -> None:
    client = greeted()
    client.starttls()
    client.take()
    with pytest.raises(PeerClosed):
        client.receive(b"421 bye\r\n")


@pytest.mark.parametrize("cut", range(1, len(b"250 injected\r\n") + 1))
def test_nothing_in_clear_behind_the_answer_to_starttls_survives(cut: int) -> None:
    """CVE-2021-38371: however much of it came with the answer."""
    client = greeted()
    client.starttls()
    client.take()
    with pytest.raises(ReplyError):
        client.receive(b"220 go\r\n" + b"250 injected\r\n"[:cut])


# --- AUTH -----------------------------------------------------------------------------------------


def told(client: Client) -> list[str]:
    """What -v shows of *client* from now on."""
    shown: list[str] = []
    client._say = shown.append
    return shown


def test_the_lines_of_a_login_are_shown_to_nobody() -> None:
    client = greeted(PLAIN_EHLO)
    shown = told(client)
    client.authenticate(b"AUTH SCRAM-SHA-256 Zmlyc3Q=", "secret")
    assert client.take() == b"AUTH SCRAM-SHA-256 Zmlyc3Q=\r\n"
    assert client.last_sent == "AUTH SCRAM-SHA-256 ***"
    client.receive(b"334 Y2hhbGxlbmdl\r\n")
    client.authenticate(b"bGFzdA==")
    assert client.take() == b"bGFzdA==\r\n"
    client.receive(b"235 2.7.0 fine\r\n")
    assert shown == [
        ">>> AUTH SCRAM-SHA-256 ***",
        "334 ***",
        ">>> ***",
        "235 2.7.0 fine",
    ]


def test_a_mechanism_without_a_first_message_is_shown_by_its_name() -> None:
    client = greeted(PLAIN_EHLO)
    client.authenticate(b"AUTH LOGIN")
    client.take()
    assert client.last_sent == "AUTH LOGIN"


def test_a_challenge_is_kept_as_it_came_even_if_it_looks_like_a_secret() -> None:
    client = greeted(PLAIN_EHLO)
    client.authenticate(b"AUTH LOGIN", "VXNlcm5hbWU6")
    client.take()
    client.receive(b"334 VXNlcm5hbWU6\r\n")
    assert client.auth_reply is not None
    assert client.auth_reply.lines == ("VXNlcm5hbWU6",)


@pytest.mark.parametrize("code", [b"535", b"250", b"554"])
def test_a_secret_is_hidden_in_every_later_reply(code: bytes) -> None:
    client = greeted(PLAIN_EHLO)
    shown = told(client)
    client.authenticate(b"AUTH PLAIN AGUAc2VjcmV0", "secret", "AGUAc2VjcmV0")
    client.take()
    client.receive(code + b"-my secret\r\n" + code + b" and AGUAc2VjcmV0\r\n")
    assert client.auth_reply is not None
    assert client.auth_reply.lines == ("my ***", "and ***")
    assert "secret" not in "".join(shown)


def test_a_secret_of_three_letters_is_in_every_other_word() -> None:
    client = greeted(PLAIN_EHLO)
    client.authenticate(b"AUTH LOGIN", "fin")
    client.take()
    client.receive(b"235 fine\r\n")
    assert client.auth_reply is not None
    assert client.auth_reply.lines == ("fine",)
