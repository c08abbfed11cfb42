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
#: places; two servers that share one are taken for each other, which costs a little time
_SLOTS = 512
_TIME = struct.Struct("d")

Server = tuple[str, int]


class SilentServers:
    """Address and port of a server -> when it was silent, in monotonic seconds (the host's, so that
    all processes mean the same).
    """

    def __init__(self) -> None:
        self._times = mmap.mmap(-1, _SLOTS * _TIME.size)

    def note(self, server: Server, now: float) -> None:
        """It did not answer."""
        _TIME.pack_into(self._times, self._place(server), now)

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
        when: float = _TIME.unpack_from(self._times, self._place(server))[0]
        return when

    def _place(self, server: Server) -> int:
        # A child has its parent's seed of hash(): the same place in both.
        return hash(server) % _SLOTS * _TIME.size


#: of this process and its children
SHARED = SilentServers()
