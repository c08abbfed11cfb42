"""A client that sends messages and knows exactly which of them were acknowledged."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from types import TracebackType

PATIENCE = 60.0


class Refused(Exception):
    """The server answered no; the text is its reply."""


class Session:
    """One SMTP connection, for any number of messages. OSError if the connection breaks."""

    def __init__(self, address: str, port: int, *, tls: bool = False) -> None:
        """Connect and say EHLO; with *tls* STARTTLS and EHLO again, whatever the certificate says."""
        self._socket = socket.create_connection((address, port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = self._socket.makefile("rb")
        self._expect()
        self.says(b"EHLO client.campus")
        if tls:
            self.says(b"STARTTLS")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self._socket = context.wrap_socket(self._socket)
            self._replies = self._socket.makefile("rb")
            self.says(b"EHLO client.campus")

    def send(self, sender: str, recipients: Sequence[str], text: bytes) -> str:
        """Send *text* (LF line ends, no line begins with a dot); the queue id of the acknowledgement.

        Raise Refused if any command is refused, OSError if the connection breaks: whether the
        message was accepted is then unknown.
        """
        self.says(f"MAIL FROM:<{sender}>".encode())
        for recipient in recipients:
            self.says(f"RCPT TO:<{recipient}>".encode())
        self.says(b"DATA")
        return self.says(text.replace(b"\n", b"\r\n") + b".").split()[2]

    def says(self, line: bytes) -> str:
        """Send a command or content; the last line of the reply. Raise Refused if it is 4yz or 5yz."""
        self._socket.sendall(line + b"\r\n")
        return self._expect()

    def _expect(self) -> str:
        while True:
            line = self._replies.readline()
            if not line.endswith(b"\n"):
                raise ConnectionResetError("the server closed the connection")
            if line[3:4] != b"-":
                break
        reply = line.decode("ascii", "replace").rstrip()
        if reply[:1] not in ("2", "3"):
            raise Refused(reply)
        return reply

    def close(self) -> None:
        """Without a word."""
        self._replies.close()
        self._socket.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
