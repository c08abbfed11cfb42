"""Servers of others that listen at a path."""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

#: seconds until one listens, on a machine with other work
_PATIENCE = 30.0


def wait_until_it_listens(path: Path, server: subprocess.Popen[bytes]) -> None:
    """Return when *server* takes connections at *path*: the name is there before it does."""
    end = time.monotonic() + _PATIENCE
    while server.poll() is None and time.monotonic() < end:
        with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
            probe.connect(str(path))
            return
        time.sleep(0.02)
    raise AssertionError(f"nobody listens at {path}")
