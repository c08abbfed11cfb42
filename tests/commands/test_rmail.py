"""rmail: what becomes of From_ lines, and that sendmail gets the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimta.commands import rmail
from tests.support.commandhost import Host
from tests.support.configured import run

LETTER = b"Subject: u\n\nx\n.\ny\n"


@pytest.fixture
def host(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, capfd)


@pytest.mark.parametrize(
    ("lines", "sender", "came"),
    [
        ("From emma Sat Nov 16 00:19:13 2019 remote from lab1\n", b"emma@lab1", b"lab1"),
        ("From lab1!emma Sat Nov 16 00:19:13 2019 remote from gate\n", b"emma@lab1", b"gate"),
        (
            "From uucp Sat Nov 16 00:19:13 2019 remote from gate\n"
            ">From emma Sat Nov 16 00:19:13 2019 remote from lab1.campus\n",
            b"emma@lab1.campus",
            b"gate",
        ),
        ("From emma@lab1.campus Sat Nov 16 00:19:13 2019\n", b"emma@lab1.campus", b""),
    ],
)
def test_the_sender_is_the_user_at_the_host_that_is_farthest_away(
    host: Host, lines: str, sender: bytes, came: bytes
) -> None:
    ran = run(host.root / "cf", "rmail", "dave", "henry", stdin=lines.encode() + LETTER)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    control, body = host.only()
    assert control.sender == sender
    assert control.macros.get(b"s", b"") == came
    assert control.macros.get(b"r", b"") == (b"UUCP" if came else b"")
    assert [r.address for r in control.recipients] == [
        b"<dave@lab1.campus>",
        b"<henry@lab1.campus>",
    ]
    assert body == b"x\n.\ny\n"


def test_a_long_letter_comes_whole(host: Host) -> None:
    line = b"From emma Sat Nov 16 00:19:13 2019 remote from lab1\n"
    body = b"".join(b"line %d of many\n" % number for number in range(20_000))
    ran = run(host.root / "cf", "rmail", "dave", stdin=line + b"Subject: u\n\n" + body)
    assert ran.code == 0
    assert host.only()[1] == body


def test_a_last_line_without_an_end_is_text(host: Host) -> None:
    line = b"From emma Sat Nov 16 00:19:13 2019 remote from lab1\n"
    assert run(host.root / "cf", "rmail", "dave", stdin=line + b"just a word").code == 0
    assert host.only()[1] == b"just a word\n"


@pytest.mark.parametrize(("octets", "code"), [(4096, 0), (4097, 65)])
def test_a_line_that_is_too_long_is_no_from_line_though_it_comes_at_once(
    host: Host, octets: int, code: int
) -> None:
    begin, end = b"From ", b"emma Sat Nov 16 00:19:13 2019"
    path = b"lab1!" * 1000
    line = begin + path[len(begin + end) - octets :] + end
    assert len(line) == octets
    assert run(host.root / "cf", "rmail", "dave", stdin=line + b"\n" + LETTER).code == code
    assert len(host.queued()) == (code == 0)


def test_d_names_another_way(host: Host) -> None:
    line = b"From emma Sat Nov 16 00:19:13 2019 remote from lab1\n"
    assert run(host.root / "cf", "rmail", "-D", "BSMTP", "dave", stdin=line + LETTER).code == 0
    assert host.only()[0].macros[b"r"] == b"BSMTP"


@pytest.mark.parametrize(
    ("words", "stdin", "code", "err"),
    [
        ((), b"", 64, rmail.USAGE + "\n"),
        (("-x", "dave"), b"", 64, "rmail: invalid option -- 'x'\n" + rmail.USAGE + "\n"),
        (("--", "-oQ/tmp"), b"", 64, "rmail: dash precedes argument: -oQ/tmp\n"),
        (("dave",), LETTER, 65, "rmail: null message: no From_ line on standard input\n"),
        (("dave",), b"", 65, "rmail: null message: no From_ line on standard input\n"),
    ],
)
def test_what_is_no_call_is_told(
    host: Host, words: tuple[str, ...], stdin: bytes, code: int, err: str
) -> None:
    ran = run(host.root / "cf", "rmail", *words, stdin=stdin)
    assert (ran.code, ran.err) == (code, err)
    assert host.queued() == []


def test_an_unknown_user_is_told_by_the_exit_code_of_exit_mode(host: Host) -> None:
    """As -oee has it: 0, and a bounce."""
    line = b"From emma Sat Nov 16 00:19:13 2019\n"
    assert run(host.root / "cf", "rmail", "nosuch", "dave", stdin=line + LETTER).code == 0
