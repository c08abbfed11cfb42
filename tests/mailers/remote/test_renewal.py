"""Access tokens: renewed in time, once, durably; and what becomes of mail when they cannot be."""

from __future__ import annotations

import json
import os
import pwd
import signal
import ssl
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from minimta.config.options import Options
from minimta.mailers.remote import oauth, renewal, token_file
from minimta.mailers.remote.oauth import OAuthClient, TokenTrouble
from minimta.mailers.remote.renewal import access_token
from minimta.mailers.remote.token_file import TokenFile
from minimta.message.outcome import Fate
from minimta.system import files, https, log, processes
from minimta.system.safefile import Untrusted
from minimta.system.tls import KeyPair, server_context
from tests.mailers.remote.test_logins import Host, to
from tests.support.certificates import Authority
from tests.support.fakeauthorization import HANG, Answer, FakeAuthorization, free_port
from tests.support.fakeprovider import PROVIDERS, FakeProvider
from tests.support.jobs import options
from tests.support.powercut import Disk, playground

pytestmark = pytest.mark.debian("openssl")
NOW = 1_800_000_000.0
SECRETS = ("old-refresh-token", "old-access-token", "client-s3cret", "access-1-", "refresh-1-")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> KeyPair:
    return authority.issue("127.0.0.1")


class Place:
    """A directory of tokens, and the server that renews them."""

    def __init__(self, directory: Path, authority: Authority, stack: ExitStack) -> None:
        directory.chmod(0o700)
        (directory / "tokens").mkdir(mode=0o700)
        self.options: Options = options(token_directory=str(directory / "tokens"))
        self.options.run_as_user = ""
        self.path = str(directory / "tokens" / "office.json")
        self.now = NOW
        self.logged: list[str] = []
        self._authority = authority
        self._stack = stack

    def serve(self, pair: KeyPair, **how: object) -> FakeAuthorization:
        known = {"refresh_tokens": ["old-refresh-token"], **how}
        server = FakeAuthorization(server_context(pair), **known)  # type: ignore[arg-type]
        return self._stack.enter_context(server)

    def put(self, endpoint: str, left: int = 0, **more: object) -> TokenFile:
        """The token "office", which ends in *left* seconds."""
        known = {"client_id": "client-1", "ca_file": self._authority.certificate, **more}
        grant = str(known.pop("grant", "refresh_token"))
        client = OAuthClient(endpoint, **known)  # type: ignore[arg-type]
        times = (int(self.now) + left - 3600, int(self.now) + left)
        refresh = "old-refresh-token" if grant == "refresh_token" else ""
        token = TokenFile(client, grant, "first", refresh, "old-access-token", *times)
        token_file.write(self.path, token)
        return token

    def get(self, **more: bool) -> str:
        return access_token(self.options, "office", clock=lambda: self.now, **more)

    def trouble(self, **more: bool) -> str:
        """Why there is no token; no secret is in it, nor in what is logged."""
        with pytest.raises((TokenTrouble, OSError, ValueError)) as raised:
            self.get(**more)
        told = [str(raised.value), repr(raised.value), *self.logged]
        with_trouble = Path(self.path).with_suffix(".trouble")
        if with_trouble.exists():
            told.append(with_trouble.read_text())
        assert not any(secret in text for text in told for secret in SECRETS)
        return str(raised.value)


@pytest.fixture
def place(tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with ExitStack() as stack:
        made = Place(tmp_path, authority, stack)
        monkeypatch.setattr(log, "line", lambda qid, text, **_: made.logged.append(text))
        yield made


# --- when -----------------------------------------------------------------------------------------


def test_a_token_that_is_good_is_used_and_nobody_is_asked(place: Place) -> None:
    place.put(f"https://127.0.0.1:{free_port()}/token", left=renewal.MARGIN + 1)
    assert place.get() == "old-access-token"


def test_a_token_is_renewed_before_its_end(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair)
    place.put(server.url("token"), left=renewal.MARGIN)
    assert place.get() == "access-1-token"
    assert server.forms == [
        (
            "/token",
            {
                "grant_type": "refresh_token",
                "refresh_token": "old-refresh-token",
                "client_id": "client-1",
            },
        )
    ]
    assert place.get() == "access-1-token"
    assert len(server.forms) == 1
    place.now += 3600 - renewal.MARGIN - 1
    assert place.get() == "access-1-token"
    place.now += 1
    assert place.get() == "access-2-token"


def test_a_refresh_token_that_is_not_replaced_goes_on(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair)
    place.put(server.url("token"))
    place.get()
    assert token_file.read(place.path).refresh_token == "old-refresh-token"


def test_a_rotated_refresh_token_is_the_next_one(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair, rotates=True)
    place.put(server.url("token"))
    assert [place.get(is_forced=True) for _ in range(3)] == [
        "access-1-token",
        "access-2-token",
        "access-3-token",
    ]
    said = [form["refresh_token"] for _, form in server.forms]
    assert said == ["old-refresh-token", "refresh-1-token", "refresh-2-token"]


def test_a_token_from_the_future_is_renewed(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair)
    place.put(server.url("token"), left=30 * 86400)
    assert place.get() == "access-1-token"


def test_client_credentials_are_asked_for_again(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair, secret="client-s3cret")
    more = {"client_secret": "client-s3cret", "scope": "https://outlook.office365.com/.default"}
    place.put(server.url("token"), 0, grant="client_credentials", **more)
    assert place.get() == "access-1-token"
    ((_, form),) = server.forms
    assert form == {"grant_type": "client_credentials", "client_id": "client-1", **more}


def test_a_client_secret_may_go_into_the_authorization_field(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair)
    place.put(server.url("token"), client_secret="s:3 t", is_basic=True)
    assert place.get() == "access-1-token"
    assert server.authorizations == ["Basic Y2xpZW50LTE6cyUzQTMrdA=="]
    assert "client_secret" not in server.forms[0][1]


def test_the_file_stays_private_and_nothing_lies_beside_it(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair, rotates=True)
    place.put(server.url("token"))
    place.get()
    directory = Path(place.path).parent
    assert stat.S_IMODE(os.stat(place.path).st_mode) == 0o600
    assert sorted(path.name for path in directory.iterdir()) == ["office.json", "office.lock"]
    assert place.logged == ["token=office, renewed, lifetime=3600"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_not_believed(place: Place, mode: int) -> None:
    place.put("https://127.0.0.1/token", left=3000)
    os.chmod(place.path, mode)
    with pytest.raises(Untrusted):
        place.get()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"client": 1}', '{"client": {}, "grant": "x"}']
)
def test_a_file_that_makes_no_sense_is_told(place: Place, text: str) -> None:
    place.put("https://127.0.0.1/token", left=3000)
    Path(place.path).write_text(text)
    assert "is no token of `minimta token`" in place.trouble()


def test_a_file_with_a_field_of_another_type_is_told(place: Place) -> None:
    place.put("https://127.0.0.1/token", left=3000)
    said = json.loads(Path(place.path).read_text())
    wrong: dict[str, object] = {"access_token": {}, "expires": "1", "refresh_token": None}
    for name, value in wrong.items():
        Path(place.path).write_text(json.dumps({**said, name: value}))
        assert "is no token of `minimta token`" in place.trouble()


# --- answers that are none ------------------------------------------------------------------------


def http(status: str, content: bytes = b"", *fields: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *fields, "", ""])
    return head.encode() + content


GRANT = {"access_token": "a", "token_type": "Bearer", "expires_in": 3600}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"garbage\r\n\r\n", "does not answer as HTTP has it"),
        (http("200 OK", b"<html>login here</html>"), "that is no answer of OAuth"),
        (http("200 OK", b"[" * 60000), "that is no answer of OAuth"),
        (http("200 OK", b"\xff\xfe{}"), "that is no answer of OAuth"),
        (http("200 OK", b'{"access_token": "old'), "that is no answer of OAuth"),
        (http("200 OK", b" " * (https.LIMIT + 1)), "the answer is too long"),
        (http("200 OK", b"", "X: " + "x" * 70000), "does not answer as HTTP has it"),
        (http("302 Found", b"", "Location: https://127.0.0.2/"), "a redirect (302), which is not"),
        (http("307 Moved", b"", "Location: https://127.0.0.1/"), "a redirect (307), which is not"),
        (http("503 Busy", b"later"), "the server answers 503"),
        (http("404 Not Found", b"{}"), "the server answers 404"),
        (http("200 OK", b"", "Content-Length: -1"), "that is no answer of OAuth"),
        ((200, {**GRANT, "access_token": "a b"}), "no access token that can be used"),
        ((200, {**GRANT, "access_token": "a\nb"}), "no access token that can be used"),
        ((200, {**GRANT, "access_token": "a" * 8193}), "no access token that can be used"),
        ((200, {**GRANT, "access_token": 7.5}), "no access token that can be used"),
        ((200, {**GRANT, "access_token": "\u00e4"}), "no access token that can be used"),
        ((200, {**GRANT, "token_type": "mac"}), "no bearer token"),
        ((200, {"access_token": "a"}), "no bearer token"),
        ((503, {"error": "temporarily_unavailable"}), "cannot do so now (temporarily_unavailable)"),
        ((400, {"error": "x\r\nForged: 1"}), "the server answers 400"),
        ((400, {"error": "old-refresh-token is wrong"}), "the server answers 400"),
    ],
)
def test_an_answer_that_makes_no_sense_is_later(
    place: Place, pair: KeyPair, answer: Answer, reason: str
) -> None:
    server = place.serve(pair)
    before = place.put(server.url("token"))
    server.answer(answer)
    assert reason in place.trouble()
    assert token_file.read(place.path) == before
    place.now += token_file.FIRST_PAUSE - 1
    assert reason in place.trouble()
    assert len(server.forms) == 1
    place.now += 1
    assert place.get() == "access-1-token"
    assert token_file.trouble(place.path) is None


def test_a_server_that_does_not_answer_costs_its_time_and_no_more(
    place: Place, pair: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth, "ASK_TIME", 0.2)
    server = place.serve(pair)
    place.put(server.url("token"))
    server.answer(HANG)
    assert "timed out" in place.trouble()


def test_a_server_that_dribbles_is_ended_with_its_child(
    place: Place, pair: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth, "_CHILD_TIME", 0.3)
    server = place.serve(pair, holds=True)
    place.put(server.url("token"))
    assert "no answer within 0.3 seconds" in place.trouble()


def test_a_server_that_is_not_there_is_later(place: Place) -> None:
    place.put(f"https://127.0.0.1:{free_port()}/token")
    assert "127.0.0.1: Connection refused" in place.trouble()


def test_only_https_is_spoken(place: Place) -> None:
    for url in ("http://127.0.0.1/token", "https://emma@127.0.0.1/", "file:///etc/passwd", ""):
        place.put(url)
        assert "no URL like https://host/path" in place.trouble(is_forced=True)


def test_a_certificate_for_another_name_gets_nothing(place: Place, authority: Authority) -> None:
    server = place.serve(authority.issue("login.example.org"))
    place.put(server.url("token"))
    assert "127.0.0.1: the certificate is no good: IP address mismatch" in place.trouble()
    assert server.forms == []


def test_a_certificate_of_an_unknown_authority_gets_nothing(
    place: Place, tmp_path: Path, pair: KeyPair
) -> None:
    server = place.serve(Authority(tmp_path, "other").issue("127.0.0.1"))
    place.put(server.url("token"))
    assert "the certificate's authority is unknown" in place.trouble()
    assert server.forms == []


def test_the_environment_names_no_proxy(
    place: Place, pair: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    server = place.serve(pair)
    place.put(server.url("token"))
    assert place.get() == "access-1-token"


def test_the_proxy_of_the_configuration_is_used(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair)
    place.put(server.url("token"))
    place.options.https_proxy = f"127.0.0.1:{free_port()}"
    assert f"127.0.0.1 (HTTPSProxy {place.options.https_proxy}): Conn" in place.trouble()


# --- refused --------------------------------------------------------------------------------------


def test_a_revoked_authorization_is_told_and_not_tried_again_soon(
    place: Place, pair: KeyPair
) -> None:
    server = place.serve(pair, refresh_tokens=[])
    place.put(server.url("token"))
    assert place.trouble() == (
        "token office: the authorization was revoked or has expired (invalid_grant, AADSTS70000);"
        " to authorize it again: minimta token renew office"
    )
    for rest in (token_file.FIRST_REST, 2 * token_file.FIRST_REST):
        asked = len(server.forms)
        place.now += rest - 1
        assert "invalid_grant" in place.trouble()
        assert len(server.forms) == asked
        place.now += 1
        place.trouble()
        assert len(server.forms) == asked + 1


def test_the_rest_has_an_end_after_a_day(place: Place) -> None:
    place.put("https://127.0.0.1/token")
    for _ in range(20):
        token_file.note_trouble(place.path, NOW, "no", is_final=True)
    record = token_file.trouble(place.path)
    assert record is not None and record.until == NOW + token_file.LONGEST_REST


def test_a_change_of_the_file_ends_the_rest(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair, secret="client-s3cret")
    place.put(server.url("token"), client_secret="client-0ld")
    assert "client id or client secret is refused (invalid_client)" in place.trouble()
    place.put(server.url("token"), client_secret="client-s3cret")
    assert place.get() == "access-1-token"


def test_trouble_while_the_token_is_still_good_stops_no_mail(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair, refresh_tokens=[])
    place.put(server.url("token"), left=renewal.MARGIN - 1)
    assert place.get() == "old-access-token"
    assert "not renewed: token office: the authorization was revoked" in place.logged[0]
    assert place.get() == "old-access-token"
    assert len(server.forms) == 1
    place.now += renewal.MARGIN
    assert "invalid_grant" in place.trouble()


# --- rotation, and death in between ---------------------------------------------------------------


def test_two_at_once_renew_once(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair, rotates=True, holds=True)
    place.put(server.url("token"))
    found = [os.pipe() for _ in range(3)]

    def run(pipe: int) -> int:
        files.write_all(pipe, place.get().encode())
        return os.EX_OK

    children = [processes.fork("runner", lambda pipe=pipe: run(pipe)) for _, pipe in found]  # type: ignore[misc]
    server.wait_for_forms(1)
    server.release()
    for child, (reading, writing) in zip(children, found, strict=True):
        os.close(writing)
        assert os.waitpid(child, 0)[1] == 0
        assert os.read(reading, 100) == b"access-1-token"
        os.close(reading)
    assert len(server.forms) == 1


def test_a_lock_that_is_held_for_ever_is_later(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "_LOCK_TIME", 0.0)
    place.put("https://127.0.0.1/token")
    with token_file.locked(place.path, 1), pytest.raises(OSError, match="another process"):
        place.get()


def test_a_power_cut_leaves_the_old_token_or_the_new_and_what_was_promised(
    place: Place, tmp_path: Path
) -> None:
    before = place.put("https://127.0.0.1/token")
    after = before.with_tokens(oauth.Tokens("new-access", 3600, "new-refresh"), NOW)
    with Disk(Path(place.path).parent) as disk:
        token_file.write(place.path, after)
        disk.mark("written")
    with playground(tmp_path) as fresh:
        for cut in disk.cuts():
            for number, state in enumerate(disk.survivors(after=cut)):
                directory = fresh / f"{cut}-{number}"
                directory.mkdir(mode=0o700)
                state.write(directory)
                found = token_file.read(str(directory / "office.json"))
                assert found == after or (found == before and not disk.marks(cut)), state.label


def test_without_room_for_its_successor_a_refresh_token_is_not_spent(
    place: Place, pair: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = place.serve(pair, rotates=True)
    before = place.put(server.url("token"))

    def full(file: int, start: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        assert "No space left on device" in place.trouble()
    assert server.forms == []
    assert token_file.read(place.path) == before
    assert place.get(is_forced=True) == "access-1-token"


def test_a_new_refresh_token_is_durable_before_it_is_used(
    place: Place, pair: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = place.serve(pair, rotates=True)
    place.put(server.url("token"))
    done: list[str] = []

    def note(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def noting(*arguments: object) -> object:
            done.append(name)
            return real(*arguments)

        return noting

    for module, name in ((os, "fsync"), (os, "rename"), (files, "sync_directory")):
        monkeypatch.setattr(module, name, note(name, getattr(module, name)))
    monkeypatch.setattr(oauth, "ask", note("ask", oauth.ask))
    assert place.get() == "access-1-token"
    assert done[done.index("ask") + 1 :] == ["fsync", "rename", "sync_directory", "fsync"]


def test_a_runner_that_is_killed_meanwhile_loses_no_rotated_token(
    place: Place, pair: KeyPair
) -> None:
    from minimta.system import privileges

    server = place.serve(pair, rotates=True, holds=True)
    place.put(server.url("token"))

    def run() -> int:
        privileges.in_child(lambda: place.get().encode(), 60)
        return os.EX_OK

    runner = processes.fork("runner", run)
    server.wait_for_forms(1)
    os.kill(runner, signal.SIGKILL)
    os.waitpid(runner, 0)
    server.release()
    # The child of the runner has the lock until it has written.
    with token_file.locked(place.path, 10):
        assert token_file.read(place.path).refresh_token == "refresh-1-token"
    assert place.get() == "access-1-token"
    assert len(server.forms) == 1


def test_a_term_signal_waits_until_the_new_token_is_written(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair, rotates=True, holds=True)
    place.put(server.url("token"))

    def run() -> int:
        place.get()
        return os.EX_OK

    renewing = processes.fork("runner", run)
    server.wait_for_forms(1)
    os.kill(renewing, signal.SIGTERM)
    server.release()
    assert os.WTERMSIG(os.waitpid(renewing, 0)[1]) == signal.SIGTERM
    assert token_file.read(place.path).refresh_token == "refresh-1-token"


def test_what_a_dead_one_left_beside_it_is_in_nobodys_way(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair, rotates=True)
    place.put(server.url("token"))
    Path(f"{place.path}.new").write_text("half of a tok")
    assert place.get() == "access-1-token"


# --- the child ------------------------------------------------------------------------------------


@pytest.mark.root
def test_who_asks_has_no_rights_and_cannot_be_read(
    place: Place, pair: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ctypes

    place.options.run_as_user = "nobody"

    def look(*arguments: object) -> tuple[int, bytes]:
        status = Path("/proc/self/status").read_text()
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE
        files = []
        for number in os.listdir("/proc/self/fd"):
            try:
                files.append(os.readlink(f"/proc/self/fd/{number}"))
            except OSError:  # of the listing itself, or: nobody may look
                continue
        opened = [name for name in files if name.startswith("/") and name != "/dev/null"]
        said = f"{facts['Uid']} {facts['CapEff']} {dumpable} {facts['Groups'].strip()}{opened}"
        return 200, json.dumps({"user_code": said.replace("\t", " ")}).encode()

    monkeypatch.setattr(https.HttpsClient, "post", look)
    client = OAuthClient("https://127.0.0.1/", "client-1")
    told = oauth.ask(place.options, client, "https://127.0.0.1/", {})["user_code"]
    uid = pwd.getpwnam("nobody").pw_uid
    assert told.split()[:4] == [str(uid)] * 4
    assert told.split()[4:] == ["0000000000000000", "0", "[]"]


@pytest.mark.root
def test_who_asks_imports_nothing_any_more(
    place: Place, pair: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may not be able to read the place where Python is installed."""
    server = place.serve(pair)
    client = place.put(server.url("token")).client
    place.options.run_as_user = "nobody"
    real = https.HttpsClient.post

    def post(*arguments: Any) -> tuple[int, bytes]:
        before = set(sys.modules)
        real(*arguments)
        said = f"{os.geteuid()} {sorted(set(sys.modules) - before)}"
        return 200, json.dumps({"user_code": said}).encode()

    monkeypatch.setattr(https.HttpsClient, "post", post)
    form = oauth.refresh_form("old-refresh-token", client)
    told = oauth.ask(place.options, client, client.token_endpoint, form)["user_code"]
    assert told == f"{pwd.getpwnam('nobody').pw_uid} []"
    assert len(server.forms) == 1


def test_what_the_child_tells_is_believed_within_bounds() -> None:
    assert oauth.read_lines(b"status=200\naccess_token=a") == {"status": "200", "access_token": "a"}
    for lines in (
        b"",
        b"status",
        b"other=1",
        b"error=\xff",
        b"error=a\x1b[0m",
        b"error=" + b"a" * 16385,
    ):
        with pytest.raises(OSError, match="makes no sense"):
            oauth.read_lines(lines)


# --- a letter -------------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def of_host(host: Host, authority: Authority, stack: ExitStack) -> Place:
    import time

    place = Place(host.directory, authority, stack)
    place.now = time.time()
    place.logged = host.logged
    host.options.token_directory = place.options.token_directory
    host.options.run_as_user = ""
    return place


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER", ""])
def test_a_letter_goes_out_with_a_token_that_had_expired(
    host: Host, authority: Authority, pair: KeyPair, mechanism: str
) -> None:
    with ExitStack() as stack:
        place = of_host(host, authority, stack)
        server = place.serve(pair, rotates=True)
        place.put(server.url("token"))
        host.write(
            'AuthInfo:127.0.0.1 "U:emma" "T:office"' + (f' "M:{mechanism}"' if mechanism else "")
        )
        with FakeProvider(PROVIDERS["fastmail"], {"emma": "access-1-token"}) as provider:
            assert host.run(to(provider))[0].fate is Fate.SENT
            assert host.run(to(provider))[0].fate is Fate.SENT
            assert provider.logins == [("emma", mechanism or "OAUTHBEARER", True, False)] * 2
        assert len(server.forms) == 1
        told = [*host.logged, *host.said]
        assert not any(secret in text for text in told for secret in SECRETS)
        assert ": token=office, renewed, lifetime=3600" not in told  # by the child: into syslog


def test_a_letter_waits_when_the_authorization_was_revoked(
    host: Host, authority: Authority, pair: KeyPair
) -> None:
    with ExitStack() as stack:
        place = of_host(host, authority, stack)
        server = place.serve(pair, refresh_tokens=[])
        place.put(server.url("token"))
        host.write('AuthInfo:127.0.0.1 "U:emma" "T:office"')
        with FakeProvider(PROVIDERS["office365"], {"emma": "x"}) as provider:
            for _ in range(2):
                (outcome,) = host.run(to(provider))
                assert outcome.fate is Fate.DEFERRED
                assert outcome.text.startswith("cannot log in: ")
                assert outcome.text.endswith("to authorize it again: minimta token renew office")
            assert provider.commands == []
        assert len(server.forms) == 1


def test_a_token_that_does_not_exist_delays_and_is_told(host: Host, tmp_path: Path) -> None:
    host.options.token_directory = str(tmp_path / "none")
    host.write('AuthInfo:127.0.0.1 "U:emma" "T:office"')
    with FakeProvider(PROVIDERS["office365"], {"emma": "x"}) as provider:
        (outcome,) = host.run(to(provider))
    assert outcome.fate is Fate.DEFERRED
    assert "office.json: No such file" in outcome.text


def test_a_renewal_is_no_new_login_and_an_authorization_is(
    host: Host, authority: Authority
) -> None:
    from minimta.mailers.remote.credentials import CredentialStore

    def state() -> str:
        store = CredentialStore.read(host.options)
        return store.state_of(store.rows[0])

    with ExitStack() as stack:
        place = of_host(host, authority, stack)
        token = place.put("https://127.0.0.1/token")
        host.write('AuthInfo:127.0.0.1 "U:emma" "T:office"')
        first = state()
        token_file.write(place.path, token.with_tokens(oauth.Tokens("b", 1), NOW))
        assert state() == first
        token_file.write(place.path, TokenFile(token.client, token.grant, "second"))
        assert state() != first


def test_the_context_is_made_for_https() -> None:
    from minimta.system.tls import Trust, https_context

    context = https_context(Trust())
    assert context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
