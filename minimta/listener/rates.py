"""How often clients connect: by address for ClientRate, by port for ConnectionRateThrottle.

A client's connections of the last minute, or as ConnectionRateWindowSize has it, are counted in steps of
a sixth of that; also those that were turned away. What is kept is a few numbers a client, of
at most so many clients: those that have not been here for longest are forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict

#: in how many steps the window moves
_STEPS = 6
_MOST_CLIENTS = 20_000


class ClientRates:
    """Connections of each client in the window. For the caller to lock."""

    def __init__(self, window: int = 60, most: int = _MOST_CLIENTS) -> None:
        """*window* is what counts, seconds; *most* clients are remembered."""
        self._step = max(window / _STEPS, 1.0)
        self._steps = max(round(window / self._step), 1)
        self._most = most
        #: client -> {step: connections}; who came last stands last
        self._seen: OrderedDict[str, dict[int, int]] = OrderedDict()

    def count(self, client: str, now: float) -> int:
        """Note that *client* connects, *now* in seconds; how often it has in the window."""
        step = int(now // self._step)
        steps = self._seen.setdefault(client, {})
        self._seen.move_to_end(client)
        steps[step] = steps.get(step, 0) + 1
        for old in [one for one in steps if one <= step - self._steps]:
            del steps[old]
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return sum(steps.values())


class PortThrottle:
    """ConnectionRateThrottle: so many connections a second by one port; the others wait."""

    def __init__(self, most: int) -> None:
        """*most* a second; 0: no limit."""
        self._most = most
        self._second = 0
        self._count = 0

    def pause(self, now: float) -> float:
        """A connection has come, *now* in seconds: the seconds until it may be served."""
        second = int(now)
        if second > self._second:
            self._second, self._count = second, 0
        self._count += 1
        if not self._most or self._count <= self._most:
            return 0.0
        self._second, self._count = self._second + 1, 1
        return max(self._second - now, 0.0)
