"""BDAT (RFC 3030): octets that are counted are text, whatever they look like."""

from __future__ import annotations

import pytest

from minimta.smtp import chunking
from minimta.smtp.data import Violation
from minimta.smtp.message_text import MAX_DISCARDED
from minimta.smtp.reply import CommandError, reply
from minimta.smtp.server import Session
from minimta.smtp.state import State
from tests.support.fakereceiver import FakeReceiver, codes, session

BEGIN = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
BEGUN = ["250 2.1.0", "250 2.1.5"]
#: text that would be an end of data, and commands, to a server that does not count
TEXT = b"Subject: x\r\n\r\n.\r\nQUIT\r\n..two\r\nMAIL FROM:<evil@x>\r\n"


def chunks(*texts: bytes) -> bytes:
    """BDAT commands with their chunks, the last one LAST."""
    words = [b"BDAT %d\r\n%b" % (len(text), text) for text in texts[:-1]]
    return b"".join(words) + b"BDAT %d LAST\r\n%b" % (len(texts[-1]), texts[-1])


def begun(receiver: FakeReceiver, mail: bytes = b"") -> Session:
    smtp = session(receiver)
    smtp.receive(BEGIN.replace(b"<a@b>", b"<a@b>" + mail))
    return smtp


def test_chunks_are_a_message_without_any_dots() -> None:
    receiver = FakeReceiver()
    smtp = session(receiver)
    said = BEGIN + chunks(TEXT[:9], b"", TEXT[9:], b"") + b"NOOP\r\n"
    replies = smtp.receive(said)
    assert codes(replies) == [*BEGUN, *["250 2.0.0"] * 5]
    assert b"250 2.0.0 9 octets received\r\n" in replies
    assert receiver.messages == [TEXT.replace(b"\r\n", b"\n")]
    assert smtp.state is State.IDLE


def test_a_session_in_any_pieces_gives_the_same_text() -> None:
    said = BEGIN + chunks(TEXT[:1], TEXT[1:12], TEXT[12:13], TEXT[13:]) + BEGIN + chunks(b"y\r\n")
    for size in [*range(1, 40), len(said)]:
        receiver = FakeReceiver()
        smtp = session(receiver)
        replies = b"".join(smtp.receive(said[i : i + size]) for i in range(0, len(said), size))
        assert codes(replies) == [*BEGUN, *["250 2.0.0"] * 4, *BEGUN, "250 2.0.0"]
        assert receiver.messages == [TEXT.replace(b"\r\n", b"\n"), b"y\n"]


def test_a_chunk_may_end_between_cr_and_lf() -> None:
    receiver = FakeReceiver()
    begun(receiver).receive(chunks(b"A: b\r", b"\n\r", b"\nx\r\n"))
    assert receiver.messages == [b"A: b\n\nx\n"]


def test_a_chunk_is_answered_when_it_has_come() -> None:
    smtp = begun(FakeReceiver())
    assert smtp.receive(b"BDAT 4\r\n") == b""
    assert smtp.is_reading_text
    assert smtp.receive(b"a\r\n") == b""
    assert codes(smtp.receive(b"bBDAT 0 LAST\r\n")) == ["250 2.0.0", "250 2.0.0"]
    assert not smtp.is_reading_text


@pytest.mark.parametrize(
    "argument",
    [
        b"", b"x", b"-1", b"+1", b"1 FIRST", b"1e3", b"0x10", b"1LAST", b"1 LAST LAST",
        b"1" * 21, "\u0661".encode(), b"1_0",
    ],
)  # fmt: skip
def test_a_chunk_of_no_known_size_ends_the_session(argument: bytes) -> None:
    receiver = FakeReceiver()
    smtp = begun(receiver)
    answer = smtp.receive(b"BDAT %b\r\nRSET\r\nMAIL FROM:<evil@x>\r\n" % argument)
    assert codes(answer) == ["501 5.5.4"]
    assert smtp.is_closed and receiver.resets and len(receiver.mails) == 1


@pytest.mark.parametrize("argument", [b"007", b"7 last", b"7\tLAST", b"99999999999999999999"])
def test_what_has_a_size_is_a_chunk(argument: bytes) -> None:
    chunk = chunking.parse(argument)
    assert chunk.size in (7, 99999999999999999999)
    assert chunk.is_last == (b"L" in argument.upper())


@pytest.mark.parametrize(
    ("before", "code"),
    [(b"", "503 5.0.0"), (b"MAIL FROM:<a@b>\r\n", "503 5.0.0")],
)
def test_a_chunk_out_of_order_is_read_and_no_command(before: bytes, code: str) -> None:
    receiver = FakeReceiver()
    smtp = session(receiver)
    smtp.receive(before)
    state = smtp.state
    assert codes(smtp.receive(chunks(b"MAIL FROM:<evil@x>\r\n"))) == [code]
    assert smtp.state is state and not receiver.messages
    assert all(mail.mailbox != b"evil@x" for mail in receiver.mails)


def test_without_a_recipient_the_chunk_is_read_and_refused() -> None:
    receiver = FakeReceiver(rcpt=reply(550, "5.1.1", "User unknown"))
    smtp = session(receiver)
    said = BEGIN + chunks(b"RSET\r\n", b"QUIT\r\n") + b"RSET\r\n"
    assert codes(smtp.receive(said))[1:] == ["550 5.1.1", "503 5.0.0", "503 5.0.0", "250 2.0.0"]


def test_a_client_that_is_refused_is_not_obeyed_from_inside_a_chunk() -> None:
    receiver = FakeReceiver()
    smtp = session(receiver)
    smtp.refuse(reply(550, "5.7.1", "Access denied"))
    assert codes(smtp.receive(chunks(b"RSET\r\n") + b"NOOP\r\n")) == ["550 5.7.1", "250 2.0.0"]


@pytest.mark.parametrize("verb", [b"DATA", b"RCPT TO:<e@f>", b"MAIL FROM:<e@f>"])
def test_nothing_but_chunks_until_the_last_one(verb: bytes) -> None:
    receiver = FakeReceiver()
    smtp = begun(receiver)
    assert codes(smtp.receive(b"BDAT 1\r\nx" + verb + b"\r\n"))[1][:3] == "503"
    assert smtp.is_in_transaction
    assert codes(smtp.receive(b"NOOP\r\nRSET\r\n")) == ["250 2.0.0"] * 2
    assert not smtp.is_in_transaction and not receiver.messages


def test_binary_text_needs_bdat() -> None:
    receiver = FakeReceiver()
    smtp = begun(receiver, b" BODY=BINARYMIME")
    assert codes(smtp.receive(b"DATA\r\n")) == ["503 5.5.1"]
    wire = b"Content-Transfer-Encoding: binary\r\n\r\n\0\r\n.\r\n"
    assert codes(smtp.receive(chunks(wire[:39], wire[39:]))) == ["250 2.0.0"] * 2
    [text] = receiver.messages
    assert text.endswith(b"\n\nAA0KLg0K\n")
    assert b"X-MIME-Autoconverted: from binary to base64 by lab2.campus\n" in text
    smtp.receive(BEGIN)
    assert codes(smtp.receive(b"DATA\r\n")) == ["354"]


@pytest.mark.parametrize("octets", [b"a\nb", b"a\rb", b"a\0b", b"a\r", b"\n.\n", b"\r\n.\r"])
def test_other_line_ends_are_refused_and_the_session_goes_on(octets: bytes) -> None:
    receiver = FakeReceiver()
    smtp = begun(receiver)
    answers = codes(smtp.receive(chunks(b"Subject: x\r\n\r\n", octets, b"c\r\n")))
    assert answers[0] == "250 2.0.0" and answers[-1] == "554 5.6.0"
    assert smtp.state is State.IDLE
    assert codes(smtp.receive(BEGIN)) == BEGUN


def test_what_is_not_binary_where_it_says_so_cannot_be_converted() -> None:
    smtp = begun(FakeReceiver(), b" BODY=BINARYMIME")
    assert codes(smtp.receive(chunks(b"A: b\r\n\r\na\nb"))) == ["554 5.6.3"]


def test_a_message_refused_in_the_middle_is_refused_to_its_end() -> None:
    receiver = FakeReceiver()
    smtp = begun(receiver)
    receiver.answers["refused"] = receiver.answers["end_of_data"] = reply(452, "4.3.1", "full")
    said = chunks(b"x", b"RSET\r\n", b"y") + b"NOOP\r\n"
    assert codes(smtp.receive(said)) == ["452 4.3.1"] * 3 + ["250 2.0.0"]
    assert smtp.state is State.IDLE


def test_a_message_refused_before_its_text_is_read_and_refused() -> None:
    receiver = FakeReceiver(data=reply(452, "4.3.1", "full"))
    smtp = begun(receiver)
    assert codes(smtp.receive(chunks(b"RSET\r\n") + b"NOOP\r\n")) == ["452 4.3.1", "250 2.0.0"]
    assert smtp.state is State.RCPT and not receiver.messages


def test_the_receiver_may_end_the_session_in_a_chunk() -> None:
    receiver = FakeReceiver(text=reply(552, "5.2.3", "too much"))
    smtp = begun(receiver)
    assert codes(smtp.receive(b"BDAT 99999999999999999999 LAST\r\nxNOOP\r\n")) == ["552 5.2.3"]
    assert smtp.is_closed


def test_so_much_and_no_more_is_thrown_away() -> None:
    smtp = session(FakeReceiver())
    smtp.receive(b"BDAT %d\r\n" % (MAX_DISCARDED + 2))
    block = b"x" * (1 << 20)
    for _ in range(MAX_DISCARDED >> 20):
        assert smtp.receive(block) == b""
    assert codes(smtp.receive(b"x")) == ["503 5.0.0"]
    assert smtp.is_closed


def test_chunks_of_nothing_cost_a_pause() -> None:
    smtp = begun(FakeReceiver())
    smtp.receive(b"BDAT 0\r\n" * 30)
    assert smtp.throttle.take_pause() > 5


def test_a_session_with_bare_line_feeds_counts_octets_too() -> None:
    receiver = FakeReceiver()
    smtp = session(receiver)
    lines = BEGIN + b"BDAT 6 LAST\r\n"
    assert codes(smtp.receive(lines.replace(b"\r\n", b"\n") + b"a\n.\nb\n"))[2] == "250 2.0.0"
    assert receiver.messages == [b"a\n.\nb\n"]


def test_line_ends_are_judged_over_pieces() -> None:
    decoder = chunking.LineDecoder(b"\r\n")
    assert decoder.feed(b"a\r") + decoder.feed(b"\nb") + decoder.finish() == b"a\nb"
    with pytest.raises(Violation):
        decoder.feed(b"a\r") + decoder.feed(b"b")
    held = chunking.LineDecoder(b"\r\n")
    held.feed(b"\r")
    with pytest.raises(Violation):
        held.finish()


def test_a_bad_argument_says_so() -> None:
    with pytest.raises(CommandError):
        chunking.parse(b"LAST")
