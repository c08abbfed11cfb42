"""A host of MTA-STS policies, behind a proxy on 127.0.0.1, in a process of its own (``ownprocess``).

    with FakePolicyHost(server_context(pair), text(mode="enforce", mx=["mx.campus"])) as server:
        HttpsClient(Trust(authority), proxy=server.proxy)
    server.asked()      ("mta-sts.campus:443", "GET /.well-known/mta-sts.txt HTTP/1.1") of each request

It answers with what change() put there: a policy's text, octets that are sent as they are, HANG or DRIBBLE.
"""

from __future__ import annotations

import socketserver
import ssl
import threading
import time
from collections.abc import Sequence
from types import TracebackType

from tests.support.ownprocess import OwnProcess

HANG = b"hang"
#: a header that comes an octet at a time, and never ends
DRIBBLE = b"dribble"


def text(*, mode: str = "enforce", mx: Sequence[str] = (), max_age: int = 86400) -> bytes:
    """A policy."""
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {host}" for host in mx)]
    return "\r\n".join([*lines, f"max_age: {max_age}", ""]).encode()


def response(content: bytes, *, status: str = "200 OK", kind: str = "text/plain") -> bytes:
    """An answer of HTTP."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


class FakePolicyHost(OwnProcess):
    """Runs while the with block does."""

    def __init__(self, tls: ssl.SSLContext, content: bytes) -> None:
        """*content* is the policy, or a whole response() of HTTP."""
        self._content = content
        self._asked: list[tuple[str, str]] = []
        self._dribbled = 0
        fake = self

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that does not like us."""

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                target = self.rfile.readline().decode("ascii").split(" ")[1]
                while self.rfile.readline().strip():
                    pass
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                fake.serve_policy(target, tls.wrap_socket(self.request, server_side=True))

        self._server = Server(("127.0.0.1", 0), Handler)
        self.proxy = f"127.0.0.1:{self._server.server_address[1]}"

    def serve_policy(self, target: str, connection: ssl.SSLSocket) -> None:
        """In a thread of the server."""
        with connection, connection.makefile("rb") as lines:
            asked = lines.readline().decode("ascii").strip()
            while lines.readline().strip():
                pass
            self._asked.append((target, asked))
            if self._content == HANG:
                lines.read(1)
            while self._content == DRIBBLE:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: " if not self._dribbled else b"x")
                self._dribbled += 1
                time.sleep(0.05)
            whole = self._content[:5] == b"HTTP/"
            connection.sendall(self._content if whole else response(self._content))

    def __enter__(self) -> FakePolicyHost:
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

    def asked(self) -> list[tuple[str, str]]:
        """What was asked so far."""
        found: list[tuple[str, str]] = self.ask("asked_here")
        return found

    def asked_here(self) -> list[tuple[str, str]]:
        """In the server's process."""
        return self._asked

    def change(self, content: bytes) -> None:
        """From now on it answers with this."""
        self.ask("change_here", content)

    def change_here(self, content: bytes) -> None:
        """In the server's process."""
        self._content = content
