from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import cast

import pytest

from minimta.listener import stream
from minimta.listener.addresses import plain_address
from minimta.listener.stream import Stream
from minimta.system.tls import TlsLayer

PATIENCE = 10.0


@pytest.fixture
def ends() -> Iterator[tuple[Stream, socket.socket]]:
    """Our end of a TCP connection, and the client's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname(), PATIENCE)
        sock, _ = server.accept()
    ours = Stream(sock)
    yield ours, client
    ours.close()
    client.close()


def read_all(client: socket.socket) -> bytes:
    got = b""
    while chunk := client.recv(65536):
        got += chunk
    return got


def test_what_the_client_sends_is_received_and_then_its_end(
    ends: tuple[Stream, socket.socket],
) -> None:
    ours, client = ends
    client.sendall(b"EHLO x\r\n")
    assert ours.recv(5) == b"EHLO x\r\n"
    client.shutdown(socket.SHUT_WR)
    assert ours.recv(5) == b""


def test_silence_is_a_timeout_and_not_the_end(ends: tuple[Stream, socket.socket]) -> None:
    ours, client = ends
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        ours.recv(1)
    assert time.monotonic() - begin >= 0.9
    client.sendall(b"late")
    assert ours.recv(1) == b"late"


def test_a_client_that_hangs_up_is_noticed_whatever_is_unread(
    ends: tuple[Stream, socket.socket],
) -> None:
    ours, client = ends
    client.sendall(b"NOOP\r\n")
    assert not ours.has_hung_up()
    client.close()
    end = time.monotonic() + PATIENCE
    while not ours.has_hung_up():
        assert time.monotonic() < end
    assert ours.recv(5) == b"NOOP\r\n"


def test_a_look_ahead_neither_waits_nor_takes(ends: tuple[Stream, socket.socket]) -> None:
    ours, client = ends
    assert ours.peek() == b""
    client.sendall(b"HELO")
    end = time.monotonic() + PATIENCE
    while not ours.peek():
        assert time.monotonic() < end
    assert ours.peek() == b"H"
    assert ours.recv(5) == b"HELO"
    client.close()
    assert ours.recv(5) == b""
    assert ours.peek() == b""


@pytest.mark.parametrize("size", [1, 10_000_000], ids=["one segment", "more than the buffers hold"])
def test_all_of_a_reply_is_sent(ends: tuple[Stream, socket.socket], size: int) -> None:
    ours, client = ends
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(read_all(client)))
    reader.start()
    ours.send(b"x" * size)
    ours.close()
    reader.join(PATIENCE)
    assert got == [b"x" * size]


def test_a_client_that_does_not_read_is_given_up(
    ends: tuple[Stream, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_SEND_TIMEOUT", 1)
    monkeypatch.setattr(stream, "SEND_DEADLINE", 0.0)
    ours = Stream(ends[0]._socket)
    with pytest.raises(OSError):
        ours.send(b"x" * 100_000_000)


@pytest.mark.parametrize("waiting", [True, False], ids=["in recv", "before recv"])
def test_woken_by_another_thread_it_reads_an_end_and_can_still_answer(
    ends: tuple[Stream, socket.socket], waiting: bool
) -> None:
    ours, client = ends
    other = threading.Timer(0.2 if waiting else 0.0, ours.wake)
    other.start()
    if not waiting:
        other.join(PATIENCE)
    assert ours.recv(10) == b""
    ours.send(b"421 4.3.2 Shutting down\r\n")
    assert client.recv(100) == b"421 4.3.2 Shutting down\r\n"


def test_dropped_by_another_thread_nothing_goes_either_way(
    ends: tuple[Stream, socket.socket],
) -> None:
    ours, client = ends
    ours.drop()
    assert ours.recv(10) == b""
    assert client.recv(100) == b""
    with pytest.raises(OSError):
        ours.send(b"x")


def test_whoever_wakes_a_connection_that_has_ended_is_not_told(
    ends: tuple[Stream, socket.socket],
) -> None:
    ours, _ = ends
    ours.close()
    ours.wake()
    ours.drop()


def test_the_end_lets_the_last_reply_arrive_though_octets_were_left_unread(
    ends: tuple[Stream, socket.socket],
) -> None:
    ours, client = ends
    client.sendall(b"x" * 200_000)
    assert ours.recv(5)
    ours.send(b"421 bye\r\n")
    threading.Timer(0.2, lambda: client.shutdown(socket.SHUT_WR)).start()
    ours.end()
    assert ours.peek() == b""  # else close(2) sends a reset
    ours.close()
    assert read_all(client) == b"421 bye\r\n"


def test_the_end_does_not_wait_long_for_a_client_that_says_nothing(
    ends: tuple[Stream, socket.socket],
) -> None:
    begin = time.monotonic()
    ends[0].end()
    assert time.monotonic() - begin < 3


def test_our_own_address_is_the_one_that_was_connected_to(
    ends: tuple[Stream, socket.socket],
) -> None:
    assert ends[0].own_address() == "127.0.0.1"


class TalkingLayer:
    """TLS that has always something to say and never any text."""

    has_text = False

    def handshake(self) -> bool:
        return True

    def take(self) -> bytes:
        return b""

    def feed(self, octets: bytes) -> None: ...

    def read(self) -> None:
        return None

    def close(self) -> None: ...


def test_records_without_text_do_not_keep_a_connection(
    ends: tuple[Stream, socket.socket],
) -> None:
    ours, client = ends
    ours.secure(cast(TlsLayer, TalkingLayer()), 5)
    stop = threading.Event()

    def talk() -> None:
        while not stop.wait(0.1):
            client.sendall(b"record")

    talking = threading.Thread(target=talk)
    talking.start()
    with pytest.raises(TimeoutError, match="nothing but TLS"):
        ours.recv(1)
    stop.set()
    talking.join(PATIENCE)


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("10.0.3.134", "10.0.3.134"),
        ("::ffff:10.0.3.134", "10.0.3.134"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_an_address_is_told_without_mapping_and_zone(given: str, plain: str) -> None:
    assert plain_address(given) == plain
