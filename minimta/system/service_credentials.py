"""Secrets that a service manager hands to a service: $CREDENTIALS_DIRECTORY (LoadCredential=).

A credential counts in place of a file with the same last name that this process may not read: with
"server.pem" there, what ServerCertFile = /etc/mail/server.pem names is read from it. A file that it may
read counts itself, and so do changes of it. A credential whose text is "none" is as good as none: it
stands for a file that the machine need not have.
"""

from __future__ import annotations

import os

NONE = b"none"


def directory() -> str:
    """Where they are; "" if there are none."""
    return os.environ.get("CREDENTIALS_DIRECTORY", "")


def place(path: str) -> str:
    """Where to read what a file *path* of the configuration holds."""
    where, name = directory(), os.path.basename(path)
    if not where or not name or os.access(path, os.R_OK):
        return path
    credential = os.path.join(where, name)
    try:
        with open(credential, "rb") as file:
            is_given = file.read(len(NONE) + 1).strip() != NONE
    except FileNotFoundError:
        return path
    except OSError:
        return credential  # who reads it tells what is wrong
    return credential if is_given else path
