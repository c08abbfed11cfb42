"""Many clients that keep to the rules only at times, and the listener that outlives them all.

A session that fails is played again by its number: ``Random("session 17")``.
"""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from minimta.listener.connection import Connection
from minimta.message import address
from tests.listener.test_starttls import Campus, SecureListening, client_context
from tests.support import fuzzing
from tests.support.listening import dialogue
from tests.support.smtp_users import write_users
from tests.support.smtphost import SmtpHost

pytestmark = pytest.mark.debian("openssl")

PORTS: tuple[str, ...] = (
    "Name=MTA, Addr=127.0.0.1, Port=0",
    "Name=MTAS, Addr=127.0.0.1, Port=0, M=s",
)
PORTS += ("Name=MSA, Addr=127.0.0.1, Port=0, M=Ea",)
OURS = (b"", b"lab2.campus", b"[10.0.3.135]", b"[ipv6:::1]")
WANTED = {"TLS", "no handshake", "accepted", "step_by_step", "all_at_once"}
WANTED |= {
    str(code)
    for code in (214, 220, 221, 235, 250, 334, 354, 421, 500, 501, 503, 530, 535, 550, 553, 554)
}


@dataclass
class Ports:
    """Ports 25, 465 and 587 of one host, for clients that are strangers to it."""

    host: SmtpHost
    context: ssl.SSLContext
    listening: list[SecureListening]

    def play(self, number: int) -> Counter[str]:
        """Session *number*; returns what happened in it."""
        random = Random(f"session {number}")
        one = random.choice(self.listening)
        sock = socket.create_connection((one.address, one.port), fuzzing.PATIENCE)
        client = fuzzing.Client(sock, random, self._secure, tls=one.server.port.is_tls)
        client.talk()
        return client.seen

    def _secure(self, sock: socket.socket) -> ssl.SSLSocket:
        return self.context.wrap_socket(sock, server_hostname="lab2.campus")


@pytest.fixture
def ports(host: SmtpHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ports]:
    monkeypatch.setattr(Connection, "_wait", lambda self, seconds: None)  # who errs need not wait
    with Path(host.options.passwd_file).open("a", encoding="utf-8") as file:
        file.write("jörg:x:1003:1003:Jörg:/home/jörg:/bin/sh\n")
    host.options.trust_loopback = False
    host.options.max_login_failures = 0
    host.options.auth_backend = str(write_users(tmp_path / "users", {"emma": "secret"}))
    campus = Campus(tmp_path)
    started = [SecureListening(host, campus, port) for port in PORTS]
    yield Ports(host, client_context(campus), started)
    for one in started:
        one.stop()


def take_queue(host: SmtpHost, *, may_relay: bool) -> int:
    """How many messages there are, after a look whom they are for; then there are none."""
    queued = host.queued()
    found = {rcpt.address for control, _ in queued for rcpt in control.recipients}
    elsewhere = [path for path in found if domain(path) not in OURS]
    assert may_relay or not elsewhere, elsewhere
    names = host.files()
    assert len(names) == 2 * len(queued), names  # qf and df; nothing of what was broken off
    for name in names:
        (host.mqueue / name).unlink()
    return len(queued)


def domain(path: bytes) -> bytes:
    return address.domain_key(address.split(address.bare(path))[1])


def played(ports: Ports, lines: list[str], number: int) -> Counter[str]:
    """Session *number*, and what must hold after each."""
    lines.clear()
    seen = ports.play(number)
    assert not [line for line in lines if "Traceback" in line or "SYSERR" in line], lines
    # Only who was told 235 may relay; what was taken is there.
    assert take_queue(ports.host, may_relay="235" in seen) >= seen["accepted"]
    return seen


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_clients_that_say_anything_get_replies_in_step_and_relay_nothing(
    ports: Ports, lines: list[str], count: int
) -> None:
    seen: Counter[str] = Counter()
    for number in range(count):
        try:
            seen += played(ports, lines, number)
        except BaseException as error:
            error.add_note(f"session {number}")
            raise
    print(dict(sorted(seen.items())))  # with -s
    assert not WANTED - seen.keys(), "the sessions do not do what they are for"
    assert dialogue(ports.listening[0].connect()).startswith("221")
