"""Logins that failed, by address: each makes the next one slower, and many shut a client out for a while.

Against guessing of passwords. An IPv6 client is its /64. Kept in memory for as many addresses as
MOST_KNOWN; the one that has been quiet for longest gives way.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from minimta.listener.peer import network

#: seconds after which the failures of an address are forgotten
MEMORY = 600.0
#: addresses that are known at the same time
MOST_KNOWN = 10_000
#: seconds that one more failure costs at most
LONGEST_PAUSE = 5.0


class LoginFailures:
    """For all threads."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        """An address with *most* failures is shut out, 0: never; *clock* gives seconds."""
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        #: network -> (failures, when the last one was), the longest quiet first
        self._known: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def count(self, ip: str) -> int:
        """How often logins from *ip* have failed of late."""
        with self._lock:
            failures, last = self._known.get(network(ip), (0, 0.0))
            return failures if self._clock() - last < MEMORY else 0

    def is_shut_out(self, ip: str) -> bool:
        """Were there too many? Trying while shut out does not make it longer."""
        return 0 < self._most <= self.count(ip)

    def failed(self, ip: str) -> float:
        """One more; returns the seconds that the client is to wait for the answer."""
        failures = self.count(ip) + 1
        with self._lock:
            key = network(ip)
            self._known[key] = (failures, self._clock())
            self._known.move_to_end(key)
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        return min(float(failures), LONGEST_PAUSE)
