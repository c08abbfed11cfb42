"""Records of TLS 1.2 (RFC 5246 section 7.4), made by hand: see TlsClient.vouches()."""

from __future__ import annotations

from collections.abc import Iterator


def server_flight(suite: bytes, chain: list[bytes]) -> Iterator[bytes]:
    """ServerHello and Certificate with *chain* (DER), in records; *suite* is the cipher's number."""
    # version, random, session id, suite, no compression, secure renegotiation
    hello = b"\3\3" + bytes(32) + b"\0" + suite + b"\0" + b"\0\5" + b"\xff\1\0\1\0"
    certificates = b"".join(_sized(one) for one in chain)
    messages = b"\2" + _sized(hello) + b"\13" + _sized(_sized(certificates))
    for i in range(0, len(messages), 1 << 14):
        part = messages[i : i + (1 << 14)]
        yield b"\26\3\3" + len(part).to_bytes(2, "big") + part


def _sized(octets: bytes) -> bytes:
    return len(octets).to_bytes(3, "big") + octets
