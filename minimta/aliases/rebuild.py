"""Compile an alias file into its database, as newaliases does, and tell what was found."""

from __future__ import annotations

import errno
import os
import time

from minimta import locks, log
from minimta.aliases.report import Report
from minimta.aliases.source import SUFFIX, forgiven, read_text
from minimta.aliases.text import compile_text
from minimta.maps.cdbwriter import write_cdb
from minimta.trust import Untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Set

    from minimta.locks import Lock
    from minimta.users import Users

#: how often, and after how many seconds, another process's rebuild is waited for
_LOCK_ATTEMPTS, _LOCK_PAUSE = 300, 0.1


def rebuild(
    path: str,
    users: Users,
    is_local: Callable[[bytes], bool] | None = None,
    *,
    dont_blame: Set[str] = frozenset(),
    pause: Callable[[float], None] = time.sleep,
) -> Report:
    """Compile *path* into its database, atomically, one process at a time; log and report it.

    *is_local* says which domains may stand on a left side (``Router.is_local``); none without it.
    Bad lines are reported and left out, as Sendmail does. Raise OSError if the database cannot be
    written, or if another process is at it for too long; then the old one stands.
    """
    report = Report(path)
    try:
        os.stat(path)
        with _rebuild_lock(path + SUFFIX + ".lock", pause):
            _rebuild(report, users, is_local, forgiven(dont_blame))
    except FileNotFoundError as error:
        report.refusal = os.strerror(error.errno or errno.ENOENT)
    return report


def _rebuild(
    report: Report, users: Users, is_local: Callable[[bytes], bool] | None, bits: int
) -> None:
    try:
        text = read_text(report.path, bits)
    except Untrusted as error:
        report.refusal = str(error)
        return
    except PermissionError as error:
        report.refusal = os.strerror(error.errno or errno.EACCES)
        return
    write_cdb(report.path + SUFFIX, compile_text(text, report, is_local).items())
    _log(report, users)


def _rebuild_lock(path: str, pause: Callable[[float], None]) -> Lock:
    """Wait for another rebuild: it may have read the text before our change."""
    for _ in range(_LOCK_ATTEMPTS):
        lock = locks.rebuild(path)
        if lock is not None:
            return lock
        pause(_LOCK_PAUSE)
    raise OSError(errno.EAGAIN, "another process rebuilds the aliases", path)


def _log(report: Report, users: Users) -> None:
    user = users.by_uid(os.getuid())
    name = user.name if user else str(os.getuid())
    log.line("", f"alias database {report.path} rebuilt by {log.clean(name)}")
    for text in report.errors:
        log.line("NOQUEUE", f"SYSERR({log.clean(name)}): {text}", error=True)
    log.line("", report.summary())
