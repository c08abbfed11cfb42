"""The connection to one filter: its socket, its times, what was agreed, and how far it is.

    state      what it is told
    open       everything about the session
    message    the same, between MAIL and the verdict on the whole
    done       nothing more of this message: it has accepted it
    closed     nothing more at all: it accepted the client, or the session is over
    failed     nothing: the row's F= says what that means, and Failed carries it

Whatever goes wrong is FilterFailed, and the connection is closed: a filter that hangs costs its
session the times of its row, one that sends without end is cut off, and none keeps more than a
packet and a reply in memory.
"""

from __future__ import annotations

import contextlib
import enum
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping

from minimta.config.filters import MailFilter
from minimta.milter import answers, protocol
from minimta.milter.protocol import (
    Change,
    Event,
    FilterFailed,
    FilterVerdict,
    Progress,
    Stage,
    Terms,
    Word,
)
from minimta.system import log

#: octets of a packet of a filter, whatever was negotiated: a reply, a field, a piece of the body
_MOST_OCTETS = 1048575 + 64
#: changes that one filter may want of one message, pieces of the body apart
_MOST_CHANGES = 10_000
_CHUNK = 65536


class Phase(enum.Enum):
    """How far a filter is with a session."""

    OPEN = enum.auto()
    MESSAGE = enum.auto()
    DONE = enum.auto()
    CLOSED = enum.auto()
    FAILED = enum.auto()


class FilterConnection:
    """One filter, for one session and one thread."""

    def __init__(
        self,
        row: MailFilter,
        *,
        macros: Mapping[Stage, tuple[bytes, ...]],
        data_size: int,
        note: Callable[[str, int], None],
    ) -> None:
        """*macros* are those of the options, *data_size* is Milter.maxdatasize.

        *note* takes a line for the log, and its level.
        """
        self.row = row
        self.phase = Phase.CLOSED
        #: why it is FAILED
        self.failure = ""
        self.terms = Terms()
        self._macros = macros
        self._data_size = data_size
        self._note = note
        self._socket: socket.socket | None = None
        self._buffer = b""

    # --- life -------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect and negotiate. Raise FilterFailed."""
        try:
            self._connect()
            self._send(protocol.offer(self._data_size))
            letter, data = self._receive(self.row.read)
            self.terms = answers.terms(letter, data, self._data_size)
        except FilterFailed as error:
            self.fail(error)
            raise
        self.phase = Phase.OPEN
        self._note(f"Milter ({self.row.name}): init success to negotiate", 10)

    def _connect(self) -> None:
        row = self.row
        end = time.monotonic() + row.connect
        reason = "no address"
        try:
            places = _places(row)
        except OSError as error:
            raise FilterFailed(
                f"cannot look up {row.address}: {error.strerror or error}"
            ) from error
        for family, address in places:
            left = end - time.monotonic()
            if left <= 0:
                break
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(left)
                sock.connect(address)
                self._socket = sock
                return
            except OSError as error:
                sock.close()
                reason = "timeout" if isinstance(error, TimeoutError) else error.strerror or "?"
                if isinstance(error, PermissionError) and row.family == "unix":
                    reason += f", RunAsUser must be in the group of {row.address} (then a restart)"
        raise FilterFailed(f"cannot connect: {reason}")

    def fail(self, error: FilterFailed) -> None:
        """It is of no use any more in this session."""
        self._close()
        self.phase = Phase.FAILED
        self.failure = log.clean(str(error), 300)
        self._note(f"Milter ({self.row.name}): {self.failure}", 1)
        self._note(f"Milter ({self.row.name}): to error state", 1)

    def abort(self) -> None:
        """The message at hand is over, without a verdict of this filter."""
        if self.phase is Phase.MESSAGE:
            with contextlib.suppress(FilterFailed):
                self._tell(protocol.packet(b"A"))
        if self.phase in (Phase.MESSAGE, Phase.DONE):
            self.phase = Phase.OPEN

    def quit(self) -> None:
        """Say goodbye, whatever state it is in."""
        if self._socket is not None:
            with contextlib.suppress(FilterFailed):
                self._send(protocol.packet(b"Q"))
        self._close()
        if self.phase is not Phase.FAILED:
            self.phase = Phase.CLOSED

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._buffer = None, b""

    # --- events -----------------------------------------------------------------------------------

    @property
    def listens(self) -> bool:
        """Is it to be told of what happens?"""
        return self.phase in (Phase.OPEN, Phase.MESSAGE)

    def begin_message(self) -> None:
        """It answered to MAIL, or was not told: from now on an abort means something."""
        if self.phase is Phase.OPEN:
            self.phase = Phase.MESSAGE

    def send_macros(self, event: Event, values: Mapping[bytes, bytes]) -> None:
        """The macros of *event*, also if the event itself is not wanted. Raise FilterFailed."""
        if event.stage is not None:
            self._send_macros(event.stage, event.letter, values)

    def _send_macros(self, stage: Stage, letter: bytes, values: Mapping[bytes, bytes]) -> None:
        names = self.terms.macros.get(stage, self._macros.get(stage, ()))
        if not names:
            return
        found = [(name, values[name]) for name in names if name in values]
        self._tell(protocol.macros(letter, found))

    def ask(self, event: Event, data: bytes = b"") -> FilterVerdict:
        """Tell it of *event*, if it wants to know; what it says. Raise FilterFailed."""
        if not self.terms.wants(event):
            return protocol.CONTINUE
        self._tell(protocol.packet(event.letter, data))
        if not self.terms.answers(event):
            return protocol.CONTINUE
        try:
            verdict = answers.verdict(*self._receive(self.row.read))
            _check(event, verdict)
        except FilterFailed as error:
            self.fail(error)
            raise
        self._note(
            f"milter={self.row.name}, action={event.name.lower()}, {_shown(verdict)}",
            13 if verdict.word is Word.CONTINUE else 11,
        )
        return verdict

    def end_message(self, values: Mapping[bytes, bytes]) -> Iterator[Change | FilterVerdict]:
        """The message was sent: its changes to it one by one, the verdict last. Raise FilterFailed."""
        self._send_macros(Stage.END_OF_MESSAGE, b"E", values)
        self._tell(protocol.packet(b"E"))
        end = time.monotonic() + self.row.end
        count = 0
        while True:
            try:
                said = self._next_word(end)
            except FilterFailed as error:
                self.fail(error)
                raise
            if isinstance(said, Progress):
                continue
            yield said
            if isinstance(said, FilterVerdict):
                self._note(f"milter={self.row.name}, {_shown(said)}", 13)
                return
            count += not isinstance(said, protocol.BodyPiece)
            if count > _MOST_CHANGES:
                raise FilterFailed(f"more than {_MOST_CHANGES} changes")

    def _next_word(self, end: float) -> FilterVerdict | Change | Progress:
        left = end - time.monotonic()
        if left <= 0:
            raise FilterFailed("EOM ACK/NAK timeout")
        return answers.after_message(*self._receive(min(self.row.read, left)), self.terms)

    # --- octets -----------------------------------------------------------------------------------

    def _tell(self, octets: bytes) -> None:
        """Send; a failure is noted. Raise FilterFailed."""
        try:
            self._send(octets)
        except FilterFailed as error:
            self.fail(error)
            raise

    def _send(self, octets: bytes) -> None:
        if self._socket is None:
            raise FilterFailed("the connection is closed")
        try:
            self._socket.settimeout(self.row.send)
            self._socket.sendall(octets)
        except OSError as error:
            raise FilterFailed(f"write: {_why(error)}") from error

    def _receive(self, seconds: float) -> tuple[bytes, bytes]:
        """One packet, within *seconds*: its letter, and the rest. Raise FilterFailed."""
        end = time.monotonic() + seconds
        (length,) = struct.unpack(">I", self._read(4, end))
        if not 0 < length <= _MOST_OCTETS:
            raise FilterFailed(f"a packet of {length} octets")
        data = self._read(length, end)
        return data[:1], data[1:]

    def _read(self, count: int, end: float) -> bytes:
        if self._socket is None:
            raise FilterFailed("the connection is closed")
        pieces = [self._buffer]
        held = len(self._buffer)
        while held < count:
            left = end - time.monotonic()
            if left <= 0:
                raise FilterFailed("read: timeout")
            try:
                self._socket.settimeout(left)
                piece = self._socket.recv(_CHUNK)
            except OSError as error:
                raise FilterFailed(f"read: {_why(error)}") from error
            if not piece:
                raise FilterFailed("read: the filter closed the connection")
            pieces.append(piece)
            held += len(piece)
        whole = b"".join(pieces)
        self._buffer = whole[count:]
        return whole[:count]


def _check(event: Event, verdict: FilterVerdict) -> None:
    """Raise FilterFailed for a verdict that has no meaning at that point."""
    is_early = event in (Event.CONNECT, Event.HELO)
    if verdict.word is Word.SKIP and event is not Event.BODY:
        raise FilterFailed(f"skip to {event.name.lower()}")
    if verdict.word is Word.DISCARD and (is_early or event is Event.UNKNOWN):
        raise FilterFailed(f"discard to {event.name.lower()}, where there is no message")


def _shown(verdict: FilterVerdict) -> str:
    """As the log has it."""
    if verdict.word is Word.REPLY:
        return f"reject={verdict.reply}"
    return {Word.ACCEPT: "accepted"}.get(verdict.word, verdict.word.name.lower())


def _why(error: OSError) -> str:
    return "timeout" if isinstance(error, TimeoutError) else error.strerror or str(error)


def _places(row: MailFilter) -> list[tuple[int, str | tuple[str, int]]]:
    """Where the filter may be: families and addresses. Raise OSError."""
    if row.family == "unix":
        return [(socket.AF_UNIX, os.fspath(row.address))]
    family = socket.AF_INET6 if row.family == "inet6" else socket.AF_INET
    found = socket.getaddrinfo(row.address, row.port, family, socket.SOCK_STREAM)
    return [(family, (str(address[0]), row.port)) for _, _, _, _, address in found]
