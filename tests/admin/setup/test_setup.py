"""minimta setup: each provider played on loopback, right and wrong passwords, and what the files are then."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import stat
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from minimta.admin import authorize, token, verbs
from minimta.admin.authorize import Provider as Microsoft
from minimta.admin.checkout import HOME
from minimta.admin.install.sendmail_cf import SendmailCf
from minimta.admin.placing import alone
from minimta.admin.setup import answers, letter, setup
from minimta.config.options import Options
from minimta.system.tls import server_context
from minimta.system.tls_values import KeyPair
from tests.support.certificates import Authority
from tests.support.fakeauthorization import FakeAuthorization, free_port
from tests.support.fakeprovider import PROVIDERS as PLAYED
from tests.support.fakeprovider import FakeProvider
from tests.support.fakesmtp import FakeSmtp

pytestmark = pytest.mark.debian("openssl")
SECRET = "correct-horse-battery"
#: name of a provider -> who logs in, and what else setup is told
USERS: dict[str, tuple[str, list[str]]] = {
    "gmail": ("emma@gmail.com", []),
    "office365": ("emma@example.org", []),
    "fastmail": ("emma@fastmail.com", []),
    "ses": ("AKIAEXAMPLE", ["--from", "alerts@example.org"]),
    "sendgrid": ("apikey", ["--from", "alerts@example.org"]),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> KeyPair:
    return authority.issue("localhost")


class SetupMachine:
    """A private configuration of whoever runs the tests."""

    def __init__(self, root: Path, authority: Authority) -> None:
        root.chmod(0o755)
        self.root = root
        self.cf = root / "minimta.cf"
        self.authinfo = root / "authinfo"
        self.generics = root / "genericstable"
        self.aliases = root / "aliases"
        self.secret = root / "secret"
        self.write_secret(SECRET)
        self.aliases.write_text("# who reads what\npostmaster: root\n")
        self.given = (
            "# our machine\nHostName = vm1.lan\n\n"
            f"AuthInfoFile = {self.authinfo}\nGenericsTable = {self.generics}\n"
            f"MailerTable = {root}/mailertable\nAliasFile = {self.aliases}\nPidFile = {root}/pid\n"
            f"CACertFile = {authority.certificate}\nRunAsUser =\n  LogLevel = 12   \n# end\n"
            f"MailboxDirectory = {root}/mail\nLocalHostNames =\nAccessFile =\nTLSPolicy =\n"
        )
        self.cf.write_text(self.given)
        self.cf.chmod(0o644)

    def write_secret(self, text: str) -> None:
        self.secret.write_text(f"{text}\n")
        self.secret.chmod(0o600)

    def setup(self, *words: str) -> int:
        return verbs.main(["setup", *words, "-C", str(self.cf)])

    def provider(self, name: str, port: int, *words: str) -> int:
        user, more = USERS[name]
        login = [] if name == "sendgrid" else ["--user", user]
        where = ["--host", "localhost", "--port", str(port)]
        return self.setup(name, *login, "--password-file", str(self.secret), *where, *more, *words)

    def state(self) -> Mapping[str, tuple[bytes, int]]:
        """All files but what a test put there itself."""
        return {
            path.name: (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
            for path in self.root.iterdir()
            if path.is_file()
        }


@pytest.fixture
def machine(tmp_path: Path, authority: Authority) -> SetupMachine:
    return SetupMachine(tmp_path, authority)


def played(name: str, pair: KeyPair) -> FakeProvider:
    user = USERS[name][0]
    return FakeProvider(PLAYED[name], {user: SECRET}, tls=server_context(pair))


@pytest.mark.parametrize("name", USERS)
def test_with_the_right_password_the_letter_arrives_and_the_files_are_there(
    name: str, machine: SetupMachine, pair: KeyPair, capfd: pytest.CaptureFixture[str]
) -> None:
    sender = USERS[name][1][-1] if USERS[name][1] else USERS[name][0]
    with played(name, pair) as server:
        assert machine.provider(name, server.port) == os.EX_OK
        [message], [commands] = server.messages, server.commands
    mail = next(line for line in commands if line.startswith("MAIL"))
    assert f"<{sender}>" in mail
    assert re.search(rb"^From: .*\b" + re.escape(sender.encode()), message, re.MULTILINE)
    told = capfd.readouterr()
    assert re.search(
        r"localhost has taken it: 250 2.0.0 Ok: queued as FAKE1 \(\d+\.\d seconds\)", told.out
    )
    assert SECRET not in told.out + told.err
    assert machine.cf.read_text() == (
        f"{machine.given}SmartHost = [localhost]:{server.port}\nMasqueradeEnvelope = True\n"
    )
    assert machine.authinfo.read_text() == f'AuthInfo:localhost "U:{USERS[name][0]}" "P:{SECRET}"\n'
    assert stat.S_IMODE(machine.authinfo.stat().st_mode) == 0o600
    assert machine.generics.read_text() == f"@vm1.lan\t{sender}\n"
    assert machine.aliases.read_text() == f"# who reads what\npostmaster: root\nroot: {sender}\n"
    assert (machine.root / "aliases.cdb").exists()


@pytest.mark.parametrize("name", USERS)
def test_with_a_wrong_password_it_says_what_to_do_and_all_is_as_it_was(
    name: str, machine: SetupMachine, pair: KeyPair, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.write_secret("wr0ng-horse")
    before = machine.state()
    with played(name, pair) as server:
        began = time.monotonic()
        assert machine.provider(name, server.port) == os.EX_NOPERM
        took = time.monotonic() - began
        assert not server.messages and not server.logins[0][2]
    assert machine.state() == before
    told = capfd.readouterr()
    assert "wr0ng" not in told.out + told.err
    wanted = {
        "gmail": "an app password here, not that of the account",
        "office365": "Set-CASMailbox -SmtpClientAuthenticationDisabled $false",
        "fastmail": "Fastmail takes an app password",
        "ses": "are not the access key of a user",
        "sendgrid": "an API key with the permission Mail Send",
    }
    assert wanted[name] in told.err and "  535" in told.err
    assert "Nothing was changed" in told.err
    assert took < 60  # ten seconds on a machine that is not busy; see the next one


def test_a_port_that_is_blocked_is_told_within_ten_seconds(
    machine: SetupMachine, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert letter.GREETING_TIME < 10
    monkeypatch.setattr(letter, "GREETING_TIME", 1.5)
    before = machine.state()
    with FakeSmtp(answers={"greeting": ["hang"]}) as server:
        began = time.monotonic()
        assert machine.provider("gmail", server.port) == os.EX_UNAVAILABLE
        assert time.monotonic() - began < 30
    told = capfd.readouterr().err
    assert f"nobody answers at localhost port {server.port}; most hosters block" in told
    assert "has 587, 465, too" in told
    assert machine.state() == before


@pytest.mark.parametrize(
    ("answers", "code", "words"),
    [
        ({"MAIL": ["553 5.7.1 <x>: Sender address rejected: not owned by user"]}, 77, "--from"),
        (
            {"DATA": ["554 Message rejected: Email address is not verified."],
             ".": ["554 Message rejected: Email address is not verified. In region EU-WEST-1"]},
            77, "in the sandbox also",
        ),
        ({".": ["554 5.2.252 SendAsDenied; emma@example.org not allowed to send as x"]}, 77, "may not send as that address"),
        ({"RCPT": ["550 5.1.1 No such user"]}, 69, "--root-address"),
        ({"MAIL": ["421 4.3.2 Come again"]}, 75, "it is tried again"),
        ({"RCPT": ["550 5.4.5 Daily user sending limit exceeded"]}, 75, "when the limit is over"),
        ({"RCPT": ["550 5.1.1 No such user"], "QUIT": ["221 emma@example.org... Sent (it lies)"]},
         69, "--root-address"),
        ({".": ["hang"]}, 69, "it greeted, and gave no answer to ."),
        ({"RCPT": ["550 \x1b[2J"]}, 69, "550 ?[2J"),
        ({"greeting": ["220 " + "x" * 100_000]}, 69, "reply line too long"),
    ],
)  # fmt: skip
def test_what_the_provider_does_not_take_is_told_in_words(
    machine: SetupMachine,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answers: dict[str, list[str]],
    code: int,
    words: str,
) -> None:
    monkeypatch.setitem(letter._TIMES, "datafinal", "3s")
    before = machine.state()
    plain = ["--user", "", "--from", "emma@example.org", "--port"]
    with FakeSmtp(answers=answers) as server:
        assert machine.setup("localhost", *plain, str(server.port)) == code
    assert words in capfd.readouterr().err
    assert machine.state() == before


def test_a_certificate_of_somebody_else_is_told(
    machine: SetupMachine,
    tmp_path_factory: pytest.TempPathFactory,
    capfd: pytest.CaptureFixture[str],
) -> None:
    other = Authority(tmp_path_factory.mktemp("other"), "other").issue("smtp.gmail.com")
    policy = machine.root / "tls-policy"
    policy.write_text("localhost verify\n")
    machine.cf.write_text(machine.given.replace("TLSPolicy =", f"TLSPolicy = {policy}"))
    with played("gmail", other) as server:
        assert machine.provider("gmail", server.port) == os.EX_CONFIG
        assert not server.logins
    assert "it is not that of localhost, or nobody known vouches" in capfd.readouterr().err


def test_a_host_that_does_not_listen_and_a_name_that_does_not_exist_are_told(
    machine: SetupMachine, capfd: pytest.CaptureFixture[str]
) -> None:
    assert machine.provider("gmail", free_port()) == os.EX_UNAVAILABLE
    assert "does not listen on port" in capfd.readouterr().err


def test_a_second_run_changes_only_what_was_asked(
    machine: SetupMachine, pair: KeyPair, capfd: pytest.CaptureFixture[str]
) -> None:
    with played("fastmail", pair) as server:
        assert machine.provider("fastmail", server.port) == os.EX_OK
        before = machine.state()
        assert machine.provider("fastmail", server.port) == os.EX_OK
        assert "nothing to do" in capfd.readouterr().out
        assert machine.state() == before
        assert machine.setup("--root-address", "dave@example.org") == os.EX_OK
        assert server.commands[-1][-3].startswith("RCPT To:<dave@example.org>")
    after = machine.state()
    assert {name for name in after if after[name] != before.get(name)} == {"aliases", "aliases.cdb"}
    assert machine.aliases.read_text().endswith("postmaster: root\nroot: dave@example.org\n")


def test_a_new_password_takes_the_place_of_the_old_one_and_other_rows_stay(
    machine: SetupMachine, pair: KeyPair
) -> None:
    machine.authinfo.write_text(
        '# logins\nAuthInfo:other.example "U:x" "P:y"\nAuthInfo:LOCALHOST "U:old" "P:old"\nAuthInfo: "U:z" "P:z"\n'
    )
    machine.authinfo.chmod(0o640)
    with played("gmail", pair) as server:
        assert machine.provider("gmail", server.port) == os.EX_OK
    assert machine.authinfo.read_text() == (
        f'# logins\nAuthInfo:other.example "U:x" "P:y"\nAuthInfo:LOCALHOST "U:emma@gmail.com" "P:{SECRET}"\n'
        'AuthInfo: "U:z" "P:z"\n'
    )
    assert stat.S_IMODE(machine.authinfo.stat().st_mode) == 0o600


def test_a_password_with_quotes_and_blanks_arrives_as_it_is(
    machine: SetupMachine, pair: KeyPair
) -> None:
    odd = 'a "quoted" pässword '
    machine.write_secret(odd)
    with FakeProvider(
        PLAYED["fastmail"], {"emma@fastmail.com": odd}, tls=server_context(pair)
    ) as server:
        assert machine.provider("fastmail", server.port) == os.EX_OK


def test_local_returns_mail_for_others_and_the_next_provider_takes_that_back(
    machine: SetupMachine, pair: KeyPair
) -> None:
    assert machine.setup("local", "--root-address", "emma", "--no-test") == os.EX_OK
    table = machine.root / "mailertable"
    assert table.read_text() == ".\terror:5.7.1:550 This machine sends no mail to other hosts\n"
    assert "SmartHost" not in machine.cf.read_text()
    with played("gmail", pair) as server:
        assert machine.provider("gmail", server.port) == os.EX_OK
    assert table.read_text() == ""


def test_local_says_what_to_do_if_roots_mail_goes_to_another_host(
    machine: SetupMachine, capfd: pytest.CaptureFixture[str]
) -> None:
    assert machine.setup("local", "--root-address", "emma@example.org") == os.EX_UNAVAILABLE
    assert capfd.readouterr().err == (
        "minimta setup: root's mail goes to emma@example.org, and mail for other hosts is refused with"
        " local: --root-address with a user of this host\n"
        "Nothing was changed; --no-test writes it without a letter.\n"
    )
    assert machine.cf.read_text() == machine.given


def test_a_sendmail_cf_of_ours_says_what_is_so_now(tmp_path: Path) -> None:
    (tmp_path / "etc/mail").mkdir(parents=True)
    SendmailCf(tmp_path).do()
    words = [
        "smtp.example.org:587",
        "--user",
        "",
        "--from",
        "a@example.org",
        "--root",
        str(tmp_path),
    ]
    assert verbs.main(["setup", *words]) == os.EX_OK
    assert "\nDS[smtp.example.org]:587\n" in (tmp_path / "etc/mail/sendmail.cf").read_text()


def test_every_unit_that_runs_is_told_to_read_it_again(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[list[str]] = []

    def systemctl(command: list[str]) -> subprocess.CompletedProcess[str]:
        told.append(command[1:])
        is_there = command[-1] != "minimta-listener.service"
        return subprocess.CompletedProcess(command, 0 if is_there else 3, "", "")

    monkeypatch.setattr(setup, "has_systemd", lambda: True)
    monkeypatch.setattr(setup, "run_program", systemctl)
    setup._reload(Options())
    reloaded = [words[1] for words in told if words[0] == "reload"]
    assert reloaded == ["minimta-runner.service", "minimta.service"]
    assert "minimta-runner.service is reloaded" in capfd.readouterr().out


def test_a_domain_takes_the_place_of_the_one_address(machine: SetupMachine) -> None:
    plain = ["localhost:25", "--user", "", "--no-test"]
    assert machine.setup(*plain, "--from", "a@example.org") == os.EX_OK
    assert machine.setup(*plain, "--domain", "example.org") == os.EX_OK
    assert machine.generics.read_text() == ""
    assert machine.cf.read_text() == (
        f"{machine.given}SmartHost = [localhost]:25\nMasqueradeEnvelope = True\nMasqueradeAs = example.org\n"
    )


def test_a_tree_for_another_machine(tmp_path: Path) -> None:
    secret = tmp_path / "s"
    secret.write_text("pw\n")
    words = [
        "gmail",
        "--user",
        "emma@gmail.com",
        "--password-file",
        str(secret),
        "--hostname",
        "vm9.example.org",
    ]
    assert verbs.main(["setup", *words, "--root", str(tmp_path)]) == os.EX_OK
    mail = tmp_path / "etc/mail"
    assert (
        (mail / "minimta.cf")
        .read_text()
        .endswith(
            "SmartHost = [smtp.gmail.com]:587\nMasqueradeEnvelope = True\nHostName = vm9.example.org\n"
        )
    )
    assert (mail / "genericstable").read_text() == "@vm9.example.org\temma@gmail.com\n"
    assert stat.S_IMODE((mail / "authinfo").stat().st_mode) == 0o600
    assert (tmp_path / "etc/aliases").read_text() == "root: emma@gmail.com\n"


def test_a_password_that_is_too_long_is_not_cut(
    machine: SetupMachine, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.write_secret("x" * 4096)
    before = machine.state()
    assert machine.provider("gmail", 1, "--no-test") == os.EX_DATAERR
    told = capfd.readouterr()
    assert "no password has more than 4096 octets" in told.err and "xxx" not in told.err
    assert machine.state() == before


def test_of_two_at_the_same_time_the_second_changes_nothing(
    machine: SetupMachine, capfd: pytest.CaptureFixture[str]
) -> None:
    before = machine.state()
    with alone(str(machine.cf)):
        assert machine.provider("gmail", 1, "--no-test") == os.EX_TEMPFAIL
    assert "another minimta setup or import is at work" in capfd.readouterr().err
    assert machine.state() == before
    assert machine.provider("gmail", 1, "--no-test") == os.EX_OK


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["gmail"], "--user is missing, and there is no terminal"),
        (["gmail", "--user", "e@gmail.com"], "--password-file is missing"),
        ([], "a provider is missing"),
        (["gmial", "--user", "x"], "none of gmail, office365"),
        (["h_st!.x", "--user", "x"], "neither of gmail"),
        (["a.example,b.example", "--user", "x"], "one HOST, HOST:PORT or [ADDRESS]:PORT"),
        (["esmtp:a.example:25", "--user", "x"], "one HOST, HOST:PORT or [ADDRESS]:PORT"),
        (["gmail", SECRET], "1 word(s) too many"),
        (["gmail", "--user", "e@gmail.com", "--port", "99999"], "no port 99999"),
        (["fastmail", "--user", "e@fastmail.com", "--client-id", "x"], "no OAuth"),
        (["mx", "--root-address", "a b@c"], "--root-address: 'a b@c' is no address"),
        (["mx", "--host", "a.example"], "--host goes with a provider, and mx is none"),
        (["local", "--password-file", "x"], "--password-file goes with a provider, and local is"),
        (["--from", "e@a.example", "--port", "25"], "--port goes with a provider, and none is n"),
        (["a.example", "--host", "b.example"], "--host goes with the name of a provider, and a."),
        (["a.example", "--region", "x"], "--region goes with the name of a provider, and a.ex"),
        (["fastmail", "--region", "x"], "--region goes with ses, and not with --host"),
        (["ses", "--region", "x", "--host", "a.example"], "--region goes with ses, and not with"),
        (["a.example", "--user", "", "--password-file", "x"], "--password-file goes with --user"),
        (
            ["gmail", "--user", "e@gmail.com", "--client-id", "x", "--password-file", "x"],
            "either --client-id or --password-file: a login has one way",
        ),
        (
            ["gmail", "--user", "e@gmail.com", "--password-file", "x", "--tenant", "t"],
            "--tenant goes with --client-id",
        ),
    ],
)
def test_without_a_terminal_what_is_missing_is_named(
    machine: SetupMachine,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    reason: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    before = machine.state()
    assert machine.setup(*words) == os.EX_USAGE
    told = capfd.readouterr().err
    assert reason in told and SECRET not in told
    assert machine.state() == before


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ("Smtp.example.org", ("smtp.example.org", 0)),
        ("smtp.example.org:2525", ("smtp.example.org", 2525)),
        ("localhost", ("localhost", 0)),
        ("[192.0.2.1]", ("192.0.2.1", 0)),
        ("[2001:db8::1]:2525", ("2001:db8::1", 2525)),
        ("[2001:db8::1]", ("2001:db8::1", 0)),
    ],
)
def test_a_host_is_a_name_or_an_address_with_or_without_a_port(
    where: str, place: tuple[str, int]
) -> None:
    assert answers._host(where, None, Namespace(port=None)) == place
    assert answers._host(where, None, Namespace(port=25)) == (place[0], 25)


def wait_for_greeting(server: FakeSmtp) -> None:
    """Return when somebody has said EHLO."""
    end = time.monotonic() + 60
    while not any(server.commands):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_provider_that_wants_oauth_gets_a_token_and_the_letter_goes_by_it(
    machine: SetupMachine,
    authority: Authority,
    pair: KeyPair,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    cert = server_context(authority.issue("127.0.0.1"))
    machine.cf.write_text(f"{machine.given}TokenDirectory = {machine.root}/lib/tokens\n")
    get = token.run
    with FakeAuthorization(cert, secret=SECRET) as server:
        known = Microsoft(server.url("token"), "mail", "h", device_endpoint=server.url("device"))
        monkeypatch.setitem(authorize.PROVIDERS, "microsoft", known)
        ca = ["--ca-file", authority.certificate]
        monkeypatch.setattr(token, "run", lambda words: get([*words, *ca]))
        users = {"emma@example.org": "access-1-token"}
        with FakeProvider(PLAYED["office365"], users, tls=server_context(pair)) as provider:
            where = ["--host", "localhost", "--port", str(provider.port)]
            who = ["--user", "emma@example.org", "--client-id", "client-1", "--app"]
            secret = ["--client-secret-file", str(machine.secret)]
            assert machine.setup("office365", *where, *who, *secret) == os.EX_OK
            assert provider.logins == [("emma@example.org", "XOAUTH2", True, True)]
        assert [form["client_id"] for _, form in server.forms] == ["client-1"]
    assert machine.authinfo.read_text() == 'AuthInfo:localhost "U:emma@example.org" "T:office365"\n'
    told = capfd.readouterr()
    assert SECRET not in told.out + told.err and "access-1" not in told.out + told.err


# --- on a terminal ------------------------------------------------------------------------------------


class AtTerminal:
    """setup on a terminal of its own."""

    def __init__(self, machine: SetupMachine, *words: str) -> None:
        self._terminal, theirs = pty.openpty()
        program = [sys.executable, "-I", f"{HOME}/bin/minimta", "setup", *words]
        # getpass(3) wants a controlling terminal.
        # Tests that a shell runs in the background have SIGINT ignored; whoever types has not.
        command = ["env", "--default-signal=INT", "setsid", "--ctty", *program]
        command += ["-C", str(machine.cf)]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.shown = ""

    def until(self, words: str) -> None:
        while words not in self.shown:
            try:
                octets = os.read(self._terminal, 4096)
            except OSError:
                octets = b""
            assert octets, self.shown
            self.shown += octets.decode("utf-8", "replace")

    def type(self, text: str) -> None:
        os.write(self._terminal, f"{text}\n".encode())

    def end(self) -> int:
        try:
            while octets := os.read(self._terminal, 4096):
                self.shown += octets.decode("utf-8", "replace")
        except OSError:
            pass
        os.close(self._terminal)
        return self.process.wait(60)


#: provider -> what is shown, and what is typed then
DIALOGUES: dict[str, list[tuple[str, str]]] = {
    "gmail": [("Gmail address: ", "emma@gmail.com"), ("not shown): ", SECRET)],
    "office365": [
        ("mailbox that sends: ", "emma@example.org"), ("by password): ", ""), ("not shown): ", SECRET),
    ],
    "fastmail": [("login): ", "emma@fastmail.com"), ("not shown): ", SECRET)],
    "ses": [
        ("SMTP settings): ", "AKIAEXAMPLE"), ("not shown): ", SECRET),
        ("root's goes to it: ", "alerts@example.org"),
    ],
    "sendgrid": [("not shown): ", SECRET), ("root's goes to it: ", "alerts@example.org")],
}  # fmt: skip


@pytest.mark.parametrize("name", DIALOGUES)
def test_at_most_three_things_are_asked_and_the_secret_is_not_shown(
    name: str, machine: SetupMachine, pair: KeyPair
) -> None:
    assert len(DIALOGUES[name]) <= 3
    with played(name, pair) as server:
        seat = AtTerminal(machine, name, "--host", "localhost", "--port", str(server.port))
        for shown, typed in DIALOGUES[name]:
            seat.until(shown)
            seat.shown = seat.shown.replace(shown, "")
            seat.type(typed)
        assert seat.end() == os.EX_OK, seat.shown
        assert len(server.messages) == 1
    assert SECRET not in seat.shown
    assert SECRET in machine.authinfo.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_all_as_it_was(machine: SetupMachine, number: signal.Signals) -> None:
    before = machine.state()
    with FakeSmtp(answers={"EHLO": ["hang"]}) as server:
        words = ["localhost", "--user", "", "--from", "a@example.org", "--port", str(server.port)]
        seat = AtTerminal(machine, *words)
        seat.until("A test letter")
        wait_for_greeting(server)
        seat.process.send_signal(number)
        assert seat.end() == 130
    assert machine.state() == before


def test_nobody_sees_the_secret_among_the_processes(machine: SetupMachine, pair: KeyPair) -> None:
    with FakeProvider(
        PLAYED["gmail"], {"emma@gmail.com": SECRET}, tls=server_context(pair)
    ) as server:
        server.change("EHLO", "hang")
        seat = AtTerminal(machine, "gmail", "--host", "localhost", "--port", str(server.port))
        for shown, typed in DIALOGUES["gmail"]:
            seat.until(shown)
            seat.type(typed)
        seat.until("A test letter")
        wait_for_greeting(server)
        seen = b""
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    seen += (process / name).read_bytes()
                except OSError:
                    continue
        assert b"minimta" in seen and SECRET.encode() not in seen
        seat.process.send_signal(signal.SIGINT)
        assert seat.end() == 130


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """setup has its own ways to end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
