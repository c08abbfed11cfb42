"""Dialogues of a server, Sendmail's and the RFCs', played against the session and over a socket."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.listening import Listening
from tests.support.smtphost import SmtpHost

DIALOGUES = Path(__file__).parent.parent / "dialogues"
ACCESS = """\
Connect:10.0.3.74	REJECT
Connect:10.0.3.73	RELAY
Connect:nice.campus	OK
From:spammer@lab1.campus	REJECT
From:pest@	ERROR:5.7.1:550 Go away, pest
From:evil.example	REJECT
From:ok@nosuch.example	OK
From:trash@lab1.campus	DISCARD
From:tmp@lab1.campus	ERROR:4.7.0:450 Come back later
From:q@lab1.campus	QUARANTINE:held for inspection
To:carol@lab2.campus	ERROR:5.2.1:550 Carol is on leave
To:dropme@lab2.campus	DISCARD
To:sink.campus	RELAY
spam.campus	REJECT
coded.campus	553 We do not like you
10.0.3.72	OK
"""
RELAY_DOMAINS = "relaying.campus\nbasin.campus\n10.0.4\n"


def dialogues(name: str) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """(name, client, lines) of each dialogue in a file; a line is ("C", text)."""
    text = (DIALOGUES / name).read_text()
    found = []
    for part in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        head, *lines = part.splitlines()
        title, _, client = head.partition(" | ")
        kept = [line for line in lines if re.match("[CSLQ]:", line)]
        found.append((title, client, [(line[0], line[3:]) for line in kept]))
    return found


BY_TABLE = dialogues("access.txt")
GALLERY = BY_TABLE + dialogues("session.txt")
#: those that an access table rules
_NEED_TABLE = {name for name, _, _ in BY_TABLE}
# RFC 5321 sections 4.2 and 4.5.3.1.5: the code, and 512 octets with CRLF.
_LINE = re.compile(r"([2-5]\d\d)[ -]([\t -~]{0,506})")
# RFC 2034 section 4: of the class of the code.
_STATUS = re.compile(r"([245])\.\d{1,3}\.\d{1,3} ")


def fits(line: str, wanted: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, wanted.split("*"))), line) is not None


def is_well_formed(command: str, answer: list[str]) -> bool:
    """Is it one reply, each line of the same code and with a status (but for EHLO, HELO and 354)?"""
    lines = [found for line in answer if (found := _LINE.fullmatch(line))]
    status = [found and found[1] for found in (_STATUS.match(line[2]) for line in lines)]
    code = answer[-1][:3]
    has_none = code == "354" or (command[:4].upper() in ("EHLO", "HELO") and code == "250")
    return (
        len(lines) == len(answer)
        and [line[3] for line in answer] == [*"-" * (len(answer) - 1), " "]
        and {line[1] for line in lines} == {code}
        and (has_none or set(status) == {code[0]})
    )


def configure(host: SmtpHost, name: str) -> None:
    if name not in _NEED_TABLE:
        return
    Path(host.options.access_file).write_text(ACCESS)
    Path(host.options.relay_domains).write_text(RELAY_DOMAINS)
    if name.startswith("delay"):
        host.options.delay_checks = "yes"


def judge(host: SmtpHost, logged: list[str], lines: list[tuple[str, str]]) -> None:
    for kind, wanted in lines:
        if kind == "L":
            assert wanted in logged, logged
    wanted_recipients = [text.encode() for kind, text in lines if kind == "Q"]
    found = [rcpt.address for control, _ in host.queued() for rcpt in control.recipients]
    assert found == wanted_recipients


@pytest.mark.parametrize(("name", "client", "lines_of"), GALLERY, ids=[one[0] for one in GALLERY])
def test_the_session_says_what_sendmail_says(
    host: SmtpHost,
    lines: list[str],
    name: str,
    client: str,
    lines_of: list[tuple[str, str]],
) -> None:
    configure(host, name)
    peer, replies = host.connect(*client.split()), list[str]()
    for kind, text in lines_of[1:]:
        if kind == "C":
            assert replies == []
            replies = peer.says(text)
            assert not replies or is_well_formed(text, replies)
        elif kind == "S":
            assert fits(replies.pop(0), text)
    judge(host, lines, lines_of)


@pytest.mark.parametrize(("name", "client", "lines_of"), GALLERY, ids=[one[0] for one in GALLERY])
def test_a_client_with_a_socket_hears_the_same(
    host: SmtpHost,
    start: Callable[..., Listening],
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    client: str,
    lines_of: list[tuple[str, str]],
) -> None:
    configure(host, name)
    ip, host_name = client.split()
    monkeypatch.setattr("minimta.listener.sockets.plain_address", lambda address: ip)
    monkeypatch.setattr("minimta.system.hostnames.client_name", lambda ip: (host_name, True, True))
    peer = start().connect()
    for kind, text in lines_of:
        if kind == "C":
            peer.socket.sendall(text.encode() + b"\r\n")
        elif kind == "S" and text[3:4] == " ":
            assert fits(peer.answer(), text)
    assert peer.answer() == ""
    judge(host, lines, lines_of)
