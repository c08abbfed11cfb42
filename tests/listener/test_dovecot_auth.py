"""Logins that Dovecot decides about: its protocol, and the real one."""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.listener import dovecot_auth
from minimta.listener.auth_backend import LoginPlace, PasswordVerdict
from minimta.listener.dovecot_auth import DovecotAuth
from minimta.smtp import sasl
from minimta.smtp.sasl_server import Accepted, Challenge, Refused, Step
from tests.support.fakeunix import FakeUnix
from tests.support.unix_servers import wait_until_it_listens

PLACE = LoginPlace("192.0.2.1", "10.0.3.135", True)
GREETING = (
    b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t2\nDONE\n"
)


class Dovecot:
    """Says *greeting*, and an *answer* to each AUTH and CONT; remembers what it heard."""

    def __init__(self, *answers: bytes, greeting: bytes = GREETING) -> None:
        self.greeting = greeting
        self.answers = list(answers)
        self.heard: list[bytes] = []

    def talk(self, connection: socket.socket) -> None:
        connection.sendall(self.greeting)
        with connection.makefile("rb") as file:
            for line in file:
                self.heard.append(line)
                if line[:5] in (b"AUTH\t", b"CONT\t"):
                    if not self.answers:
                        return
                    connection.sendall(self.answers.pop(0))


def check(
    directory: Path, dovecot: Dovecot, user: str = "emma", realm: str = ""
) -> PasswordVerdict:
    with FakeUnix(directory / "auth", dovecot.talk) as server:
        return DovecotAuth(server.path, realm).check(user, "secret", PLACE)


@pytest.mark.parametrize(
    ("user", "realm", "name"),
    [("emma", "", "emma"), ("emma", "x", "emma@x"), ("emma@y", "x", "emma@y")],
)
def test_a_password_goes_there_with_the_clients_address(
    tmp_path: Path, user: str, realm: str, name: str
) -> None:
    dovecot = Dovecot(b"OK\t1\tuser=emma\n")
    assert check(tmp_path, dovecot, user, realm) is PasswordVerdict.RIGHT
    response = base64.b64encode(f"\0{name}\0secret".encode())
    assert dovecot.heard[0] == b"VERSION\t1\t2\n"
    assert dovecot.heard[1].startswith(b"CPID\t")
    assert dovecot.heard[2] == (
        b"AUTH\t1\tPLAIN\tservice=smtp\tnologin\tsecured\trip=192.0.2.1\tlip=10.0.3.135\tresp="
        + response
        + b"\n"
    )


@pytest.mark.parametrize(
    "answer",
    [b"FAIL\t1\tuser=emma\n", b"FAIL\t1\n", b"FAIL\t1\tuser=emma\tcode=user_disabled\n"],
)
def test_fail_is_a_wrong_password(tmp_path: Path, answer: bytes) -> None:
    assert check(tmp_path, Dovecot(answer)) is PasswordVerdict.WRONG


def test_lines_about_others_and_unknown_ones_are_left_out(tmp_path: Path) -> None:
    answer = b"OK\t2\tuser=x\nNEWS\t1\nFAIL\t1\tuser=emma\nOK\t1\tuser=emma\n"
    greeting = b"VERSION\t1\t9\nMECH\nNEWS\t2\nMECH\tPLAIN\nDONE\n"
    assert check(tmp_path, Dovecot(answer, greeting=greeting)) is PasswordVerdict.WRONG


@pytest.mark.parametrize(
    "dovecot",
    [
        Dovecot(b"FAIL\t1\tuser=emma\ttemp\n"),
        Dovecot(b"FAIL\t1\tuser=emma\tcode=temp_fail\treason=no\x01tway\n"),
        Dovecot(b"CONT\t1\tAAAA\n"),
        Dovecot(b"OK\t1"),
        Dovecot(b"x" * 20000),
        Dovecot(),
        Dovecot(b"OK\t1\tuser=emma\n", greeting=b"VERSION\t2\t0\nDONE\n"),
        Dovecot(b"OK\t1\tuser=emma\n", greeting=b"VERSION\t1\t2\n"),
    ],
    ids=["temp", "temp_fail", "cont", "cut", "long", "gone", "version", "no done"],
)
def test_what_is_no_verdict_is_an_error(
    tmp_path: Path, dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dovecot_auth, "PATIENCE", 0.2)
    with pytest.raises(OSError) as caught:
        check(tmp_path, dovecot)
    assert caught.value.filename == str(tmp_path / "auth")


@pytest.mark.parametrize("begins", [b"", GREETING], ids=["in the greeting", "in the answer"])
@pytest.mark.parametrize("line", [b"NEWS\tx\n", b"OK\t2\tuser=emma\n"])
def test_lines_without_end_cost_no_more_than_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begins: bytes, line: bytes
) -> None:
    monkeypatch.setattr(dovecot_auth, "PATIENCE", 0.2)

    def talk(connection: socket.socket) -> None:
        connection.sendall(begins)
        while True:
            connection.sendall(line)
            time.sleep(0.01)

    with (
        FakeUnix(tmp_path / "auth", talk) as server,
        pytest.raises(OSError, match=r"no end of its answer|timed out"),
    ):
        DovecotAuth(server.path).check("emma", "secret", PLACE)


def test_mechanisms_without_end_are_not_kept(tmp_path: Path) -> None:
    dovecot = Dovecot(greeting=b"VERSION\t1\t2\n" + b"MECH\tX\n" * 200 + b"DONE\n")
    with pytest.raises(OSError, match="no end of mechanisms"):
        check(tmp_path, dovecot)


def test_a_socket_that_is_not_there_is_no_verdict(tmp_path: Path) -> None:
    backend = DovecotAuth(str(tmp_path / "nosuch"))
    assert backend.is_there()
    assert not backend.has_scram()
    with pytest.raises(OSError):
        backend.check("emma", "secret", PLACE)


def test_scram_is_offered_if_dovecot_has_it_and_it_is_not_asked_each_time(tmp_path: Path) -> None:
    dovecot = Dovecot(greeting=GREETING.replace(b"SPID", b"MECH\tSCRAM-SHA-256\tmutual-auth\nSPID"))
    with FakeUnix(tmp_path / "auth", dovecot.talk) as server:
        backend = DovecotAuth(server.path)
        assert backend.has_scram() and backend.has_scram()
    assert sum(line.startswith(b"CPID") for line in dovecot.heard) == 1
    with FakeUnix(tmp_path / "other", Dovecot().talk) as server:
        assert not DovecotAuth(server.path).has_scram()


def test_a_dovecot_that_hangs_holds_up_one_ehlo_and_not_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dovecot_auth, "_SHORT_PATIENCE", 0.2)
    done: list[bool] = []
    asked = threading.Event()

    def hangs(connection: socket.socket) -> None:
        asked.wait(10)

    with FakeUnix(tmp_path / "auth", hangs) as server:
        backend = DovecotAuth(server.path)
        first = threading.Thread(target=lambda: done.append(backend.has_scram()))
        first.start()
        while backend._asked[0] < 0:
            assert first.is_alive()
        assert not backend.has_scram() and not done  # the other one has its answer at once
        first.join(10)
        assert done == [False]
        asked.set()


def test_a_challenge_that_is_no_base64_is_an_error(tmp_path: Path) -> None:
    with FakeUnix(tmp_path / "auth", Dovecot(b"CONT\t1\t!!!\n").talk) as server:
        login = DovecotAuth(server.path).scram(PLACE)
        with pytest.raises(OSError, match="base64"):
            login.step(b"n,,n=emma,r=x")


# --- the real one ---------------------------------------------------------------------------------

CONF = """\
protocols =
base_dir = {0}
state_dir = {0}
log_path = {0}/log
ssl = no
auth_mechanisms = plain login scram-sha-256
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {0}/users
}}
service auth {{
  unix_listener auth-minimta {{
    mode = 0600
  }}
}}
"""


@pytest.fixture
def real() -> Iterator[Path]:
    """The directory of a Dovecot that knows emma."""
    # A short path: that of a socket has 107 octets at most.
    directory = Path(tempfile.mkdtemp(prefix="dovecot-"))
    directory.chmod(0o755)
    (directory / "conf").write_text(CONF.format(directory))
    (directory / "users").write_text("emma:{PLAIN}secret::::::\n")
    (directory / "users").chmod(0o644)
    daemon = subprocess.Popen(
        ["dovecot", "-F", "-c", str(directory / "conf")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until_it_listens(directory / "auth-minimta", daemon)
        yield directory
    finally:
        daemon.terminate()
        daemon.wait(15)
        shutil.rmtree(directory, ignore_errors=True)


def scram(backend: DovecotAuth, password: str) -> Step:
    login = sasl.Login("emma", password.encode())
    client = sasl.client("SCRAM-SHA-256", login, sasl.Surroundings("client"))
    server = backend.scram(PLACE)
    step = server.step(client.initial())
    while isinstance(step, Challenge):
        step = server.step(client.step(step.octets))
    if isinstance(step, Accepted):
        client.finish()
    return step


@pytest.mark.root
@pytest.mark.debian("dovecot-core")
def test_the_real_dovecot_knows_passwords_and_scram(real: Path) -> None:
    backend = DovecotAuth(str(real / "auth-minimta"))
    assert backend.check("emma", "secret", PLACE) is PasswordVerdict.RIGHT
    assert backend.has_scram()
    assert scram(backend, "secret") == Accepted("emma")
    assert backend.check("emma", "wrong", PLACE) is PasswordVerdict.WRONG
    assert scram(backend, "wrong") == Refused("emma")
