"""A filter (milter) on a unix socket, which remembers what it was told and says what it is told to.

with FakeFilter(tmp_path / "socket", {"M": b"r"}) as one:
    ...
    one.said == ["O", "D", "C", ...]

An answer is the octets of one packet, letter and data, or several of them in a list; None hangs.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from minimta.milter.protocol import Action, Wish, packet

ALL = sum(Action)
Answer = bytes | list[bytes] | None | Callable[[bytes], bytes | Iterable[bytes]]


def reply(letter: bytes, *strings: bytes, index: int | None = None) -> bytes:
    """A packet's letter and data, of *strings*, perhaps behind a number."""
    number = b"" if index is None else struct.pack(">I", index)
    return letter + number + b"".join(one + b"\0" for one in strings)


class FakeFilter:
    """For any number of sessions, one after the other or beside each other."""

    def __init__(
        self,
        path: Path,
        answers: dict[str, Answer] | None = None,
        *,
        actions: int = ALL,
        wishes: int = 0,
        version: int = 6,
        symbols: bytes = b"",
    ) -> None:
        """*answers*: letter of an event -> what is answered; else "c". Raw octets under "raw"."""
        self.path = path
        self.answers = answers or {}
        #: letter and data of every packet
        self.packets: list[tuple[str, bytes]] = []
        #: letter of an event -> its macros, as they came last
        self.macros: dict[str, dict[bytes, bytes]] = {}
        self.sessions = 0
        self._terms = struct.pack(">III", version, actions, wishes) + symbols
        self._mute = _mute_letters(wishes)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(16)
        self._closing = threading.Event()
        self._clients: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> FakeFilter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        for one in (self._server, *self._clients):
            with contextlib.suppress(OSError):  # it has hung up
                one.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in (self._thread, *self._threads):
            thread.join(5)

    @property
    def said(self) -> str:
        """The letters of all packets but macros."""
        return "".join(letter for letter, _ in self.packets if letter != "D")

    def all_said(self) -> str:
        """The same, when its sessions are over."""
        for thread in self._threads:
            thread.join(5)
        return self.said

    def data(self, letter: str) -> list[bytes]:
        """What came with the packets of that letter."""
        return [data for found, data in self.packets if found == letter]

    def row(
        self, *, flags: str = "T", times: str = "C:5s;S:5s;R:5s;E:5s", name: str = "one"
    ) -> str:
        """Its MailFilter."""
        return f"{name}, S=unix:{self.path}, F={flags}, T={times}"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.sessions += 1
            self._clients.append(client)
            self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as reader:
            try:
                while header := reader.read(4):
                    (length,) = struct.unpack(">I", header)
                    whole = reader.read(length)
                    if not self._obey(client, whole[:1].decode(), whole[1:]):
                        return
            except OSError:
                return  # we were found out

    def _obey(self, client: socket.socket, letter: str, data: bytes) -> bool:
        self.packets.append((letter, data))
        if letter == "D":
            parts = data[1:].split(b"\0")[:-1]
            self.macros[data[:1].decode()] = dict(zip(parts[::2], parts[1::2], strict=True))
            return True
        if letter == "O" and "O" not in self.answers:
            client.sendall(packet(b"O", self._terms))
            return True
        if letter in "AQ" or letter in self._mute:
            return letter != "Q"
        answer = self.answers.get(letter, b"c")
        said = answer(data) if callable(answer) else answer
        if said is None:
            self._closing.wait(20)
            return False
        if said == b"":
            return False
        for one in [said] if isinstance(said, bytes) else said:
            client.sendall(one[3:] if one[:3] == b"raw" else packet(one[:1], one[1:]))
        return True


def _mute_letters(wishes: int) -> str:
    mute = {
        "C": Wish.MUTE_CONNECT,
        "H": Wish.MUTE_HELO,
        "M": Wish.MUTE_MAIL,
        "R": Wish.MUTE_RCPT,
        "T": Wish.MUTE_DATA,
        "L": Wish.MUTE_HEADER,
        "N": Wish.MUTE_END_OF_HEADER,
        "B": Wish.MUTE_BODY,
        "U": Wish.MUTE_UNKNOWN,
    }
    return "".join(letter for letter, wish in mute.items() if wishes & wish)


class FilterProcess:
    """A FakeFilter in a process of its own, for tests of those who fork: they may have no threads."""

    def __init__(self, path: Path, answers: dict[str, Answer] | None = None) -> None:
        self.path = path
        self.packets: list[tuple[str, bytes]] = []
        self.macros: dict[str, dict[bytes, bytes]] = {}
        self.sessions = 0
        self._pipe, theirs = socket.socketpair()
        self._child = os.fork()
        if not self._child:
            self._pipe.close()
            try:
                self._serve(theirs, answers or {})
            finally:
                os._exit(0)
        theirs.close()
        assert self._pipe.recv(1) == b"+"

    def _serve(self, pipe: socket.socket, answers: dict[str, Answer]) -> None:
        one = FakeFilter(self.path, answers)
        pipe.sendall(b"+")
        while order := pipe.recv(1):
            if order == b"c":
                one.answers = {}
            else:
                one.all_said()
            told = pickle.dumps((one.packets, one.macros, one.sessions))
            pipe.sendall(struct.pack(">I", len(told)) + told)

    def _ask(self, order: bytes) -> None:
        self._pipe.sendall(order)
        with self._pipe.makefile("rb") as reader:
            (length,) = struct.unpack(">I", reader.read(4))
            self.packets, self.macros, self.sessions = pickle.loads(reader.read(length))

    def accept_all(self) -> None:
        """From now on it has nothing against anybody."""
        self._ask(b"c")

    def all_said(self) -> str:
        """The letters of all packets but macros, when its sessions are over."""
        self._ask(b"?")
        return "".join(letter for letter, _ in self.packets if letter != "D")

    def data(self, letter: str) -> list[bytes]:
        """What came with the packets of that letter."""
        return [data for found, data in self.packets if found == letter]

    def row(
        self, *, flags: str = "T", times: str = "C:5s;S:5s;R:5s;E:5s", name: str = "one"
    ) -> str:
        """Its MailFilter."""
        return f"{name}, S=unix:{self.path}, F={flags}, T={times}"

    def close(self) -> None:
        self._pipe.close()
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
