"""A message that is returned to its sender before its time, because somebody says so.

The end is that of any message that fails: the report is durably queued, then the message goes. What
cannot be reported stays (``send_reports``).
"""

from __future__ import annotations

import os

from minimta.mailers.by_name import Mailers
from minimta.message.outcome import Fate, Outcome
from minimta.message.printable import shown
from minimta.queue.locked import LockedMessage
from minimta.routing.destination import Destination
from minimta.routing.local_host import LocalHost
from minimta.runner.checkpoint import MessageProgress, Unrecorded
from minimta.runner.delivery_log import DeliveryLog
from minimta.runner.send_reports import ReportSender

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.queue.directories import Queue


class GivingUp:
    """Returns messages of one queue."""

    def __init__(self, here: LocalHost, spool: Queue) -> None:
        self._options = here.options
        self._spool = spool
        self._log = DeliveryLog(here.users, here.router, None)
        self._reports = ReportSender(here, spool, Mailers(here.options, here.users))

    def bounce(self, message: LockedMessage, why: str, now: float) -> bool:
        """Return the *message*, which is released, to its sender; *why* is what they read.

        False if it is still there: the report cannot be queued now, and nothing is lost. Raise OSError.
        """
        recipients = message.control.recipients
        destinations = [Destination(one, None, _outcome(why, one.message)) for one in recipients]
        progress = MessageProgress(message, destinations, now)
        try:
            for number, destination in enumerate(destinations):
                assert destination.outcome is not None
                progress.settle([number], destination.outcome)
                self._log.write(
                    progress,
                    [destination.recipient],
                    destination.outcome,
                    mailer="",
                    now=now,
                    took=0.0,
                )
            self._reports.finish(progress, now)
        except Unrecorded:
            pass  # logged
        finally:
            message.release()
        self._reports.made.clear()
        self._spool.flush()
        return message.is_gone()


def _outcome(why: str, before: str) -> Outcome:
    """*before* is what the recipient's last attempt came to, "" if nothing."""
    text = shown(why, 200)
    last = (f"... until now: {shown(before, 300)}",) if before else ()
    # RFC 3463 section 3.8: X.7.1 is a refusal by whoever is in charge.
    transcript = (f"554 5.7.1 {text}", *last)
    return Outcome(Fate.FAILED, "5.7.1", text, transcript=transcript, exit_code=os.EX_UNAVAILABLE)
