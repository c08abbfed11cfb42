"""Ports that a service manager has opened for us: sd_listen_fds(3), socket activation.

    LISTEN_PID        the process that is meant: us, or the variables are another's
    LISTEN_FDS        how many descriptors there are, from 3 on
    LISTEN_FDNAMES    their names (FileDescriptorName=), with colons between them

They stay open when this service is restarted: a client that comes meanwhile waits, and is refused by
nobody. Programs that we start shall not take them for theirs: the variables are gone once they are read.
"""

from __future__ import annotations

import errno
import os
import socket

_FIRST = 3


class PassedSocket:
    """A listening TCP socket that we were started with."""

    __slots__ = ("name", "socket")

    def __init__(self, name: str, socket: socket.socket) -> None:
        self.name = name
        self.socket = socket


def sockets() -> list[PassedSocket]:
    """What was passed to this process, once. Raise OSError for what is no listening TCP socket."""
    given = {name: os.environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES")}
    if given["PID"] != str(os.getpid()) or not given["FDS"].isdecimal():
        return []
    names = given["FDNAMES"].split(":")
    found = []
    for number in range(int(given["FDS"])):
        name = names[number] if number < len(names) else ""
        found.append(PassedSocket(name, _taken(_FIRST + number, name)))
    return found


def _taken(descriptor: int, name: str) -> socket.socket:
    shown = f"descriptor {descriptor} ({name}) of the service manager"
    try:
        os.set_inheritable(descriptor, False)
        taken = socket.socket(fileno=descriptor)
    except OSError as error:
        raise OSError(error.errno, "is no socket", shown) from error
    is_stream = taken.type == socket.SOCK_STREAM
    is_internet = taken.family in (socket.AF_INET, socket.AF_INET6)
    if not (
        is_stream and is_internet and taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        taken.detach()
        raise OSError(errno.EINVAL, "is no listening TCP socket (ListenStream=, Accept=no)", shown)
    return taken
