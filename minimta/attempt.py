"""The first attempt at a message that was just submitted, as DeliveryMode has it.

background   a child does it, unless a resident runner lives: that sees the message by itself
interactive  here and now; the exit code tells what became of it
queueonly, deferred, or a load above QueueLA: the next queue run
"""

from __future__ import annotations

import os

from minimta import address, locks, log
from minimta.terminal import detach, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minimta.collect import Incoming
    from minimta.options import Options


def is_wanted(options: Options) -> bool:
    """Does DeliveryMode ask for an attempt, and the load allow it?"""
    if options.delivery_mode in ("queueonly", "deferred"):
        return False
    return os.getloadavg()[0] < options.queue_la


def first(options: Options, qid: str, *, verbose: bool) -> int:
    """Try it, or let it be tried. Returns the exit code: 0 for what is queued or in other hands."""
    if verbose or options.delivery_mode == "interactive":
        return _here(options, qid, verbose=verbose)
    if not locks.is_resident(locks.beside(options.queue_directory)):
        _in_background(options, qid)
    return os.EX_OK


def _here(options: Options, qid: str, *, verbose: bool) -> int:
    from minimta.deliver import Deliverer

    reports = Deliverer(options, say=say if verbose else None).attempt([qid])
    codes = [report.exit_code for report in reports]
    return next((code for code in codes if code not in (os.EX_OK, os.EX_TEMPFAIL)), os.EX_OK)


def _in_background(options: Options, qid: str) -> None:
    if os.fork():
        return
    code = os.EX_SOFTWARE
    try:
        detach()
        code = _here(options, qid, verbose=False)
    finally:
        os._exit(code)


def postpone(incoming: Incoming, mailer_of: Callable[[bytes], str], *, verbose: bool) -> None:
    """Log, and perhaps say, that the message waits for a queue run."""
    for recipient in incoming.envelope.recipients:
        shown = log.clean(recipient.address)
        mailer = mailer_of(address.bare(recipient.address))
        log.line(incoming.qid, f"to={shown}, delay=00:00:00, mailer={mailer}, stat=queued")
        if verbose:
            say(f"{shown}... queued")
