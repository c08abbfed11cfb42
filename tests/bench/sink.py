"""Another host: takes messages by SMTP and keeps each as a file. A program of its own, so that it may be killed.

    python3 tests/bench/sink.py DIRECTORY --port N [--greylist SECONDS] [--certificate PEM] [--discard]

A message is on the file system (not on the disk) before it is answered with 250. Recipients whose name
begins with ``nobody`` are refused with 550. With --greylist a pair of sender and recipient hears 451 the
first time and until so many seconds have gone. With --certificate (chain and key in one file) it
offers STARTTLS. With --discard it counts, and keeps no file. SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import socketserver
import ssl
import time
from io import BufferedIOBase
from pathlib import Path

ADDRESS = "127.0.0.1"


class Sink(socketserver.ThreadingTCPServer):
    """What all connections share."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 100

    def __init__(self, settings: argparse.Namespace) -> None:
        """*settings* are those of the command line."""
        super().__init__((ADDRESS, settings.port), Connection)
        self.greylist: float = settings.greylist
        #: (sender, recipient) -> when it came first
        self.seen: dict[tuple[bytes, bytes], float] = {}
        self.context: ssl.SSLContext | None = None
        if settings.certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(settings.certificate)
        self._directory: Path | None = None if settings.discard else settings.directory
        self._numbers = itertools.count()

    def keep(self, text: bytes) -> None:
        """Keep a message, LF line ends, under a name that nobody had."""
        if self._directory is not None:
            name = f"{os.getpid()}-{next(self._numbers)}"
            unfinished = self._directory / f".{name}"
            unfinished.write_bytes(text)
            unfinished.rename(self._directory / name)

    def is_too_early(self, sender: bytes, recipient: bytes) -> bool:
        """Has this pair to wait (greylisting)?"""
        now = time.monotonic()
        return now - self.seen.setdefault((sender, recipient), now) < self.greylist


class Connection(socketserver.StreamRequestHandler):
    """One client. Commands that it does not know are answered with 250."""

    disable_nagle_algorithm = True
    server: Sink
    rfile: BufferedIOBase

    def handle(self) -> None:
        """The dialogue, to its end or that of the connection."""
        self._sender, self._recipients = b"", 0
        self._says(b"220 sink.campus ESMTP")
        try:
            while line := self.rfile.readline():
                verb = line.split(maxsplit=1)[0].upper() if line.strip() else b""
                self._says(self._reply(verb, line))
                if verb == b"STARTTLS":
                    self._secure()
                if verb == b"QUIT":
                    return
        except OSError:
            return  # the client has gone

    def _reply(self, verb: bytes, line: bytes) -> bytes:
        match verb:
            case b"EHLO":
                offers = [b"PIPELINING", b"8BITMIME", b"SIZE 50000000"]
                offers += [b"STARTTLS"] if self.server.context and not self._is_secure() else []
                return (
                    b"".join(b"250-%b\r\n" % one for one in (b"sink.campus", *offers)) + b"250 DSN"
                )
            case b"MAIL":
                self._sender, self._recipients = _path(line), 0
            case b"RCPT":
                return self._recipient(_path(line))
            case b"DATA":
                return self._data()
            case b"STARTTLS":
                return b"220 2.0.0 Go ahead"
            case b"QUIT":
                return b"221 2.0.0 Bye"
        return b"250 2.0.0 Ok"

    def _recipient(self, recipient: bytes) -> bytes:
        if recipient.startswith(b"nobody"):
            return b"550 5.1.1 No such user"
        if self.server.greylist and self.server.is_too_early(self._sender, recipient):
            return b"451 4.7.1 Greylisted, come again"
        self._recipients += 1
        return b"250 2.1.5 Ok"

    def _data(self) -> bytes:
        if not self._recipients:
            return b"503 5.5.1 No recipients"
        self._says(b"354 Go ahead")
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                raise ConnectionResetError
            lines.append(line.removeprefix(b"."))
        self.server.keep(b"".join(lines).replace(b"\r\n", b"\n"))
        return b"250 2.0.0 Ok"

    def _is_secure(self) -> bool:
        return isinstance(self.connection, ssl.SSLSocket)

    def _secure(self) -> None:
        assert self.server.context is not None
        self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")

    def _says(self, reply: bytes) -> None:
        self.connection.sendall(reply + b"\r\n")


def _path(line: bytes) -> bytes:
    return line.partition(b"<")[2].partition(b">")[0]


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="take messages by SMTP and keep them as files")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--greylist", type=float, default=0.0, help="seconds")
    parser.add_argument("--certificate", default="", help="chain and key, PEM")
    parser.add_argument("--discard", action="store_true", help="keep nothing")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    with Sink(parser.parse_args()) as sink:
        sink.serve_forever()


if __name__ == "__main__":
    main()
