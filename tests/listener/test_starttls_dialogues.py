"""Dialogues with real Sendmail about STARTTLS, played against the session and over a socket."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.smtp.state import State
from tests.listener.test_starttls import Campus, SecureListening, client_context
from tests.support.dialogue import fits
from tests.support.listening import PATIENCE
from tests.support.smtphost import STRANGER, SmtpHost

TEXT = (Path(__file__).parent.parent / "dialogues" / "starttls.txt").read_text()
GALLERY = [part.split("\n") for part in re.split(r"^== ", TEXT, flags=re.MULTILINE)[1:]]


class Client:
    """One end that plays a dialogue; ``say`` gives what the other end answers, b"" at its end."""

    def __init__(
        self,
        say: Callable[[bytes], bytes],
        secure: Callable[[], None],
        has_ended: Callable[[], bool],
    ) -> None:
        self._say, self._secure, self._has_ended = say, secure, has_ended
        self._heard: list[str] = []
        self._pending = b""

    def play(self, lines: list[str]) -> None:
        for line in lines:
            word, _, rest = line.partition(" ")
            if word == "C:":
                self._pending += rest.encode() + b"\r\n"
            elif word == "RAW":
                self._pending += rest.encode().decode("unicode_escape").encode()
            elif word == "S:":
                self._hear()
                assert fits(self._heard[-1], rest), (rest, self._heard)
            elif word in "+-" and word:
                offered = [one[4:] for one in self._heard]
                assert (rest in offered) is (word == "+"), offered
            elif word == "TLS":
                self._secure()
            elif word == "END":
                assert self._has_ended()

    def _hear(self) -> None:
        octets, self._pending = self._pending, b""
        self._heard = self._say(octets).decode("ascii").removesuffix("\r\n").split("\r\n")


@pytest.mark.parametrize("lines_of", GALLERY, ids=[one[0] for one in GALLERY])
def test_the_session_says_what_sendmail_says(host: SmtpHost, lines_of: list[str]) -> None:
    session = host.connect(*STRANGER).session
    session._verbs._has_tls = True

    def secure() -> None:
        assert session.state is State.HANDSHAKE
        session.secured()

    Client(session.receive, secure, lambda: session.is_closed).play(lines_of[1:])


@pytest.fixture(scope="module")
def campus(tmp_path_factory: pytest.TempPathFactory) -> Campus:
    return Campus(tmp_path_factory.mktemp("campus"))


@pytest.fixture
def listening(host: SmtpHost, campus: Campus) -> Iterator[SecureListening]:
    one = SecureListening(host, campus)
    yield one
    one.stop()


@pytest.mark.debian("openssl")
@pytest.mark.parametrize("lines_of", GALLERY, ids=[one[0] for one in GALLERY])
def test_over_a_socket_the_listener_says_the_same(
    listening: SecureListening,
    campus: Campus,
    monkeypatch: pytest.MonkeyPatch,
    lines_of: list[str],
) -> None:
    monkeypatch.setattr("minimta.listener.rights.may_relay", lambda ip: False)
    monkeypatch.setattr("minimta.listener.stream.Stream.own_address", lambda self: "10.0.3.135")
    peer = listening.connect()
    ends = [peer.socket]

    def read() -> bytes:
        got = b""
        while not re.search(rb"(?m)^\d{3} .*\r\n\Z", got):
            got += ends[-1].recv(65536)
        return got

    def say(octets: bytes) -> bytes:
        ends[-1].sendall(octets)
        return read()

    def secure() -> None:
        context = client_context(campus)
        ends.append(context.wrap_socket(ends[-1], server_hostname="lab2.campus"))
        assert isinstance(ends[-1], ssl.SSLSocket)

    def has_ended() -> bool:
        ends[-1].settimeout(PATIENCE)
        return ends[-1].recv(1) == b""

    assert read().startswith(b"220 lab2.campus ESMTP ")
    try:
        Client(say, secure, has_ended).play(lines_of[1:])
    finally:
        ends[-1].close()
