"""The smart host: reached, by TLS with whom it should be, and our login taken; and no mail is sent."""

from __future__ import annotations

import errno
import socket
import time
from pathlib import Path

import pytest

from minimta.admin.doctor import smart_host
from minimta.mailers.remote import login_memory
from minimta.mailers.remote.credentials import CredentialStore
from minimta.mailers.remote.login_memory import LoginMemory
from minimta.system.tls import server_context
from tests.support.certificates import Authority
from tests.support.fakeprovider import PROVIDERS, FakeProvider
from tests.support.fakesmtp import HANG, FakeSmtp, Refusing
from tests.support.patient import Machine

SECRET = "correct-horse-battery"


class Campus:
    def __init__(self, root: Path) -> None:
        authority = Authority(root)
        self.certificate = authority.certificate
        self.good = authority.issue("localhost")
        self.other = authority.issue("mx.other.campus")


@pytest.fixture(scope="module")
def campus(tmp_path_factory: pytest.TempPathFactory) -> Campus:
    return Campus(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def machine(machine: Machine) -> Machine:
    machine.host.root.chmod(0o700)
    machine.options.run_as_user = ""
    return machine


def with_login(machine: Machine, password: str = SECRET) -> None:
    path = Path(machine.options.auth_info_file)
    path.write_text(f'AuthInfo:localhost "U:emma" "P:{password}"\n')
    path.chmod(0o600)


def told(machine: Machine, port: int) -> tuple[int, str]:
    machine.options.smart_host = f"[localhost]:{port}"
    found = machine.found(smart_host.smart_hosts)
    assert SECRET not in "".join(map(str, found))
    return max(one.exit_code for one in found), "\n".join(map(str, found))


@pytest.mark.debian("openssl")
@pytest.mark.parametrize("name", ["gmail", "office365", "ses"])
def test_a_login_that_is_taken(machine: Machine, campus: Campus, name: str) -> None:
    machine.options.ca_cert_file = campus.certificate
    with_login(machine)
    with FakeProvider(PROVIDERS[name], {"emma": SECRET}, tls=server_context(campus.good)) as server:
        code, line = told(machine, server.port)
        assert code == 0
        assert line.startswith(f"localhost:{server.port}: takes our login by TLS [")
        assert not server.messages
        assert not any(verb.startswith("MAIL") for said in server.commands for verb in said)
    assert not Path(login_memory.beside(machine.options.queue_directory)).exists()


@pytest.mark.debian("openssl")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gmail", "Google does not know this user with this password"),
        ("office365", "authenticated SMTP is switched off for this organization"),
        ("ses", "the login is none that this provider knows"),
    ],
)
def test_a_login_that_is_refused_is_told_in_words(
    machine: Machine, campus: Campus, name: str, words: str
) -> None:
    machine.options.ca_cert_file = campus.certificate
    with_login(machine, "another")
    with FakeProvider(PROVIDERS[name], {"emma": SECRET}, tls=server_context(campus.good)) as server:
        code, line = told(machine, server.port)
        assert code == 69
        assert words in line
        assert len(server.logins) == 1


@pytest.mark.debian("openssl")
def test_a_login_that_rests_is_not_tried(machine: Machine, campus: Campus) -> None:
    machine.options.ca_cert_file = campus.certificate
    with_login(machine)
    store = CredentialStore.read(machine.options)
    with FakeProvider(
        PROVIDERS["gmail"], {"emma": SECRET}, tls=server_context(campus.good)
    ) as server:
        memory = LoginMemory(login_memory.beside(machine.options.queue_directory))
        name, state = f"localhost:{server.port} emma", store.state_of(store.rows[0])
        memory.refused(name, state, time.time(), "password of emma refused: 535 5.7.8 no")
        code, line = told(machine, server.port)
        assert not server.logins
    assert code == 69
    assert "user or password is wrong" in line


@pytest.mark.debian("openssl")
def test_a_certificate_of_somebody_else(machine: Machine, campus: Campus) -> None:
    machine.options.ca_cert_file = campus.certificate
    with_login(machine)
    policy = machine.host.root / "tls-policy"
    policy.write_text("[localhost] verify\n")  # on this host anybody would do
    machine.options.tls_policy = str(policy)
    with FakeProvider(
        PROVIDERS["gmail"], {"emma": SECRET}, tls=server_context(campus.other)
    ) as server:
        code, line = told(machine, server.port)
        assert not server.logins
    assert code == 69
    assert "TLS: the certificate is for mx.other.campus" in line
    assert "CACertFile" in line


def test_a_host_that_refuses_connections(machine: Machine) -> None:
    with Refusing() as port:
        code, line = told(machine, port)
    assert code == 69
    assert line.startswith(f"localhost:{port}: is not reached (Connection refused)")


@pytest.mark.parametrize(
    "error", [OSError(errno.ETIMEDOUT, "Connection timed out"), TimeoutError("timed out")]
)
def test_a_port_25_that_swallows_all(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def silent(*unused: object, **more: object) -> socket.socket:
        raise error

    monkeypatch.setattr(socket, "create_connection", silent)
    monkeypatch.setattr(socket.socket, "connect", silent)
    machine.options.smart_host = "[192.0.2.25]:25"
    [found] = machine.found(smart_host.smart_hosts)
    assert found.exit_code == 69
    assert "many networks and clouds block port 25 outwards" in found.text
    assert found.remedy == "SmartHost = [192.0.2.25]:587, with a login in authinfo"


def test_a_host_that_does_not_exist(machine: Machine) -> None:
    machine.options.smart_host = "[no-such-host.invalid]:587"
    [found] = machine.found(smart_host.smart_hosts)
    assert found.exit_code == 69
    assert "no-such-host.invalid" in found.text


def test_a_host_that_says_nothing_costs_its_time(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smart_host, "_ALL", 3.0)
    begun = time.monotonic()
    with FakeSmtp(answers={"greeting": [HANG]}) as server:
        code, line = told(machine, server.port)
    assert time.monotonic() - begun < 10
    assert code == 69 or "unknown: " in line


def test_a_host_without_a_login_is_only_greeted(machine: Machine) -> None:
    with FakeSmtp() as server:
        code, line = told(machine, server.port)
        assert not server.messages
    assert code == 0
    assert "is reached" in line


def test_a_file_of_logins_that_others_may_read(machine: Machine) -> None:
    with_login(machine)
    Path(machine.options.auth_info_file).chmod(0o644)
    with FakeSmtp() as server:
        code, line = told(machine, server.port)
    assert code == 78
    assert f"chmod 600 {machine.options.auth_info_file}" in line


def test_without_a_smart_host_nothing_is_asked(machine: Machine) -> None:
    assert not machine.found(smart_host.smart_hosts)
