"""Is mail stuck? What a runner sees without reading the queue: for AlertCommand.

    QUEUE   RunAsUser, who is the listener, cannot make a file in mqueue, or anybody one in clientmqueue; or
            fewer blocks are free than MinFreeBlocks
    LOGIN   a login of AuthInfoFile, or a token for one, was refused and is not tried for now
    AGE     the oldest message is older than AlertAge

The listener tells nobody: it has no rights, and what it cannot write the runner finds here as well, by
becoming the same user and trying. A queue id begins with the time of the message, and sorts by it: the
oldest messages are known from the names, and only those few are opened.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Collection, Iterator
from functools import partial
from typing import NamedTuple

from minimta.config.options import Options
from minimta.mailers.remote import login_memory, token_file
from minimta.mailers.remote.credentials import CredentialStore, source
from minimta.mailers.remote.login_memory import LoginMemory, LoginRecord
from minimta.message import dates
from minimta.queue import directories, pattern
from minimta.runner.alert_state import Trouble
from minimta.system import log, privileges
from minimta.system.safefile import Untrusted

#: the oldest ids that are opened: what is in quarantine, or gone meanwhile, does not count
_FEW = 20
#: seconds that a disk may take to make a file
_PROBE_TIME = 20.0
#: seconds after a change of AuthInfoFile in which a refusal from before still counts: by then the new
#: login was tried, or nothing is waiting for it
_STALE = 3600.0
#: what is tried to be written: a block
_BLOCK = bytes(4096)


class Outage(NamedTuple):
    """The worst of what is wrong, and a sentence about it without addresses and without any text of mail."""

    trouble: Trouble
    text: str = ""


def look(options: Options, names: Collection[str], now: float) -> Outage:
    """What is wrong at *now* (epoch seconds); *names* are the ids in the queue. Raises nothing."""
    if text := queue_trouble(options):
        return Outage(Trouble.QUEUE, log.clean(text, 400))
    if text := login_trouble(options, now):
        return Outage(Trouble.LOGIN, log.clean(text, 400))
    text = age_trouble(options, names, now)
    return Outage(Trouble.AGE if text else Trouble.NONE, log.clean(text, 400))


# --- can anything be written? ---------------------------------------------------------------------


def queue_trouble(options: Options) -> str:
    """Why nothing can be put into a queue directory, "" if it can. Raises nothing."""
    try:
        wanted = pattern.paths(options)
    except OSError as error:
        return f"nothing can be written in {options.queue_pattern}: {error.strerror}"
    if os.path.lexists(options.client_queue_directory):  # a container without users needs none
        wanted.append(options.client_queue_directory)
    for directory in wanted:
        try:
            why = os.fsdecode(privileges.in_child(partial(_probe, options, directory), _PROBE_TIME))
        except OSError as error:
            why = error.strerror or str(error)
        if why:
            return f"nothing can be written in {directory}: {why}"
    return ""


def _probe(options: Options, directory: str) -> bytes:
    """In a child: "" or why RunAsUser cannot write there."""
    privileges.become(options.run_as_user)
    try:
        found = os.statvfs(directory)
        if found.f_flag & os.ST_RDONLY:
            return os.fsencode(os.strerror(errno.EROFS))
        if found.f_bavail < options.min_free_blocks:
            return b"%d blocks are free, less than MinFreeBlocks" % found.f_bavail
        _write(directory)
    except OSError as error:
        return os.fsencode(error.strerror or str(error))
    return b""


def _write(directory: str) -> None:
    """A file without a name, gone when it is closed. Raise OSError if it cannot be made or filled."""
    flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
    try:
        file = os.open(directory, flags, 0o600)
    except OSError as error:
        # NFS and old file systems cannot; that they lack room was asked above.
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            if not os.access(directory, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from error
            return
        raise
    try:
        os.write(file, _BLOCK)
        os.fsync(file)
    finally:
        os.close(file)


# --- is a login refused? --------------------------------------------------------------------------


def login_trouble(options: Options, now: float) -> str:
    """Which login is refused, "" if none is known to be. Raises nothing."""
    try:
        memory = LoginMemory(login_memory.beside(options.queue_directory))
        refused = {name: one for name, one in memory.known().items() if not one.accepted}
        if not options.auth_info_file or not os.path.exists(source(options.auth_info_file)):
            return ""
        store = CredentialStore.read(options)
        return next(_refused(store, refused, now), "") or next(_tokens(options, store), "")
    except Untrusted as error:
        return f"{options.auth_info_file}: {error}; it must be root's, mode 600"
    except OSError:
        return ""  # not known, and mail that waits for it grows old


def _refused(store: CredentialStore, refused: dict[str, LoginRecord], now: float) -> Iterator[str]:
    states = {(row.user, store.state_of(row)) for row in store.rows}
    users = {row.user for row in store.rows}
    for name, record in sorted(refused.items()):
        place, _, user = name.partition(" ")
        is_current = (user, record.state) in states
        if is_current or (user in users and now - _changed(store.path) < _STALE):
            yield f"the login at {place} as {user} is refused"


def _changed(path: str) -> float:
    return os.stat(path).st_mtime


def _tokens(options: Options, store: CredentialStore) -> Iterator[str]:
    for name in sorted({os.fsdecode(row.value) for row in store.rows if row.source == "T"}):
        try:
            found = token_file.trouble(token_file.path_of(options.token_directory, name))
        except (OSError, ValueError):
            continue
        if found is not None and found.is_final:
            yield f"the token {name} is refused; minimta token renew {name}"


# --- how old is the oldest? -----------------------------------------------------------------------


def age_trouble(options: Options, names: Collection[str], now: float) -> str:
    """How long the oldest message waits, "" if not longer than AlertAge. Raises nothing."""
    if not options.alert_age or not names:
        return ""
    try:
        found = list(directories.listed(options, only=directories.oldest(names, _FEW)))
    except OSError:
        return ""  # queue_trouble() has told
    waiting = [(one.created, one.qid) for one in found if one.created and not one.quarantine]
    created, qid = min(waiting, default=(now, ""))
    if now - created <= options.alert_age:
        return ""
    others = f", {len(names)} wait" if len(names) > 1 else ""
    since = time.strftime("%Y-%m-%d %H:%M", dates.local(created))
    return f"the oldest message, {qid}, waits since {since} ({spell(now - created)}){others}"


def spell(seconds: float) -> str:
    """ "4 h 10 min", "2 days 3 h"."""
    minutes = int(seconds) // 60
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} days {minutes % 1440 // 60} h"
