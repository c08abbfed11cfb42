"""Logins of clients: what is offered to whom, what a login gives, what a failure costs."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.listener import smtp_users
from minimta.listener.auth import MOST_FAILURES
from minimta.listener.peer import Peer
from minimta.listener.rights import Rights
from minimta.listener.starttls import Secured
from minimta.smtp import sasl
from minimta.system.tls_values import TlsFacts
from tests.support.listening import Listening
from tests.support.smtp_users import write_users
from tests.support.smtphost import STRANGER, ClientEnd, SmtpHost, by_port

SECURED = Secured(TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, "NOT"))
LOCAL = ("127.0.0.1", "localhost")
ALL = "250-AUTH SCRAM-SHA-256 PLAIN LOGIN"
FAILED = "535 5.7.0 authentication failed"


def plain(user: str, password: str, identity: str = "") -> str:
    text = f"{identity}\0{user}\0{password}".encode()
    return f"AUTH PLAIN {base64.b64encode(text).decode()}"


@pytest.fixture
def users(host: SmtpHost, tmp_path: Path) -> Path:
    path = write_users(tmp_path / "smtp-users", {"emma": "secret", "dave@lab1.campus": "other"})
    host.options.auth_backend = str(path)
    return path


def over_tls(host: SmtpHost, peer: tuple[str, str] = STRANGER, port: str = "") -> ClientEnd:
    client = by_port(host, port, *peer) if port else host.connect(*peer)
    client.client.secured = SECURED
    client.session.secured()
    client.says("EHLO lab1.campus")
    return client


def offered(client: ClientEnd) -> str:
    return next((line for line in client.says("EHLO x") if "AUTH" in line), "")


# --- who is offered what --------------------------------------------------------------------------


def test_inside_tls_all_mechanisms_are_offered(host: SmtpHost, users: Path) -> None:
    assert offered(over_tls(host)) == ALL


@pytest.mark.parametrize("clear_auth", ["none", "loopback"])
def test_in_clear_a_stranger_is_offered_none(host: SmtpHost, users: Path, clear_auth: str) -> None:
    host.options.clear_auth = clear_auth
    client = host.connect(*STRANGER)
    assert offered(client) == ""
    assert client.says(plain("emma", "secret"))[0].startswith("538 5.7.11 ")
    assert client.says("AUTH SCRAM-SHA-256")[0].startswith("538 5.7.11 ")


def test_in_clear_this_host_may_log_in_if_the_option_says_so(host: SmtpHost, users: Path) -> None:
    assert offered(host.connect(*LOCAL)) == ""
    host.options.clear_auth = "loopback"
    assert offered(host.connect(*LOCAL)) == ALL


def test_loopback_that_is_not_trusted_is_a_stranger(host: SmtpHost, users: Path) -> None:
    host.options.clear_auth = "loopback"
    port = host.options.daemon_ports[0]
    unknown = Peer(*LOCAL, confirmed=True, port=port, rights=Rights())
    assert offered(ClientEnd(host.shared_state(), unknown)) == ""


def test_without_a_file_of_users_nothing_is_offered_until_there_is_one(
    host: SmtpHost, users: Path
) -> None:
    aside = users.rename(users.with_name("aside"))
    client = over_tls(host)
    assert offered(client) == ""
    assert client.says(plain("emma", "secret")) == ["503 5.3.3 AUTH not available"]
    aside.rename(users)
    assert offered(client) == ALL


def test_auth_mechanisms_say_which_and_in_which_order(host: SmtpHost, users: Path) -> None:
    host.options.auth_mechanisms = ("LOGIN", "PLAIN")
    client = over_tls(host)
    assert offered(client) == "250-AUTH LOGIN PLAIN"
    assert client.says("AUTH SCRAM-SHA-256")[0].startswith("504 5.3.3 ")


@pytest.mark.parametrize("chosen", [("SCRAM-SHA-256", "PLAIN", "LOGIN"), ("PLAIN", "LOGIN")])
def test_who_wants_the_password_is_offered_no_proof_of_it(
    host: SmtpHost, chosen: tuple[str, ...]
) -> None:
    host.options.auth_backend = "saslauthd:/run/saslauthd/mux"
    host.options.auth_mechanisms = chosen
    assert offered(over_tls(host)) == "250-AUTH PLAIN LOGIN"


def test_auth_options_m_leaves_scram(host: SmtpHost, users: Path) -> None:
    host.options.auth_options = "m"
    assert offered(over_tls(host)) == "250-AUTH SCRAM-SHA-256"


def test_a_port_with_a_capital_a_offers_none(host: SmtpHost, users: Path) -> None:
    assert offered(over_tls(host, port="M=A")) == ""


@pytest.mark.parametrize(
    ("ip", "sees"),
    [("10.0.3.134", ALL), ("fd00::7", ALL), ("8.8.8.8", ""), ("2a00:1450::7", ""), ("", "")],
)
def test_by_a_port_for_old_tls_nobody_logs_in_from_outside(
    host: SmtpHost, users: Path, ip: str, sees: str
) -> None:
    client = over_tls(host, (ip, "x.example"), port="Name=printers, TLS=1.0")
    assert offered(client) == sees
    if not sees:
        assert client.says(plain("emma", "secret"))[0].startswith("503 5.3.3 ")


# --- what a login gives ---------------------------------------------------------------------------


def test_who_has_logged_in_may_relay_and_the_trace_says_so(
    host: SmtpHost, users: Path, lines: list[str]
) -> None:
    client = over_tls(host)
    assert client.says("MAIL FROM:<dave@lab2.campus>", "RCPT TO:<x@sink.campus>")[1][:9] == (
        "550 5.7.1"
    )
    client.says("RSET")
    assert client.says(plain("emma", "secret")) == ["235 2.0.0 OK Authenticated"]
    assert (
        lines[-1] == "AUTH=server, relay=lab1.campus [10.0.3.134], authid=emma, mech=PLAIN, bits=0"
    )
    assert client.writes("dave@lab2.campus", "x@sink.campus").startswith("250")
    [(control, _)] = host.queued()
    trace = control.headers[1][1].decode()
    assert trace.startswith(
        "Received: from lab1.campus (lab1.campus [10.0.3.134])\n\t(authenticated bits=0)\n\tby lab2"
    )
    assert " with ESMTPSA id " in trace
    assert control.macros[b"r"] == b"ESMTPSA"


def test_the_log_tells_of_a_refused_sender_that_it_came_with_a_login(
    host: SmtpHost, users: Path, lines: list[str]
) -> None:
    client = over_tls(host)
    client.says(plain("emma", "secret"), "MAIL FROM:<x@lab2.campus>", "RSET")
    assert "proto=ESMTPSA" in lines[-1]


def test_in_clear_it_is_esmtpa_and_after_helo_smtp(host: SmtpHost, users: Path) -> None:
    host.options.clear_auth = "loopback"
    for hello, protocol in (("EHLO x", b"ESMTPA"), ("HELO x", b"SMTP")):
        client = host.connect(*LOCAL)
        client.says(hello, plain("emma", "secret"))
        assert client.writes("dave@lab2.campus", "dave").startswith("250")
        assert protocol in [control.macros[b"r"] for control, _ in host.queued()]


def test_after_a_handshake_the_login_is_forgotten(host: SmtpHost, users: Path) -> None:
    host.options.clear_auth = "loopback"
    client = host.connect(*LOCAL)
    client.says("EHLO x", plain("emma", "secret"))
    client.handler.secured()
    client.says("EHLO x")
    assert client.writes("dave@lab2.campus", "dave").startswith("250")
    [(control, _)] = host.queued()
    assert b"authenticated" not in control.headers[1][1]


def scram(client: ClientEnd, user: str, password: str) -> str:
    made = sasl.client(
        "SCRAM-SHA-256", sasl.Login(user, password.encode()), sasl.Surroundings("client")
    )
    first = made.initial()
    assert first is not None
    said = client.says(f"AUTH SCRAM-SHA-256 {base64.b64encode(first).decode()}")
    while said[-1].startswith("334 "):
        answer = made.step(base64.b64decode(said[-1][4:]))
        said = client.says(base64.b64encode(answer).decode())
    return said[-1]


def test_scram_logs_in_with_the_same_password(
    host: SmtpHost, users: Path, lines: list[str]
) -> None:
    assert scram(over_tls(host), "emma", "wrong") == FAILED
    assert scram(over_tls(host), "nosuch", "secret") == FAILED
    assert scram(over_tls(host), "emma", "secret").startswith("235 ")
    assert "authid=emma, mech=SCRAM-SHA-256, bits=0" in lines[-1]


@pytest.mark.parametrize(
    ("identity", "code"), [("", "235"), ("emma", "235"), ("dave@lab1.campus", "535"), ("x", "535")]
)
def test_nobody_acts_as_anybody_else(host: SmtpHost, users: Path, identity: str, code: str) -> None:
    assert over_tls(host).says(plain("emma", "secret", identity))[0][:3] == code


def test_addresses_of_who_has_logged_in_are_completed(host: SmtpHost, users: Path) -> None:
    client = over_tls(host)
    assert client.says("MAIL FROM:<emma>")[0].startswith("553 5.5.4 ")
    client.says(plain("emma", "secret"))
    text = "From: emma\nTo: dave\n\nHi\n"
    assert client.writes("emma", "dave", text=text).startswith("250")
    [(control, _)] = host.queued()
    assert control.reverse_path == b"<emma@lab2.campus>"
    fields = [field for _, field in control.headers]
    assert b"From: emma@lab2.campus" in fields and b"To: dave@lab2.campus" in fields
    assert any(field.startswith(b"Date: ") for field in fields)
    assert any(field.startswith(b"Message-Id: ") for field in fields)


@pytest.mark.parametrize("peer", [STRANGER, LOCAL])
def test_port_587_takes_nothing_without_a_login(
    host: SmtpHost, users: Path, peer: tuple[str, str]
) -> None:
    client = over_tls(host, peer, "Name=MSA, M=Ea")
    needed = "530 5.7.0 Authentication required"
    assert client.says("MAIL FROM:<dave@lab2.campus>", "VRFY dave") == [needed, needed]
    client.says(plain("emma", "secret"))
    assert client.writes("dave@lab2.campus", "dave").startswith("250")
    [(control, _)] = host.queued()
    assert control.macros[b"{daemon_flags}"] == b"EE a"


@pytest.mark.parametrize(
    ("user", "given", "kept"),
    [
        ("emma", "emma", b"emma"),
        ("emma", "emma@lab2.campus", b"emma@lab2.campus"),
        ("emma", "em+6Da", b"em+6Da"),
        ("emma", "emma@lab1.campus", b"<>"),
        ("emma", "dave", b"<>"),
        ("emma", "<>", b"<>"),
        ("dave@lab1.campus", "dave@lab1.campus", b"dave@lab1.campus"),
        ("", "emma", b"<>"),
        ("", "emma@lab2.campus", b"<>"),
    ],
)
def test_auth_of_mail_is_believed_from_whom_it_names(
    host: SmtpHost, users: Path, user: str, given: str, kept: bytes
) -> None:
    client = over_tls(host)
    if user:
        client.says(plain(user, "secret" if user == "emma" else "other"))
    client.says(f"MAIL FROM:<dave@lab2.campus> AUTH={given}", "RCPT TO:<dave>", "DATA")
    client.sends(b"Subject: x\r\n\r\nHi\r\n.\r\n")
    [(control, _)] = host.queued()
    assert control.auth == kept


def test_without_auth_of_mail_nothing_is_kept(host: SmtpHost, users: Path) -> None:
    client = over_tls(host)
    client.says(plain("emma", "secret"))
    client.writes("dave@lab2.campus", "dave")
    assert host.queued()[0][0].auth == b""


# --- what a failure costs -------------------------------------------------------------------------


def test_failures_are_logged_in_sendmails_words(
    host: SmtpHost, users: Path, lines: list[str]
) -> None:
    client = over_tls(host)
    assert client.says(plain("emma", "wrong"), plain("nosuch", "x")) == [FAILED] * 2
    who = "relay=lab1.campus [10.0.3.134]"
    assert lines[-2:] == [
        "AUTH failure (PLAIN): authentication failure (-13) SASL(-13): authentication failure: "
        f"Password verification failed, user=emma, {who}",
        "AUTH failure (PLAIN): user not found (-20) SASL(-13): user not found: "
        f"Password verification failed, user=nosuch, {who}",
    ]


def test_a_name_in_the_log_gets_nobody_else_banned(
    host: SmtpHost, users: Path, lines: list[str]
) -> None:
    over_tls(host).says(plain("x, relay=[192.0.2.1]", "y"))
    assert "user=x??relay=[192.0.2.1], relay=lab1.campus [10.0.3.134]" in lines[-1]
    over_tls(host).says(plain("\u00e9" * 500, "y"))
    assert lines[-1].isascii() and len(lines[-1]) < 420


def test_a_failure_makes_wait_and_each_one_longer(host: SmtpHost, users: Path) -> None:
    shared = host.shared_state()
    pauses = []
    for _ in range(3):
        port = host.options.daemon_ports[0]
        peer = Peer(*STRANGER, confirmed=True, port=port, rights=Rights())
        peer.secured = SECURED
        client = ClientEnd(shared, peer)
        client.says(plain("emma", "wrong"))
        pauses.append(client.session.throttle.take_pause())
    assert pauses == [1, 2, 3]


def test_some_failures_end_the_session(host: SmtpHost, users: Path, lines: list[str]) -> None:
    client = over_tls(host)
    said = client.says(*[plain("emma", "wrong")] * (MOST_FAILURES + 1))
    assert said == [FAILED] * 4 + ["421 4.7.0 Too many failed logins; closing connection"]
    assert client.session.is_closed
    assert "lab1.campus [10.0.3.134]: possible SMTP attack: command=AUTH, count=5" in lines


def test_many_failures_shut_an_address_out_and_then_no_password_is_looked_at(
    host: SmtpHost, users: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.options.max_login_failures = 2
    client = over_tls(host)
    client.says(plain("emma", "wrong"), plain("emma", "wrong"))
    monkeypatch.setattr(smtp_users.SmtpUsers, "check", None)
    [answer] = client.says(plain("emma", "secret"))
    assert answer == "454 4.7.0 Too many failed logins from your address; try again later"
    assert "AUTH failure" not in lines[-1]


def test_this_host_is_not_shut_out_for_webmail_has_many_users(host: SmtpHost, users: Path) -> None:
    host.options.max_login_failures = 1
    client = over_tls(host, LOCAL)
    assert client.says(plain("emma", "wrong"), plain("emma", "secret"))[1][:3] == "235"


def test_a_file_that_cannot_be_read_is_454_and_nobodys_failure(
    host: SmtpHost, users: Path, lines: list[str]
) -> None:
    users.chmod(0o644)
    client = over_tls(host)
    for line in (plain("emma", "secret"), "AUTH SCRAM-SHA-256"):
        assert client.says(line) == ["454 4.7.0 Temporary authentication failure"]
        mechanism = line.split()[1]
        assert lines[-1] == (f"SYSERR(root): AUTH {mechanism}: {users}: World readable file")
    assert client.session.throttle.take_pause() == 0


def test_the_password_is_in_no_log_line_whatever_happens(
    host: SmtpHost, users: Path, lines: list[str]
) -> None:
    client = over_tls(host)
    client.says(plain("emma", "hunter2"), "AUTH PLAIN hunter2", "AUTH LOGIN", "hunter2")
    client.says("AUTH LOGIN", "ZW1tYQ==", base64.b64encode(b"hunter2").decode())
    users.unlink()
    client.says(plain("emma", "hunter2"))
    coded = base64.b64encode(b"hunter2").decode()
    assert not any("hunter2" in line or coded in line for line in lines)


# --- over a socket --------------------------------------------------------------------------------


def test_a_failure_waits_and_holds_up_nobody_else(
    host: SmtpHost, users: Path, start: Callable[[], Listening]
) -> None:
    host.options.clear_auth = "loopback"
    listening = start()
    slow, other = listening.connect(), listening.connect()
    for peer in (slow, other):
        peer.answer()
        peer.says("EHLO x")
    slow.socket.sendall(plain("emma", "wrong").encode() + b"\r\n")
    assert other.says(plain("emma", "secret")) == "235 2.0.0 OK Authenticated"
    assert slow.answer() == FAILED
