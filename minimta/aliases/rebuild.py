"""Compile an alias file into its database, as newaliases does, and tell what was found.

Readers see the old database or the new one, never a part. Two rebuilds wait for each other.
"""

from __future__ import annotations

import errno
import os
import time

from minimta.aliases.rebuild_report import RebuildReport
from minimta.aliases.source import SUFFIX, Source, read_text
from minimta.aliases.text import compile_text
from minimta.maps.cdbwriter import write_cdb
from minimta.system import locks, log, safefile
from minimta.system.safefile import Untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minimta.system.locks import Lock
    from minimta.system.users import Users

#: how often, and after how many seconds, another process's rebuild is waited for
_LOCK_ATTEMPTS, _LOCK_PAUSE = 300, 0.1


def rebuild(
    source: Source,
    users: Users,
    is_local: Callable[[bytes], bool] | None = None,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> RebuildReport:
    """Compile a file into its database, atomically, one process at a time; log and report it.

    *is_local* says which domains may stand on a left side (``Router.is_local``); none without it.
    Bad lines are reported and left out, as Sendmail does. Raise OSError if the database cannot be
    written, or if another process holds the lock for 30 s; then the old one stands.
    """
    report = RebuildReport(source.path)
    try:
        os.stat(source.path)
        with _rebuild_lock(source.path + SUFFIX + ".lock", pause):
            _compile(source, report, is_local)
    except FileNotFoundError as error:
        report.refuse_text(os.strerror(error.errno or errno.ENOENT))
    _log(report, users)
    return report


def _compile(
    source: Source, report: RebuildReport, is_local: Callable[[bytes], bool] | None
) -> None:
    try:
        text = read_text(source.path, source.forgiven)
    except Untrusted as error:
        return report.refuse_text(str(error))
    except PermissionError as error:
        return report.refuse_text(os.strerror(error.errno or errno.EACCES))
    reason = safefile.why_directory_refused(source.path)
    if reason:
        return report.refuse_directory(reason)
    # DIFFERS: no alias @ at the end to tell that all is written: who sees the database sees all.
    write_cdb(source.path + SUFFIX, compile_text(text, report, is_local).items())
    return None


def _rebuild_lock(path: str, pause: Callable[[float], None]) -> Lock:
    """Wait for another rebuild to end: it may have read the text before our change."""
    for _ in range(_LOCK_ATTEMPTS):
        lock = locks.rebuild(path)
        if lock is not None:
            return lock
        pause(_LOCK_PAUSE)
    raise OSError(errno.EAGAIN, "another process rebuilds the aliases", path)


def _log(report: RebuildReport, users: Users) -> None:
    user = users.by_uid(os.getuid())
    name = log.clean(user.name if user else str(os.getuid()))
    if not report.refusal:
        log.line("", f"alias database {report.path} rebuilt by {name}")
    for text in report.errors:
        log.line("NOQUEUE", f"SYSERR({name}): {text}", error=True)
    if not report.refusal:
        log.line("", report.summary())
