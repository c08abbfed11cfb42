"""What of minimta still runs where no service manager would end it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from minimta.admin.checkout import AdminError
from minimta.admin.install.accounts import find_user
from minimta.admin.install.steps import below
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.system import locks, pidfile, safefile


def need_nothing_running(root: Path, users: Iterable[str]) -> None:
    """Raise AdminError (75) if a runner has the queue of this tree, or a process is of one of *users*.

    userdel(8) does not remove who has processes, and is asked when the commands have gone.
    """
    options = _options(root)
    queue = options.queue_directory
    for path in (locks.beside(queue), locks.of_daemon(queue)):
        if locks.is_resident(str(below(root, path))):
            which = _named_by(below(root, options.pid_file))
            text = f"a daemon{which} runs the queue {queue}: end it, and try again"
            raise AdminError(text, os.EX_TEMPFAIL)
    for name in users if root == Path("/") else ():  # the numbers of another tree are not ours
        if pid := min(_processes_of(name), default=0):
            which = _named_by(below(root, options.pid_file))
            text = f"process {pid} runs as the user {name}: end the daemon{which}, and try again"
            raise AdminError(text, os.EX_TEMPFAIL)


def _options(root: Path) -> Options:
    """Those of this machine; the defaults for another one's tree, or if they cannot be read."""
    if root == Path("/"):
        try:
            return config_file.load(None, [], safefile.why_untrusted)
        except (config_file.ConfigError, OSError):
            pass  # it may be wrong, and uninstalled all the same
    return Options()


def _named_by(pid_file: Path) -> str:
    """The daemon that a PidFile names, if it lives."""
    pid = pidfile.daemon(str(pid_file))
    return f" (process {pid})" if pid else ""


def _processes_of(name: str) -> Iterator[int]:
    user = find_user(Path("/"), name)
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if user is not None and entry.stat().st_uid == user.uid:
                yield int(entry.name)
        except OSError:
            continue  # it has just ended
