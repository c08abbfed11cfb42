"""Who takes alerts by HTTPS (ntfy, Slack ...) on 127.0.0.1, in a process of its own (``ownprocess``).

    with FakeHook(context) as hook:
        hook.url
    hook.taken      (path, fields, body) of each POST

``status`` is what the next answers have; HANG: none comes.
"""

from __future__ import annotations

import http.server
import ssl
import threading
from types import TracebackType
from typing import Any, NamedTuple

from tests.support.ownprocess import OwnProcess

HANG = 0
SECRET_PATH = "/a-secret-topic"


class Post(NamedTuple):
    path: str
    fields: dict[str, str]
    body: bytes


class FakeHook(OwnProcess):
    """Runs while the with block does."""

    def __init__(self, tls: ssl.SSLContext, *statuses: int) -> None:
        """*statuses* are the answers to the first posts, later ones get 200."""
        self._statuses = list(statuses)
        self._posts: list[Post] = []
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
                fake.take(self)

            def log_message(self, *unused: object) -> None:
                """Nothing."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}{SECRET_PATH}"

    def __enter__(self) -> FakeHook:
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

    @property
    def taken(self) -> list[Post]:
        return [Post(*one) for one in self.ask("told")]

    def told(self) -> list[tuple[str, dict[str, str], bytes]]:
        return [(one.path, one.fields, one.body) for one in self._posts]

    def take(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        self._posts.append(Post(request.path, dict(request.headers), body))
        status = self._statuses.pop(0) if self._statuses else 200
        if status == HANG:
            request.rfile.read(1)
            return
        request.send_response(status)
        if 300 <= status < 400:
            request.send_header("Location", "https://elsewhere.example/")
        request.send_header("Content-Length", "0")
        request.end_headers()
