"""What a man in the middle, or a client, hides around and behind a handshake, over real sockets.

The same galleries as in tests/smtp, where the session is tried without a socket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.listener.test_auth import plain
from tests.listener.test_starttls import Campus, SecureListening, client_context, over_tls, secured
from tests.smtp.test_data import FALSE_ENDS
from tests.support.listening import Peer
from tests.support.smtp_users import write_users
from tests.support.smtphost import SmtpHost

pytestmark = pytest.mark.debian("openssl")

EVIL = b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<dave>\r\nDATA\r\nSubject: 2\r\n\r\nevil\r\n.\r\n"
MTA, MTAS = "Name=MTA, Addr=127.0.0.1, Port=0", "Name=MTAS, Addr=127.0.0.1, Port=0, M=s"
MSA = "Name=MSA, Addr=127.0.0.1, Port=0, M=Ea"


@pytest.fixture(scope="module")
def campus(tmp_path_factory: pytest.TempPathFactory) -> Campus:
    return Campus(tmp_path_factory.mktemp("campus"))


@pytest.fixture
def listen(
    host: SmtpHost, campus: Campus, tmp_path: Path
) -> Iterator[Callable[[str], SecureListening]]:
    host.options.auth_backend = str(write_users(tmp_path / "users", {"emma": "secret"}))
    host.options.trust_loopback = False
    started: list[SecureListening] = []

    def begin(port: str) -> SecureListening:
        started.append(SecureListening(host, campus, port))
        return started[-1]

    yield begin
    for one in started:
        one.stop()


def inside(listening: SecureListening, campus: Campus, port: str) -> Peer:
    """A client inside TLS that has said EHLO and, on port 587, has logged in."""
    if port == MTAS:
        peer = secured(listening.connect(), client_context(campus))
        peer.answer()
    else:
        peer = over_tls(listening, client_context(campus))
    assert peer.says("EHLO lab1.campus").startswith("250")
    if port == MSA:
        assert peer.says(plain("emma", "secret")).startswith("235")
    return peer


@pytest.mark.parametrize("port", [MTA, MSA])
@pytest.mark.parametrize(
    "more",
    [
        b"NOOP\r\n",
        b"EHLO x\r\n",
        b"AUTH PLAIN AGVtbWEAc2VjcmV0\r\n",
        b"RSET\r\n" + EVIL,
        b"MAIL",
        b"\n",
    ],
    ids=lambda octets: repr(octets[:9]),
)
def test_what_comes_together_with_starttls_is_not_obeyed(
    host: SmtpHost, listen: Callable[[str], SecureListening], port: str, more: bytes
) -> None:
    """CVE-2011-0411: a man in the middle adds it in clear, and the client seems to have said it."""
    peer = listen(port).connect()
    peer.answer()
    peer.says("EHLO lab1.campus")
    peer.socket.sendall(b"STARTTLS\r\n" + more)
    assert peer.answer() == "554 5.5.0 SMTP protocol error"
    assert peer.answer() == ""
    assert host.files() == []


def test_what_was_said_in_clear_is_forgotten_by_the_handshake(
    host: SmtpHost, campus: Campus, listen: Callable[[str], SecureListening]
) -> None:
    """RFC 3207 section 4.2: the name in EHLO, too, and the line end."""
    host.options.privacy_options = ("needmailhelo",)
    peer = listen(MTA).connect()
    peer.answer()
    peer.socket.sendall(b"EHLO evil.example\n")
    assert peer.answer().startswith("250")
    peer.socket.sendall(b"STARTTLS\n")
    assert peer.answer().startswith("220")
    peer = secured(peer, client_context(campus))
    assert peer.says("MAIL FROM:<emma@lab1.campus>") == "503 5.0.0 Polite people say HELO first"


@pytest.mark.parametrize("port", [MTA, MTAS, MSA])
@pytest.mark.parametrize(
    "line",
    [
        b"MAIL FROM:<emma@lab2.campus>\n",
        b"MAIL FROM:<emma@lab2.campus>\0\r\n",
        b"MAIL FROM:<a\rX-Evil: 1@lab2.campus>\r\n",
        b"NOOP\r\r\n",
        b"NOOP\n" + EVIL,
    ],
    ids=lambda octets: repr(octets[-9:]),
)
def test_another_line_end_or_a_nul_in_a_command_ends_the_session_inside_tls(
    host: SmtpHost,
    campus: Campus,
    listen: Callable[[str], SecureListening],
    port: str,
    line: bytes,
) -> None:
    peer = inside(listen(port), campus, port)
    peer.socket.sendall(line)
    assert peer.answer().startswith("421 4.5.0 ")
    assert peer.answer() == ""
    assert host.files() == []


@pytest.mark.parametrize("port", [MTAS, MSA])
@pytest.mark.parametrize("end", [*FALSE_ENDS, b"\0\r\n", b"\r\n\0.\r\n"], ids=repr)
def test_a_false_end_of_the_text_makes_no_second_message_inside_tls(
    host: SmtpHost,
    campus: Campus,
    listen: Callable[[str], SecureListening],
    port: str,
    end: bytes,
) -> None:
    """CVE-2023-51764, where it would do the most harm: behind a login."""
    peer = inside(listen(port), campus, port)
    for line in ("MAIL FROM:<emma@lab2.campus>", "RCPT TO:<dave>", "DATA"):
        peer.says(line)
    peer.socket.sendall(b"Subject: x\r\n\r\nHi" + end + EVIL)
    assert peer.answer()[:9] in ("421 4.5.0", "554 5.6.0", "250 2.0.0")
    assert [control.reverse_path for control, _ in host.queued()] in (
        [],
        [b"<emma@lab2.campus>"],
    )
