"""The PidFile of a daemon, as Sendmail writes it.

    4711                             the process id
    /usr/sbin/sendmail -bd -q15m     the command line, words separated by one blank

Init scripts read it. The number may be another process's by now, as when the machine went down: it is the
daemon whose command line is that one. A daemon runs without it too: what goes wrong is logged, and nothing is raised.
"""

from __future__ import annotations

import contextlib
import os

from minimta.system import files, log


def write(path: str, argv: list[str]) -> None:
    """Name this process. A new file is renamed into place: a link planted there is not followed."""
    temporary = f"{path}.{os.getpid()}"
    try:
        # Of a process of our number that died here: in a container it is always the same.
        _unlink(temporary)
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        try:
            os.fchmod(file, 0o644)
            text = f"{os.getpid()}\n{' '.join(argv)}\n"
            files.write_all(file, text.encode("utf-8", "replace"))
        finally:
            os.close(file)
        os.rename(temporary, path)
    except OSError as error:
        _unlink(temporary)
        log.line("", f"unable to write pid to {path}: {error.strerror}", error=True)


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def daemon(path: str, proc: str = "/proc") -> int:
    """The pid of the daemon that it names, 0 if that does not live; *proc* is proc(5)."""
    try:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
            pid, command = int(file.readline()), file.read().removesuffix("\n")
        with open(f"{proc}/{pid}/cmdline", "rb") as there:
            words = os.fsdecode(there.read()).removesuffix("\0").split("\0")
    except (OSError, ValueError):
        return 0
    # Before it stands the interpreter.
    text = " ".join(["", *words]).encode("utf-8", "replace").decode()
    return pid if command and text.endswith(f" {command}") else 0


def names_another(path: str) -> bool:
    """Does it name a daemon that lives, and is not this process?"""
    return daemon(path) not in (0, os.getpid())


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
