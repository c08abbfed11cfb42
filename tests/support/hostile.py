"""What code that a stranger has brought into a process of ours would try.

answers = privileges.in_child(lambda: tried(attempts), 10)
outcomes(answers) == {"read the letter": "EACCES", "write": "done"}
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import socket
from collections.abc import Callable, Mapping
from pathlib import Path


def tried(attempts: Mapping[str, Callable[[], object]]) -> bytes:
    """Make each attempt; what came of it, for outcomes()."""
    found = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            found[name] = "done"
        except OSError as error:
            found[name] = errno.errorcode.get(error.errno or 0, str(error))
    return json.dumps(found).encode("ascii")


def outcomes(answer: bytes) -> dict[str, str]:
    """ "done", or the name of the errno, of each attempt."""
    found: dict[str, str] = json.loads(answer)
    return found


def read(path: Path | str) -> Callable[[], object]:
    return lambda: Path(path).read_bytes()


def make(path: Path | str) -> Callable[[], object]:
    """A new file, which is left there."""
    return lambda: os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def run() -> object:
    """Another program in our place: this process ends if that works."""
    return os.execv("/bin/true", ["true"])


def connect(port: int) -> Callable[[], object]:
    def attempt() -> None:
        with socket.socket() as sock:
            sock.connect(("127.0.0.1", port))

    return attempt


def listen() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()


#: prctl(2): PR_GET_DUMPABLE, PR_GET_NO_NEW_PRIVS
_DUMPABLE, _NO_NEW_PRIVILEGES = 3, 39


def dump() -> None:
    """This process's memory, into a core file or by a debugger of the same user."""
    is_shown = ctypes.CDLL(None).prctl(_DUMPABLE, 0, 0, 0, 0) == 1
    if not is_shown and resource.getrlimit(resource.RLIMIT_CORE) == (0, 0):
        raise PermissionError(errno.EPERM, "hidden")


def gain() -> None:
    """Rights by a set-user-id program."""
    if ctypes.CDLL(None).prctl(_NO_NEW_PRIVILEGES, 0, 0, 0, 0) == 1:
        raise PermissionError(errno.EPERM, "none")
