"""minimta token: from the command line to the file, and back to people."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.admin import verbs
from minimta.mailers.remote import token_file
from minimta.system.tls import server_context
from minimta.system.tls_values import KeyPair
from tests.support.certificates import Authority
from tests.support.fakeauthorization import FakeAuthorization

pytestmark = pytest.mark.debian("openssl")
SECRET = "client-s3cret"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> KeyPair:
    return authority.issue("127.0.0.1")


class Machine:
    def __init__(self, root: Path, authority: Authority, server: FakeAuthorization) -> None:
        root.chmod(0o755)
        self.directory = root / "lib" / "tokens"
        self.cf = root / "minimta.cf"
        self.cf.write_text(
            f"TokenDirectory = {self.directory}\nRunAsUser =\nAuthInfoFile = {root}/authinfo\n"
        )
        self.cf.chmod(0o644)
        self.secret = root / "secret"
        self.secret.write_text(f"{SECRET}\nnote\n")
        self.authinfo = root / "authinfo"
        self.server = server
        self._authority = authority

    def run(self, *words: str) -> int:
        return verbs.main(["token", *words, "-C", str(self.cf)])

    def get(self, name: str = "office", *words: str) -> int:
        """With client credentials: nobody is asked."""
        where = ("--token-endpoint", self.server.url("token"), "--ca-file")
        who = ("--client-id", "client-1", "--secret-file", str(self.secret))
        return self.run("get", name, *where, self._authority.certificate, *who, "--app", *words)

    def path(self, name: str = "office") -> str:
        return str(self.directory / f"{name}.json")


@pytest.fixture
def machine(tmp_path: Path, authority: Authority, pair: KeyPair) -> Iterator[Machine]:
    with FakeAuthorization(server_context(pair), secret=SECRET) as server:
        yield Machine(tmp_path, authority, server)


def test_an_authorization_becomes_a_private_file_and_a_row_to_be_copied(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    before = int(time.time())
    assert machine.get() == os.EX_OK
    assert stat.S_IMODE(os.stat(machine.directory).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(machine.path()).st_mode) == 0o600
    token = token_file.read(machine.path())
    assert (token.grant, token.access_token) == ("client_credentials", "access-1-token")
    assert token.client.client_secret == SECRET
    assert before + 3600 <= token.expires <= time.time() + 3600
    told = capfd.readouterr()
    assert told.out.splitlines()[1] == 'AuthInfo:HOST "U:ADDRESS" "T:office"'
    assert SECRET not in told.out + told.err and "access-1" not in told.out + told.err


def test_an_authorization_by_a_browser_and_once_more(
    machine: Machine,
    authority: Authority,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from minimta.system import https

    def paste(text: str) -> str:
        shown = capfd.readouterr().out.splitlines()
        (address,) = [line for line in shown if line.startswith("https://")]
        asked = https.query(address)
        machine.server.ask("expect_code", "c", asked["code_challenge"])
        return https.with_query(asked["redirect_uri"], {"code": "c", "state": asked["state"]})

    monkeypatch.setattr("builtins.input", paste)
    where = ("--token-endpoint", machine.server.url("token"), "--authorization-endpoint")
    who = ("--client-id", "client-1", "--secret-file", str(machine.secret))
    more = (machine.server.url("authorize"), "--ca-file", authority.certificate, "--scope", "mail")
    assert machine.run("get", "office", *where, *more, *who) == os.EX_OK
    first = token_file.read(machine.path())
    assert (first.grant, first.refresh_token) == ("refresh_token", "refresh-1-token")
    token_file.note_trouble(machine.path(), time.time(), "revoked", is_final=True)
    assert machine.run("renew", "office") == os.EX_OK
    second = token_file.read(machine.path())
    assert second.refresh_token == "refresh-2-token"
    assert second.client == first.client and second.authorization != first.authorization
    assert sorted(os.listdir(machine.directory)) == ["office.json", "office.lock"]


def test_a_new_client_secret_takes_the_place_of_the_old_one(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    assert machine.get() == os.EX_OK
    new = machine.secret.with_name("new")
    new.write_text("wrong\n")
    assert machine.run("renew", "office", "--secret-file", str(new)) == os.EX_NOPERM
    assert "client id or client secret is refused (invalid_client)" in capfd.readouterr().err
    assert token_file.read(machine.path()).client.client_secret == SECRET
    assert machine.run("renew", "office", "--secret-file", str(machine.secret)) == os.EX_OK


def test_without_a_refresh_token_nothing_is_written(
    machine: Machine, authority: Authority, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.server.answer(
        (200, {"device_code": "d", "user_code": "U", "verification_uri": "https://v", "interval": 1,
               "expires_in": 1}),
    )  # fmt: skip
    where = ("--token-endpoint", machine.server.url("token"), "--device-endpoint")
    more = (machine.server.url("device"), "--ca-file", authority.certificate)
    assert machine.run("get", "x", *where, *more, "--client-id", "c") == os.EX_NOPERM
    assert "nobody typed it in" in capfd.readouterr().err
    assert not os.path.exists(machine.path("x"))


def test_what_there_is_and_who_uses_it(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    assert machine.run("list") == os.EX_OK
    assert capfd.readouterr().out == ""
    machine.get("office")
    machine.get("other")
    machine.authinfo.write_text('AuthInfo:h "U:emma" "T:office"\n')
    machine.authinfo.chmod(0o600)
    token_file.note_trouble(machine.path("other"), time.time(), "not reached", is_final=False)
    Path(machine.path("third")).write_text("{")
    Path(machine.path("third")).chmod(0o600)
    capfd.readouterr()
    assert machine.run("list") == os.EX_OK
    office, other, unnamed, third, _ = capfd.readouterr().out.splitlines()
    assert office.startswith("office: client_credentials at 127.0.0.1, good until ")
    assert other.endswith("; not reached")
    assert unnamed == f"  no row of {machine.authinfo} names it"
    assert third.endswith("is no token of `minimta token`")


def test_a_check_asks_now_and_its_exit_code_says_it(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.get()
    assert machine.run("check") == os.EX_OK
    assert len(machine.server.forms) == 2
    machine.server.answer((503, {}), (401, {"error": "invalid_client"}))
    assert machine.run("check", "office") == os.EX_TEMPFAIL
    assert "token office: the server answers 503" in capfd.readouterr().out
    assert machine.run("check", "office") == os.EX_NOPERM
    told = capfd.readouterr().out
    assert told.endswith("to authorize it again: minimta token renew office\n")
    assert machine.run("check", "office") == os.EX_OK


@pytest.mark.parametrize("act", ["check", "renew", "remove"])
def test_a_token_that_there_is_not_is_told_with_the_nearest(
    machine: Machine, capfd: pytest.CaptureFixture[str], act: str
) -> None:
    machine.get()
    capfd.readouterr()
    assert machine.run(act, "offise") == os.EX_NOINPUT
    assert "there is no token offise (did you mean office?)" in capfd.readouterr().err


def test_one_that_is_removed_is_gone(machine: Machine) -> None:
    machine.get()
    token_file.note_trouble(machine.path(), time.time(), "x", is_final=False)
    Path(f"{machine.path()}.new").write_text("what a renewal that was killed has left")
    assert machine.run("remove", "office") == os.EX_OK
    assert os.listdir(machine.directory) == ["office.lock"]
    assert machine.run("remove", "office") == os.EX_NOINPUT


def test_a_directory_that_others_may_write_is_told(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.directory.mkdir(parents=True)
    machine.directory.chmod(0o777)
    assert machine.get() == os.EX_CONFIG
    assert "World writable directory; it must be root's alone" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["get", "a/b", "--client-id", "c", "--app"], "no name of a token"),
        (["get", "x", "--client-id", "c"], "--provider is missing"),
        (["get", "x", "--client-id", "c", "--provider", "google", "--app"], "Google has no client"),
        (
            ["get", "x", "--client-id", "c", "--provider", "microsoft", "--app"],
            "needs the --tenant",
        ),
        (["get", "x", "--client-id", "c", "--app", "--token-endpoint", "http://h/"], "no URL like"),
        (["get", "x", "--client-id", "c", "--provider", "yahoo"], "invalid choice"),
        (["get", "x"], "--client-id"),
        (["list", "x"], "cannot make sense of x"),
        ([], "nothing to do"),
    ],
)
def test_what_makes_no_sense_is_told_and_nobody_is_asked(
    machine: Machine, capfd: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    code = machine.run(*words) if words else verbs.main(["token"])
    assert code == os.EX_USAGE
    assert reason in capfd.readouterr().err
    assert machine.server.forms == []


def test_a_secret_is_asked_for_without_showing_it(
    machine: Machine, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getpass", lambda prompt: SECRET)
    where = ("--token-endpoint", machine.server.url("token"), "--ca-file", authority.certificate)
    assert machine.run("get", "x", *where, "--client-id", "c", "--app") == os.EX_OK
    assert token_file.read(machine.path("x")).client.client_secret == SECRET
