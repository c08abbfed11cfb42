"""A file of users for AUTH."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from minimta.listener import smtp_users
from minimta.listener.smtp_users import SmtpUserFile


@functools.cache
def keys_of(password: str) -> smtp_users.UserKeys:
    """Hashing takes time, and many tests have the same passwords."""
    return smtp_users.new_keys(password)


def write_users(path: Path, passwords: Mapping[str, str]) -> Path:
    """As minimta passwd writes it; returns *path*."""
    users = {name: keys_of(password) for name, password in passwords.items()}
    path.write_bytes(smtp_users.encode(SmtpUserFile(b"secret of this host", users)))
    path.chmod(0o640)
    return path
