"""The PROXY protocol: what a balancer may say, and what it is believed."""

from __future__ import annotations

import io
import shutil
import socket
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from minimta.config import ports
from minimta.config.networks import networks
from minimta.config.ports import Port
from minimta.listener import proxy
from minimta.listener.proxy import BadHeader, Claimed
from minimta.system import hostnames, waiting
from tests.listener.test_starttls import Campus, SecureListening, client_context, secured
from tests.support.listening import Listening, Peer
from tests.support.smtphost import SmtpHost

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
CLIENT = Claimed("10.0.3.134", "10.0.3.135", 56324)
BEHIND = Port(address="127.0.0.1", port=0, proxies=("127.0.0.1/32",))
V1 = b"PROXY TCP4 10.0.3.134 10.0.3.135 56324 25\r\n"


def binary(
    rest: bytes, *, command: int = 0x21, family: int = 0x11, length: int | None = None
) -> bytes:
    return (
        SIGNATURE
        + struct.pack(">BBH", command, family, len(rest) if length is None else length)
        + rest
    )


def tcp4(client: str = "10.0.3.134", ours: str = "10.0.3.135") -> bytes:
    return socket.inet_aton(client) + socket.inet_aton(ours) + struct.pack(">HH", 56324, 25)


def tcp6(client: str, ours: str = "2001:db8::2") -> bytes:
    packed = [socket.inet_pton(socket.AF_INET6, one) for one in (client, ours)]
    return b"".join(packed) + struct.pack(">HH", 56324, 25)


def more(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value


def with_checksum(octets: bytes, checksum: bytes | None = None) -> bytes:
    """A header with a TLV of CRC32c at its end."""
    blank = binary(octets[16:] + more(3, bytes(4)))
    found = struct.pack(">I", proxy.crc32c(blank)) if checksum is None else checksum
    return blank[:-4] + found


def read(octets: bytes) -> tuple[Claimed, bytes]:
    """What is claimed, and what is left."""
    source = io.BytesIO(octets)

    def take(count: int) -> bytes:
        taken = source.read(count)
        if len(taken) < count:
            raise ConnectionResetError("closed")
        return taken

    return proxy.read(take), source.read()


@pytest.mark.parametrize(
    ("header", "claimed"),
    [
        (V1, CLIENT),
        (b"PROXY TCP4 0.0.0.1 255.255.255.255 0 65535\r\n", Claimed("0.0.0.1", "255.255.255.255")),
        (b"PROXY TCP6 2001:DB8::1 2001:db8:0:0::2 1 25\r\n", Claimed("2001:db8::1", "2001:db8::2", 1)),
        (b"PROXY TCP6 ::ffff:10.0.3.134 ::ffff:10.0.3.135 56324 25\r\n", CLIENT),
        (b"PROXY UNKNOWN\r\n", Claimed()),
        (b"PROXY UNKNOWN ffff::1 what ever\r\n", Claimed()),
        (binary(tcp4()), CLIENT),
        (binary(tcp6("2001:db8::1"), family=0x21), Claimed("2001:db8::1", "2001:db8::2", 56324)),
        (binary(tcp6("::ffff:10.0.3.134", "::ffff:10.0.3.135"), family=0x21), CLIENT),
        (binary(tcp4() + more(4, b"padding") + more(1, b"") + more(0x20, bytes(300))), CLIENT),
        (with_checksum(binary(tcp4())), CLIENT),
        (binary(b"", command=0x20, family=0), Claimed()),
        (binary(b"whatever", command=0x20, family=0x99), Claimed()),
        (binary(b"", family=0), Claimed()),
        (binary(b"any", family=0), Claimed()),
        (binary(bytes(216), family=0x31), Claimed()),
    ],
)  # fmt: skip
def test_a_header_is_read_and_nothing_behind_it(header: bytes, claimed: Claimed) -> None:
    assert read(header + b"EHLO x\r\n") == (claimed, b"EHLO x\r\n")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"EHLO lab1.campus\r\n", "there is none"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03xxxx", "there is none"),
        (b"proxy TCP4 10.0.3.134 10.0.3.135 1 25\r\n", "there is none"),
        (b"PROXY TCP4 10.0.3.134 10.0.3.135 1 25\n", "the line makes no sense"),
        (b"PROXY  TCP4 10.0.3.134 10.0.3.135 1 25\r\n", "the line makes no sense"),
        (b"PROXY TCP4 10.0.3.134 10.0.3.135 1 25 \r\n", "the line makes no sense"),
        (b"PROXY TCP4 10.0.3.134 10.0.3.135 1\r\n", "the line makes no sense"),
        (b"PROXY TCP4 10.0.3.134 10.0.3.135 01 25\r\n", "the line makes no sense"),
        (b"PROXY TCP4 10.0.3.134 10.0.3.135 +1 25\r\n", "the line makes no sense"),
        (b"PROXY TCP4 10.0.3.134 10.0.3.135 \xd9\xa1 25\r\n", "the line makes no sense"),
        (b"PROXY UDP4 10.0.3.134 10.0.3.135 1 25\r\n", "the line makes no sense"),
        (b"PROXY UNKNOWNED\r\n", "the line makes no sense"),
        (b"PROXY TCP4 10.0.3.134 10.0.3.135 65536 25\r\n", "there is no such port"),
        (b"PROXY TCP4 10.0.3.134 10.0.3.135 1 99999\r\n", "there is no such port"),
        (b"PROXY TCP4 10.0.3.1341 10.0.3.135 1 25\r\n", "that is no address"),
        (b"PROXY TCP4 10.0.3.034 10.0.3.135 1 25\r\n", "that is no address"),
        (b"PROXY TCP4 10.3 10.0.3.135 1 25\r\n", "that is no address"),
        (b"PROXY TCP4 2001:db8::1 2001:db8::2 1 25\r\n", "that is no address"),
        (b"PROXY TCP6 10.0.3.134 10.0.3.135 1 25\r\n", "that is no address"),
        (b"PROXY TCP4 0.0.0.0 10.0.3.135 1 25\r\n", "no client has the address 0.0.0.0"),
        (b"PROXY TCP4 224.0.0.1 10.0.3.135 1 25\r\n", "no client has the address 224.0.0.1"),
        (b"PROXY TCP6 :: 2001:db8::2 1 25\r\n", "no client has the address ::"),
        (b"PROXY TCP4 " + b"1" * 200 + b"\r\n", "the line is too long"),
        (b"PROXY UNKNOWN " + b"1" * 200 + b"\r\n", "the line is too long"),
        (binary(tcp4(), command=0x11), "version and command 0x11 are unknown"),
        (binary(tcp4(), command=0x22), "version and command 0x22 are unknown"),
        (binary(tcp4(), family=0x12), "family 0x12 is not one by which mail comes"),
        (binary(tcp4()[:-1]), "the addresses are cut short"),
        (binary(tcp4(), family=0x21), "the addresses are cut short"),
        (binary(bytes(100), family=0x31), "the addresses are cut short"),
        (binary(tcp4("255.255.255.255")), "no client has the address 255.255.255.255"),
        (binary(tcp4() + b"\x01\x00"), "what follows the addresses is cut short"),
        (binary(tcp4() + b"\x01\x00\x05four"), "what follows the addresses is cut short"),
        (binary(tcp4() + more(3, b"abc")), "the checksum is wrong"),
        (with_checksum(binary(tcp4()), b"\0\0\0\0"), "the checksum is wrong"),
        (binary(bytes(5000)), "it is too long"),
    ],
)  # fmt: skip
def test_what_is_no_header_to_the_letter_is_refused(header: bytes, reason: str) -> None:
    with pytest.raises(BadHeader, match=reason):
        read(header)


def test_the_checksum_is_that_of_the_rfc() -> None:
    """The vector that everybody has, and those of RFC 3720 appendix B.4."""
    assert proxy.crc32c(b"123456789") == 0xE3069283
    assert proxy.crc32c(bytes(32)) == 0x8A9136AA
    assert proxy.crc32c(b"\xff" * 32) == 0x62A8AB43


# --- who may say it -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10.0.3.5", ("10.0.3.5/32",)),
        ("10.0.3.5 10.0.4.0/24  2001:db8::/32", ("10.0.3.5/32", "10.0.4.0/24", "2001:db8::/32")),
        ("::1", ("::1/128",)),
    ],
)
def test_a_port_names_its_proxies(text: str, found: tuple[str, ...]) -> None:
    assert networks(text) == found
    (port,) = ports.read(f"Name=MTA, HAProxy={text}, Port=25")
    assert (port.proxies, port.port) == (found, 25)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no address at all"),
        ("yes", "'yes' is no address and no network"),
        ("10.0.3.5/24", "host bits set"),
        ("0.0.0.0/0", "not everybody may be believed"),
        ("::/0", "not everybody may be believed"),
    ],
)
def test_what_is_no_network_is_an_error(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"HAProxy: {reason}" if not text else reason):
        ports.read(f"HAProxy={text}")


def test_networks_count() -> None:
    assert proxy.is_named("10.0.4.200", ("10.0.3.5/32", "10.0.4.0/24"))
    assert not proxy.is_named("10.0.5.1", ("10.0.3.5/32", "10.0.4.0/24"))
    assert proxy.is_named("2001:db8::1", ("10.0.3.5/32", "2001:db8::/32"))
    assert not proxy.is_named("::1", ("127.0.0.1/32",))


# --- connections ----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def nobody_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostnames, "client_name", lambda ip: ("", True, False))


def said(listening: Listening, header: bytes) -> Peer:
    peer = listening.connect()
    peer.socket.sendall(header)
    return peer


def relays(peer: Peer) -> bool:
    for line in ("EHLO x", "MAIL FROM:<emma@lab1.campus>"):
        assert peer.says(line).startswith("250")
    answer = peer.says("RCPT TO:<x@lab3.campus>")
    assert answer.startswith(("250", "550 5.7.1"))
    return answer.startswith("250")


@pytest.mark.parametrize("header", [V1, binary(tcp4())], ids=["v1", "v2"])
def test_the_client_behind_the_proxy_is_the_client(
    host: SmtpHost, start: Callable[..., Listening], lines: list[str], header: bytes
) -> None:
    peer = said(start(BEHIND), header)
    assert peer.answer().startswith("220")
    for line in ("EHLO x", "MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave@lab2.campus>", "DATA"):
        assert peer.says(line)[0] in "23"
    assert peer.says("Subject: x\r\n\r\nHi\r\n.").startswith("250")
    [(control, _)] = host.queued()
    [qf] = host.mqueue.glob("qf*")
    assert b"Received: from x ([10.0.3.134])\n" in qf.read_bytes()
    assert control.macros[b"{if_addr}"] == b"10.0.3.135"
    assert any("relay=[10.0.3.134]" in line for line in lines)
    assert not any("127.0.0.1" in line for line in lines)


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.0.0.2", "::1", "own", "", "unknown"])
@pytest.mark.parametrize("table", ["", "127\nIPv6:::1\n"], ids=["no table", "table"])
def test_what_it_claims_of_this_host_gives_no_rights(
    host: SmtpHost, start: Callable[..., Listening], ip: str, table: str
) -> None:
    own = sorted(one for one in hostnames.own_addresses() if "." in one)[-1]
    Path(host.options.relay_domains).write_text(f"{table}{own}\n" if table else "")
    family = "TCP6" if ":" in ip else "TCP4"
    header = (
        f"PROXY {family} {own if ip == 'own' else ip} {'::2' if ':' in ip else '10.0.3.135'} 1 25"
    )
    if ip in ("", "unknown"):
        header = "PROXY UNKNOWN"
    octets = header.encode() + b"\r\n" if ip else binary(b"", command=0x20, family=0)
    peer = said(start(BEHIND), octets)
    assert peer.answer().startswith("220")
    assert not relays(peer)


def test_tables_give_rights_to_the_client(host: SmtpHost, start: Callable[..., Listening]) -> None:
    Path(host.options.relay_domains).write_text("10.0.3\n")
    listening = start(BEHIND)
    for header, may in ((V1, True), (V1.replace(b"10.0.3.134", b"10.0.4.1"), False)):
        peer = said(listening, header)
        assert peer.answer().startswith("220")
        assert relays(peer) is may


def test_a_row_refuses_the_client_and_not_the_proxy(
    host: SmtpHost, start: Callable[..., Listening]
) -> None:
    Path(host.options.access_file).write_text("Connect:10.0.3.134  REJECT\n")
    listening = start(BEHIND)
    peer = said(listening, V1)
    peer.answer()
    assert peer.says("MAIL FROM:<emma@lab1.campus>").startswith("550 5.7.1")
    other = said(listening, V1.replace(b"134", b"133"))
    other.answer()
    assert other.says("MAIL FROM:<emma@lab1.campus>").startswith("250")


def test_limits_count_clients(
    host: SmtpHost, start: Callable[..., Listening], lines: list[str]
) -> None:
    Path(host.options.access_file).write_text("ClientConn:10.0.3.134 1\nClientConn:127.0.0.1 1\n")
    listening = start(BEHIND)
    first = said(listening, V1)
    assert first.answer().startswith("220")
    assert said(listening, V1).answer() == "421 4.3.2 Too many open connections."
    for last in (b"132", b"133"):
        assert said(listening, V1.replace(b"134", last)).answer().startswith("220")
    assert any("arg1=[10.0.3.134]" in line for line in lines)


def test_a_claimed_loopback_address_has_limits(
    host: SmtpHost, start: Callable[..., Listening]
) -> None:
    host.options.max_connections_per_client = 1
    listening, header = start(BEHIND), V1.replace(b"10.0.3.134", b"127.0.0.1")
    assert said(listening, header).answer().startswith("220")
    assert said(listening, header).answer().startswith("421 4.3.2 Too many open")


@pytest.mark.parametrize(
    "header", [b"EHLO lab1.campus\r\n", b"PROXY TCP4 x\r\n", binary(b"", command=0)]
)
def test_without_a_header_nobody_comes_in(
    host: SmtpHost, start: Callable[..., Listening], lines: list[str], header: bytes
) -> None:
    peer = said(start(BEHIND), header)
    assert peer.answer().startswith("421 4.7.0 lab2.campus PROXY header: ")
    assert peer.answer() == ""
    assert lines[0].startswith("daemon MTA: relay=[127.0.0.1], reject=421 4.7.0 lab2.campus PROXY")
    assert len(lines) == 1


def test_who_is_not_named_does_not_come_in(
    host: SmtpHost, start: Callable[..., Listening], lines: list[str]
) -> None:
    listening = start(Port(address="127.0.0.1", port=0, proxies=("10.0.3.5/32",)))
    peer = listening.connect()
    text = "421 4.7.0 lab2.campus This port is for proxies (DaemonPortOptions HAProxy)"
    assert peer.answer() == text
    assert peer.answer() == ""
    assert lines == [f"daemon MTA: relay=[127.0.0.1], reject={text}"]


def test_a_header_has_its_time(
    host: SmtpHost, start: Callable[..., Listening], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it: an octet now and then is not enough."""
    monkeypatch.setattr(proxy, "PATIENCE", 0.3)
    listening = start(BEHIND)
    drips, silent = listening.connect(), listening.connect()
    rest = iter(b"PROXY UNKNOWN " + b"x" * 80)
    while not waiting.readable([drips.socket.fileno()], 0.03):
        drips.socket.sendall(bytes([next(rest)]))
    assert sum(1 for _ in rest) > 40
    assert drips.answer().startswith("421 4.7.0 lab2.campus PROXY header: ")
    assert silent.answer().startswith("421 4.7.0 lab2.campus PROXY header: ")


def test_other_ports_take_no_header(host: SmtpHost, start: Callable[..., Listening]) -> None:
    peer = said(start(), V1)
    assert peer.answer().startswith("220")
    assert not peer.answer().startswith("2")


def test_whoever_hangs_up_in_the_header_costs_nothing(
    host: SmtpHost, start: Callable[..., Listening]
) -> None:
    listening = start(BEHIND)
    for cut in (0, 5, 20):
        said(listening, V1[:cut]).socket.close()
    peer = said(listening, V1)
    assert peer.answer().startswith("220")
    peer.socket.close()


@pytest.fixture
def campus(tmp_path_factory: pytest.TempPathFactory) -> Campus:
    return Campus(tmp_path_factory.mktemp("campus"))


@pytest.mark.debian("openssl")
def test_on_port_465_it_comes_before_tls(host: SmtpHost, campus: Campus, lines: list[str]) -> None:
    listening = SecureListening(
        host, campus, "Name=MSA, Addr=127.0.0.1, Port=0, M=s, HAProxy=127.0.0.1"
    )
    try:
        peer = listening.connect()
        peer.socket.sendall(V1)
        inside = secured(peer, client_context(campus))
        assert inside.answer().startswith("220")
        assert "[10.0.3.134]" in inside.says("HELO x")
        assert inside.says("QUIT").startswith("221")
        inside.close()
    finally:
        listening.stop()


# --- many -----------------------------------------------------------------------------------------


def wrong(random: Random, header: bytes) -> bytes:
    """Something is changed, cut off or put in."""
    octets = bytearray(header)
    for _ in range(random.randrange(4)):
        place = random.randrange(len(octets) + 1)
        match random.randrange(4):
            case 0:
                octets[place : place + 1] = bytes([random.randrange(256)])
            case 1:
                del octets[place : place + random.randrange(1, 8)]
            case 2:
                octets[place:place] = random.randbytes(random.randrange(1, 8))
            case _:
                octets[place:place] = random.choice(
                    [b"\r\n", b" ", b"\0", b"1", b"PROXY ", SIGNATURE]
                )
    return bytes(octets)


def play(listening: Listening, number: int) -> str:
    """Session *number*: the code of its first reply; what was let in goes on in step."""
    random = Random(f"proxy {number}")
    ip = ".".join(str(random.randrange(256)) for _ in range(4))
    header = random.choice(
        [
            f"PROXY TCP4 {ip} 10.0.3.135 {random.randrange(70000)} 25\r\n".encode(),
            f"PROXY TCP6 2001:db8::{random.randrange(9999)} ::2 1 25\r\n".encode(),
            b"PROXY UNKNOWN\r\n",
            binary(tcp4(ip) + more(random.randrange(256), random.randbytes(random.randrange(40)))),
            binary(tcp6("2001:db8::1"), family=0x21),
            binary(random.randbytes(random.randrange(60)), command=0x20),
            with_checksum(binary(tcp4(ip))),
        ]
    )
    peer = said(listening, wrong(random, header))
    peer.socket.shutdown(socket.SHUT_WR)  # who waits for more gets no more
    first = peer.answer()
    assert first[:4] in ("220 ", "421 ", ""), first
    if first[:3] == "220":  # octets too many are commands, which are answered one by one
        while answer := peer.answer():
            assert answer[:3] in ("221", "421", "500", "501", "502", "503"), answer
    assert peer.answer() == ""
    peer.close()
    return first[:3]


def fuzz(host: SmtpHost, lines: list[str], listening: Listening, number: int) -> None:
    host.options.max_connections_per_client = 0
    host.options.max_daemon_children = 0
    found = Counter(play(listening, session) for session in range(number))
    assert found["220"] > number // 10 and found["421"] > number // 10, found
    assert not [line for line in lines if "SYSERR" in line or "Error" in line]
    peer = said(listening, V1)
    assert peer.answer().startswith("220")


def test_300_wrong_headers(
    host: SmtpHost, start: Callable[..., Listening], lines: list[str]
) -> None:
    fuzz(host, lines, start(BEHIND), 300)


@pytest.mark.long
def test_10000_wrong_headers(
    host: SmtpHost, start: Callable[..., Listening], lines: list[str]
) -> None:
    fuzz(host, lines, start(BEHIND), 10_000)


# --- the real one ---------------------------------------------------------------------------------


@pytest.fixture
def balanced(
    tmp_path: Path, start: Callable[..., Listening], request: pytest.FixtureRequest
) -> Iterator[tuple[int, Listening]]:
    """A HAProxy before the listener, and the port at which it takes connections."""
    listening = start(BEHIND)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    sends = request.param
    (tmp_path / "haproxy.cfg").write_text(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n"
        f"listen mail\n bind 127.0.0.1:{port}\n source 127.0.0.1\n option smtpchk HELO probe\n"
        f" server one 127.0.0.1:{listening.port} {sends} check inter 100ms\n"
    )
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    process = subprocess.Popen([program, "-db", "-f", str(tmp_path / "haproxy.cfg")])
    try:
        yield port, listening
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.debian("haproxy")
@pytest.mark.parametrize(
    "balanced",
    [
        "send-proxy check-send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id",
    ],
    indirect=True,
)
def test_haproxy_tells_who_its_client_is(
    host: SmtpHost, balanced: tuple[int, Listening], lines: list[str]
) -> None:
    port, _ = balanced
    end = time.monotonic() + 20
    while True:
        try:
            client = socket.create_connection(("127.0.0.1", port), 5, ("127.0.0.9", 0))
            peer = Peer(client)
            if peer.answer().startswith("220"):
                break
            peer.close()
        except OSError:
            pass
        assert time.monotonic() < end
        time.sleep(0.05)
    assert peer.says("EHLO x").startswith("250")
    assert peer.says("MAIL FROM:<emma@lab1.campus>").startswith("250")
    assert peer.says("RCPT TO:<x@lab3.campus>").startswith("550 5.7.1"), "loopback, by a proxy"
    peer.says("QUIT")
    peer.close()
    assert any("relay=[127.0.0.9]" in line for line in lines), lines
    time.sleep(0.2)  # it looks whether we are there, and finds us well
    assert not [line for line in lines if "PROXY header" in line]
