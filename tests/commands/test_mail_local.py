"""mail.local: into mailboxes, by standard input and by LMTP."""

from __future__ import annotations

import os
import smtplib
import socket
import subprocess
from mailbox import mbox
from pathlib import Path

import pytest

from minimta.commands import mail_local
from tests.support import configured
from tests.support.commandhost import Host
from tests.support.configured import Ended
from tests.support.homes import let_others_in

LETTER = b"Subject: t\nFrom: a@b\n\nhello\nFrom here\n.\n"


@pytest.fixture
def host(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Host:
    made = Host(tmp_path, capfd)
    (tmp_path / "mail").mkdir(mode=0o700)
    ids = f"{os.getuid()}:{os.getgid()}"
    names = ("emma", "dave")
    (tmp_path / "passwd").write_text(
        "".join(f"{name}:x:{ids}:{name}:{tmp_path}/home:/bin/sh\n" for name in names)
    )
    made.configure(MailboxDirectory=str(tmp_path / "mail"))
    return made


def run(host: Host, *words: str, stdin: bytes = LETTER) -> Ended:
    return configured.run(host.root / "cf", "mail_local", *words, stdin=stdin)


def letters(host: Host, user: str) -> list[str]:
    return [
        message.get_from() + "|" + message.as_string()
        for message in mbox(host.root / "mail" / user)
    ]


def test_a_message_comes_into_each_mailbox(host: Host) -> None:
    assert run(host, "-d", "-f", "x@y.example", "emma", "dave+detail") == Ended(0, "", "")
    for user in ("emma", "dave"):
        (letter,) = letters(host, user)
        assert letter.startswith("x@y.example ")
        assert (
            "|Return-Path: <x@y.example>\nSubject: t\nFrom: a@b\n\nhello\n>From here\n.\n" in letter
        )


def test_a_from_line_and_a_return_path_are_not_doubled(host: Host) -> None:
    text = b"From old Sat Nov 16 00:19:13 2019\nReturn-Path: <old@x>\nSubject: t\n\nx\n"
    assert run(host, "emma", stdin=text).code == 0
    (letter,) = letters(host, "emma")
    assert letter.partition("|")[2].startswith("Return-Path: <old@x>\nSubject: t\n\nx\n")


def test_text_without_a_header_is_a_body(host: Host) -> None:
    assert run(host, "emma", stdin=b"just text\nmore: text\n").code == 0
    assert "\n\njust text\nmore: text\n" in letters(host, "emma")[0]


def test_an_unknown_user_costs_the_others_nothing(host: Host) -> None:
    ran = run(host, "nosuch", "emma")
    assert ran == Ended(67, "", "550 5.1.1 nosuch: User unknown\n")
    assert len(letters(host, "emma")) == 1


def test_a_mailbox_that_cannot_be_written_is_for_later(host: Host) -> None:
    (host.root / "mail" / "emma").mkdir()
    ran = run(host, "emma", "dave")
    assert ran.code == 75 and ran.err.startswith("451 4.")
    assert len(letters(host, "dave")) == 1


def test_h_is_a_file_of_the_users_home(host: Host) -> None:
    if not os.getuid():
        (host.root / "passwd").write_text(f"emma:x:65534:65534:e:{host.root}/home:/bin/sh\n")
        os.chown(host.root / "home", 65534, 65534)
        let_others_in(host.root)
    assert run(host, "-h", "Mailbox", "emma") == Ended(0, "", "")
    assert b"\nhello\n" in (host.root / "home" / "Mailbox").read_bytes()


def test_home_files_are_in_the_home(host: Host) -> None:
    for name in ("/etc/x", "../x", ".."):
        assert run(host, "-h", name, "emma").code == 64


@pytest.mark.parametrize("words", [(), ("-l", "emma"), ("-x", "emma")])
def test_what_is_no_call_gets_the_usage(host: Host, words: tuple[str, ...]) -> None:
    ran = run(host, *words)
    assert ran.code == 64 and ran.err.endswith(mail_local.USAGE + "\n")


class Stdio:
    """mail.local -l behind a socket, as a mail system has it."""

    def __init__(self, host: Host, *words: str) -> None:
        self.ours, theirs = socket.socketpair()
        command = configured.command(host.root / "cf", "mail_local", "-l", *words)
        self.process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno())
        theirs.close()

    def close(self) -> int:
        self.ours.close()
        return self.process.wait(30)


class Client(smtplib.LMTP):
    """Python's client, over a socket that is there."""

    def __init__(self, sock: socket.socket) -> None:
        self._given = sock
        super().__init__("mail.local")

    def connect(self, *_: object, **__: object) -> tuple[int, bytes]:
        self.sock, self.file = self._given, None
        return self.getreply()


def test_lmtp_answers_for_each_recipient(host: Host) -> None:
    """smtplib speaks it."""
    (host.root / "mail" / "dave").mkdir()
    stdio = Stdio(host)
    client = Client(stdio.ours)
    client.ehlo_or_helo_if_needed()
    assert client.has_extn("pipelining")
    client.mail("x@y.example")
    answers = [client.rcpt(name)[0] for name in ("emma@lab1.campus", "nosuch", "dave")]
    assert answers == [250, 550, 250]
    client.putcmd("data")
    assert client.getreply()[0] == 354
    client.send(b"Subject: t\r\n\r\n..dot\r\n.\r\n")
    assert [client.getreply()[0] for _ in range(2)] == [250, 451]
    assert client.quit()[0] == 221
    assert stdio.close() == 0
    (letter,) = letters(host, "emma")
    assert letter.partition("|")[2].startswith("Return-Path: <x@y.example>\nSubject: t\n\n.dot\n")


def test_a_mailbox_in_trouble_is_a_failure_if_that_is_said(host: Host) -> None:
    (host.root / "mail" / "dave").mkdir()
    said = b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<dave>\r\nDATA\r\nSubject: t\r\n\r\n.\r\nQUIT\r\n"
    assert "\n451 4." in run(host, "-l", stdin=said).out
    assert "\n550 5." in run(host, "-l", "-b", stdin=said).out


def test_a_message_that_does_not_end_is_not_delivered(host: Host) -> None:
    said = b"LHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<emma>\r\nDATA\r\nSubject: t\r\n\r\nhal"
    ran = run(host, "-l", stdin=said)
    assert ran.code == 0 and ran.out.splitlines()[-1].startswith("451 4.3.0")
    assert not (host.root / "mail" / "emma").exists()


def test_commands_out_of_order_are_told(host: Host) -> None:
    said = b"RCPT TO:<emma>\r\nDATA\r\nMAIL emma\r\nFOO\r\nNOOP\r\nVRFY emma\r\nRSET\r\nQUIT\r\n"
    codes = [line[:3] for line in run(host, "-l", stdin=said).out.splitlines()]
    assert codes == ["220", "503", "503", "501", "500", "250", "252", "250", "221"]


def test_a_line_end_in_a_sender_forges_no_field(host: Host) -> None:
    assert run(host, "-f", "x@y\nSubject: forged\n\nFrom evil", "emma").code == 0
    (letter,) = letters(host, "emma")
    assert "\nSubject: forged" not in letter and "\nFrom evil" not in letter
    assert letter.partition("|")[2].startswith("Return-Path: <x@ySubject: forgedFrom evil>\n")


def lmtp(host: Host, text: bytes, end: bytes = b"\r\n", after: bytes = b"QUIT") -> Ended:
    lines = [b"LHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<emma>", b"DATA"]
    whole = end.join([*lines, b""]) + text + after + end
    return run(host, "-l", stdin=whole)


def test_a_line_of_any_length_keeps_its_dots(host: Host) -> None:
    # A dot where a piece that is read begins is neither the end of the text nor doubled.
    long = b"x" * (1 << 16) + b".\r" + b"y" * ((1 << 16) - 3) + b"\r"
    done = lmtp(host, b"Subject: t\r\n\r\n" + long + b"\r\n..z\r\n.\r\n")
    assert "250 2.1.5 emma Ok" in done.out
    stored = (host.root / "mail" / "emma").read_bytes()
    assert b"\n" + long + b"\n.z\n" in stored


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_text_ends_as_the_client_ends_its_lines(host: Host, end: bytes) -> None:
    forged = b"x\n.\nMAIL FROM:<root@x>\nRCPT TO:<dave>\nDATA\nforged\n.\n"
    done = lmtp(host, b"Subject: t" + end * 2 + forged + end + b"." + end, end)
    assert (host.root / "mail" / "dave").exists() is (end == b"\n")
    assert "250 2.1.5 emma Ok" in done.out


@pytest.mark.parametrize("end", [b".", b".\r", b"x"])
def test_a_text_that_breaks_off_is_not_delivered(host: Host, end: bytes) -> None:
    whole = b"LHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<emma>\r\nDATA\r\nSubject: t\r\n\r\nx\r\n" + end
    assert "451 4.3.0" in run(host, "-l", stdin=whole).out
    assert not (host.root / "mail" / "emma").exists()
