"""The PidFile of a daemon, as Sendmail writes it.

    4711                             the process id
    /usr/sbin/sendmail -bd -q15m     the command line, words separated by one blank

Init scripts read it. A daemon runs without it too: what goes wrong is logged, and nothing is raised.
"""

from __future__ import annotations

import os

from minimta.system import files, log


def write(path: str, argv: list[str]) -> None:
    """Name this process. A new file is renamed into place: a link planted there is not followed."""
    temporary = f"{path}.{os.getpid()}"
    try:
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        try:
            os.fchmod(file, 0o644)
            text = f"{os.getpid()}\n{' '.join(argv)}\n"
            files.write_all(file, text.encode("utf-8", "replace"))
        finally:
            os.close(file)
        os.rename(temporary, path)
    except OSError as error:
        log.line("", f"unable to write pid to {path}: {error.strerror}", error=True)


def names_another(path: str) -> bool:
    """Does it name a process that lives, and is not this one?"""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            pid = int(file.readline())
    except (OSError, ValueError):
        return False
    return pid != os.getpid() and os.path.exists(f"/proc/{pid}")


def remove(path: str) -> None:
    """Remove it, if it still names this process and we may.

    To be called while no other may write it yet: between a look and unlink(2) it may become theirs.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            is_ours = file.readline().strip() == str(os.getpid())
        if is_ours:
            os.unlink(path)
    except OSError:
        pass  # somebody else took care of it
