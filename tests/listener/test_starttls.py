"""TLS with clients, over real sockets: the test is the client."""

from __future__ import annotations

import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.config import ports
from minimta.config.options import Options
from minimta.listener import starttls
from minimta.listener.limits import ConnectionLimits
from minimta.listener.starttls import ServerTls
from minimta.system.tls_values import KeyPair, TlsError
from tests.smtp.test_data import FALSE_ENDS
from tests.support.certificates import Authority, self_signed
from tests.support.listening import PATIENCE, Listening, Peer
from tests.support.smtphost import SmtpHost

pytestmark = pytest.mark.debian("openssl")


class Campus:
    """Certificates that all tests share."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory, "ca")
        self.host = self.authority.issue("lab2.campus")
        self.client = self.authority.issue("client.campus")
        self.stranger = self_signed(directory, "stranger.example")
        self.friend = self_signed(directory, "friend.example")


@pytest.fixture(scope="module")
def campus(tmp_path_factory: pytest.TempPathFactory) -> Campus:
    return Campus(tmp_path_factory.mktemp("campus"))


class SecureListening(Listening):
    """A listener with the certificate of lab2.campus, as the options have it."""

    def __init__(self, host: SmtpHost, campus: Campus, port: str = "") -> None:
        host.options.server_cert_file = campus.host.cert_file
        host.options.server_key_file = campus.host.key_file
        shared = host.shared_state()
        shared.tls = starttls.from_options(host.options)
        [row] = ports.read(port or "Addr=127.0.0.1, Port=0")
        super().__init__(host, port=row, limits=ConnectionLimits(shared))


@pytest.fixture
def listen(host: SmtpHost, campus: Campus) -> Iterator[Callable[..., SecureListening]]:
    started: list[SecureListening] = []

    def begin(port: str = "") -> SecureListening:
        started.append(SecureListening(host, campus, port))
        return started[-1]

    yield begin
    for one in started:
        one.stop()


def client_context(campus: Campus, shows: KeyPair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=campus.authority.certificate)
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # the end without close_notify is an error
    if shows:
        context.load_cert_chain(shows.cert_file, shows.key_file)
    return context


def secured(peer: Peer, context: ssl.SSLContext) -> Peer:
    """The same connection with TLS on it."""
    sock = context.wrap_socket(
        peer.socket, server_hostname="lab2.campus", suppress_ragged_eofs=False
    )
    return Peer(sock)


def over_tls(listening: Listening, context: ssl.SSLContext) -> Peer:
    peer = listening.connect()
    assert peer.answer().startswith("220")
    assert peer.says("EHLO lab1.campus").startswith("250")
    assert peer.says("STARTTLS") == "220 2.0.0 Ready to start TLS"
    return secured(peer, context)


def sends(peer: Peer) -> str:
    """A whole message; the reply to QUIT."""
    for line in ("EHLO x", "MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave@lab2.campus>"):
        assert peer.says(line).startswith("250")
    assert peer.says("DATA").startswith("354")
    assert peer.says("Subject: x\r\n\r\nHi\r\n.").startswith("250 2.0.0 ")
    return peer.says("QUIT")


def test_a_message_comes_in_over_tls_and_received_and_log_say_so(
    host: SmtpHost, campus: Campus, listen: Callable[..., SecureListening], lines: list[str]
) -> None:
    peer = over_tls(listen(), client_context(campus))
    assert sends(peer) == "221 2.0.0 lab2.campus closing connection"
    assert peer.answer() == ""  # and close_notify before it, or ssl would complain
    [(control, body)] = host.queued()
    assert body == b"Hi\n"
    assert control.macros[b"r"] == b"ESMTPS"
    facts = "version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 bits=256 verify=NOT"
    [qf] = host.mqueue.glob("qf*")
    text = qf.read_bytes().decode("latin-1")
    assert f"with ESMTPS id {qf.name[2:]}\n\t({facts})\n\tfor <dave@lab2.campus>; " in text
    found = "version=TLSv1.3, verify=NOT, cipher=TLS_AES_256_GCM_SHA384, bits=256/256"
    assert f"STARTTLS=server, relay=localhost [127.0.0.1], {found}" in lines


def test_helo_in_tls_is_smtp_and_nothing_said_before_counts(
    host: SmtpHost, campus: Campus, listen: Callable[..., SecureListening]
) -> None:
    peer = over_tls(listen(), client_context(campus))
    for line in ("MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>"):
        peer.says(line)
    peer.says("DATA")
    peer.says("Subject: x\r\n\r\nHi\r\n.")
    peer.says("QUIT")
    [(control, _)] = host.queued()
    assert control.macros[b"r"] == b"SMTP"
    assert b"s" not in control.macros or control.macros[b"s"] == b""


def test_port_465_is_tls_from_the_first_octet(
    host: SmtpHost, campus: Campus, listen: Callable[..., SecureListening]
) -> None:
    """RFC 8314 section 3.3."""
    peer = secured(
        listen("Name=MSA, Addr=127.0.0.1, Port=0, M=s").connect(), client_context(campus)
    )
    assert peer.answer().startswith("220 lab2.campus ESMTP")
    assert peer.says("STARTTLS").startswith("503")
    sends(peer)
    assert host.queued()[0][0].macros[b"r"] == b"ESMTPS"


def test_without_a_certificate_port_465_says_nothing_in_clear(
    host: SmtpHost, start: Callable[..., Listening], lines: list[str]
) -> None:
    [port] = ports.read("Name=MSA, Addr=127.0.0.1, Port=0, M=s")
    assert start(port).connect().answer() == ""
    assert any("there is no certificate that can be used" in line for line in lines)


def test_a_port_with_modifier_S_offers_no_starttls(
    listen: Callable[..., SecureListening],
) -> None:
    peer = listen("Addr=127.0.0.1, Port=0, M=S").connect()
    peer.answer()
    assert peer.says("STARTTLS") == "454 4.3.3 TLS not available after start"


@pytest.mark.parametrize("garbage", [b"NOOP\r\n", b"\x16\x03\x01\x00\x05hello", b"\0" * 2000])
def test_what_is_no_handshake_ends_the_connection_without_a_word_in_clear(
    listen: Callable[..., SecureListening], lines: list[str], garbage: bytes
) -> None:
    peer = listen().connect()
    peer.answer()
    peer.says("STARTTLS")
    peer.socket.sendall(garbage)
    rest = peer.socket.recv(1000)
    assert rest[:1] in (b"", b"\x15")  # at most an alert
    wait_for_line(lines, "STARTTLS=server, error: accept failed=-1, reason=")


def wait_for_line(lines: list[str], text: str) -> str:
    end = time.monotonic() + PATIENCE
    while not (found := [line for line in lines if text in line]):
        assert time.monotonic() < end, lines
        time.sleep(0.01)
    return found[0]


def test_text_behind_the_client_hello_is_not_carried_over(
    host: SmtpHost, campus: Campus, listen: Callable[..., SecureListening]
) -> None:
    """CVE-2011-0411, with the octets in another segment than STARTTLS."""
    peer = listen().connect()
    peer.answer()
    peer.says("STARTTLS")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context(campus).wrap_bio(incoming, outgoing, server_hostname="lab2.campus")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    peer.socket.sendall(outgoing.read() + b"MAIL FROM:<evil@example.org>\r\n")
    incoming.write(peer.socket.recv(65536))
    with pytest.raises(OSError):  # an alert or, if that is lost, a reset
        client.do_handshake()
        peer.socket.sendall(outgoing.read())
        incoming.write(peer.socket.recv(65536))
        client.read(1000)
    assert host.files() == []


def test_stalled_handshakes_hold_up_nobody_else(
    host: SmtpHost, campus: Campus, listen: Callable[..., SecureListening]
) -> None:
    listening = listen()
    stalled = [listening.connect() for _ in range(20)]
    for number, peer in enumerate(stalled):
        peer.answer()
        peer.says("STARTTLS")
        peer.socket.sendall(b"\x16\x03\x01\x02\x00\x01"[: number % 6])
    begin = time.monotonic()
    sends(over_tls(listening, client_context(campus)))
    assert time.monotonic() - begin < 5


def test_a_crowd_that_idles_drips_stalls_and_never_reads_holds_up_nobody_else(
    campus: Campus, listen: Callable[..., SecureListening]
) -> None:
    listening = listen()
    idle = [listening.connect() for _ in range(40)]
    dripping = [listening.connect() for _ in range(20)]
    stalled = [listening.connect() for _ in range(20)]
    mute = [listening.connect() for _ in range(4)]
    for peer in (*idle, *dripping, *stalled, *mute):
        peer.answer()
    for peer in stalled:
        peer.says("STARTTLS")
    for peer in dripping:
        peer.socket.sendall(b"N")
    for peer in mute:  # until its own buffer and ours are full
        peer.socket.settimeout(0.05)
        with pytest.raises(TimeoutError):
            for _ in range(1000):
                peer.socket.sendall(b"HELP\r\n" * 10_000)
    for peer in dripping:
        peer.socket.sendall(b"O")
    begin = time.monotonic()
    assert sends(over_tls(listening, client_context(campus))).startswith("221")
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize("drips", [False, True], ids=["silent", "an octet now and then"])
def test_a_handshake_has_a_deadline(
    host: SmtpHost, listen: Callable[..., SecureListening], lines: list[str], drips: bool
) -> None:
    host.options.timeout_starttls = 1
    peer = listen().connect()
    peer.answer()
    peer.says("STARTTLS")
    begin = time.monotonic()
    ended = threading.Event()

    def drip() -> None:
        for octet in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100:
            if ended.wait(0.3):
                return
            try:
                peer.socket.sendall(bytes([octet]))
            except OSError:
                return

    dripping = threading.Thread(target=drip if drips else lambda: None)
    dripping.start()
    assert peer.answer() == ""
    ended.set()
    dripping.join(PATIENCE)
    assert time.monotonic() - begin < 4
    wait_for_line(lines, "reason=no end of the handshake (Timeout.starttls)")


def test_an_idle_client_is_told_so_inside_tls(
    host: SmtpHost, campus: Campus, listen: Callable[..., SecureListening]
) -> None:
    """With an ssl.SSLSocket and SO_RCVTIMEO it would look like an end of the connection."""
    host.options.timeout_command = 1
    peer = over_tls(listen(), client_context(campus))
    peer.says("NOOP")
    assert peer.answer().startswith("421 4.4.2 lab2.campus ")
    assert peer.answer() == ""


def test_the_end_of_the_daemon_is_told_inside_tls(
    campus: Campus, listen: Callable[..., SecureListening]
) -> None:
    """shutdown(2) by another thread takes nothing away from the layer above the socket."""
    listening = listen()
    peer = over_tls(listening, client_context(campus))
    peer.says("NOOP")
    closing = threading.Thread(target=lambda: listening.limits.close(PATIENCE))
    closing.start()
    assert peer.answer().startswith("421 4.3.2 lab2.campus Shutting down")
    assert peer.answer() == ""
    closing.join(PATIENCE)


def test_a_burst_of_commands_and_a_large_message_go_through_tls(
    host: SmtpHost, campus: Campus, listen: Callable[..., SecureListening]
) -> None:
    peer = over_tls(listen(), client_context(campus))
    peer.says("EHLO x")
    peer.socket.sendall(b"MAIL FROM:<a@b>\r\n" + b"RCPT TO:<dave>\r\n" * 500 + b"DATA\r\n")
    assert [peer.answer()[:3] for _ in range(502)] == ["250"] * 501 + ["354"]
    peer.socket.sendall(b"Subject: x\r\n\r\n" + b"x" * 78 + (b"\r\n" + b"y" * 78) * 20_000)
    assert peer.says("\r\n.").startswith("250 2.0.0 ")
    assert len(host.queued()[0][1]) == 79 * 20_001


def printer(campus: Campus) -> ssl.SSLContext:
    """A client that knows only TLS 1.0."""
    context = client_context(campus)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    return context


def test_old_tls_is_not_spoken(
    campus: Campus, listen: Callable[..., SecureListening], lines: list[str]
) -> None:
    """RFC 8996."""
    with pytest.raises(ssl.SSLError):
        over_tls(listen(), printer(campus))
    wait_for_line(lines, "STARTTLS=server, error: accept failed=-1, reason=")


def test_a_port_for_printers_speaks_it_and_no_other_port(
    host: SmtpHost, campus: Campus, listen: Callable[..., SecureListening]
) -> None:
    row = "Name=printers, Addr=127.0.0.1, Port=0, TLS=1.0"
    host.options.daemon_ports = ports.read(f"{row}; Name=MTA, Addr=127.0.0.1, Port=0")
    sends(over_tls(listen(row), printer(campus)))
    assert b"version=TLSv1 " in next(host.mqueue.glob("qf*")).read_bytes()
    with pytest.raises(ssl.SSLError):
        over_tls(listen(), printer(campus))


@pytest.mark.parametrize("end", FALSE_ENDS)
def test_no_second_message_is_smuggled_through_tls(
    host: SmtpHost, campus: Campus, listen: Callable[..., SecureListening], end: bytes
) -> None:
    """CVE-2023-51765."""
    peer = over_tls(listen(), client_context(campus))
    for line in ("EHLO x", "MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>", "DATA"):
        peer.says(line)
    second = (
        b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<dave>\r\nDATA\r\nSubject: 2\r\n\r\nevil\r\n.\r\n"
    )
    peer.socket.sendall(b"Subject: x\r\n\r\nHi" + end + second)
    assert peer.answer()[:9] in ("421 4.5.0", "554 5.6.0", "250 2.0.0")
    assert len(host.queued()) <= 1
    assert not any(b"evil" in control.reverse_path for control, _ in host.queued())


def test_an_address_with_a_line_end_in_it_makes_no_header_through_tls(
    host: SmtpHost, campus: Campus, listen: Callable[..., SecureListening]
) -> None:
    peer = over_tls(listen(), client_context(campus))
    peer.says("EHLO x")
    assert peer.says("MAIL FROM:<a\rX-Evil: 1@b>").startswith("421 4.5.0")
    assert host.files() == []


@pytest.mark.debian("swaks", "libnet-ssleay-perl")
@pytest.mark.parametrize("how", ["-tls", "--tls-on-connect"])
def test_swaks_sends_over_tls(
    host: SmtpHost, campus: Campus, listen: Callable[..., SecureListening], how: str
) -> None:
    modifiers = ", M=s" if how != "-tls" else ""
    port = listen(f"Addr=127.0.0.1, Port=0{modifiers}").port
    words = ["--server", f"127.0.0.1:{port}", "--to", "dave@lab2.campus", "--from", "a@b.example"]
    done = subprocess.run(["swaks", how, *words], capture_output=True, check=False, timeout=30)
    assert done.returncode == 0, done.stdout.decode()
    assert host.queued()[0][0].macros[b"r"] == b"ESMTPS"


# --- certificates of clients ----------------------------------------------------------------------


def verified(lines: list[str]) -> str:
    found = wait_for_line(lines, "STARTTLS=server, relay=")
    return found.partition("verify=")[2].partition(",")[0]


@pytest.mark.parametrize(
    ("shows", "srv_options", "verify"),
    [("", "", "NO"), ("client", "", "OK"), ("", "V", "NOT"), ("client", "V", "NOT")],
)
def test_what_a_client_shows_is_told(
    host: SmtpHost,
    campus: Campus,
    listen: Callable[..., SecureListening],
    lines: list[str],
    shows: str,
    srv_options: str,
    verify: str,
) -> None:
    host.options.ca_cert_file = campus.authority.certificate
    host.options.tls_srv_options = srv_options
    shown = getattr(campus, shows) if shows else None
    sends(over_tls(listen(), client_context(campus, shown)))
    assert verified(lines) == verify


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_with_a_certificate_that_nobody_vouches_for_gets_in_the_next_time(
    host: SmtpHost,
    campus: Campus,
    listen: Callable[..., SecureListening],
    lines: list[str],
    version: ssl.TLSVersion,
) -> None:
    host.options.ca_cert_file = campus.authority.certificate
    listening = listen()
    context = client_context(campus, campus.stranger)
    context.minimum_version = context.maximum_version = version
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        sends(over_tls(listening, context))
    wait_for_line(lines, "reason=the certificate is self-signed")
    sends(over_tls(listening, context))
    assert verified(lines) == "NOT"


def relays(peer: Peer) -> str:
    """The answer to a recipient of another host."""
    peer.says("EHLO x")
    peer.says("MAIL FROM:<emma@lab1.campus>")
    return peer.says("RCPT TO:<x@sink.example>")[:9]


@pytest.mark.parametrize(
    ("shows", "answer"),
    [("", "550 5.7.1"), ("client", "550 5.7.1"), ("friend", "250 2.1.5")],
)
def test_only_who_has_one_of_the_certificates_may_relay(
    host: SmtpHost,
    campus: Campus,
    listen: Callable[..., SecureListening],
    monkeypatch: pytest.MonkeyPatch,
    shows: str,
    answer: str,
) -> None:
    monkeypatch.setattr("minimta.listener.rights.may_relay", lambda ip: False)
    monkeypatch.setattr("minimta.listener.stream.Stream.own_address", lambda self: "10.0.3.135")
    host.options.ca_cert_file = campus.authority.certificate
    host.options.relay_cert_file = campus.friend.cert_file
    listening = listen()
    shown = getattr(campus, shows) if shows else None
    assert relays(over_tls(listening, client_context(campus, shown))) == answer
    peer = listening.connect()  # and in clear nobody may
    peer.answer()
    assert relays(peer) == "550 5.7.1"


def test_a_certificate_of_the_file_is_good_whoever_has_signed_it(
    host: SmtpHost,
    campus: Campus,
    listen: Callable[..., SecureListening],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("minimta.listener.rights.may_relay", lambda ip: False)
    monkeypatch.setattr("minimta.listener.stream.Stream.own_address", lambda self: "10.0.3.135")
    host.options.relay_cert_file = campus.client.cert_file
    assert relays(over_tls(listen(), client_context(campus, campus.client))) == "250 2.1.5"


@pytest.mark.parametrize(
    ("rows", "answer"),
    [
        ("CERTIssuer:/CN=ca RELAY", "250 2.1.5"),
        ("CERTIssuer:/CN=ca SUBJECT\nCERTSubject:/CN=client.campus RELAY", "250 2.1.5"),
        ("CERTIssuer:/CN=ca SUBJECT\nCERTSubject:/CN=other.campus RELAY", "550 5.7.1"),
        ("CERTSubject:/CN=client.campus RELAY", "550 5.7.1"),
        ("CERTIssuer:/CN=cb RELAY", "550 5.7.1"),
    ],
)
def test_rows_of_the_access_table_say_whose_certificates_let_relay(
    host: SmtpHost,
    campus: Campus,
    listen: Callable[..., SecureListening],
    monkeypatch: pytest.MonkeyPatch,
    rows: str,
    answer: str,
) -> None:
    monkeypatch.setattr("minimta.listener.rights.may_relay", lambda ip: False)
    monkeypatch.setattr("minimta.listener.stream.Stream.own_address", lambda self: "10.0.3.135")
    host.options.ca_cert_file = campus.authority.certificate
    Path(host.options.access_file).write_text(f"{rows}\n")
    listening = listen()
    assert relays(over_tls(listening, client_context(campus, campus.client))) == answer
    assert relays(over_tls(listening, client_context(campus))) == "550 5.7.1"


@pytest.mark.parametrize("delay_checks", ["no", "yes"])
def test_what_the_tables_give_an_address_it_has_after_the_handshake_too(
    host: SmtpHost,
    campus: Campus,
    listen: Callable[..., SecureListening],
    monkeypatch: pytest.MonkeyPatch,
    delay_checks: str,
) -> None:
    host.options.delay_checks = delay_checks
    monkeypatch.setattr("minimta.listener.rights.may_relay", lambda ip: False)
    monkeypatch.setattr("minimta.listener.relaying.is_loopback", lambda ip: False)
    monkeypatch.setattr("minimta.listener.stream.Stream.own_address", lambda self: "10.0.3.135")
    Path(host.options.access_file).write_text("Connect:127.0.0.1 RELAY\n")
    assert relays(over_tls(listen(), client_context(campus))) == "250 2.1.5"


def test_an_authority_that_is_in_the_file_by_itself_lets_nobody_else_relay(
    host: SmtpHost,
    campus: Campus,
    listen: Callable[..., SecureListening],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("minimta.listener.rights.may_relay", lambda ip: False)
    monkeypatch.setattr("minimta.listener.stream.Stream.own_address", lambda self: "10.0.3.135")
    host.options.relay_cert_file = campus.authority.certificate
    peer = over_tls(listen(), client_context(campus, campus.client))
    assert relays(peer) == "550 5.7.1"


# --- what the options name ------------------------------------------------------------------------


def options_with(**values: str) -> Options:
    options = Options()
    for name, value in values.items():
        setattr(options, name, value)
    return options


def test_without_a_certificate_there_is_no_tls() -> None:
    assert starttls.from_options(Options()) is None


def test_a_certificate_for_each_kind_of_key(campus: Campus) -> None:
    rsa = campus.authority.issue("lab2.campus", rsa=True)
    both = options_with(
        server_cert_file=f"{campus.host.cert_file}, {rsa.cert_file}",
        server_key_file=f"{campus.host.key_file}, {rsa.key_file}",
    )
    assert [pair.cert_file for pair in starttls.key_pairs(both)] == [
        campus.host.cert_file,
        rsa.cert_file,
    ]
    ServerTls(both)
    both.server_key_file = rsa.key_file
    with pytest.raises(TlsError, match="2 certificates and 1 keys"):
        ServerTls(both)


def test_a_file_of_relay_certificates_that_cannot_be_read_is_an_error(campus: Campus) -> None:
    options = options_with(
        server_cert_file=campus.host.cert_file,
        server_key_file=campus.host.key_file,
        relay_cert_file="/nonexistent/certs.pem",
    )
    with pytest.raises(TlsError, match=r"/nonexistent/certs\.pem: No such file"):
        ServerTls(options)


def test_of_clients_without_a_good_certificate_not_all_are_remembered(
    campus: Campus, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = options_with(
        server_cert_file=campus.host.cert_file,
        server_key_file=campus.host.key_file,
        ca_cert_file=campus.authority.certificate,
    )
    tls = ServerTls(options)
    for number in range(3000):
        tls.forgive(f"10.0.{number // 256}.{number % 256}")
    assert len(tls._forgiven) <= 1000


# --- TLS that clients must have (TLS_Clt:) --------------------------------------------------------


def says_mail(peer: Peer) -> str:
    assert peer.says("EHLO lab1.campus").startswith("250")
    return peer.says("MAIL FROM:<emma@lab1.campus>")


@pytest.mark.parametrize(
    ("rows", "shows", "text"),
    [
        ("TLS_Clt: VERIFY:112", "client", "250 2.1.0 <emma@lab1.campus>... Sender ok"),
        (
            "TLS_Clt:127.0.0.1 VERIFY+CN:client.campus++CI:/CN=ca",
            "client",
            "250 2.1.0 <emma@lab1.campus>... Sender ok",
        ),
        (
            "TLS_Clt:127 VERIFY+CITag:MyCA\nMyCA:/CN=ca OK",
            "client",
            "250 2.1.0 <emma@lab1.campus>... Sender ok",
        ),
        ("TLS_Clt: ENCR:112", "", "250 2.1.0 <emma@lab1.campus>... Sender ok"),
        (
            "TLS_Clt: VERIFY\nTLS_Clt:127.0.0.1 NONE",
            "",
            "250 2.1.0 <emma@lab1.campus>... Sender ok",
        ),
        ("TLS_Clt: VERIFY", "", "454 4.7.0 not authenticated"),
        ("TLS_Clt: VERIFY:512", "client", "454 4.7.0 encryption too weak 256 less than 512"),
        (
            "TLS_Clt: VERIFY+CN:x.campus",
            "client",
            "454 4.7.0 CN client.campus does not match x.campus",
        ),
        ("TLS_Clt: VERIFY+CITag:MyCA", "client", "454 4.7.0 Cert Issuer /CN=ca not acceptable"),
    ],
)
def test_clients_need_the_tls_that_their_row_wants(
    host: SmtpHost,
    campus: Campus,
    listen: Callable[..., SecureListening],
    rows: str,
    shows: str,
    text: str,
) -> None:
    host.options.ca_cert_file = campus.authority.certificate
    Path(host.options.access_file).write_text(f"{rows}\n")
    peer = over_tls_unsaid(listen(), client_context(campus, campus.client if shows else None))
    assert says_mail(peer) == text


def over_tls_unsaid(listening: Listening, context: ssl.SSLContext) -> Peer:
    """As over_tls(), of a client that has not said EHLO before."""
    peer = listening.connect()
    peer.answer()
    peer.says("STARTTLS")
    return secured(peer, context)
