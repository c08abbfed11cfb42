"""Addresses beyond ASCII that come by SMTP (RFC 6531)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.smtphost import STRANGER, ClientEnd, SmtpHost

FROM = "MAIL FROM:<jörg@müller.example> SMTPUTF8 BODY=8BITMIME"


@pytest.fixture
def peer(host: SmtpHost) -> ClientEnd:
    """Of a host with a user and an alias beyond ASCII, and such a name of its own."""
    with Path(host.options.passwd_file).open("a", encoding="utf-8") as file:
        file.write("jörg:x:1003:1003:Jörg Müller:/home/jörg:/bin/sh\n")
    with Path(host.options.alias_files[0]).open("a", encoding="utf-8") as file:
        file.write("bücher: jörg, dave, söhne@elsewhere.example\n")
    Path(host.options.local_host_names).write_text("[10.0.3.135]\nkäse.example\n", encoding="utf-8")
    peer = host.connect(*STRANGER)
    peer.says("EHLO lab1.campus")
    return peer


def said(peer: ClientEnd, *lines: str) -> list[str]:
    """The codes."""
    octets = "".join(f"{line}\r\n" for line in lines).encode()
    return [line[:9] for line in peer.session.receive(octets).decode().split("\r\n")[:-1]]


def test_it_is_offered(host: SmtpHost) -> None:
    assert "250-SMTPUTF8" in host.connect(*STRANGER).says("EHLO x")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("jörg", "250 2.1.5"),
        ("JÖRG@lab2.campus", "250 2.1.5"),
        ("jo\u0308rg@lab2.campus", "250 2.1.5"),
        ("Bücher", "250 2.1.5"),
        ("dave@käse.example", "250 2.1.5"),
        ("dave@KÄSE.example", "250 2.1.5"),
        ("dave@xn--kse-qla.example", "250 2.1.5"),
        ("jürg", "550 5.1.1"),
        ("jörg@elsewhere.example", "550 5.7.1"),
        ("dave@käse。example", "553 5.1.3"),
        ("dave@☃.example", "553 5.1.3"),
        ("da\u202eve", "553 5.1.3"),
        ("da\u0085ve", "553 5.1.3"),
        ('"jörg"@lab2.campus', "250 2.1.5"),
    ],
)
def test_recipients_beyond_ascii(peer: ClientEnd, path: str, code: str) -> None:
    assert said(peer, FROM, f"RCPT TO:<{path}>") == ["250 2.1.0", code]


def test_without_the_word_every_address_is_ascii(peer: ClientEnd) -> None:
    assert said(peer, "MAIL FROM:<jörg@müller.example>") == ["553 5.6.7"]
    assert said(peer, "MAIL FROM:<emma@lab1.campus>", "RCPT TO:<jörg>")[1] == "553 5.6.7"


def test_the_word_is_for_one_message(peer: ClientEnd) -> None:
    said(peer, FROM, "RSET", "MAIL FROM:<emma@lab1.campus>")
    assert said(peer, "RCPT TO:<jörg>") == ["553 5.6.7"]


@pytest.mark.parametrize("octets", [b"j\xf6rg", b"j\xc0\xafrg", b"j\xed\xa0\x80rg", b"j\xc3"])
def test_what_is_no_utf8_is_no_address(peer: ClientEnd, octets: bytes) -> None:
    said(peer, FROM)
    [answer] = peer.sends(b"RCPT TO:<" + octets + b">\r\n")
    assert answer.startswith("553 5.1.3") and answer.isascii()


@pytest.mark.parametrize("words", ["SMTPUTF8=1", "SMTPUTF8=", "SMTPUTF8 SMTPUTF8"])
def test_the_word_stands_alone_and_once(peer: ClientEnd, words: str) -> None:
    assert said(peer, f"MAIL FROM:<a@lab1.campus> {words}")[0][:4] == "501 "


def test_a_message_is_queued_with_its_addresses_as_they_are(
    host: SmtpHost, peer: ClientEnd
) -> None:
    said(peer, FROM, "RCPT TO:<jörg@käse.example> NOTIFY=SUCCESS", "DATA")
    peer.sends("Subject: für dich\r\n\r\nä\r\n.\r\n".encode())
    [(control, body)] = host.queued()
    assert control.reverse_path == "<jörg@müller.example>".encode()
    [recipient] = control.recipients
    assert recipient.address == "<jörg@käse.example>".encode()
    assert recipient.final == "utf-8; jörg@käse.example".encode()
    assert body == "ä\n".encode()
    assert control.macros[b"r"] == b"UTF8SMTP"
    [trace] = [field for _, field in control.headers if field.startswith(b"Received:")]
    assert b" with UTF8SMTP id " in trace and trace.isascii()


def test_ascii_messages_are_traced_as_ever(host: SmtpHost, peer: ClientEnd) -> None:
    said(peer, FROM, "RSET")
    peer.writes("emma@lab1.campus", "dave")
    assert host.queued()[0][0].macros[b"r"] == b"ESMTP"


@pytest.mark.parametrize(
    ("original", "queued"),
    [
        ("utf-8;jörg@käse.example", b"utf-8;j\\x{F6}rg@k\\x{E4}se.example"),
        ("utf-8;j\\x{F6}rg@x", b"utf-8;j\\x{F6}rg@x"),
        ("rfc822;jorg@x", b"rfc822;jorg@x"),
    ],
)
def test_orcpt_is_kept_in_ascii(
    host: SmtpHost, peer: ClientEnd, original: str, queued: bytes
) -> None:
    said(peer, FROM, f"RCPT TO:<dave> ORCPT={original}", "DATA")
    peer.sends(b"\r\n.\r\n")
    assert host.queued()[0][0].recipients[0].original == queued


def test_orcpt_beyond_ascii_needs_its_type_and_the_word(peer: ClientEnd) -> None:
    assert said(peer, FROM, "RCPT TO:<dave> ORCPT=rfc822;jörg@x")[1] == "501 5.5.4"
    said(peer, "RSET", "MAIL FROM:<a@lab1.campus>")
    assert said(peer, "RCPT TO:<dave> ORCPT=utf-8;jörg@x") == ["501 5.5.4"]


def test_vrfy_and_expn_answer_in_utf8_to_who_asked_so(peer: ClientEnd) -> None:
    def asked(line: str) -> list[str]:
        return peer.session.receive(line.encode() + b"\r\n").decode("utf-8").split("\r\n")[:-1]

    assert asked("VRFY jörg SMTPUTF8") == ["250 2.1.5 Jörg Müller <jörg@lab2.campus>"]
    assert asked("EXPN bücher smtputf8") == [
        "250-2.1.5 Jörg Müller <jörg@lab2.campus>",
        "250-2.1.5 Dave Example <dave@lab2.campus>",
        "250 2.1.5 <söhne@elsewhere.example>",
    ]
    assert asked("VRFY jörg") == ["553 5.6.7 j??rg... Address must be ASCII"]
    assert asked("VRFY dave SMTPUTF8") == ["250 2.1.5 Dave Example <dave@lab2.campus>"]
    assert asked("VRFY SMTPUTF8")[0].startswith("550 5.1.1")  # the name of a mailbox


def test_without_the_word_no_answer_is_utf8(host: SmtpHost, peer: ClientEnd) -> None:
    with Path(host.options.alias_files[0]).open("a", encoding="utf-8") as file:
        file.write("books: bücher\n")
    assert said(host.connect(*STRANGER), "EXPN books") == ["252 2.6.8"]


def test_a_domain_beyond_ascii_is_looked_up_in_a_labels(host: SmtpHost, peer: ClientEnd) -> None:
    said(peer, FROM)
    assert "xn--mller-kva.example" in host.asked
