"""The keys of SRS (option SRSKeyFile): one a line; the first signs, all are good for taking back.

Whoever has one makes addresses that relay through this host, so only the owner may read the file.
root makes it when a listener starts, or the runner first needs it; who only looks makes nothing.
"""

from __future__ import annotations

import errno
import os
import stat

from minimta.system import files, safefile, service_credentials

_LARGEST = 1 << 16


def read(path: str, *, makes: bool = False) -> tuple[bytes, ...]:
    """The keys; if it *makes* one, and we are root, there is a file then. Raise OSError."""
    path = service_credentials.place(path)
    try:
        return _read(path)
    except FileNotFoundError:
        if not makes or os.geteuid() != 0:
            raise
    _make(path)
    return _read(path)


def _read(path: str) -> tuple[bytes, ...]:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, os.geteuid()):
            raise OSError(errno.EPERM, "is no file of root's", path)
        if safefile.readers(status) or status.st_mode & 0o033:
            raise OSError(errno.EPERM, "others may read or change the key (chmod 0600)", path)
        keys = tuple(files.read_to_limit(file, _LARGEST).split())
    finally:
        os.close(file)
    if not keys or min(map(len, keys)) < 8:
        raise OSError(errno.EINVAL, "has no key of 8 characters or more", path)
    return keys


def _make(path: str) -> None:
    """A new key, durable under its name, or another process's if that was first."""
    name = f"{path}.{os.getpid()}"
    if os.path.lexists(name):
        os.unlink(name)  # left by a dead process that had our number, as all have in a container
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        files.write_all(file, os.urandom(32).hex().encode() + b"\n")
        os.fsync(file)
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        os.close(file)
        os.unlink(name)
    files.sync_directory(os.path.dirname(path) or ".")
