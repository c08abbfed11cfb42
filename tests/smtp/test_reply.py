from __future__ import annotations

import pytest

from minimta.smtp.reply import (
    MAX_LINE,
    MAX_LINES,
    Reply,
    ReplyError,
    ReplyReader,
    quoted,
    reply,
    temporary,
    verbatim,
)

WIRE = (
    b"250-lab2.campus Hello\r\n250-SIZE 100\r\n250 DSN\r\n550 5.1.1 <x>... User unknown\r\n354\r\n"
)
REPLIES = [
    Reply(250, "", ("lab2.campus Hello", "SIZE 100", "DSN")),
    Reply(550, "5.1.1", ("<x>... User unknown",)),
    Reply(354, "", ("",)),
]


def test_every_line_but_the_last_has_a_hyphen_and_all_have_the_status() -> None:
    wire = bytes(Reply(214, "2.0.0", ("one", "two", "three")))
    assert wire == b"214-2.0.0 one\r\n214-2.0.0 two\r\n214 2.0.0 three\r\n"


def test_without_a_status_only_code_and_text() -> None:
    assert bytes(reply(220, "", "lab2.campus ESMTP")) == b"220 lab2.campus ESMTP\r\n"


def test_the_log_has_it_in_one_line() -> None:
    assert str(Reply(550, "5.7.1", ("one", "two"))) == "550 5.7.1 one two"
    assert str(reply(354, "", "go")) == "354 go"


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (reply(500, "5.5.1", "x"), reply(400, "4.5.1", "x")),
        (reply(554, "", "x"), reply(454, "", "x")),
        (reply(499, "4.5.1", "x"), reply(499, "4.5.1", "x")),
        (reply(250, "2.0.0", "x"), reply(250, "2.0.0", "x")),
    ],
)
def test_only_a_refusal_for_good_becomes_one_for_now(given: Reply, made: Reply) -> None:
    assert temporary(given) == made


def test_a_line_that_is_cut_ends_in_no_half_character() -> None:
    wire = bytes(Reply(250, "2.0.0", ("\u00e9" * 600,), utf8=True))
    assert len(wire) <= 512
    assert wire == b"250 2.0.0 " + "\u00e9".encode() * 250 + b"\r\n"


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_of_4096_octets_is_read(end: bytes) -> None:
    whole = b"250 " + b"x" * 4092
    assert len(list(ReplyReader().feed(whole + end))) == len(end)
    with pytest.raises(ReplyError, match="too long"):
        list(ReplyReader().feed(whole + b"x" + end))


def test_another_status_than_that_of_the_last_line_is_text() -> None:
    wire = b"550-5.1.2 a\r\n550-b\r\n550-5.1.1 c\r\n550 5.1.1 d\r\n"
    assert list(ReplyReader().feed(wire)) == [Reply(550, "5.1.1", ("5.1.2 a", "b", "c", "d"))]


@pytest.mark.parametrize("text", ["a\r\n250 ok", "a\nb", "a\0", "\x1b[2J", "a\x7f"])
def test_a_control_character_is_never_sent(text: str) -> None:
    with pytest.raises(ValueError, match="forge"):
        reply(550, "5.1.1", text)


@pytest.mark.parametrize("octets", [b"a\r\nb", b"\x1b[2J", b"\xc3\xa9", b"a\0b", b"\x80\x9b"])
def test_what_is_quoted_is_fit_for_a_reply(octets: bytes) -> None:
    shown = quoted(octets)
    assert shown.isascii()
    assert shown.isprintable()


def test_a_quoted_command_leaves_the_line_below_512_octets() -> None:
    wire = bytes(reply(500, "5.5.1", f'Command unrecognized: "{quoted(b"x" * 5000)}"'))
    assert len(wire) <= 512


@pytest.mark.parametrize("text", ["x" * 2000, "x y " * 500, "\u00e9" * 505])
def test_no_line_of_ours_is_longer_than_512_octets(text: str) -> None:
    """RFC 5321 section 4.5.3.1.5."""
    lines = bytes(Reply(550, "5.1.8", (text, "short", text))).split(b"\r\n")
    assert [len(line) for line in lines] == [510, 15, 510, 0]
    assert [line[:10] for line in lines[:3]] == [b"550-5.1.8 ", b"550-5.1.8 ", b"550 5.1.8 "]


def test_a_challenge_is_not_cut() -> None:
    """RFC 4954 section 4: to 12288 octets."""
    assert bytes(Reply(334, "", ("A" * 3000,))) == b"334 " + b"A" * 3000 + b"\r\n"


# --- off the wire ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(1, len(WIRE) + 1))
def test_any_chunking_gives_the_same_replies(size: int) -> None:
    reader = ReplyReader()
    got: list[Reply] = []
    for start in range(0, len(WIRE), size):
        got += reader.feed(WIRE[start : start + size])
    assert got == REPLIES
    assert not reader.has_leftover


@pytest.mark.parametrize("cut", range(1, len(b"250-a\r\n250 b\r\n")))
def test_a_cut_reply_is_leftover(cut: int) -> None:
    reader = ReplyReader()
    assert list(reader.feed(b"250-a\r\n250 b\r\n"[:cut])) == []
    assert reader.has_leftover


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"25",
        b"2500 x",
        b"150 x",
        b"650 x",
        b"25x y",
        b"250_x",
        b"\xb250 x",
        b" 250 x",
    ],
)
def test_what_has_no_code_is_left_out(line: bytes) -> None:
    wire = line + b"\r\n250-a\r\n" + line + b"\r\n250 b\r\n" + line + b"\r\n"
    reader = ReplyReader()
    assert list(reader.feed(wire)) == [Reply(250, "", ("a", "b"))]
    assert not reader.has_leftover


def test_lines_without_a_code_are_not_taken_for_ever() -> None:
    reader = ReplyReader()
    assert list(reader.feed(b"hello\r\n" * MAX_LINES)) == []
    with pytest.raises(ReplyError):
        list(reader.feed(b"hello\r\n"))


def test_a_code_alone_or_before_a_tab_is_a_reply() -> None:
    assert [read.code for read in ReplyReader().feed(b"220\ta\r\n250\r\n354\r\r\n")] == [
        220,
        250,
        354,
    ]


@pytest.mark.parametrize("rest", [b"x" * (MAX_LINE + 1), b"250-a\r\n550 b\r\n"])
def test_a_whole_reply_is_out_before_what_is_behind_it_is_judged(rest: bytes) -> None:
    replies = ReplyReader().feed(b"250 taken\r\n" + rest)
    assert next(replies) == Reply(250, "", ("taken",))
    with pytest.raises(ReplyError):
        next(replies)


def test_a_bare_lf_ends_a_line_too() -> None:
    assert list(ReplyReader().feed(b"250 ok\n")) == [Reply(250, "", ("ok",))]


def test_the_lines_of_a_reply_are_of_one_class() -> None:
    with pytest.raises(ReplyError):
        list(ReplyReader().feed(b"250-ok\r\n550 no\r\n"))


@pytest.mark.parametrize("chunk", [1000, 70000, 1 << 20])
def test_an_endless_line_is_given_up(chunk: int) -> None:
    reader, fed = ReplyReader(), 0
    with pytest.raises(ReplyError):
        while fed < 1 << 20:
            list(reader.feed(b"2" + b"5" * (chunk - 1)))
            fed += chunk
    assert fed <= MAX_LINE + chunk


def test_endless_lines_are_given_up() -> None:
    reader = ReplyReader()
    assert list(reader.feed(b"250-x\r\n" * MAX_LINES)) == []
    with pytest.raises(ReplyError):
        list(reader.feed(b"250-x\r\n"))


def test_control_characters_of_the_peer_become_question_marks() -> None:
    (read,) = ReplyReader().feed(b"550 5.1.1 a\x1b[2Jb\rc\xe9\r\n")
    assert read == Reply(550, "5.1.1", ("a?[2Jb?c?",))


def test_an_enhanced_status_of_another_class_is_text() -> None:
    (read,) = ReplyReader().feed(b"450 5.1.1 x\r\n")
    assert (read.enhanced, read.lines) == ("", ("5.1.1 x",))


@pytest.mark.parametrize(
    "wire", [b"550 5.1.1 a b", b"250-2.0.0 a\r\n250 2.0.0 b", b"250", b"354 x", b"250 2.1.0"]
)
def test_verbatim_gives_the_lines_back(wire: bytes) -> None:
    (read,) = ReplyReader().feed(wire + b"\r\n")
    assert "\r\n".join(verbatim(read)) == wire.decode("ascii")


@pytest.mark.parametrize(
    ("wire", "lines"),
    [
        (
            b"550-5.1.1 The account\r\n550-5.1.1 does not exist.\r\n550 5.1.1  https://x - gsmtp",
            ("The account", "does not exist.", " https://x - gsmtp"),
        ),
        (b"550 5.1.1  no", (" no",)),
        (b"550  5.1.1 no", ("no",)),
        (b"550-5.1.1  a\r\n550 5.1.1 b", (" a", "b")),
    ],
)
def test_two_blanks_do_not_double_the_status(wire: bytes, lines: tuple[str, ...]) -> None:
    (read,) = ReplyReader().feed(wire + b"\r\n")
    assert read == Reply(550, "5.1.1", lines)
    assert all(line.count("5.1.1") == 1 for line in verbatim(read))
