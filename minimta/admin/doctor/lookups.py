"""How examinations ask for what is in no file: programs, name servers, routes, ports. Nothing is changed."""

from __future__ import annotations

import errno
import socket
import subprocess
from collections.abc import Sequence

from minimta.system import log
from minimta.system.dns import Resolver

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
#: seconds for a program
_PROGRAM_TIME = 8.0
#: addresses for documentation, which nobody has: no packet is sent to them
_SOMEWHERE = {"inet": "192.0.2.1", "inet6": "2001:db8::1"}


def output(words: Sequence[str]) -> str:
    """What a program of the system prints. Raise OSError if there is none, if it fails or hangs."""
    environment = {"PATH": _PATH, "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=_PROGRAM_TIME,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(errno.ETIMEDOUT, f"{words[0]} does not end") from error
    if done.returncode:
        said = log.clean((done.stderr or done.stdout).strip()) or f"exit code {done.returncode}"
        raise OSError(errno.EIO, f"{words[0]}: {said}")
    return done.stdout


def resolver(seconds: float) -> Resolver:
    """One that asks the system's name servers."""
    return Resolver(budget=seconds)


def names_of(address: str, seconds: float) -> list[str]:
    """The PTR records of *address*, without final dots; [] if it has none. Raise LookupFailed."""
    return Resolver(budget=seconds).names_of(address)


def source(family: str) -> str:
    """The address that we would be seen with, "" without a way out. Nothing is sent."""
    kind = socket.AF_INET6 if family == "inet6" else socket.AF_INET
    try:
        with socket.socket(kind, socket.SOCK_DGRAM) as one:
            one.connect((_SOMEWHERE[family], 9))
            return str(one.getsockname()[0])
    except OSError:
        return ""


def connect(address: str, port: int, seconds: float) -> None:
    """Open a connection and close it: not an octet is said. Raise OSError."""
    socket.create_connection((address, port), seconds).close()
