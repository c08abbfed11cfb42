"""One run over the whole queue, or over a chosen part of it.

A run sweeps, adopts what waits in clientmqueue, lists, leaves what is not due, orders the rest and
delivers it in batches. The due time of a deferred message is its qf's mtime, so that of 100,000
waiting messages only those are opened whose time has come; what they say is the truth. Two runs at
once share the work: each message is locked by the one that has it.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from itertools import islice

from minimta.config.options import Options
from minimta.mailers.remote import host_status, sts_cache, tls_results
from minimta.queue import directories, pattern, permission, subdirectories
from minimta.queue.listing import Listed
from minimta.queue.rest import longest_rest, rest_after
from minimta.queue.selectors import (
    Selection,
    SelectionError,
    all_match,
    file_kinds,
    parse_selection,
)
from minimta.routing.local_host import LocalHost
from minimta.runner.deliver import Deliverer
from minimta.runner.due import RunOrder, is_due
from minimta.runner.redirect import announce
from minimta.runner.take_in import give_back, take_in
from minimta.system import load, log
from minimta.system.progress import ProgressLine
from minimta.system.slots import Slots, of_queue
from minimta.system.terminal import complain
from minimta.system.terminal import say as print_line

__all__ = ["Selection", "SelectionError", "parse_selection", "run"]

#: messages that are locked at the same time
BATCH = 100
#: messages that are looked at together, of those that are due
_PORTION = 1000
_TOO_BUSY = "Skipping queue run -- load average too high"


def run(
    options: Options,
    selections: Sequence[Selection] = (),
    *,
    say: Callable[[str], None] = print_line,
    verbose: bool = False,
    stop: Callable[[], bool] = lambda: False,
    slots: Slots | None = None,
    held: dict[str, float] | None = None,
) -> int:
    """Run the queue once, here and now. Returns the exit code: 78 if the caller may not.

    *slots* are those of a resident runner, of which the slow part of the run waits for one. A run
    by hand takes one if there is one, and does not wait. *held* gets what ``Deliverer.held`` has of
    messages that found no place at their next hop.
    """
    reason = directories.why_not_queue(options)
    if reason:
        say(reason)
        complain(permission.NO_RIGHTS)
        log.line("", f"SYSERR: {reason}", error=True)
        if os.geteuid() == 0:
            look_after(options)
        return os.EX_CONFIG
    if slots is None:
        give_way(options)
        announce(options)  # the resident runner has
    try:
        with closing(_Run(options, selections, say if verbose else None, stop, slots)) as one:
            code = one.all()
            if held is not None:
                held.update(one.held)
    finally:
        if slots is None:  # a resident runner looks itself
            look_after(options)
    return code


def look_after(options: Options) -> None:
    """Is there an outage to tell of, or one that is over (AlertCommand)? Also when a run has failed."""
    if not options.alert_command:
        return
    from minimta.runner import alert  # few have it

    names: list[str] = []
    with suppress(OSError):  # of which it tells
        names = directories.names(options)
    alert.look(options, names)


def give_way(options: Options) -> None:
    """NiceQueueRun: this process, and what it starts, lets others go first."""
    if options.nice_queue_run:
        os.nice(options.nice_queue_run)


class _Run:
    """One run."""

    def __init__(
        self,
        options: Options,
        selections: Sequence[Selection],
        say: Callable[[str], None] | None,
        stop: Callable[[], bool],
        slots: Slots | None,
    ) -> None:
        self._options = options
        self._selections = selections
        #: -qQ is a run over what is in quarantine
        self._kind = "hf" if "hf" in file_kinds(selections) else "qf"
        self._say = say
        self._stop = stop
        self._waits = slots is not None
        self._slots = slots or of_queue(options)
        self._deliverer = Deliverer(LocalHost(options), slots=self._slots, say=say, stop=stop)

    def close(self) -> None:
        """Nothing of it stays open; the slot of a resident runner is the runner's."""
        self._deliverer.spool.close()
        if not self._waits:
            self._slots.leave()

    @property
    def held(self) -> dict[str, float]:
        """See ``Deliverer.held``."""
        return self._deliverer.held

    def all(self) -> int:
        host_status.forget_old(host_status.beside(self._options.queue_directory))
        sts_cache.forget_old(sts_cache.beside(self._options.queue_directory))
        tls_results.forget_old(tls_results.beside(self._options.queue_directory))
        take_in(self._options, self._deliverer.spool, time.time())
        give_back(self._options, self._deliverer.spool, time.time())
        _tell_unseen(self._options)
        if load.average() >= self._options.queue_la:
            log.line("", f"runqueue: {_TOO_BUSY}")
            if self._say:
                self._say(_TOO_BUSY)
            return os.EX_OK
        chosen = self._chosen(time.time())  # later than what was taken in
        total = min(len(chosen), self._options.max_queue_run_size or len(chosen))
        names, number = islice(chosen, total), 1
        # What is shown shall be in order: one message after the other.
        size = 1 if self._say else batch_size()
        with self._progress(total):
            while not self._stop() and (batch := list(islice(names, size))):
                self._batch(batch, number, total)
                number += len(batch)
        return os.EX_OK

    def _progress(self, total: int) -> ProgressLine:
        """Of a run by hand that is not told to say more."""
        shown = ProgressLine("queue run", total, descriptor=-1 if self._say else 2)
        if not self._say:
            self._deliverer.finished = shown.step
        return shown

    def _batch(self, qids: list[str], number: int, total: int) -> None:
        if self._say:
            path = os.path.join(self._options.queue_directory, qids[0])
            self._say(f"\nRunning {path} (sequence {number} of {total})")
        complaints = self._deliverer.spool.complaints
        attempt = self._deliverer.attempt
        for result in attempt(qids, go_on=self._may_go_on, kind=self._kind):
            if result.locked and self._say:
                self._say("\n".join(complaints) or f"{result.qid}: locked")
        complaints.clear()

    def _may_go_on(self) -> bool:
        """With programs and other hosts, when all mailboxes of a batch are served."""
        return (
            self._slots.enter_when_free(self._stop) if self._waits else self._slots.enter() or True
        )

    def _chosen(self, now: float) -> RunOrder:
        """The messages to be tried, in order."""
        options, spool = self._options, self._deliverer.spool
        # As Sendmail: who asks for certain messages wants them tried now.
        wants_all, longest = bool(self._selections), longest_rest(options)
        entries = spool.entries(self._kind)
        due = (e for e in entries if wants_all or is_due(e.mtime, now, longest))
        chosen = RunOrder(options.queue_sort_order)
        while some := {entry.qid: entry.mtime for entry in islice(due, _PORTION)}:
            self._choose(chosen, some, now)
        return chosen

    def _choose(self, chosen: RunOrder, times: dict[str, float], now: float) -> None:
        """Of these messages, with the *times* of their qf."""
        unread = set(times)
        for one in directories.listed(self._options, self._kind, only=times):
            unread.discard(one.name)
            if self._is_chosen(one, now):
                chosen.add(one, times[one.name])
        if not self._selections:
            # A link, a fifo: an attempt locks it, looks, and puts it aside.
            for name in unread:
                chosen.add_last(name)

    def _is_chosen(self, one: Listed, now: float) -> bool:
        if one.is_empty or (one.quarantine and self._kind == "qf"):
            return False
        if not self._selections and self._rests(one, now):
            return False
        return all_match(
            self._selections,
            one.qid,
            reverse_path=one.sender,
            recipients=[address for address, _, _ in one.recipients],
            quarantine=one.quarantine.decode("ascii", "backslashreplace"),
        )

    def _rests(self, one: Listed, now: float) -> bool:
        # A clock that was set back has left a last attempt in the future.
        rested = now - one.last_attempt
        rest = rest_after(self._options, one.created, one.last_attempt)
        return bool(one.attempts) and 0 <= rested < rest


def _tell_unseen(options: Options) -> None:
    """Log what Sendmail has left where no run looks."""
    paths: list[str] = []
    with suppress(OSError):  # the run goes on with those that are open
        paths = pattern.paths(options)
    for path in paths:
        if told := subdirectories.told(path):
            log.line("", f"{log.clean(told)}: minimta check", level=1, error=True)


def batch_size() -> int:
    """BATCH, or what the limit of open files allows: lock and data file for each message."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return BATCH if soft < 0 else max(1, min(BATCH, (soft - 100) // 3))
