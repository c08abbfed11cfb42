"""One run over the whole queue, or over a chosen part of it; and the runner that stays.

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

from minimta.config.options import Options
from minimta.queue import adopt, listing, permission
from minimta.queue.control import QUEUE_ONLY
from minimta.queue.listing import Listed
from minimta.queue.selectors import Selection, SelectionError, all_match, parse_selection
from minimta.queue.spool import Spool
from minimta.routing.local_host import LocalHost
from minimta.runner import deliver
from minimta.runner import resident as residence
from minimta.runner.deliver import Deliverer
from minimta.runner.due import is_due, ordered
from minimta.system import locks, log
from minimta.system.terminal import complain
from minimta.system.terminal import say as print_line
from minimta.system.users import Users

__all__ = ["Selection", "SelectionError", "parse_selection", "resident", "run"]

#: messages that are locked at the same time
BATCH = 100
_TOO_BUSY = "Skipping queue run -- load average too high"


def run(
    options: Options,
    selections: Sequence[Selection] = (),
    *,
    say: Callable[[str], None] = print_line,
    verbose: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Run the queue once, here and now. Returns the exit code: 78 if the caller may not."""
    reason = permission.why_not_queue(options.queue_directory)
    if reason:
        say(reason)
        complain(permission.NO_RIGHTS)
        log.line("", f"SYSERR: {reason}", error=True)
        return os.EX_CONFIG
    return _Run(options, selections, say if verbose else None, stop).all()


class _Run:
    """One run."""

    def __init__(
        self,
        options: Options,
        selections: Sequence[Selection],
        say: Callable[[str], None] | None,
        stop: Callable[[], bool],
    ) -> None:
        self._options = options
        self._selections = selections
        self._say = say
        self._stop = stop
        self._deliverer = Deliverer(LocalHost(options), say=say, stop=stop)

    def all(self) -> int:
        take_in(self._options, self._deliverer.spool, time.time())
        if os.getloadavg()[0] >= self._options.queue_la:
            log.line("", f"runqueue: {_TOO_BUSY}")
            if self._say:
                self._say(_TOO_BUSY)
            return os.EX_OK
        chosen = self._chosen(time.time())  # later than what was taken in
        # What is shown shall be in order: one message after the other.
        size = 1 if self._say else batch_size()
        for start in range(0, len(chosen), size):
            if self._stop():
                break
            self._batch(chosen[start : start + size], start + 1, len(chosen))
        return os.EX_OK

    def _batch(self, qids: list[str], number: int, total: int) -> None:
        if self._say:
            path = os.path.join(self._options.queue_directory, qids[0])
            self._say(f"\nRunning {path} (sequence {number} of {total})")
        complaints = self._deliverer.spool.complaints
        for result in self._deliverer.attempt(qids):
            if result.locked and self._say:
                self._say("\n".join(complaints) or f"{result.qid}: locked")
        complaints.clear()

    def _chosen(self, now: float) -> list[str]:
        """Ids of the messages to be tried, in order."""
        options, spool = self._options, self._deliverer.spool
        due = [e for e in spool.entries() if is_due(e.mtime, now, options.min_queue_age)]
        times = {entry.qid: entry.mtime for entry in due}
        listed = list(listing.scan(options.queue_directory, only=times))
        found = [one for one in listed if self._is_chosen(one, now)]
        chosen = [one.qid for one in ordered(found, options.queue_sort_order, times)]
        if not self._selections:
            # A link, a fifo: whoever locks them puts them aside.
            chosen += sorted(times.keys() - {one.qid for one in listed})
        return chosen[: options.max_queue_run_size or None]

    def _is_chosen(self, one: Listed, now: float) -> bool:
        if one.is_empty or one.quarantine:
            return False
        # A clock that was set back has left a last attempt in the future.
        rested = now - one.last_attempt
        if one.attempts and 0 <= rested < self._options.min_queue_age:
            return False
        return all_match(
            self._selections,
            one.qid,
            reverse_path=one.sender,
            recipients=[address for address, _, _ in one.recipients],
            quarantine="",
        )


def batch_size() -> int:
    """BATCH, or what the limit of open files allows: lock and data file for each message."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return BATCH if soft < 0 else max(1, min(BATCH, (soft - 100) // 3))


def take_in(options: Options, spool: Spool, now: float) -> list[str]:
    """Sweep, and adopt what waits in clientmqueue. Trouble there does not keep the queue waiting."""
    try:
        spool.sweep(now)
        users = Users(options.passwd_file)
        return adopt.adopt(options.client_queue_directory, spool, options, users, now=now)
    except OSError as error:
        log.line("", f"SYSERR(root): taking in: {log.clean(str(error))}", error=True)
        return []


# --- the runner that stays -------------------------------------------------------------------------


def resident(options: Options, interval: int | None, stop: Callable[[], bool]) -> int:
    """Stay until stop(): new messages at once, a full run each *interval* seconds.

    Returns the exit code: 75 if another resident runner has this queue.
    """
    path = locks.beside(options.queue_directory)
    try:
        lock = locks.resident(path)
    except OSError as error:
        complain(f"sendmail: cannot lock {path}: {error.strerror or error}")
        return os.EX_CONFIG
    if lock is None:
        text = f"another queue runner is resident for {options.queue_directory}"
        log.line("", text, level=1, error=True)
        complain(f"sendmail: {text}")
        return os.EX_TEMPFAIL
    with lock:
        spool = deliver.open_spool(options)
        loop = residence.Loop(
            _Work(options),
            (options.queue_directory, options.client_queue_directory),
            spool.names,
            most_children=options.max_queue_children,
            interval=interval,
        )
        loop.stay(stop)
    return os.EX_OK


class _Work:
    """What the children of the resident runner do."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def wants_new(self) -> bool:
        """Are messages tried when they come? (DeliveryMode, also of a single port, and QueueLA)

        Each message that is to wait says so itself, for its port may have a mode of its own.
        """
        modes = [self._options.delivery_mode]
        if modes[0] in QUEUE_ONLY:
            modes += [port.delivery_mode for port in self._options.daemon_ports]
        if not {"background", "interactive"}.intersection(modes):
            return False
        return os.getloadavg()[0] < self._options.queue_la

    def begin(self) -> None:
        locks.forget(locks.beside(self._options.queue_directory))

    def attempt(
        self, qids: list[str], between: Callable[[], None], stop: Callable[[], bool], remote: bool
    ) -> None:
        deliverer = Deliverer(LocalHost(self._options), stop=stop)
        deliverer.attempt(qids, between=between, remote=remote, fresh=True)

    def take_in(self) -> None:
        take_in(self._options, deliver.open_spool(self._options), time.time())

    def full_run(self, stop: Callable[[], bool]) -> None:
        run(self._options, stop=stop)
