"""Dialogues with real Sendmail, played against the session and over a socket."""

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


GALLERY = dialogues("access.txt")


def fits(line: str, wanted: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, wanted.split("*"))), line) is not None


def configure(host: SmtpHost, name: str) -> None:
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
