"""The dialogues of tests/dialogues/client, played over a socket, with TLS where it is written."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Mapping

import pytest

from minimta.mailers.job import Job
from minimta.mailers.remote.delivery import Delivery
from minimta.mailers.remote.mx_targets import Ourselves
from minimta.mailers.remote.tls_policy import TlsPolicies
from minimta.mailers.remote.transport import Transport
from minimta.message.outcome import Fate, Outcome
from minimta.system.tls import TlsClient, server_context
from minimta.system.tls_values import Trust
from tests.support import dialogue
from tests.support.certificates import self_signed
from tests.support.dialogue import Dialogue
from tests.support.jobs import job, options

FATES = {"sent": Fate.SENT, "deferred": Fate.DEFERRED, "failed": Fate.FAILED}


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return server_context(self_signed(tmp_path_factory.mktemp("certificate"), "localhost"))


class Peer(threading.Thread):
    """Says its lines to the first client, and hears what that says instead of its own."""

    def __init__(self, played: Dialogue, context: ssl.SSLContext) -> None:
        super().__init__()
        self._played = played
        self._context = context
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(10)
        self.port: int = self._server.getsockname()[1]
        self.heard: list[bytes] = []

    def run(self) -> None:
        with self._server, self._server.accept()[0] as accepted:
            connection: socket.socket = accepted
            connection.settimeout(10)
            for who, octets in self._played.steps:
                if who == "TLS":
                    connection = self._context.wrap_socket(connection, server_side=True)
                elif who == "S":
                    connection.sendall(octets)
                else:
                    self.heard.append(_exactly(connection, len(octets)))
            if rest := connection.recv(100):
                self.heard.append(rest)
            connection.close()


def _exactly(connection: socket.socket, count: int) -> bytes:
    octets = b""
    while len(octets) < count and (piece := connection.recv(count - len(octets))):
        octets += piece
    return octets


@pytest.mark.debian("openssl")
@pytest.mark.parametrize("played", dialogue.of("client"), ids=lambda it: it.name)
def test_what_is_written_happens_over_a_socket(played: Dialogue, context: ssl.SSLContext) -> None:
    peer = Peer(played, context)
    peer.start()
    found: list[Outcome] = []

    def report(_: Job, outcomes: Mapping[bytes, Outcome]) -> None:
        found.extend(outcomes.values())

    transport = Transport(
        options(),
        Ourselves("lab1.campus", frozenset({b"lab1.campus"}), frozenset({"127.0.0.1"})),
        tls=TlsClient(Trust()),
        policies=TlsPolicies({b".": played.row.encode()} if played.row else {}),
    )
    Delivery([job(f"[127.0.0.1]:{peer.port}")], transport, report).run()
    peer.join()
    (outcome,) = found
    fate, text = played.end
    assert outcome.fate is FATES[fate]
    assert outcome.text.startswith(text)
    assert peer.heard == played.said_by("C")
