"""An SMTP server on 127.0.0.1 that says what the test wants, and remembers what it was told.

It is a process of its own (see ``ownprocess``).

    with FakeSmtp(answers={"RCPT": ["250 ok", "550 5.1.1 No such mailbox here"]}) as server:
        deliver to f"[127.0.0.1]:{server.port}"
    server.commands[0]      the lines of the first connection
    server.messages         contents as they came over the wire, dots and all

``answers`` maps a verb ("greeting", "." for the end of data) to replies for its first, second ...
use, counted over all connections; the last one is repeated. DROP closes the connection instead.
HANG answers nothing until the client goes.

With a *tls* context it offers STARTTLS, or (*implicit*) makes the handshake before the greeting. Each
handshake is a line SECURED among the commands, each that failed a line BROKEN.
"""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from io import BufferedIOBase
from types import TracebackType

from tests.support.ownprocess import OwnProcess

DROP = "drop"
HANG = "hang"
SECURED = "-- TLS --"
BROKEN = "-- no TLS --"

ALL = ("PIPELINING", "8BITMIME", "SIZE 1000000", "DSN", "ENHANCEDSTATUSCODES")

_DEFAULTS = {
    "greeting": "220 sink.campus ESMTP fake",
    "HELO": "250 sink.campus",
    "MAIL": "250 2.1.0 Sender ok",
    "RCPT": "250 2.1.5 Recipient ok",
    "DATA": "354 Go ahead",
    ".": "250 2.0.0 Ok: queued as FAKE1",
    "BDAT": "250 2.0.0 Ok: queued as FAKE1",
    "RSET": "250 2.0.0 Reset",
    "QUIT": "221 2.0.0 Bye",
}


class _Dropped(Exception):
    pass


class FakeSmtp(OwnProcess):
    """Runs while the with block does."""

    #: True: it is a thread of the test's process, which must have forked before
    runs_here = False

    def __init__(
        self,
        *,
        keywords: Sequence[str] = ALL,
        answers: Mapping[str, Sequence[str | bytes]] | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
        before_greeting: Callable[[], object] = lambda: None,
        poison: str = "\0",
        deaf: bool = False,
        dribble: float = 0.0,
        keep_messages: bool = True,
        tls: ssl.SSLContext | None = None,
        implicit: bool = False,
        secure_keywords: Sequence[str] | None = None,
        hangs_at_starttls: bool = False,
    ) -> None:
        """A command with *poison* in it drops the connection; a *deaf* server reads no content;
        with *dribble* the octets of a reply come so many seconds apart. *before_greeting* is called
        in the server's process. *secure_keywords* are offered under TLS instead of *keywords*;
        with *hangs_at_starttls* no handshake follows the answer to STARTTLS."""
        self._tls, self._implicit = tls, implicit
        self._hangs_at_starttls = hangs_at_starttls
        self._poison = poison
        self._deaf = deaf
        self._dribble = dribble
        self._over = threading.Event()
        self._answers = {verb: list(replies) for verb, replies in (answers or {}).items()}
        starttls = ["STARTTLS"] if tls and not implicit else []
        self._defaults = {**_DEFAULTS, "EHLO": _ehlo([*keywords, *starttls])}
        if tls:
            self._defaults["STARTTLS"] = "220 2.0.0 Ready to start TLS"
        secure = keywords if secure_keywords is None else secure_keywords
        self._secure_defaults = {**self._defaults, "EHLO": _ehlo(secure)}
        self._lock = threading.Lock()
        self._commands: list[list[str]] = []
        self._messages: list[bytes] = []
        self._resumed: list[bool] = []
        self._keep_messages = keep_messages
        self._arrived = threading.Condition(self._lock)
        self._before_greeting = before_greeting
        serve = self._serve

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 50
            address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self) -> None:
                serve(self.request, self.rfile)

        self._server = Server((address, port), Handler)
        self.port: int = self._server.server_address[1]
        self.host = f"[{'IPv6:' if ':' in address else ''}{address}]:{self.port}"

    def __enter__(self) -> FakeSmtp:
        if self.runs_here:
            self.serve()
        else:
            self.start(self.listening())
        return self

    def listening(self) -> list[socket.socket]:
        """The sockets that it listens on."""
        return [self._server.socket]

    def serve(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._control:
            self._commands, self._messages = self.ask("told")
            self.stop()
        else:
            self._over.set()
            self._server.shutdown()
            self._server.server_close()

    @property
    def commands(self) -> list[list[str]]:
        """What was said so far, connection by connection, line by line."""
        return self.told()[0]

    @property
    def messages(self) -> list[bytes]:
        """What came so far."""
        return self.told()[1]

    def told(self) -> tuple[list[list[str]], list[bytes]]:
        """``commands`` and ``messages``."""
        if self._control:
            commands, messages = self.ask("told")
            return commands, messages
        return self._commands, self._messages

    def resumed(self) -> list[bool]:
        """Of each handshake: did it take up an earlier session? To be asked for by ask()."""
        return self._resumed

    def change(self, verb: str, *replies: str | bytes) -> None:
        """From now on these are the answers to *verb*."""
        if self._control:
            self.ask("change", verb, *replies)
            return
        self._answers[verb] = list(replies)

    def wait_for_messages(self, number: int) -> None:
        """Return when so many have come; fail after 10 seconds."""
        if self._control:
            self.ask("wait_for_messages", number)
            return
        with self._lock:
            assert self._arrived.wait_for(lambda: len(self._messages) >= number, 10)

    def _serve(self, connection: socket.socket, lines: BufferedIOBase) -> None:
        told: list[str] = []
        self._commands.append(told)
        try:
            if self._implicit:
                connection, lines = self._secured(connection, told)
            self._before_greeting()
            self._answer(connection, lines, "greeting")
            while line := lines.readline():
                told.append(line.decode("latin-1").removesuffix("\r\n"))
                if self._poison in told[-1]:
                    return
                verb = line.split(b" ")[0].strip().upper().decode("latin-1")
                if verb == "BDAT":
                    self._chunk(lines, told[-1])
                code = self._react(connection, lines, verb, told)
                if verb == "DATA" and code == b"3":
                    self._content(connection, lines)
                if verb == "STARTTLS" and self._hangs_at_starttls:
                    lines.read()
                elif verb == "STARTTLS" and code == b"2":
                    connection, lines = self._secured(connection, told)
                if verb == "QUIT":
                    return
        except (_Dropped, OSError):
            pass
        finally:
            if isinstance(connection, ssl.SSLSocket):
                connection.close()

    def _react(
        self, connection: socket.socket, lines: BufferedIOBase, verb: str, told: list[str]
    ) -> bytes:
        """Answer a command, the last line of *told*; the first octet of the answer."""
        return self._answer(connection, lines, verb)

    def _secured(
        self, connection: socket.socket, told: list[str]
    ) -> tuple[socket.socket, BufferedIOBase]:
        assert self._tls is not None
        try:
            secure = self._tls.wrap_socket(connection, server_side=True)
        except OSError:
            told.append(BROKEN)
            raise
        told.append(SECURED)
        self._resumed.append(bool(secure.session_reused))
        return secure, secure.makefile("rb")

    def _content(self, connection: socket.socket, lines: BufferedIOBase) -> None:
        if self._deaf:
            self._over.wait()
        text = []
        while (line := lines.readline()) != b".\r\n":
            if not line:
                raise _Dropped
            if self._keep_messages:
                text.append(line)
        with self._lock:
            self._messages.append(b"".join(text))
            self._arrived.notify_all()
        self._answer(connection, lines, ".")

    def _chunk(self, lines: BufferedIOBase, command: str) -> None:
        """All of a message, in one chunk."""
        verb, size, last = command.split(" ")
        assert (verb, last) == ("BDAT", "LAST")
        text = lines.read(int(size))
        if len(text) < int(size):
            raise _Dropped
        with self._lock:
            self._messages.append(text)
            self._arrived.notify_all()

    def _answer(self, connection: socket.socket, lines: BufferedIOBase, verb: str) -> bytes:
        with self._lock:
            replies = self._answers.get(verb)
            is_secure = isinstance(connection, ssl.SSLSocket)
            defaults = self._secure_defaults if is_secure else self._defaults
            reply = defaults.get(verb, "500 5.5.1 Command unrecognized")
            answer: str | bytes = reply if not replies else replies[0]
            if replies and len(replies) > 1:
                del replies[0]
        if answer == DROP:
            raise _Dropped
        if answer == HANG:
            lines.read()
            raise _Dropped
        octets = answer if isinstance(answer, bytes) else answer.encode("ascii") + b"\r\n"
        for piece in [octets[i : i + 1] for i in range(len(octets))] if self._dribble else [octets]:
            connection.sendall(piece)
            if self._dribble:
                self._over.wait(self._dribble)
        return octets[:1]


def _ehlo(keywords: Sequence[str]) -> str:
    ehlo = ["sink.campus", *keywords]
    lines = [f"250{'-' if i + 1 < len(ehlo) else ' '}{text}" for i, text in enumerate(ehlo)]
    return "\r\n".join(lines)


class Refusing:
    """A port that refuses connections, as long as the with block lasts."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self._address = (address, port)

    def __enter__(self) -> int:
        # Bound but not listening: nobody else can get the port meanwhile.
        self._socket = socket.socket()
        self._socket.bind(self._address)
        port: int = self._socket.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._socket.close()
