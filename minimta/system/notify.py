"""What a service manager is told: sd_notify(3), one datagram to the socket that $NOTIFY_SOCKET names.

Only the process that systemd started is heard (NotifyAccess=main). Without the variable nobody asked,
and without its socket nobody listens: a daemon runs without it too, so nothing is raised.
"""

from __future__ import annotations

import os
import socket

from minimta.system import log


def is_awaited() -> bool:
    """Were we started by a service manager that waits for ready()?"""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def ready() -> None:
    """Tell that this service has begun (Type=notify). Later calls, and programs, find no variable."""
    place = os.fsencode(os.environ.pop("NOTIFY_SOCKET", ""))
    if place[:1] not in (b"/", b"@"):
        return
    # "@" stands for the NUL of a name that is in no directory: unix(7), "abstract".
    address = b"\0" + place[1:] if place[:1] == b"@" else place
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto(b"READY=1", address)
    except OSError as error:
        text = f"cannot notify {log.clean(place)}: {error.strerror or error}"
        log.line("", text, level=1, error=True)
