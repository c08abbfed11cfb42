"""``sendmail -bs``: the session of a local program, through pipes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.listener import stdio
from minimta.queue.control import decode
from minimta.submission import caller
from tests.support.smtphost import SmtpHost

HELLO = b"EHLO x\n"


@pytest.fixture
def host(tmp_path: Path) -> SmtpHost:
    host = SmtpHost(tmp_path)
    host.options.delivery_mode = "queueonly"
    return host


class Program:
    """Runs stdio.serve() in a forked child, and talks to it as a mail program does."""

    def __init__(self, options: Options, says_first: bytes = b"") -> None:
        child_reads, self._write = os.pipe()
        os.write(self._write, says_first)
        self._read, child_writes = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 99
            try:
                os.dup2(child_reads, 0)
                os.dup2(child_writes, 1)
                os.close(self._write)
                code = stdio.serve(options)
            finally:
                os._exit(code)
        os.close(child_reads)
        os.close(child_writes)

    def answer(self) -> str:
        """The next reply; "" at the end."""
        text = b""
        while not text.endswith(b"\r\n") or b" " not in text.split(b"\r\n")[-2][3:4]:
            octets = os.read(self._read, 4096)
            if not octets:
                break
            text += octets
        return text.decode()

    def says(self, octets: bytes) -> str:
        os.write(self._write, octets)
        return self.answer()

    def end(self) -> int:
        """Close the input; the exit code."""
        os.close(self._write)
        while os.read(self._read, 4096):
            pass
        os.close(self._read)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def me(host: SmtpHost) -> str:
    """Its passwd file may have a user of our number."""
    return caller.Caller(host.options).name


def test_a_message_is_submitted(host: SmtpHost) -> None:
    program = Program(host.options)
    assert "minimta 0.1.0/0.1.0/Submit; " in program.answer()
    assert program.says(HELLO).startswith(f"250-lab2.campus Hello {me(host)}@localhost, pleased")
    assert program.says(b"MAIL FROM:<henry>\n") == "250 2.1.0 <henry>... Sender ok\r\n"
    for name in (b"nosuch", b"dave", b"henry@lab3.campus"):
        answer = program.says(b"RCPT TO:<" + name + b">\n")
        assert answer == f"250 2.1.5 <{name.decode()}>... Recipient ok\r\n"
    assert program.says(b"DATA\n").startswith("354")
    assert program.says(b"Subject: bs\n\n..one dot\n.\n").startswith("250 2.0.0")
    assert program.says(b"QUIT\n").startswith("221")
    assert program.end() == 0
    [(control, body)] = host.queued()
    assert control.reverse_path == b"<henry@lab2.campus>"
    assert [recipient.address for recipient in control.recipients] == [
        b"<nosuch@lab2.campus>",
        b"<dave@lab2.campus>",
        b"<henry@lab3.campus>",
    ]
    assert control.macros[b"_"] == f"{me(host)}@localhost".encode()
    assert control.macros[b"{daemon_flags}"] == b"c u"
    assert body == b".one dot\n"


def test_users_are_hidden(host: SmtpHost) -> None:
    program = Program(host.options)
    program.answer()
    assert "EXPN" not in program.says(HELLO)
    assert program.says(b"VRFY dave\n").startswith("252 2.5.2")
    assert program.says(b"EXPN dave\n").startswith("502 5.7.0")
    assert program.says(b"ETRN lab3.campus\n").startswith("502 5.7.0")
    assert program.end() == 0


def test_the_end_of_input_is_the_end(host: SmtpHost) -> None:
    program = Program(host.options)
    assert program.answer().startswith("220")
    assert program.end() == 0
    assert host.files() == []


def test_an_input_that_ends_in_the_text_leaves_nothing(host: SmtpHost) -> None:
    program = Program(host.options)
    program.answer()
    for line in (b"MAIL FROM:<>\n", b"RCPT TO:<dave>\n", b"DATA\n"):
        program.says(line)
    os.write(program._write, b"Subject: half\n")
    assert program.end() == 0
    assert host.files() == []


@pytest.mark.parametrize("eol", [b"\n", b"\r\n"])
@pytest.mark.parametrize("hello", [b"EHLO x", b"HELO x"])
def test_a_whole_dialogue_may_be_said_before_the_greeting(
    host: SmtpHost, hello: bytes, eol: bytes
) -> None:
    host.options.greet_pause = 5000
    lines = (hello, b"MAIL FROM:<>", b"RCPT TO:<dave>", b"DATA", b"Subject: x", b"", b"Hi", b".")
    program = Program(host.options, says_first=b"".join(line + eol for line in (*lines, b"QUIT")))
    assert program.end() == 0
    [(control, body)] = host.queued()
    assert [recipient.address for recipient in control.recipients] == [b"<dave@lab2.campus>"]
    assert body == b"Hi\n"


def test_an_idle_program_is_told(host: SmtpHost) -> None:
    host.options.timeout_command = 1
    program = Program(host.options)
    assert program.answer().startswith("220")
    assert program.answer().startswith("421 4.4.2")
    assert program.end() == 0


def test_whoever_is_not_trusted_gets_a_warning(
    host: SmtpHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller.Caller, "is_trusted", lambda self: False)
    program = Program(host.options)
    program.answer()
    for line in (HELLO, b"MAIL FROM:<>\n", b"RCPT TO:<dave>\n", b"DATA\n", b"x\n.\n"):
        program.says(line)
    assert program.end() == 0
    [qf] = host.mqueue.glob("qf*")
    warning = f"X-Authentication-Warning: lab2.campus: {me(host)} owned process doing -bs".encode()
    assert (b"", warning) in decode(qf.read_bytes()).headers


def test_a_filter_that_is_not_defined_is_told_and_nothing_is_taken(
    host: SmtpHost, capfd: pytest.CaptureFixture[str]
) -> None:
    host.options.input_mail_filters = ("gone",)
    program = Program(host.options)
    assert program.answer().startswith("421 4.3.5 ")
    assert program.end() == os.EX_CONFIG
    assert "InputMailFilters: no MailFilter is named gone" in capfd.readouterr().err
