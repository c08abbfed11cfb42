"""What authorization servers answer, and who asks them."""

from __future__ import annotations

import json
import os
import pwd
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minimta.mailers.remote import oauth, token_file
from minimta.mailers.remote.oauth import OAuthClient
from minimta.system import https
from minimta.system.tls_values import KeyPair
from tests.mailers.remote.conftest import Place
from tests.support.certificates import Authority
from tests.support.fakeauthorization import HANG, Answer, free_port
from tests.support.hostile import connect, make, outcomes, read, run, tried
from tests.support.ownprocess import OwnProcess
from tests.system.test_sandbox import kernel

pytestmark = pytest.mark.debian("openssl")


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
        ((400, {"error": "old-refresh-token"}), "the server answers 400"),
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


class Proxy(OwnProcess):
    """Answers CONNECT, whatever it names, with a way to *port*; or else with *refusal*."""

    def __init__(self, port: int, refusal: bytes = b"") -> None:
        self._to, self._refusal = port, refusal
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._seen = b""

    def __enter__(self) -> Proxy:
        self.start([self._listening])
        return self

    def __exit__(self, *unused: object) -> None:
        self.stop()

    def serve(self) -> None:
        threading.Thread(target=self._serve, daemon=True).start()

    def seen(self) -> bytes:
        return self._seen

    def _serve(self) -> None:
        client, _ = self._listening.accept()
        self._seen = client.recv(65536)
        if self._refusal:
            client.sendall(self._refusal)
            client.close()
            return
        server = socket.create_connection(("127.0.0.1", self._to))
        client.sendall(b"HTTP/1.1 200 Go on\r\n\r\n")
        back = threading.Thread(target=self._copy, args=(server, client, False), daemon=True)
        back.start()
        self._copy(client, server, True)

    def _copy(self, source: socket.socket, target: socket.socket, is_noted: bool) -> None:
        while octets := source.recv(65536):
            self._seen += octets if is_noted else b""
            target.sendall(octets)


def test_a_proxy_brings_us_to_the_host_and_sees_nothing(place: Place, authority: Authority) -> None:
    server = place.serve(authority.issue("login.example.org"))
    place.put(f"https://login.example.org:{server.port}/token")
    with Proxy(server.port) as proxy:
        place.options.https_proxy = f"127.0.0.1:{proxy.port}"
        assert place.get() == "access-1-token"
        seen = proxy.ask("seen")
    assert seen.startswith(f"CONNECT login.example.org:{server.port} HTTP/1.".encode())
    assert b"old-refresh-token" not in seen and b"client-1" not in seen


def test_who_stands_behind_a_proxy_must_be_the_host(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair)  # for 127.0.0.1
    place.put("https://login.example.org/token")
    with Proxy(server.port) as proxy:
        place.options.https_proxy = f"127.0.0.1:{proxy.port}"
        assert "the certificate is no good: Hostname mismatch" in place.trouble()
    assert server.forms == []


def test_a_proxy_that_refuses_is_later(place: Place) -> None:
    place.put("https://login.example.org/token")
    with Proxy(0, b"HTTP/1.1 407 Who are you\r\n\r\n") as proxy:
        place.options.https_proxy = f"127.0.0.1:{proxy.port}"
        assert f"(HTTPSProxy 127.0.0.1:{proxy.port}): no connection" in place.trouble()


def test_a_proxy_that_is_not_there_is_not_passed_by(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair)
    place.put(server.url("token"))
    place.options.https_proxy = f"127.0.0.1:{free_port()}"
    assert f"127.0.0.1 (HTTPSProxy {place.options.https_proxy}): Conn" in place.trouble()


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


def test_who_asks_may_connect_and_write_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        attempts: dict[str, Callable[[], object]] = {
            "read": read(Path(place.path).parent / "other"),
            "write": make(tmp_path / "new"),
            "run": run,
            "connect": connect(port),
        }
        (Path(place.path).parent / "other").write_text("another token")

        def post(*unused: object) -> tuple[int, bytes]:
            return 200, json.dumps({"user_code": tried(attempts).decode()}).encode()

        monkeypatch.setattr(https.HttpsClient, "post", post)
        if not kernel():
            del attempts["run"]
        client = OAuthClient("https://127.0.0.1/", "client-1")
        told = oauth.ask(place.options, client, "https://127.0.0.1/", {})["user_code"]
    refused = "EACCES" if kernel() else "done"
    assert outcomes(told.encode()) == dict.fromkeys(attempts, refused) | {"connect": "done"}


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
