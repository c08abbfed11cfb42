"""One message during one attempt: what became of whom, and when it is written down.

    act (append, 250 read)   ->  settle()      in memory
    other recipients remain  ->  checkpoint()  qf rewritten without those who have it
    bounce durably queued    ->  close()       the failed are dropped, too
    nobody is left           ->  close()       qf and df removed: that is the record

Never before the act, and always before the next one (durability: at most the recipients of one act
get it twice). The expansion of aliases is written with the first checkpoint: until then nothing
was done, and expanding again repeats nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

from minimta.config.options import Options
from minimta.dsn.multipart import ReportEntry
from minimta.message.envelope import Recipient
from minimta.message.outcome import Fate, Outcome
from minimta.message.printable import printable
from minimta.queue.locked import LockedMessage
from minimta.routing import controlling_user
from minimta.routing.destination import Destination
from minimta.system import log

#: seconds that a message rests whose fate could not be written down
BACK_OFF = 300


class Unrecorded(Exception):
    """The queue file cannot be written. The message is stopped: what was done may be done again."""


class MessageProgress:
    """A locked message, its destinations and their outcomes."""

    def __init__(
        self, message: LockedMessage, destinations: Sequence[Destination], now: float
    ) -> None:
        self.message = message
        self._begun = now
        self.qid = message.qid
        self.control = message.control
        self.destinations = list(destinations)
        #: by position in destinations
        self.outcomes: dict[int, Outcome] = {}
        #: jobs that are under way or wait for their turn
        self.open_jobs = 0
        #: nothing more may be done for it in this run
        self.stopped = False
        #: the attempt is over: close() was called
        self.closed = False
        self._unrecorded = False

    def settle(self, positions: Iterable[int], outcome: Outcome) -> None:
        """These recipients have their answer."""
        for position in positions:
            self.outcomes[position] = outcome
        self._unrecorded = self._unrecorded or outcome.fate is Fate.SENT

    def unsettled(self) -> list[int]:
        return [n for n in range(len(self.destinations)) if n not in self.outcomes]

    def entries(self, *, expired: bool) -> list[ReportEntry]:
        """All that is settled, for the reports; *expired* turns a delay into a failure."""
        return [
            ReportEntry(
                self.destinations[n].recipient,
                outcome,
                self.mailer(n),
                expired=expired and outcome.fate is Fate.DEFERRED,
                expanded_from=controlling_user.named(self.destinations[n].recipient),
            )
            for n, outcome in sorted(self.outcomes.items())
        ]

    def mailer(self, position: int) -> str:
        route = self.destinations[position].route
        return "local" if route is None else "" if route.mailer == "error" else route.mailer

    def checkpoint(self) -> None:
        """Write down who has it, if anybody got it since the last time. Raise Unrecorded."""
        if self._unrecorded:
            self._keep(self._not_sent(), self._begun)

    def close(
        self, dropped: Iterable[Recipient], *, now: float, options: Options, message: str = ""
    ) -> None:
        """End the attempt: drop those who have it and *dropped*; the rest waits, or it is over.

        *message* is what mailq shows, if not the reason of the last delay. Raise Unrecorded.
        """
        gone = {id(recipient) for recipient in dropped}
        left = [recipient for recipient in self._not_sent() if id(recipient) not in gone]
        self.closed = True
        if not left:
            self._remove()
            return
        control = self.control
        control.last_attempt = int(now)
        control.attempts += 1
        control.priority += options.retry_factor
        control.message = message or self._reason()
        lasting = self._unrecorded or bool(gone) or bool(message)
        self._keep(left, now + options.min_queue_age, lasting=lasting)
        self.message.release()

    def leave(self) -> None:
        """Let go of the message, however far the attempt came; what was done is written down."""
        if not self.stopped and not self.closed:
            with contextlib.suppress(Unrecorded):
                self.checkpoint()
        self.message.release()

    def _not_sent(self) -> list[Recipient]:
        """Those who still wait, with the reason that a peer gave."""
        waiting = []
        for number, destination in enumerate(self.destinations):
            outcome = self.outcomes.get(number)
            if outcome is None or outcome.fate is not Fate.SENT:
                if outcome is not None:
                    destination.recipient.message = stat(outcome) if outcome.diagnostic else ""
                waiting.append(destination.recipient)
        return waiting

    def _reason(self) -> str:
        delays = [o for o in self.outcomes.values() if o.fate is Fate.DEFERRED]
        return stat(delays[-1]) if delays else self.control.message

    def _keep(self, recipients: list[Recipient], due: float, *, lasting: bool = True) -> None:
        self.control.recipients = recipients
        try:
            # If nobody got it and nobody was dropped, the qf before says the same of everybody.
            self.message.rewrite(due, lasting=lasting)
        except (OSError, ValueError) as error:
            self._stop(error)
        self._unrecorded = False

    def _remove(self) -> None:
        try:
            self.message.retire()
        except OSError as error:
            self._stop(error)

    def _stop(self, error: Exception) -> None:
        self.stopped = True
        reason = log.clean(str(error))
        text = f"SYSERR(root): cannot record what was delivered: {reason}; it may come twice"
        log.line(self.qid, text, level=1, error=True)
        with contextlib.suppress(OSError):
            self.message.postpone(self._begun + BACK_OFF)
        raise Unrecorded(reason) from error


def stat(outcome: Outcome) -> str:
    """The words of the log and of mailq: "Sent", "User unknown", "Deferred: Connection refused"."""
    text = log.clean(outcome.text)
    if outcome.fate is not Fate.DEFERRED:
        return text
    if text.startswith("reply: "):
        return text  # as Sendmail: what the peer did stands alone
    return f"Deferred: {text}" if text else "Deferred"


def addresses(recipients: Sequence[Recipient]) -> str:
    """Several recipients as one word of the log or of -v."""
    return ",".join(printable(r.address).decode("ascii") for r in recipients)
