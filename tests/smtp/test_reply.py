from __future__ import annotations

import pytest

from minimta.smtp.reply import Reply, quoted, reply


def test_every_line_but_the_last_has_a_hyphen_and_all_have_the_status() -> None:
    wire = bytes(Reply(214, "2.0.0", ("one", "two", "three")))
    assert wire == b"214-2.0.0 one\r\n214-2.0.0 two\r\n214 2.0.0 three\r\n"


def test_without_a_status_only_code_and_text() -> None:
    assert bytes(reply(220, "", "lab2.campus ESMTP")) == b"220 lab2.campus ESMTP\r\n"


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
