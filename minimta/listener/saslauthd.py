"""Passwords that saslauthd checks, which Debian's sasl2-bin brings (PAM, shadow, LDAP, IMAP ...).

Its socket takes four strings, each with its length before it (two octets, big endian), and gives one:

    user password service realm      "emma", "secret", "smtp", "example.org"
    OK                               the password is right
    NO REASON                        it is not, or there is no such user

As Cyrus SASL does it, what stands behind the last "@" of a user is the realm. Debian lets the group
sasl in: ``adduser minimta sasl``. What goes wrong on the way is an OSError.
"""

from __future__ import annotations

import errno
import socket
import struct
import time

from minimta.listener.auth_backend import LoginPlace, PasswordVerdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.smtp.sasl_server import SaslServer

#: seconds: PAM waits some before it says no
PATIENCE = 30.0
_SERVICE = b"smtp"
#: a timeout of 0 would be a socket that does not wait at all
_LEAST = 0.001


class Saslauthd:
    """An AuthBackend."""

    def __init__(self, path: str, realm: str = "") -> None:
        """*path* of the socket; *realm* for users without one (option AuthRealm)."""
        self._path = path
        self._realm = realm

    def is_there(self) -> bool:
        """See AuthBackend."""
        return True

    def has_scram(self) -> bool:
        """It wants the password."""
        return False

    def scram(self, place: LoginPlace) -> SaslServer:
        """Raise OSError: see has_scram()."""
        raise OSError(errno.ENOTSUP, "saslauthd has no SCRAM", self._path)

    def check(self, user: str, password: str, place: LoginPlace) -> PasswordVerdict:
        """See AuthBackend. Raise OSError."""
        name, at, realm = user.rpartition("@")
        fields = (name if at else user, password, None, realm if at else self._realm)
        octets = [_SERVICE if one is None else one.encode() for one in fields]
        said = self._ask(b"".join(struct.pack(">H", len(one)) + one for one in octets))
        if said[:2] not in (b"OK", b"NO"):
            raise OSError(errno.EPROTO, "no answer of saslauthd", self._path)
        return PasswordVerdict.RIGHT if said[:2] == b"OK" else PasswordVerdict.WRONG

    def _ask(self, question: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(PATIENCE)
            try:
                sock.connect(self._path)
                sock.sendall(question)
                deadline = time.monotonic() + PATIENCE
                head = _octets(sock, 2, deadline)
                return _octets(sock, int.from_bytes(head, "big"), deadline)
            except OSError as error:
                reason = error.strerror or str(error)
                raise OSError(error.errno or errno.ETIMEDOUT, reason, self._path) from error


def _octets(sock: socket.socket, count: int, deadline: float) -> bytes:
    """So many, or what there is before the end; until *deadline* (time.monotonic()). Raise OSError."""
    octets = b""
    while len(octets) < count:
        sock.settimeout(max(deadline - time.monotonic(), _LEAST))
        more = sock.recv(count - len(octets))
        if not more:
            break
        octets += more
    return octets
