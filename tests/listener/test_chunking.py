"""Messages that come in chunks (RFC 3030): what of them is queued, and what is not."""

from __future__ import annotations

import email
import errno
import os
import time
from collections.abc import Callable

import pytest

from minimta.listener.handler import Handler
from minimta.message.outcome import Fate
from minimta.queue import collect
from minimta.smtp.reply import reply
from tests.mailers.remote.test_delivery import deliver, only
from tests.smtp.test_chunking import chunks
from tests.support.fakesmtp import FakeSmtp
from tests.support.jobs import job
from tests.support.listening import PATIENCE, Listening
from tests.support.smtphost import STRANGER, ClientEnd, SmtpHost

TEXT = b"Subject: x\r\n\r\n.\r\nQUIT\r\n"


def begun(host: SmtpHost, parameters: str = "") -> ClientEnd:
    peer = host.connect(*STRANGER)
    peer.says("EHLO lab1.campus")
    peer.says(f"MAIL FROM:<emma@lab1.campus>{parameters}", "RCPT TO:<dave>")
    return peer


def test_what_came_in_chunks_is_queued_as_what_came_by_data(host: SmtpHost) -> None:
    peer = begun(host, " BODY=8BITMIME")
    answers = peer.sends(chunks(TEXT[:5], TEXT[5:]))
    assert answers[0] == "250 2.0.0 5 octets received"
    assert answers[1].endswith(" Message accepted for delivery")
    [(control, body)] = host.queued()
    assert body == b".\nQUIT\n" and control.body_type == b"8BITMIME"


def test_a_lone_dot_in_a_chunk_is_text_for_the_next_host_too(host: SmtpHost) -> None:
    """RFC 3030 into RFC 5321 section 4.5.2: with one dot, what stands behind would be commands there."""
    begun(host).sends(chunks(TEXT))
    [(_, body)] = host.queued()
    with FakeSmtp() as sink:
        assert only(deliver(job(sink.host, body=body))).fate is Fate.SENT
    assert sink.messages == [b"Subject: c\r\n\r\n..\r\nQUIT\r\n"]
    assert [line.partition(" ")[0] for line in sink.commands[0]].count("QUIT") == 1


def test_what_is_binary_is_queued_in_base64_and_is_8bit_mail(host: SmtpHost) -> None:
    octets = bytes(range(256)) + b"\r\n.\r\n"
    peer = begun(host, " BODY=BINARYMIME")
    wire = b"Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n" + octets
    assert peer.sends(chunks(wire[:70], wire[70:]))[1].startswith("250 2.0.0")
    [(control, body)] = host.queued()
    fields = b"\n".join(field for _, field in control.headers)
    message = email.message_from_bytes(fields + b"\n\n" + body)
    assert message.get_payload(decode=True) == octets
    assert control.body_type == b"8BITMIME" and "8" not in control.flags


def test_size_is_counted_over_all_chunks_and_the_rest_is_read(host: SmtpHost) -> None:
    host.options.max_message_size = 1000
    peer = begun(host)
    answers = peer.sends(chunks(b"A: b\r\n\r\n", b"x" * 600, b"y" * 600, b"RSET\r\n") + b"NOOP\r\n")
    assert [answer[:9] for answer in answers] == [
        "250 2.0.0", "250 2.0.0", "552 5.2.3", "552 5.2.3", "250 2.0.0",
    ]  # fmt: skip
    assert host.files() == []
    assert peer.says("MAIL FROM:<emma@lab1.campus>")[0].startswith("250")


def test_a_full_disk_is_told_at_its_chunk(
    host: SmtpHost, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    def full(self: collect.Incoming, text: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(collect.Incoming, "write", full)
    answers = begun(host).sends(chunks(b"A: b\r\n", b"x"))
    assert [answer[:3] for answer in answers] == ["452", "452"]
    assert host.files() == []


def test_a_bare_line_feed_leaves_nothing_behind_but_a_line_in_the_log(
    host: SmtpHost, lines: list[str]
) -> None:
    peer = begun(host)
    [answer] = peer.sends(chunks(b"A: b\r\n\r\n" + b"x" * 100_000 + b"\n.\r\n"))
    assert answer == "554 5.6.0 Bare linefeed (LF) not allowed"
    assert host.files() == []
    found = "info=Bare linefeed (LF) not allowed, where=body, status=permfail"
    assert any(line.startswith("collect: ") and line.endswith(found) for line in lines)


def test_no_message_begins_behind_a_chunk_that_was_refused(
    host: SmtpHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 3030 section 2: the transaction has failed, and what is in the pipeline is discarded."""
    begin = Handler.data
    refusals = iter([reply(452, "4.3.1", "Full")])
    monkeypatch.setattr(Handler, "data", lambda self: next(refusals, None) or begin(self))
    peer = begun(host)
    answers = peer.sends(chunks(TEXT[:5], TEXT[5:]))
    assert [one[:9] for one in answers] == ["452 4.3.1", "452 4.3.1"]
    assert host.queued() == []
    peer.says("RSET", "MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>")
    assert peer.sends(chunks(TEXT[:5], TEXT[5:]))[1].startswith("250 2.0.0")
    assert len(host.queued()) == 1


def test_rset_between_chunks_leaves_nothing(host: SmtpHost) -> None:
    peer = begun(host)
    peer.sends(b"BDAT 100000\r\n" + b"x" * 99_998 + b"\r\n")
    assert peer.says("RSET") == ["250 2.0.0 Reset state"]
    assert host.files() == []


def test_a_connection_that_breaks_in_a_chunk_leaves_nothing(
    host: SmtpHost, start: Callable[[], Listening], lines: list[str]
) -> None:
    peer = start().connect()
    peer.answer()
    for line in ("EHLO x", "MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>"):
        peer.says(line)
    peer.socket.sendall(b"BDAT 100000 LAST\r\n" + b"x" * 70_000)
    peer.close()
    deadline = time.monotonic() + PATIENCE
    while not any("info=unexpected close" in line for line in lines):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert host.queued() == []


def test_a_chunk_that_stops_is_waited_for_as_long_as_text(
    host: SmtpHost, start: Callable[[], Listening]
) -> None:
    host.options.timeout_datablock = 1
    peer = start().connect()
    peer.answer()
    for line in ("EHLO x", "MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>"):
        peer.says(line)
    assert peer.says("BDAT 10 LAST").startswith("421 4.4.1 collect: relay=")
    assert host.files() == []


# --- as others say it -----------------------------------------------------------------------------

#: recorded: Exim 4.96 of Debian 12 sends a message with UTF-8 addresses, by BDAT, and QUIT behind it
EXIM = (
    "MAIL FROM:<s\u00f6hne@ex.example> SIZE=1344 SMTPUTF8\r\nRCPT TO:<dave@lab2.campus>\r\n"
    "BDAT 321 LAST\r\nReceived: from [127.0.0.1] (port=59150 helo=client.example)\r\n"
    "\tby ex.example with utf8esmtp (Exim 4.96)\r\n\t(envelope-from <s\u00f6hne@ex.example>)\r\n"
    "\tid 1xXsKZ-0006Rk-1R;\r\n\tMon, 30 Nov 2026 03:45:31 +0000\r\nFrom: a@ex.example\r\n"
    "Subject: f\u00fcr dich\r\nDate: Mon, 30 Nov 2026 03:43:37 +0000\r\n"
    "Message-Id: <1@ex.example>\r\n\r\n\u00e4\r\n.\r\nQUIT\r\nQUIT\r\n"
).encode()


def test_exims_message_is_taken_in_one_piece_or_in_many(host: SmtpHost) -> None:
    for size in (1, 100, len(EXIM)):
        peer = host.connect(*STRANGER)
        assert {"250-CHUNKING", "250-SMTPUTF8"} <= set(peer.says("EHLO ex.example"))
        pieces = [EXIM[i : i + size] for i in range(0, len(EXIM), size)]
        answers = [answer for piece in pieces for answer in peer.sends(piece)]
        assert [answer[:9] for answer in answers] == [
            "250 2.1.0", "250 2.1.5", "250 2.0.0", "221 2.0.0",
        ]  # fmt: skip
    queued = host.queued()
    assert len(queued) == 3
    assert {body for _, body in queued} == {"\u00e4\n.\nQUIT\n".encode()}
    assert {control.macros[b"r"] for control, _ in queued} == {b"UTF8SMTP"}
