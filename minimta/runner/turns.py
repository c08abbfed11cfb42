"""Messages that have their turn at a next hop later (DestinationRateDelay), as the runner sees them."""

from __future__ import annotations

import math
import time

#: seconds after which a message is tried in any case
LONGEST = 900.0


class Turns:
    """Message ids, and when each is to be tried."""

    def __init__(self) -> None:
        #: monotonic seconds by id
        self._turns: dict[str, float] = {}

    def note(self, qid: str, turn: float) -> None:
        """Its *turn* comes then (epoch seconds)."""
        left = min(max(0.0, turn - time.time()), LONGEST)
        self._turns[qid] = time.monotonic() + left

    @property
    def next(self) -> float:
        """When the first of them comes (monotonic seconds); infinite if there is none."""
        return min(self._turns.values(), default=math.inf)

    def come(self, now: float) -> list[str]:
        """Ids of those whose turn has come *now* (monotonic seconds), earliest first; they are forgotten."""
        found = sorted((turn, qid) for qid, turn in self._turns.items() if turn <= now)
        for _, qid in found:
            del self._turns[qid]
        return [qid for _, qid in found]
