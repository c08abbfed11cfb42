"""Which name servers did not answer of late: they are asked after the others.

Every destination has its own Resolver, and every next hop its own process. What one of them waited
for in vain the others need not: the memory is shared by the process that imports this module first
and all that it forks later. Nothing here is secret, and nobody who writes nonsense into it can do
more than change the order in which servers are asked.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence

#: seconds for which a server stays behind the others
MEMORY = 300.0
#: places, and what is in each: which server, and when it was silent (0.0: it answers)
_PLACES = 512
_ENTRY = struct.Struct("Qd")

Server = tuple[str, int]


class SilentServers:
    """Address and port of a server -> when it was silent, in monotonic seconds (the host's, so that
    all processes mean the same).
    """

    def __init__(self) -> None:
        self._table = mmap.mmap(-1, _PLACES * _ENTRY.size)

    def note(self, server: Server, now: float) -> None:
        """It did not answer."""
        key, place = self._find(server)
        _ENTRY.pack_into(self._table, place, key, now)

    def forget(self, server: Server) -> None:
        """It answers."""
        if self._time(server):
            self.note(server, 0.0)

    def last(self, servers: Sequence[Server], now: float) -> list[Server]:
        """*servers* in their order, those behind the others that were silent within MEMORY seconds."""
        return sorted(servers, key=lambda server: self._was_silent(server, now))

    def _was_silent(self, server: Server, now: float) -> bool:
        noted = self._time(server)
        return bool(noted) and 0 <= now - noted < MEMORY

    def _time(self, server: Server) -> float:
        key, place = self._find(server)
        found, when = _ENTRY.unpack_from(self._table, place)
        return when if found == key else 0.0

    def _find(self, server: Server) -> tuple[int, int]:
        """Its key, and its place in the table, or the free one where it belongs."""
        # A child has its parent's seed of hash(): the same key in both.
        key = hash(server) % (1 << 64) or 1
        for step in range(_PLACES):
            place = (key + step) % _PLACES * _ENTRY.size
            if _ENTRY.unpack_from(self._table, place)[0] in (0, key):
                return key, place
        return key, key % _PLACES * _ENTRY.size  # all taken: the one that stood there is forgotten


#: of this process and its children
SHARED = SilentServers()
