"""Dialogues of a server, Sendmail's and the RFCs', played against the session and over a socket."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.listener.connection import Connection
from tests.support.dialogue import ServerDialogue, fits, server_dialogues
from tests.support.listening import Listening
from tests.support.smtp_users import write_users
from tests.support.smtphost import SmtpHost

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


BY_TABLE = server_dialogues("access.txt")
LOGINS = server_dialogues("auth.txt")
PLAIN = [*server_dialogues("session.txt"), *server_dialogues("extensions.txt")]
GALLERY = [*BY_TABLE, *LOGINS, *PLAIN]
# RFC 5321 sections 4.2 and 4.5.3.1.5: the code, and 512 octets with CRLF.
_LINE = re.compile(r"([2-5]\d\d)[ -]([\t -~]{0,506})")
# RFC 2034 section 4: of the class of the code.
_STATUS = re.compile(r"([245])\.\d{1,3}\.\d{1,3} ")


def is_well_formed(command: str, answer: list[str]) -> bool:
    """Is it one reply, each line of the same code and with a status (but for EHLO, HELO and 3yz)?"""
    lines = [found for line in answer if (found := _LINE.fullmatch(line))]
    status = [found and found[1] for found in (_STATUS.match(line[2]) for line in lines)]
    code = answer[-1][:3]
    has_none = code[0] == "3" or (command[:4].upper() in ("EHLO", "HELO") and code == "250")
    return (
        len(lines) == len(answer)
        and [line[3] for line in answer] == [*"-" * (len(answer) - 1), " "]
        and {line[1] for line in lines} == {code}
        and (has_none or set(status) == {code[0]})
    )


def configure(host: SmtpHost, played: ServerDialogue) -> None:
    options = host.options
    if played in BY_TABLE:
        Path(options.access_file).write_text(ACCESS)
        Path(options.relay_domains).write_text(RELAY_DOMAINS)
        options.delay_checks = "yes" if played.name.startswith("delay") else options.delay_checks
    elif played in LOGINS:
        users = Path(options.access_file).with_name("users")
        options.auth_backend = str(write_users(users, {"emma": "secret"}))
        options.clear_auth = "loopback"


def judge(host: SmtpHost, logged: list[str], played: ServerDialogue) -> None:
    for kind, wanted in played.lines:
        if kind == "L":
            assert wanted in logged, logged
    wanted_recipients = [text.encode() for kind, text in played.lines if kind == "Q"]
    found = [rcpt.address for control, _ in host.queued() for rcpt in control.recipients]
    assert found == wanted_recipients


@pytest.mark.parametrize("played", GALLERY, ids=lambda played: played.name)
def test_the_session_says_what_is_written(
    host: SmtpHost, lines: list[str], played: ServerDialogue
) -> None:
    configure(host, played)
    peer, replies = host.connect(*played.client), list[str]()
    for kind, text in played.lines[1:]:
        if kind == "C":
            assert replies == []
            replies = peer.says(text)
            assert not replies or is_well_formed(text, replies)
        elif kind == "S":
            assert fits(replies.pop(0), text)
    judge(host, lines, played)


@pytest.mark.parametrize("played", GALLERY, ids=lambda played: played.name)
def test_a_client_with_a_socket_hears_the_same(
    host: SmtpHost,
    start: Callable[..., Listening],
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    played: ServerDialogue,
) -> None:
    configure(host, played)
    ip, name = played.client
    monkeypatch.setattr("minimta.listener.sockets.plain_address", lambda address: ip)
    monkeypatch.setattr("minimta.system.hostnames.client_name", lambda ip: (name, True, True))
    monkeypatch.setattr(Connection, "_wait", lambda self, seconds: None)  # after a wrong password
    peer = start().connect()
    for kind, text in played.lines:
        if kind == "C":
            peer.socket.sendall(text.encode() + b"\r\n")
        elif kind == "S" and text[3:4] == " ":
            assert fits(peer.answer(), text)
    assert peer.answer() == ""
    judge(host, lines, played)
