"""``minimta queue retry``: try messages now, here, whatever their time, and tell what became of each.

As ``sendmail -qI...`` does, but for exactly these, and with the answer. Letters in the client queue are
taken over by the way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from minimta.admin.queue import wording
from minimta.admin.queue.messages import QueuedMessage, found
from minimta.config.options import Options
from minimta.routing.local_host import LocalHost
from minimta.runner.deliver import AttemptResult, Deliverer
from minimta.runner.queue_run import batch_size
from minimta.runner.take_in import take_in
from minimta.system.progress import ProgressLine
from minimta.system.slots import of_queue


def retry(
    options: Options, chosen: Sequence[QueuedMessage], say: Callable[[str], None], now: float
) -> int:
    """Returns the exit code: 0 if none of them waits any more, else 75. Raise OSError."""
    deliverer = Deliverer(LocalHost(options), slots=of_queue(options))
    waits = _tell_unready(options, chosen, say)
    if any(one.is_client for one in chosen):
        adopted = take_in(options, deliverer.spool, now)
        say(f"{wording.count(len(adopted))} taken over from the client queue")
        later = found(options, adopted)
    else:
        later = []
    ready = [one for one in chosen if one.state in ("waiting", "delivering")] + later
    size = batch_size()
    with ProgressLine("retry", len(ready)) as progress:
        deliverer.finished = progress.step
        for start in range(0, len(ready), size):
            batch = ready[start : start + size]
            results = deliverer.attempt([one.name for one in batch])
            progress.pause()
            waits = _tell(options, results, say) or waits
    return os.EX_TEMPFAIL if waits else os.EX_OK


def _tell_unready(
    options: Options, chosen: Sequence[QueuedMessage], say: Callable[[str], None]
) -> bool:
    unready = [one for one in chosen if one.state in ("held", "aside")]
    for one in unready:
        say(f"{one.qid}: {one.state}: not tried; release it first")
    return bool(unready)


def _tell(options: Options, results: Sequence[AttemptResult], say: Callable[[str], None]) -> bool:
    """What became of each; does one still wait?"""
    left = {one.qid: one for one in found(options, [result.qid for result in results])}
    waits = False
    for result in results:
        one = left.get(result.qid)
        if one is None:
            failed = result.exit_code != os.EX_OK
            text = "is gone: another had it" if result.locked else "delivered"
            say(f"{result.qid}: {'failed, and its sender is told' if failed else text}")
            continue
        waits = True
        if result.locked and one.state == "delivering":
            say(f"{result.qid}: is being delivered now: left alone")
        else:
            reasons = [status for _, status in one.recipients if status]
            why = one.reason or "; ".join(reasons[:1]) or one.quarantine or one.state
            say(f"{result.qid}: still waits: {why}")
    return waits
