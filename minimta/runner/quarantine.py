"""``sendmail -Qreason -q...`` holds chosen messages, ``sendmail -Q -q...`` lets them go.

    -Qreason -qI915     a qf that is meant gets the reason (q line) and becomes hf: no run takes it
    -Qreason -qQ        an hf gets another reason
    -Q -qQspam          an hf whose reason contains "spam" becomes qf again, for the next run
    -qQ                 (queue_run) a run over the hf; what is not delivered stays held

A message that is being delivered is left alone, and told. The q line alone keeps runs away, so that
a crash between the line and the name holds the message, in both directions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing

from minimta.config.options import Options
from minimta.queue import directories
from minimta.queue.listing import Listed
from minimta.queue.locked import LockedMessage
from minimta.queue.selectors import Selection, all_match, file_kinds
from minimta.runner.deliver import open_spool
from minimta.system import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.queue.directories import Queue


def change(
    options: Options, selections: Sequence[Selection], reason: str, say: Callable[[str], None]
) -> int:
    """Hold the messages that *selections* mean, or with an empty *reason* let them go.

    Returns how many there were that another process had. Raise OSError.
    """
    missed = 0
    with closing(open_spool(options)) as spool:
        for kind in sorted(file_kinds(selections) - {"Qf"}):
            for one in list(directories.listed(options, kind)):
                if _is_meant(selections, one) and not _change(spool, one.name, kind, reason):
                    say(f"{one.qid}: locked")
                    missed += 1
    return missed


def _is_meant(selections: Sequence[Selection], one: Listed) -> bool:
    return not one.is_empty and all_match(
        selections,
        one.qid,
        reverse_path=one.sender,
        recipients=[address for address, _, _ in one.recipients],
        quarantine=one.quarantine.decode("ascii", "backslashreplace"),
    )


def _change(spool: Queue, name: str, kind: str, reason: str) -> bool:
    """False if another has the message."""
    message = spool.lock(name, kind=kind)
    if message is None:
        return False
    with message:
        if reason:
            hold(message, reason)
        elif message.control.quarantine:
            release(message, time.time())
    return True


def hold(message: LockedMessage, reason: str) -> None:
    """Put one message into quarantine, and log it. Raise OSError."""
    words = log.clean(reason, 200)
    message.hold(words)
    log.line(message.qid, f"quarantine={words}")


def release(message: LockedMessage, due: float) -> None:
    """Let one message go, to be tried at *due* (epoch seconds), and log it. Raise OSError."""
    message.let_go(due)
    log.line(message.qid, "unquarantine")
