"""What dave puts in the place of his mailbox or file: in his name, and nothing to append to."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from tests.support.sharedhost import UIDS, SharedHost

Plant = Callable[[SharedHost, Path], None]


def fifo(host: SharedHost, path: Path) -> None:
    os.mkfifo(path)
    os.chown(path, UIDS["dave"], UIDS["dave"])


def directory(host: SharedHost, path: Path) -> None:
    path.mkdir()
    os.chown(path, UIDS["dave"], UIDS["dave"])


def sock(host: SharedHost, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    os.chown(path, UIDS["dave"], UIDS["dave"])
