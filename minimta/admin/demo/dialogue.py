"""An SMTP dialogue as one plays it by hand with nc(1): plain LF, one line at a time, shown."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from minimta.admin.checkout import AdminError

#: (what is typed, code of the reply that must come; 0: none comes, it is a line of the message)
Script = Sequence[tuple[str, int]]


def play(address: str, port: int, script: Script, show: Callable[[str], None]) -> None:
    """Play *script*, after the greeting. Raise AdminError for another reply than expected, or none."""
    try:
        with (
            socket.create_connection((address, port), timeout=10) as connection,
            connection.makefile("rb") as replies,
        ):
            _expect(220, replies.readline, show)
            for line, code in script:
                show(f"> {line}")
                connection.sendall(line.encode() + b"\n")
                if code:
                    _expect(code, replies.readline, show)
    except OSError as error:
        raise AdminError(f"the dialogue broke: {error}") from error


def _expect(code: int, read: Callable[[], bytes], show: Callable[[str], None]) -> None:
    """Read one reply, to its last line, and compare its code."""
    while True:
        line = read().decode("ascii", "replace").rstrip("\r\n")
        show(f"< {line}")
        if line[3:4] != "-":
            break
    if line[:3] != str(code):
        raise AdminError(f"expected {code}, got {line!r}")
