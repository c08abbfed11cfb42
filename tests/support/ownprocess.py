"""A fake server in a process of its own, which the test asks over a socket.

Its threads would make the test process multi-threaded, and what is tested there forks: a lock that
one of the threads holds at that moment stays locked in the child.

    class Fake(OwnProcess):
        def serve(self): ...            # in the server's process: start the threads
        def count(self): ...            # there as well, when the test says fake.ask("count")

The process is nobody's child here (tests look for zombies), and ends when the test does.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Collection
from typing import Any

from minimta.system import processes


class OwnProcess:
    """Between start() and stop() the methods named to ask() run in the other process."""

    #: of the process that tests; None in the server's, and while there is none
    _control: socket.socket | None = None

    def serve(self) -> None:
        """Begin to serve, in threads. Called in the server's process."""
        raise NotImplementedError

    def start(self, listening: Collection[socket.socket]) -> None:
        """Fork; the sockets *listening* are closed here. Call it while there is one thread."""
        ours, theirs = socket.socketpair()

        def leave() -> int:
            processes.fork("fake server", lambda: self._run(theirs, listening))
            return os.EX_OK

        os.waitpid(processes.fork("fake server", leave), 0)
        theirs.close()
        for one in listening:
            one.close()
        self._control = ours

    def stop(self) -> None:
        """Return when the server's process has closed its sockets."""
        assert self._control is not None
        self._control.shutdown(socket.SHUT_WR)
        while self._control.recv(1):
            pass
        self._control.close()
        self._control = None

    def ask(self, method: str, *arguments: object) -> Any:
        """What the method of that name returns in the server's process; what it raises is raised."""
        assert self._control is not None, "there is no server"
        _send(self._control, (method, arguments))
        is_error, answer = _receive(self._control)
        if is_error:
            raise answer
        return answer

    def _run(self, control: socket.socket, listening: Collection[socket.socket]) -> int:
        # 2: an exception in a thread is seen. All else would keep open what the test closes.
        processes.isolate({2, control.fileno(), *(one.fileno() for one in listening)})
        os.setsid()
        self.serve()
        while (request := _receive(control)) is not None:
            method, arguments = request
            try:
                answer = False, getattr(self, method)(*arguments)
            except Exception as error:
                answer = True, error
            _send(control, answer)
        for one in listening:
            one.close()
        return os.EX_OK


def _send(connection: socket.socket, value: object) -> None:
    octets = pickle.dumps(value)
    connection.sendall(len(octets).to_bytes(8, "big") + octets)


def _receive(connection: socket.socket) -> Any:
    """The next value; None at the end."""
    head = _octets(connection, 8)
    return pickle.loads(_octets(connection, int.from_bytes(head, "big"))) if head else None


def _octets(connection: socket.socket, count: int) -> bytes:
    octets = bytearray()
    while len(octets) < count and (piece := connection.recv(count - len(octets))):
        octets += piece
    return bytes(octets)
