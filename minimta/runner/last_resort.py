"""Where a report that reached nobody is saved: in a mailbox that no alias can lead away from.

    root's own mailbox, else postmaster's   whatever aliases and .forward say
    DeadLetterDrop                          appended to, in mbox format
    neither                                 the message is put aside (``send_reports``)

What may pass (a lock, a full disk, a user data base that does not answer) is a delay and no reason to
go on to the next place, as long as the message may wait.
"""

from __future__ import annotations

import os
import time

from minimta.mailers.by_name import Mailers
from minimta.mailers.files import grouping
from minimta.mailers.files.file_mailer import PlainFile
from minimta.mailers.files.locked_file import Busy, LockedFile, UnusableFile
from minimta.mailers.files.mbox_format import MboxText
from minimta.mailers.job import Job, JobUser
from minimta.message.outcome import Fate, Outcome, deferred, from_exit_code
from minimta.runner.checkpoint import MessageProgress
from minimta.runner.make_jobs import header
from minimta.system import log
from minimta.system.safefile import Untrusted
from minimta.system.users import User

#: whose mailboxes are tried, in this order
_LAST = (b"root", b"postmaster")


def save(progress: MessageProgress, mailers: Mailers, host: str, *, may_wait: bool) -> Outcome:
    """Save the message: SENT when it is durable, DEFERRED if it is to be tried again, else FAILED.

    If it *may_wait* no longer a delay counts as a failure. *host* is our name.
    """
    message, control = progress.message, progress.control
    outcome = from_exit_code(os.EX_CANTCREAT)
    for place in (*_LAST, None):
        users = (JobUser(place or b"root"),)
        text = header(control, "local", host, progress.sender)
        job = Job(progress.qid, progress.sender, "", users, text, message.data, message.size, False)
        try:
            outcome = (
                _drop(job, mailers.options.dead_letter_drop)
                if place is None
                else _put(job, place, mailers)
            )
        except OSError as error:
            outcome = deferred("4.3.0", f"{error.strerror or error}")
        where = f"mailbox of {place.decode()}" if place else "DeadLetterDrop"
        log.line(progress.qid, f"savemail: {where}: {outcome.stat}")
        if outcome.fate is Fate.SENT or (outcome.fate is Fate.DEFERRED and may_wait):
            return outcome
    return outcome


def _put(job: Job, name: bytes, mailers: Mailers) -> Outcome:
    """Into the mailbox of *name*. Raise OSError if it cannot be known whether there is such a user."""
    if mailers.users.find(name) is None:
        return from_exit_code(os.EX_NOUSER)
    for _, outcomes in mailers["local"].deliver([job]):
        return outcomes[name]
    return deferred("4.3.0", "mailer local said nothing")


def _drop(job: Job, path: str) -> Outcome:
    """To the file DeadLetterDrop, which is the administrator's. Raise OSError."""
    if not path:
        return from_exit_code(os.EX_CANTCREAT)
    text = MboxText(job, b" ")
    try:
        with LockedFile(PlainFile(path, User("", os.geteuid(), os.getegid()))) as tail:
            tail.mend([text])
            (error,) = tail.append_all([text], time.time)
    except Busy as busy:
        return deferred("4.2.0", str(busy))
    except (UnusableFile, Untrusted) as reason:
        log.line(job.qid, f"DeadLetterDrop {log.clean(path)}: {reason}", error=True)
        return from_exit_code(os.EX_CANTCREAT)
    return grouping.not_now(error, path) if error else grouping.SENT
