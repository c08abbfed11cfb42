"""The listener on a port of its own, and clients with real sockets.

listening = Listening(SmtpHost(tmp_path))
dialogue(listening.connect())  # a whole message
listening.stop()
"""

from __future__ import annotations

import socket
import threading

from minimta.config.ports import Port
from minimta.listener.limits import ConnectionLimits
from minimta.listener.sockets import Server
from tests.support.smtphost import SmtpHost

PATIENCE = 10.0


class Listening:
    """A listener on a port of 127.0.0.1."""

    def __init__(
        self,
        host: SmtpHost,
        address: str = "127.0.0.1",
        port: Port | None = None,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self.host = host
        host.options.refuse_la = 10_000
        self.server = Server(port or Port(address=address, port=0))
        self.port = int(self.server.server_address[1])
        self.server.limits = self.limits = limits or ConnectionLimits(host.shared_state())
        self._thread = threading.Thread(target=self.server.accept_forever, daemon=True)
        self._thread.start()
        self.address = address
        self._peers: list[Peer] = []
        self._is_stopped = False

    def connect(self) -> Peer:
        self._peers.append(Peer(socket.create_connection((self.address, self.port), PATIENCE)))
        return self._peers[-1]

    def stop(self) -> None:
        """May be called twice."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self.server.stop()
        self.limits.close(0.1)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self.server.server_close()
        for peer in self._peers:
            peer.close()


class Peer:
    """A client's socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._read = sock.makefile("rb")

    def answer(self) -> str:
        """The last line of the next reply; "" at the end of the connection."""
        while True:
            try:
                line = self._read.readline()
            except ConnectionResetError:
                return ""
            if line[3:4] != b"-":
                return line.decode().removesuffix("\r\n")

    def says(self, line: str) -> str:
        self.socket.sendall(line.encode() + b"\r\n")
        return self.answer()

    def close(self) -> None:
        self._read.close()
        self.socket.close()


def dialogue(peer: Peer) -> str:
    assert peer.answer().startswith("220 lab2.campus ESMTP minimta ")
    for line in ("EHLO x", "MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave@lab2.campus>"):
        assert peer.says(line).startswith("250")
    assert peer.says("DATA").startswith("354")
    assert peer.says("Subject: x\r\n\r\nHi\r\n.").startswith("250 2.0.0 ")
    return peer.says("QUIT")
