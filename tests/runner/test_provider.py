"""Mail out through a provider, from the queue to its port: what mailq says, and what nobody hears.

Four providers as they are documented (``fakeprovider``) x what happens to people. In each case mail
is sent or waits, nothing comes back, nothing is said in clear, and the secret is in its file alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.routing.local_host import LocalHost
from minimta.runner.deliver import Deliverer
from minimta.system import log
from minimta.system.tls import server_context
from tests.support.certificates import Authority
from tests.support.fakeprovider import PROVIDERS, FakeProvider
from tests.support.fakesmtp import SECURED, FakeSmtp
from tests.support.privatehost import PrivateHost

pytestmark = pytest.mark.debian("openssl")

SECRET = "correct-horse-battery"
BASE64 = ("AGVtbWEAY29ycmVjdC1ob3JzZS1iYXR0ZXJ5", "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5")
FOUR = [name for name in PROVIDERS if name != "scram"]


class Campus:
    """An authority, and certificates for localhost and for another host."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        self.good = self.authority.issue("localhost")
        self.other = self.authority.issue("mx.other.campus")


@pytest.fixture(scope="module")
def campus(tmp_path_factory: pytest.TempPathFactory) -> Campus:
    return Campus(tmp_path_factory.mktemp("certificates"))


class Sender:
    """lab1.campus, whose smart host is a provider."""

    def __init__(self, root: Path, campus: Campus, monkeypatch: pytest.MonkeyPatch) -> None:
        root.chmod(0o700)
        self.host = PrivateHost(root)
        self.options: Options = self.host.options
        self.options.ca_cert_file = campus.authority.certificate
        self.options.tls_policy = str(root / "tls-policy")
        for name in vars(Options):
            if name.startswith("timeout_") and not name.startswith("timeout_queue"):
                setattr(self.options, name, 5)
        self.shown: list[str] = []
        monkeypatch.setattr(log, "line", lambda qid, text, **_: self.shown.append(text))
        self.policy("verify")
        self.login(f'"U:emma" "P:{SECRET}"')

    def policy(self, row: str) -> None:
        (self.host.root / "tls-policy").write_text(f"[localhost] {row}\n")

    def login(self, fields: str) -> None:
        path = self.host.root / "authinfo"
        path.write_text(f"AuthInfo:localhost {fields}\n")
        path.chmod(0o600)

    def send(self, server: FakeSmtp) -> str:
        """What mailq says of a message after an attempt, "" if it was sent; nothing came back."""
        self.options.smart_host = f"[localhost]:{server.port}"
        qid = self.host.submit(b"<emma@lab1.campus>", b"<x@far.example>")
        deliverer = Deliverer(LocalHost(self.options), say=self.shown.append)
        deliverer.attempt([qid])
        assert not self.host.letters("emma")
        self.check_secrecy(server)
        return self.host.control(qid).message if qid in self.host.queued() else ""

    def check_secrecy(self, server: FakeSmtp) -> None:
        """Nothing in clear, and the secret nowhere but in its file."""
        for told in server.commands:
            verbs = [line.split(" ")[0] for line in told]
            begun = verbs.index("AUTH") if "AUTH" in verbs else len(verbs)
            assert SECURED in told[:begun] or not {"AUTH", "MAIL", "DATA"} & set(verbs)
        files = [path for path in self.host.root.rglob("*") if path.is_file()]
        texts = {str(path): path.read_text(errors="replace") for path in files}
        texts["log and -v"] = "\n".join(self.shown)
        found = [name for name, text in texts.items() if any(s in text for s in (SECRET, *BASE64))]
        assert found in ([], [str(self.host.root / "authinfo")])


@pytest.fixture
def sender(tmp_path: Path, campus: Campus, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sender]:
    yield Sender(tmp_path, campus, monkeypatch)


@pytest.mark.parametrize("name", FOUR)
def test_a_password_on_port_587(sender: Sender, campus: Campus, name: str) -> None:
    with FakeProvider(PROVIDERS[name], {"emma": SECRET}, tls=server_context(campus.good)) as server:
        assert sender.send(server) == ""
        assert len(server.messages) == 1
        assert [accepted for _, _, accepted, over_tls in server.logins if over_tls] == [True]


@pytest.mark.parametrize("name", FOUR)
def test_a_password_on_port_465(sender: Sender, campus: Campus, name: str) -> None:
    sender.policy("verify implicit")
    context = server_context(campus.good)
    with FakeProvider(PROVIDERS[name], {"emma": SECRET}, tls=context, implicit=True) as server:
        assert sender.send(server) == ""
        assert len(server.messages) == 1


@pytest.mark.parametrize("name", FOUR)
def test_a_wrong_password(sender: Sender, campus: Campus, name: str) -> None:
    context = server_context(campus.good)
    with FakeProvider(PROVIDERS[name], {"emma": "another"}, tls=context) as server:
        told = sender.send(server)
        file = sender.host.root / "authinfo"
        assert told.startswith(f"Deferred: password of emma refused, correct {file} line 1: 535")
        assert sender.send(server)
        assert len(server.logins) == 1


@pytest.mark.parametrize("name", FOUR)
def test_a_certificate_for_another_name(sender: Sender, campus: Campus, name: str) -> None:
    context = server_context(campus.other)
    with FakeProvider(PROVIDERS[name], {"emma": SECRET}, tls=context) as server:
        told = sender.send(server)
        assert told.startswith("Deferred: ")
        assert "mx.other.campus" in told
        assert server.logins == []


@pytest.mark.parametrize("name", FOUR)
def test_a_stripped_starttls(sender: Sender, name: str) -> None:
    with FakeProvider(PROVIDERS[name], {"emma": SECRET}) as server:
        told = sender.send(server)
        assert told.startswith("Deferred: ")
        assert "offers no STARTTLS" in told
        assert "To allow it" not in told
        assert server.logins == []


@pytest.mark.parametrize("name", [name for name in FOUR if name not in ("ses", "sendgrid")])
def test_a_token_that_has_expired_and_then_one_that_has_not(
    sender: Sender, campus: Campus, name: str
) -> None:
    program = sender.host.root / "token"
    program.write_text("#!/bin/sh\necho expired\n")
    program.chmod(0o700)
    sender.login(f'"U:emma" "M:XOAUTH2" "C:{program}"')
    with FakeProvider(
        PROVIDERS[name], {"emma": "fresh-token"}, tls=server_context(campus.good)
    ) as server:
        assert sender.send(server).startswith("Deferred: token of emma refused, correct ")
        program.write_text("#!/bin/sh\necho fresh-token\n")
        os.utime(sender.host.root / "authinfo", (1, 1))  # touch: tried again at once
        sender.send(server)
        assert [accepted for _, _, accepted, _ in server.logins] == [False, True]
        assert len(server.messages) == 1


@pytest.mark.parametrize("name", FOUR)
def test_no_login_where_one_is_wanted(sender: Sender, campus: Campus, name: str) -> None:
    (sender.host.root / "authinfo").unlink()
    context = server_context(campus.good)
    with FakeProvider(PROVIDERS[name], {"emma": SECRET}, tls=context) as server:
        told = sender.send(server)
        assert f"wants a login, a row for it is wanted in {sender.host.root}/authinfo: 5" in told


def test_a_file_that_others_may_read(sender: Sender, campus: Campus) -> None:
    (sender.host.root / "authinfo").chmod(0o644)
    context = server_context(campus.good)
    with FakeProvider(PROVIDERS["ses"], {"emma": SECRET}, tls=context) as server:
        told = sender.send(server)
        assert "World readable file; it must be root's, mode 600" in told
        assert server.commands == []
