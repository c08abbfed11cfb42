"""FakeSmtp as an LMTP server (RFC 2033): LHLO, and an answer to the dot for each recipient taken.

with FakeLmtp(socket_path, answers={".": ["250 2.0.0 saved", "452 4.2.2 full"]}) as server:
    deliver to server.place       "lmtp:/.../socket", or "lmtp:127.0.0.1:PORT" without a path
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping, Sequence
from io import BufferedIOBase

from tests.support.fakesmtp import FakeSmtp

DOVECOT = ("8BITMIME", "ENHANCEDSTATUSCODES", "PIPELINING")


class FakeLmtp(FakeSmtp):
    """Runs while the with block does."""

    def __init__(
        self,
        path: str = "",
        *,
        keywords: Sequence[str] = DOVECOT,
        answers: Mapping[str, Sequence[str | bytes]] | None = None,
        eager: bool = False,
    ) -> None:
        """An *eager* server asks for the content even if it has taken nobody."""
        super().__init__(keywords=keywords, answers=answers)
        self._defaults["LHLO"] = self._defaults.pop("EHLO")
        self._defaults["DATA"] = "354 OK"
        self._eager = eager
        self._taken: dict[socket.socket, int] = {}
        self._listening = socket.socket(socket.AF_UNIX) if path else None
        if self._listening:
            self._listening.bind(path)
            self._listening.listen()
        self.place = f"lmtp:{path or f'127.0.0.1:{self.port}'}"

    def __enter__(self) -> FakeLmtp:
        super().__enter__()
        return self

    def listening(self) -> list[socket.socket]:
        return [*super().listening(), *([self._listening] if self._listening else [])]

    def serve(self) -> None:
        super().serve()
        if self._listening:
            threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=self._attend, args=(connection,), daemon=True).start()

    def _attend(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            self._serve(connection, lines)

    def _answer(self, connection: socket.socket, lines: BufferedIOBase, verb: str) -> bytes:
        if verb == ".":
            for _ in range(self._taken.pop(connection, 0)):
                code = super()._answer(connection, lines, verb)
            return code
        if verb == "DATA" and not self._taken.get(connection) and not self._eager:
            connection.sendall(b"503 5.5.1 No valid recipients\r\n")
            return b"5"
        code = super()._answer(connection, lines, verb)
        if verb in ("MAIL", "RSET"):
            self._taken[connection] = 0
        if verb == "RCPT" and code == b"2":
            self._taken[connection] += 1
        return code
