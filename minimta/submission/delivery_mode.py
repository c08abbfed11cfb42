"""The first attempt at a message that was just submitted, as option DeliveryMode has it.

background            a child makes it, unless a resident runner lives, which sees the message itself
interactive           this process makes it; the exit code tells what became of it
queueonly, deferred   the next queue run makes it; so it does while the load is above QueueLA
"""

from __future__ import annotations

import os

from minimta.message import address
from minimta.system import log
from minimta.system.terminal import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from minimta.config.options import Options
    from minimta.queue.collect import Incoming
    from minimta.queue.directories import Queue
    from minimta.routing.local_host import LocalHost


def is_wanted(options: Options) -> bool:
    """Does DeliveryMode ask for an attempt, and the load allow it?"""
    if options.delivery_mode in ("queueonly", "deferred"):
        return False
    from minimta.system import load  # not for a message that is only queued

    return load.average() < options.queue_la


def is_ours(options: Options, *, verbose: bool) -> bool:
    """Do we try it ourselves, now or in a child? Else a resident runner does, as soon as it sees it."""
    if verbose or options.delivery_mode == "interactive":
        return True
    from minimta.system import locks  # not for a message that is only queued

    return not locks.is_resident(locks.beside(options.queue_directory))


def first(
    here: LocalHost,
    spool: Queue,
    qid: str,
    *,
    hear: Callable[[str], None] | None,
    told: Container[str] = (),
) -> int:
    """Try message *qid*, whose lock *spool* keeps. Returns the exit code: 0 for what is queued.

    What the caller was *told* at submission is not told again; *hear* gets the lines of the dialogue.

    The lock is kept from commit() on, or a resident runner could take the message between the two.
    Raise OSError if there can be no child; the message then waits for the next run.
    """
    if hear is not None or here.options.delivery_mode == "interactive":
        return _attempt(here, spool, qid, hear=hear, told=told)
    from minimta.system import processes

    processes.in_background("delivery", lambda: _attempt(here, spool, qid, hear=None))
    return os.EX_OK


def _attempt(
    here: LocalHost,
    spool: Queue,
    qid: str,
    *,
    hear: Callable[[str], None] | None,
    told: Container[str] = (),
) -> int:
    from minimta.runner.deliver import Deliverer

    def tell(text: str) -> None:
        """Tell a caller who waits what only the expansion of aliases brought to light."""
        if here.options.error_mode == "print" and text not in told:
            say(text)

    deliverer = Deliverer(here, spool, say=hear, tell=tell)
    codes = [result.exit_code for result in deliverer.attempt([qid])]
    return next((code for code in codes if code not in (os.EX_OK, os.EX_TEMPFAIL)), os.EX_OK)


def postpone(incoming: Incoming, mailer_of: Callable[[bytes], str], *, verbose: bool) -> None:
    """Log, and if *verbose* say, that the message waits for a queue run.

    *mailer_of* names the mailer of a bare address, as far as it is known.
    """
    for recipient in incoming.envelope.recipients:
        shown = log.clean(recipient.address)
        mailer = mailer_of(address.bare(recipient.address))
        log.line(incoming.qid, f"to={shown}, delay=00:00:00, mailer={mailer}, stat=queued")
        if verbose:
            say(f"{shown}... queued")
