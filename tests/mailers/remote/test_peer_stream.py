from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from minimta.mailers.remote.peer_stream import PeerStream
from minimta.system.tls import TlsClient, TlsLayer
from minimta.system.tls_values import TlsError, Trust
from tests.support.fakesmtp import Refusing


@pytest.fixture
def ends() -> Iterator[tuple[PeerStream, socket.socket]]:
    """Our end of a connection, and the peer's."""
    ours, theirs = socket.socketpair()
    with theirs:
        stream = PeerStream(ours)
        yield stream, theirs
        stream.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_either_family_is_connected_to(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        stream = PeerStream.connect(address, server.getsockname()[1], 5)
        with server.accept()[0] as peer:
            stream.send(b"EHLO x\r\n", 5)
            assert peer.recv(100) == b"EHLO x\r\n"
            peer.sendall(b"250 y\r\n")
            assert stream.recv(time.monotonic() + 5) == b"250 y\r\n"
            stream.close()
            assert peer.recv(100) == b""


def test_a_port_where_nobody_listens_is_an_error() -> None:
    with Refusing() as port, pytest.raises(ConnectionRefusedError):
        PeerStream.connect("127.0.0.1", port, 5)


def test_the_end_of_the_connection_is_no_octets(ends: tuple[PeerStream, socket.socket]) -> None:
    stream, peer = ends
    peer.sendall(b"421 bye\r\n")
    peer.shutdown(socket.SHUT_WR)
    assert stream.recv(time.monotonic() + 5) == b"421 bye\r\n"
    assert stream.recv(time.monotonic() + 5) == b""


@pytest.mark.parametrize("seconds", [0.05, 0, -1])
def test_silence_until_the_deadline_is_a_timeout(
    ends: tuple[PeerStream, socket.socket], seconds: float
) -> None:
    stream, _ = ends
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        stream.recv(begin + seconds)
    assert time.monotonic() - begin >= seconds


def test_a_peer_that_does_not_read_is_a_timeout(ends: tuple[PeerStream, socket.socket]) -> None:
    stream, _ = ends
    with pytest.raises(TimeoutError):
        stream.send(b"x" * (1 << 24), 0.05)


def test_a_peer_that_reads_slowly_gets_all_of_it(ends: tuple[PeerStream, socket.socket]) -> None:
    stream, peer = ends
    text = bytes(range(256)) * 8192
    got: list[bytes] = []

    def take_all() -> None:
        while sum(map(len, got)) < len(text):
            got.append(peer.recv(10_000))

    reader = threading.Thread(target=take_all)
    reader.start()
    stream.send(text, 20)
    reader.join()
    assert b"".join(got) == text


def test_what_there_is_room_for_is_sent_without_asking(
    ends: tuple[PeerStream, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, peer = ends
    monkeypatch.delattr(select, "poll")
    stream.send(b"MAIL From:<emma@lab1.campus>\r\n", 5)
    assert peer.recv(100) == b"MAIL From:<emma@lab1.campus>\r\n"


def test_the_time_to_send_is_for_all_of_it(ends: tuple[PeerStream, socket.socket]) -> None:
    """A peer that takes a little now and then holds nobody up."""
    stream, peer = ends
    over = threading.Event()

    def take_a_little() -> None:
        while not over.wait(0.02):
            peer.recv(50_000)

    reader = threading.Thread(target=take_a_little)
    reader.start()
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        stream.send(b"x" * (1 << 24), 0.3)
    assert time.monotonic() - begin < 2
    over.set()
    reader.join()


class _Sipping(socket.socket):
    """It always says that there is room, and then there is for one octet, or none."""

    is_full = False

    def send(self, octets: Any, flags: int = 0) -> int:
        self.is_full = not self.is_full
        if self.is_full:
            raise BlockingIOError
        return 1


def test_a_peer_that_takes_an_octet_at_any_time_is_a_timeout() -> None:
    ours, theirs = socket.socketpair()
    stream = PeerStream(_Sipping(fileno=ours.detach()))
    with theirs, contextlib.closing(stream), pytest.raises(TimeoutError):
        stream.send(b"x" * 1_000_000, 0.05)


class _Wordless(TlsLayer):
    """TLS with a peer that sends records, and no text in them."""

    def __init__(self) -> None:
        self.fed = 0

    def handshake(self) -> bool:
        return True

    def take(self) -> bytes:
        return b""

    def feed(self, octets: bytes) -> None:
        self.fed += len(octets)

    def read(self) -> bytes | None:
        return None


def test_records_without_text_do_not_make_time(ends: tuple[PeerStream, socket.socket]) -> None:
    stream, peer = ends
    layer = _Wordless()
    stream.secure(layer, time.monotonic() + 5)
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                peer.send(b"x" * 10, socket.MSG_DONTWAIT)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(TimeoutError):
        stream.recv(time.monotonic() + 0.05)
    over.set()
    sender.join()
    assert layer.fed


def test_the_alert_that_ends_a_handshake_is_sent(ends: tuple[PeerStream, socket.socket]) -> None:
    stream, peer = ends
    peer.sendall(b"\x16\x03\x03\x00\x04\x02\x00\x00\x00")  # a ServerHello with nothing in it
    with pytest.raises(TlsError):
        stream.secure(TlsClient(Trust()).begin("x", verified=False), time.monotonic() + 5)
    peer.settimeout(5)
    told = peer.recv(1 << 16)
    assert told[:1] == b"\x16"  # ClientHello
    assert b"\x15\x03" in told[-7:]  # and an alert


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x03"])
def test_a_handshake_that_the_peer_leaves_is_an_error(
    ends: tuple[PeerStream, socket.socket], said: bytes
) -> None:
    stream, peer = ends
    peer.sendall(said)
    peer.shutdown(socket.SHUT_WR)
    with pytest.raises(TlsError, match="closed the connection in the handshake"):
        stream.secure(TlsClient(Trust()).begin("x", verified=False), time.monotonic() + 5)


def test_a_handshake_has_its_time(ends: tuple[PeerStream, socket.socket]) -> None:
    stream, _ = ends
    with pytest.raises(TlsError, match=r"Timeout\.starttls"):
        stream.secure(TlsClient(Trust()).begin("x", verified=False), time.monotonic() + 0.05)
