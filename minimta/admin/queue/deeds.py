"""What is done to queued messages by hand, each deed with the lock of its message.

    deed       becomes                                              log line of the message
    hold       hf with a reason: no run takes it                    quarantine=REASON
    release    qf, due now; of a Qf: taken back                     unquarantine; taken back by root
    delete     gone                                                 to=..., mailer=*discard*, stat=Deleted by root
    bounce     a report to its sender, then gone                    to=..., dsn=5.7.1, stat=Returned by root
    redirect   the same message with another recipient, due now     redirected by root to <x>, instead of ...

A message that a runner has at that moment is left alone, and told. Each deed is one rename, one
rewriting or one removal of the queue's own, so that a crash leaves it done or not done. A letter in the
client queue is taken over first, as the runner does, and then has another id; only to delete one it is
removed where it is.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass

from minimta.admin.queue.messages import QueuedMessage, may_see_all
from minimta.admin.queue.selection import Criteria
from minimta.config.options import Options
from minimta.message import address, dates
from minimta.message.envelope import Recipient
from minimta.message.printable import printable
from minimta.queue import adopt, put_aside
from minimta.queue.control import Control
from minimta.queue.directory import QueueDirectory
from minimta.queue.locked import LockedMessage
from minimta.queue.spool import Spool
from minimta.routing.local_host import LocalHost
from minimta.runner import quarantine
from minimta.runner.deliver import open_spool
from minimta.runner.give_up import GivingUp
from minimta.system import log
from minimta.system.users import Users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.queue.directories import Queue


@dataclass(frozen=True, slots=True)
class Deed:
    """What became of one message."""

    text: str
    #: sysexits: 0 done, 75 somebody has it now, 69 it cannot be done to this one
    exit_code: int = os.EX_OK


_DELIVERING = Deed("is being delivered now: left alone", os.EX_TEMPFAIL)
_GONE = Deed("is gone: delivered, returned or removed meanwhile", os.EX_TEMPFAIL)
_EMPTY = Deed(
    "is empty: it is being written, or was never; a queue run puts it aside when it is an hour old",
    os.EX_TEMPFAIL,
)
_CHANGED = Deed("has changed meanwhile and is not meant any more: left alone", os.EX_TEMPFAIL)


class Administration:
    """Acts on one message after the other."""

    def __init__(self, options: Options, who: str, criteria: Criteria, now: float) -> None:
        """*who* acts, for the log; *criteria* must still hold when a message is locked; *now* is epoch seconds."""
        self._options = options
        self._who = log.fact(who)
        self._criteria = criteria
        self._now = now
        self._spool: Queue | None = None
        self._giving_up: GivingUp | None = None

    @property
    def spool(self) -> Queue:
        """The MTA queue. Raise OSError."""
        if self._spool is None:
            self._spool = open_spool(self._options)
        return self._spool

    def _directory_of(self, one: QueuedMessage) -> Spool:
        """The queue directory that it lies in. Raise OSError."""
        for spool in self.spool.spools:
            if spool.directory == one.directory:
                return spool
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), one.directory)

    def close(self) -> None:
        """Close the queue."""
        if self._spool is not None:
            self._spool.close()

    # --- the deeds ------------------------------------------------------------------------------------

    def hold(self, one: QueuedMessage, reason: str) -> Deed:
        """No run takes it until it is released."""
        words = log.clean(reason or f"held by {self._who}", 200)

        def act(message: LockedMessage) -> Deed:
            quarantine.hold(message, words)
            return Deed(f"held: {words}")

        return self._locked(one, act)

    def release(self, one: QueuedMessage) -> Deed:
        """Give it back to the runner."""
        if one.kind == "Qf" and not one.is_client:
            if not put_aside.take_back(self._directory_of(one), one.qid):
                return self._why_not(one)
            log.line(one.qid, f"taken back by {self._who}")
            return Deed("taken back: it is tried again")
        if one.state != "held" and not one.quarantine:
            return Deed("is not held", os.EX_UNAVAILABLE)

        def act(message: LockedMessage) -> Deed:
            quarantine.release(message, self._now)
            return Deed("released: due now")

        return self._locked(one, act)

    def delete(self, one: QueuedMessage) -> Deed:
        """It is gone, and nobody is told."""
        if one.is_client or one.kind == "Qf":
            return self._remove(one)

        def act(message: LockedMessage) -> Deed:
            message.retire()
            self._log_deletion(one.as_locked(message.control))
            self.spool.flush()
            return Deed("deleted")

        return self._locked(one, act)

    def _remove(self, one: QueuedMessage) -> Deed:
        owner = None if may_see_all(self._options) else os.geteuid()
        directory = QueueDirectory(one.directory) if one.is_client else self._directory_of(one)
        try:
            if not put_aside.remove(directory, one.qid, one.kind, owner=owner):
                return self._why_not(one, directory)
        finally:
            if one.is_client:
                directory.close()
        self._log_deletion(one)
        return Deed("deleted")

    def _log_deletion(self, one: QueuedMessage) -> None:
        # The form of a delivery: readers of the log count every recipient once, and this as no success.
        to = b",".join(printable(recipient) for recipient, _ in one.recipients)
        delay = dates.duration(self._now - one.created)
        facts = f"to={log.fact(to, 1000)}, delay={delay}, mailer=*discard*"
        log.line(one.qid, f"{facts}, stat=Deleted by {self._who}")

    def bounce(self, one: QueuedMessage, why: str) -> Deed:
        """Return it to its sender, who reads *why*."""
        if self._giving_up is None:
            self._giving_up = GivingUp(LocalHost(self._options), self.spool)
        giving_up = self._giving_up
        words = why or "Returned by the administrator of this host"

        def act(message: LockedMessage) -> Deed:
            sender = log.clean(message.control.sender)
            log.line(one.qid, f"returned by {self._who}")
            if giving_up.bounce(message, words, self._now):
                return Deed(f"returned to {sender}" if sender else "ended: it has no sender")
            return Deed("cannot be returned now (see the log), and waits", os.EX_TEMPFAIL)

        return self._locked(one, act)

    def redirect(self, one: QueuedMessage, to: bytes) -> Deed:
        """Let it go to the address *to*, bare, instead of those who still wait for it."""

        def act(message: LockedMessage) -> Deed:
            control = message.control
            old = b",".join(printable(recipient.address) for recipient in control.recipients)
            control.recipients = [_instead(control, to)]
            control.attempts = control.last_attempt = 0
            control.message = ""
            message.rewrite(self._now)
            new = log.clean(b"<%b>" % to)
            log.line(
                one.qid,
                log.fact(f"redirected by {self._who} to {new}, instead of ", 400)
                + log.fact(old, 1000),
            )
            return Deed(f"redirected to {new}")

        return self._locked(one, act)

    # --- locked ---------------------------------------------------------------------------------------

    def _locked(self, one: QueuedMessage, act: Callable[[LockedMessage], Deed]) -> Deed:
        """Do it to the message, if it is there, nobody else's, and still meant. Raise OSError."""
        if one.is_client:
            return self._taken_over(one, act)
        if one.kind == "Qf":
            return Deed(
                "cannot be acted on: release it when its fault is mended", os.EX_UNAVAILABLE
            )
        message = self.spool.lock(one.name, kind=one.kind)
        if message is None:
            return self._why_not(one)
        with message:
            if not self._criteria.is_meant(one.as_locked(message.control), self._now):
                return _CHANGED
            return act(message)

    def _taken_over(self, one: QueuedMessage, act: Callable[[LockedMessage], Deed]) -> Deed:
        if self._options.input_mail_filters:
            return Deed("waits for the filters; then it is in the queue", os.EX_TEMPFAIL)
        users = Users(self._options.passwd_file)
        made = adopt.adopt(
            self._options.client_queue_directory,
            self.spool,
            self._options,
            users,
            now=self._now,
            only=[one.qid],
        )
        if not made:
            return Deed(f"is not taken over: {one.reason or 'see the log'}", os.EX_UNAVAILABLE)
        message = self.spool.lock(made[0])
        if message is None:
            return Deed(f"is {made[0]} now, which is being delivered", os.EX_TEMPFAIL)
        with message:
            done = act(message)
        return Deed(f"is {made[0]} now, {done.text}", done.exit_code)

    def _why_not(self, one: QueuedMessage, directory: QueueDirectory | None = None) -> Deed:
        complaints, self.spool.complaints[:] = list(self.spool.complaints), []
        if complaints:
            return Deed(f"was put aside: {log.clean(complaints[0])}", os.EX_UNAVAILABLE)
        there = (directory or self._directory_of(one)).find(one.kind + one.qid)
        if there is None:
            return _GONE
        return _DELIVERING if there.st_size else _EMPTY


def _instead(control: Control, to: bytes) -> Recipient:
    """The recipient for all who still wait: what any of them asked to be told is told."""
    before = control.recipients
    flags = "P" + "".join(flag for flag in "NSFD" if any(flag in one.flags for one in before))
    original = before[0].original if len(before) == 1 else b""
    return Recipient(b"<%b>" % address.bare(to), flags, original=original)
