"""An authorization server (OAuth) on 127.0.0.1, with HTTPS, in a process of its own (``ownprocess``).

    with FakeAuthorization(context, refresh_tokens=["r"]) as server:
        server.url("token")
    server.forms        what was sent: ("/token", {"grant_type": ...})

It grants "access-1-token", "access-2-token" ...; with *rotates* a refresh token is good for once, and
its successor is "refresh-1-token" and so on. ``answer`` puts something else in the place of the next
answers: (status, JSON object), octets that are sent as they are, or HANG.
"""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs

from minimta.mailers.remote import oauth
from tests.support.ownprocess import OwnProcess

HANG = "hang"
Answer = tuple[int, dict[str, Any]] | bytes | str


class FakeAuthorization(OwnProcess):
    """Runs while the with block does."""

    def __init__(
        self,
        tls: ssl.SSLContext,
        *,
        refresh_tokens: Sequence[str] = (),
        rotates: bool = False,
        secret: str = "",
        polls: Sequence[str] = (),
        challenges: dict[str, str] | None = None,
        lifetime: int = 3600,
        holds: bool = False,
    ) -> None:
        """*polls* are the errors before a device code is granted; *challenges* those of codes (PKCE).

        With *holds* no answer goes out before release(). *secret* is the client's, "" for none.
        """
        self._refresh_tokens = list(refresh_tokens)
        self._rotates, self._secret, self._lifetime = rotates, secret, lifetime
        self._polls, self._challenges = list(polls), dict(challenges or {})
        self._answers: list[Answer] = []
        self._forms: list[tuple[str, dict[str, str], str]] = []
        self._granted = 0
        self._lock = threading.Condition()
        self._may_go = threading.Event()
        if not holds:
            self._may_go.set()
        fake = self

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self) -> tuple[ssl.SSLSocket, Any]:
                connection, address = self.socket.accept()
                layer = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                return layer, address

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that does not like us."""

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                fake.serve_form(self)

            def log_message(self, *unused: object) -> None:
                """Nothing."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"https://{host}:{self.port}/{path}"

    def __enter__(self) -> FakeAuthorization:
        self.start([self._server.socket])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def serve(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    # --- asked by the test ---

    @property
    def forms(self) -> list[tuple[str, dict[str, str]]]:
        return [(path, form) for path, form, _ in self.ask("told")]

    @property
    def authorizations(self) -> list[str]:
        """The fields Authorization."""
        return [field for _, _, field in self.ask("told")]

    def told(self) -> list[tuple[str, dict[str, str], str]]:
        return self._forms

    def answer(self, *answers: Answer) -> None:
        self.ask("answer_here", *answers)

    def answer_here(self, *answers: Answer) -> None:
        self._answers.extend(answers)

    def expect_code(self, code: str, challenge: str) -> None:
        """From a browser: a code, and what it is bound to. By ask()."""
        self._challenges[code] = challenge

    def release(self) -> None:
        self.ask("release_here")

    def release_here(self) -> None:
        self._may_go.set()

    def wait_for_forms(self, number: int) -> None:
        """Return when so many have come; fail after 10 seconds."""
        self.ask("wait_here", number)

    def wait_here(self, number: int) -> None:
        with self._lock:
            assert self._lock.wait_for(lambda: len(self._forms) >= number, 10)

    # --- in a thread of the server ---

    def serve_form(self, request: http.server.BaseHTTPRequestHandler) -> None:
        length = int(request.headers["Content-Length"])
        parsed = parse_qs(request.rfile.read(length).decode(), keep_blank_values=True)
        form = {name: values[0] for name, values in parsed.items()}
        with self._lock:
            self._forms.append((request.path, form, request.headers.get("Authorization", "")))
            answer = self._answers.pop(0) if self._answers else self._react(request.path, form)
            self._lock.notify_all()
        self._may_go.wait()
        if answer == HANG:
            request.rfile.read(1)
        elif isinstance(answer, bytes):
            request.wfile.write(answer)
        else:
            assert isinstance(answer, tuple)
            _send(request, *answer)

    def _react(self, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if self._secret and form.get("client_secret") != self._secret:
            return 401, {"error": "invalid_client"}
        if path == "/device":
            return 200, {
                "device_code": "device-code-1",
                "user_code": "ABCD-EFGH",
                "verification_uri": "https://microsoft.com/devicelogin",
                "expires_in": 900,
                "interval": 5,
            }
        grant = form["grant_type"]
        if grant == oauth.DEVICE_GRANT:
            if self._polls:
                return 400, {"error": self._polls.pop(0)}
            return self._grant(with_refresh=True)
        if grant == "authorization_code":
            wanted = self._challenges.pop(form["code"], "")
            if oauth.challenge_of(form["code_verifier"]) != wanted:
                return 400, {"error": "invalid_grant"}
            return self._grant(with_refresh=True)
        if grant == "client_credentials":
            return self._grant(with_refresh=False)
        if form["refresh_token"] not in self._refresh_tokens:
            said = f"AADSTS70000: the token {form['refresh_token']} is not valid"
            return 400, {"error": "invalid_grant", "error_description": said}
        if self._rotates:
            self._refresh_tokens.remove(form["refresh_token"])
        return self._grant(with_refresh=self._rotates)

    def _grant(self, *, with_refresh: bool) -> tuple[int, dict[str, Any]]:
        self._granted += 1
        granted: dict[str, Any] = {
            "access_token": f"access-{self._granted}-token",
            "token_type": "Bearer",
            "expires_in": self._lifetime,
        }
        if with_refresh:
            granted["refresh_token"] = f"refresh-{self._granted}-token"
            self._refresh_tokens.append(granted["refresh_token"])
        return 200, granted


def _send(request: http.server.BaseHTTPRequestHandler, status: int, value: dict[str, Any]) -> None:
    content = json.dumps(value).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
