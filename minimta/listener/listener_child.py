"""A listener as its parent sees it: whether it lives, what it says, and what it is told; see ``process``."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time

from minimta.listener.orders import CLOSED, READY, RETIRE, STALE
from minimta.runner import asked_runs

#: octets that are heard of a listener at a time, and orders of its clients
_READ, _MOST_ORDERS = 4096, 50


class ListenerChild:
    """It was forked, and not yet waited for."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        """*control* is where it speaks and is spoken to."""
        self._pid = pid
        self._control = control
        #: READY, CLOSED and STALE, if they were said; what else was, up to the end of a line
        self._heard = b""
        self._said = b""
        self._orders: list[bytes] = []
        self._is_silent = False
        self._told = False
        self._born = time.monotonic()
        #: of one that has ended; the number of the signal if one has ended it
        self.exit_code = 0
        #: how it has ended: "with status 71", "by signal 9"
        self.end_told = ""

    @property
    def age(self) -> float:
        """Seconds since it was forked."""
        return time.monotonic() - self._born

    @property
    def descriptor(self) -> int:
        """Where it speaks, -1 if it has said its last word."""
        return -1 if self._is_silent or not self._pid else self._control.fileno()

    @property
    def says_stale(self) -> bool:
        """Has it said that another is wanted, and nobody has asked is_stale() since?"""
        return STALE in self._heard

    def is_ready(self) -> bool:
        """Does it accept connections, or did it while it lived?"""
        return READY in self._listen()

    def has_closed(self) -> bool:
        """Does it accept no more?"""
        return CLOSED in self._listen()

    def is_stale(self) -> bool:
        """Has it said that another is wanted? Once each time that it has."""
        was_said = self.says_stale
        self._heard = self._heard.replace(STALE, b"")
        return was_said

    def _listen(self) -> bytes:
        """What it has said of itself."""
        if not self._pid:
            return self._heard
        said = b""
        try:
            said = self._control.recv(_READ, socket.MSG_DONTWAIT)
            self._is_silent = not said
        except BlockingIOError:
            pass
        except OSError:
            self._is_silent = True  # it has ended
        for word in (READY, CLOSED, STALE):
            # Both may stand between orders, but in none of them.
            if word in said:
                self._heard += word
                said = said.replace(word, b"")
        found, self._said = asked_runs.orders(self._said + said)
        self._orders += list(found)[: _MOST_ORDERS - len(self._orders)]
        return self._heard

    def orders(self) -> list[bytes]:
        """What clients have asked it for since the last time."""
        self._listen()
        found, self._orders = self._orders, []
        return found

    def retire(self) -> None:
        """Let it end its sessions, and then itself."""
        with contextlib.suppress(OSError):  # it has ended
            self._control.send(RETIRE)

    def has_ended(self) -> bool:
        """Has it? Then it was waited for."""
        if self._pid:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._listen()  # to its last words
                code = os.waitstatus_to_exitcode(status)
                self._pid, self.exit_code = 0, abs(code)
                self.end_told = f"by signal {-code}" if code < 0 else f"with status {code}"
                self._control.close()
        return not self._pid

    def tell(self) -> None:
        """Send SIGTERM, once."""
        if not self._told and not self.has_ended():
            self._told = True
            os.kill(self._pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL; has_ended() says when that has come about."""
        if not self.has_ended():
            os.kill(self._pid, signal.SIGKILL)

    def end(self, deadline: float) -> None:
        """Wait for it, until *deadline* (time.monotonic()) without force."""
        self.tell()
        while not self.has_ended():
            if time.monotonic() > deadline:
                self.kill()
            time.sleep(0.02)
