"""Logins by programs that others wrote, and fail2ban on what the log says of them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.system import log
from tests.listener.test_auth import over_tls, plain
from tests.listener.test_starttls import Campus, SecureListening
from tests.support.smtp_users import write_users
from tests.support.smtphost import STRANGER, SmtpHost

pytestmark = pytest.mark.debian("openssl")


@pytest.fixture(scope="module")
def campus(tmp_path_factory: pytest.TempPathFactory) -> Campus:
    campus = Campus(tmp_path_factory.mktemp("campus"))
    campus.host = campus.authority.issue("localhost", "lab2.campus")
    return campus


@pytest.fixture
def msa(host: SmtpHost, campus: Campus, tmp_path: Path) -> Iterator[SecureListening]:
    """Port 587, where emma may log in."""
    host.options.auth_backend = str(write_users(tmp_path / "users", {"emma": "secret"}))
    listening = SecureListening(host, campus, "Name=MSA, Addr=127.0.0.1, Port=0, M=Ea")
    yield listening
    listening.stop()


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def swaks(msa: SecureListening, *words: str) -> subprocess.CompletedProcess[str]:
    to = ("--server", "127.0.0.1", "--port", str(msa.port), "--helo", "lab1.campus")
    mail = ("--from", "emma@lab2.campus", "--to", "x@sink.campus", "--suppress-data")
    return run("swaks", *to, *mail, *words)


@pytest.mark.debian("swaks", "libnet-ssleay-perl")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_logs_in_inside_tls_and_relays(
    host: SmtpHost, msa: SecureListening, mechanism: str
) -> None:
    login = ("--auth", mechanism, "--auth-user", "emma", "--auth-password", "secret")
    done = swaks(msa, "--tls", *login)
    assert done.returncode == 0, done.stdout
    [(control, _)] = host.queued()
    assert control.macros[b"r"] == b"ESMTPSA"


@pytest.mark.debian("swaks", "libnet-ssleay-perl")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        # 28: no mechanism in common, or all of them failed; 23: the sender was refused
        (("--tls", "--auth", "CRAM-MD5"), "Auth not attempted"),
        (("--auth", "PLAIN"), "Host did not advertise authentication"),
    ],
)
def test_swaks_is_offered_neither_more_nor_without_tls(
    host: SmtpHost, msa: SecureListening, words: tuple[str, ...], said: str
) -> None:
    done = swaks(msa, *words, "--auth-user", "emma", "--auth-password", "secret")
    assert done.returncode == 28
    assert said in done.stdout + done.stderr
    assert not host.queued()


@pytest.mark.debian("swaks", "libnet-ssleay-perl")
def test_swaks_without_a_login_is_told_to(host: SmtpHost, msa: SecureListening) -> None:
    done = swaks(msa, "--tls")
    assert done.returncode == 23
    assert "530 5.7.0 Authentication required" in done.stdout


@pytest.mark.debian("gsasl")
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "PLAIN", "LOGIN"])
@pytest.mark.parametrize("password", ["secret", "wrong"])
def test_gsasl_logs_in_with_the_right_password(
    campus: Campus, msa: SecureListening, mechanism: str, password: str
) -> None:
    done = run(
        "gsasl", "--smtp", "--starttls", f"--x509-ca-file={campus.authority.certificate}",
        f"--connect=localhost:{msa.port}",
        f"--mechanism={mechanism}", "--authentication-id=emma", f"--password={password}",
        "--no-cb", "--quiet", "--authorization-id=",
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert ("235 2.0.0 OK Authenticated" in said) is (password == "secret"), said
    assert ("535 5.7.0 authentication failed" in said) is (password == "wrong"), said


@pytest.mark.debian("fail2ban")
def test_fail2ban_finds_each_failure_and_nobody_else(
    host: SmtpHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    before = "Nov 29 10:00:00 lab2 sm-mta[99]: "

    def line(qid: str, text: str, **unused: object) -> None:
        logged.append(f"{before}{qid}: {text}" if qid else before + text)

    monkeypatch.setattr(log, "line", line)
    host.options.auth_backend = str(write_users(tmp_path / "users", {"emma": "secret"}))
    host.options.clear_auth = "loopback"
    for peer in (STRANGER, ("2001:db8::7", ""), ("192.0.2.9", "forged.example")):
        client = over_tls(host, peer)
        client.says(plain("emma", "wrong"), plain("x, relay=[198.51.100.1]", "y"))
        client.says(*[plain("nosuch", "x")] * 3)
    client = over_tls(host, ("192.0.2.10", "friend.campus"))
    client.says(plain("emma", "secret"), "AUTH PLAIN !!!", "AUTH LOGIN", "*")
    path = tmp_path / "mail.log"
    path.write_text("\n".join(logged) + "\n")
    done = run("fail2ban-regex", "-o", "ip", str(path), "sendmail-auth")
    found = done.stdout.split()
    # five failures each, and the line that tells of an attack
    assert {ip: found.count(ip) for ip in found} == {
        "10.0.3.134": 6,
        "2001:db8::7": 6,
        "192.0.2.9": 6,
    }
