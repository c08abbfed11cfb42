"""hoststat, purgestat (sendmail -bh, -bH): what HostStatusDirectory tells of other hosts.

Format and words are those recorded from Sendmail 8.17: how long ago each host was talked to, and its
last reply, or why it was not reached. Files older than Timeout.hoststatus are what purgestat removes.
"""

from __future__ import annotations

import os
import time

from minimta.config.options import Options
from minimta.mailers.remote import host_status
from minimta.mailers.remote.host_status import HostStatus
from minimta.message import dates
from minimta.message.outcome import from_exit_code
from minimta.message.printable import shown
from minimta.system import log
from minimta.system.terminal import complain, say

_HEAD = " -------------- Hostname --------------- How long ago ---------Results---------"
#: columns of the result
_WIDTH, _VERBOSE_WIDTH = 25, 78


def show(options: Options, *, verbose: bool) -> int:
    """List all hosts. Returns the exit code: 77 if the caller may not look."""
    path = host_status.directory_of(options)
    if not _may_use("hoststat", path, os.R_OK | os.X_OK):
        return os.EX_NOPERM
    now, width = time.time(), _VERBOSE_WIDTH if verbose else _WIDTH
    lines = [
        f" {shown(found.host):<39} {dates.duration(now - when):>12} {_result(found, width)}"
        for found, when in (host_status.listed(path) if path else ())
    ]
    if lines:
        say("\n".join([_HEAD, *lines]))
    return os.EX_OK


def purge(options: Options) -> int:
    """Remove what nobody believes any more. Returns the exit code: 77 if the caller may not."""
    path = host_status.directory_of(options)
    if not _may_use("purgestat", path, os.R_OK | os.W_OK | os.X_OK):
        return os.EX_NOPERM
    if path:
        host_status.forget_old(path, options.timeout_hoststatus)
    return os.EX_OK


def _may_use(name: str, path: str, mode: int) -> bool:
    """False, and the caller is told, if *path* is there and may not be used, or nobody can tell."""
    try:
        os.stat(path or "/")
    except FileNotFoundError:
        return True  # nothing was found yet
    except OSError:
        pass
    if not path or os.access(path, mode):
        return True
    complain(f"{name}: {log.clean(path)}: Permission denied")
    return False


def _result(found: HostStatus, width: int) -> str:
    if found.reply:
        return shown(found.reply)[:width]
    if found.exit_code == os.EX_TEMPFAIL and found.error:
        return f"Deferred: {os.strerror(found.error)[: width - 10]}"
    if found.exit_code:
        return from_exit_code(found.exit_code).text[:width]
    return "OK"
