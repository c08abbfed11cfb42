"""Logins that Dovecot decides about, through its socket for other programs (auth-client).

A line a message, fields with tabs between them (Dovecot's protocol of authentication, version 1):

    we   VERSION 1 2, CPID PID
    it   VERSION, MECH NAME PROPERTIES ..., DONE
    we   AUTH ID MECHANISM service=smtp secured rip=... resp=BASE64
    it   OK ID user=emma     CONT ID BASE64     FAIL ID user=emma [temp]

Each login has a connection of its own. Dovecot makes those wait that fail, by address. In its
configuration: service auth { unix_listener auth-minimta { mode = 0660; group = minimta } }.
What goes wrong on the way, and a FAIL that is only for now, is an OSError.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from types import TracebackType

from minimta.listener.auth_backend import LoginPlace, PasswordVerdict
from minimta.smtp import sasl
from minimta.smtp.sasl_server import Accepted, Challenge, Refused, Step
from minimta.smtp.scram import SaslError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.smtp.sasl_server import SaslServer

#: seconds for one answer: Dovecot makes an address wait up to 15 that fails often
PATIENCE = 30.0
#: the same at EHLO, where nobody has asked for a login yet
_SHORT_PATIENCE = 2.0
#: a timeout of 0 would be a socket that does not wait at all
_LEAST = 0.001
#: what it may offer
_MOST_MECHANISMS = 100
#: octets of a line
_MAX_LINE = 16384
#: seconds for which it is believed which mechanisms there are
_AGE = 60.0
_SCRAM = "SCRAM-SHA-256"


class DovecotAuth:
    """An AuthBackend."""

    def __init__(self, path: str, realm: str = "") -> None:
        """*path* of the socket; *realm* for users without one (option AuthRealm)."""
        self._path = path
        self._realm = realm
        #: when it was asked (time.monotonic()), and the mechanisms that it has
        self._asked = (float("-inf"), frozenset[str]())

    def is_there(self) -> bool:
        """See AuthBackend."""
        return True

    def has_scram(self) -> bool:
        """See AuthBackend."""
        now = time.monotonic()
        if now - self._asked[0] > _AGE:
            # One client waits for the answer, and the others have the last one meanwhile.
            self._asked = (now, self._asked[1])
            found = frozenset[str]()
            # What goes wrong now a login will tell.
            with contextlib.suppress(OSError), _Dialogue(self._path, _SHORT_PATIENCE) as dialogue:
                found = frozenset(dialogue.mechanisms)
            self._asked = (now, found)
        return _SCRAM in self._asked[1]

    def check(self, user: str, password: str, place: LoginPlace) -> PasswordVerdict:
        """See AuthBackend. Raise OSError."""
        name = f"{user}@{self._realm}" if self._realm and "@" not in user else user
        with _Dialogue(self._path) as dialogue:
            words, _ = dialogue.begin("PLAIN", f"\0{name}\0{password}".encode(), place)
        if words == "CONT":
            raise OSError(errno.EPROTO, "asks for more than PLAIN has", self._path)
        return PasswordVerdict.RIGHT if words == "OK" else PasswordVerdict.WRONG

    def scram(self, place: LoginPlace) -> SaslServer:
        """See AuthBackend. Raise OSError."""
        return _DovecotScram(self._path, place)


class _DovecotScram:
    """The steps of SCRAM are passed on; what the client may say they have read and bounded."""

    def __init__(self, path: str, place: LoginPlace) -> None:
        self._dialogue = _Dialogue(path)
        self._place = place
        self._begun = False

    def step(self, response: bytes | None) -> Step:
        """See SaslServer. Raise SaslError, OSError."""
        if response is None:
            return Challenge(b"")
        if self._begun:
            word, fields = self._dialogue.go_on(response)
        else:
            self._begun = True
            self._dialogue.open()
            word, fields = self._dialogue.begin(_SCRAM, response, self._place)
        if word == "CONT":
            return Challenge(self._dialogue.challenge(fields))
        self._dialogue.close()
        user = _value(fields, "user")
        return Accepted(user) if word == "OK" else Refused(user)


class _Dialogue:
    """One connection. Raise OSError, with its path, for all that goes wrong."""

    def __init__(self, path: str, patience: float = 0.0) -> None:
        """*patience*: seconds for each answer, 0: PATIENCE."""
        self.mechanisms: list[str] = []
        self._path = path
        self._patience = patience or PATIENCE
        self._socket: socket.socket | None = None
        self._buffer = b""
        #: when the answer must be there (time.monotonic()), however many lines come before it
        self._deadline = 0.0

    def __enter__(self) -> _Dialogue:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Connect, and read what it can do."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(self._patience)
        try:
            self._socket.connect(self._path)
        except OSError as error:
            self.close()
            raise OSError(error.errno, error.strerror, self._path) from error
        self._deadline = time.monotonic() + self._patience
        self._say(f"VERSION\t1\t2\nCPID\t{os.getpid()}\n")
        while (fields := self._line())[0] != "DONE":
            if fields[0] == "VERSION" and fields[1:2] != ["1"]:
                raise self._broken("another version of its protocol")
            if fields[0] == "MECH" and len(fields) > 1:
                self.mechanisms.append(fields[1])
            if len(self.mechanisms) > _MOST_MECHANISMS:
                raise self._broken("no end of mechanisms")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __del__(self) -> None:
        # A client that leaves in the middle of a login leaves the dialogue to us.
        self.close()

    def begin(self, mechanism: str, response: bytes, place: LoginPlace) -> tuple[str, list[str]]:
        """Ask; returns OK, CONT or FAIL, and the fields behind the id."""
        fields = ["AUTH", "1", mechanism, "service=smtp", "nologin", "secured"]
        fields.append(f"rip={place.ip}")
        if place.our_ip:
            fields.append(f"lip={place.our_ip}")
        # The response is the last one, for it may be anything.
        fields.append(f"resp={sasl.encoded(response).decode('ascii')}")
        self._say("\t".join(fields) + "\n")
        return self._answer()

    def go_on(self, response: bytes) -> tuple[str, list[str]]:
        """Answer a CONT; as begin()."""
        self._say(f"CONT\t1\t{sasl.encoded(response).decode('ascii')}\n")
        return self._answer()

    def _answer(self) -> tuple[str, list[str]]:
        self._deadline = time.monotonic() + self._patience
        while True:
            word, *fields = self._line()
            if word in ("OK", "CONT", "FAIL") and fields[:1] == ["1"]:
                break
        if word == "FAIL" and ("temp" in fields or "code=temp_fail" in fields):
            raise self._broken(_value(fields, "reason") or "temporary failure")
        return word, fields[1:]

    def challenge(self, fields: list[str]) -> bytes:
        """What a CONT with these *fields* asks."""
        try:
            return sasl.decoded(fields[0].encode()) if fields else b""
        except SaslError as error:
            raise self._broken(str(error)) from error

    def _say(self, text: str) -> None:
        assert self._socket is not None
        try:
            self._socket.sendall(text.encode())
        except OSError as error:
            raise self._broken(error.strerror or str(error)) from error

    def _line(self) -> list[str]:
        while b"\n" not in self._buffer:
            self._buffer += self._octets()
            if len(self._buffer) > _MAX_LINE:
                raise self._broken("no line of its protocol")
        if time.monotonic() > self._deadline:
            raise self._broken("no end of its answer")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode("utf-8", "replace").split("\t")

    def _octets(self) -> bytes:
        if self._socket is None:
            raise self._broken("the connection is closed")
        try:
            self._socket.settimeout(max(self._deadline - time.monotonic(), _LEAST))
            octets = self._socket.recv(4096)
        except OSError as error:
            raise self._broken(error.strerror or str(error)) from error
        if not octets:
            raise self._broken("the connection was closed")
        return octets

    def _broken(self, reason: str) -> OSError:
        self.close()
        return OSError(errno.EPROTO, reason, self._path)


def _value(fields: list[str], name: str) -> str:
    """The value of the field *name*, unescaped; "" if there is none."""
    found = next((one for one in fields if one.startswith(f"{name}=")), "")
    escaped = found.partition("=")[2].split("\x01")
    plain = {"0": "\0", "1": "\x01", "t": "\t", "n": "\n", "r": "\r"}
    rest = "".join(plain.get(part[:1], part[:1]) + part[1:] for part in escaped[1:])
    return escaped[0] + rest
