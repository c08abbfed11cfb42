"""kill -9 of one process of a host under load, or of all, and what it takes until the host works again."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

from minimta.admin.demo.privateroot import wait_for
from tests.bench.host import Host, descendants, descriptors, running

#: who is killed, in turn. A worker is a child that talks to another host
VICTIMS = ("listener", "runner", "child", "everything", "worker", "program")
#: seconds for a victim of its kind to be there, and for what is left of a service to end by itself
_PATIENCE, _LEAVING = 3.0, 10.0


class Killer:
    """Strikes, starts again what systemd would start again, and keeps count."""

    def __init__(self, host: Host, luck: random.Random) -> None:
        """*luck* says which of several victims it is."""
        self._host = host
        self._luck = luck
        #: how often which kind of process was hit
        self.struck: Counter[str] = Counter()
        #: mailboxes of which a lock file was left behind
        self.locks_left = 0
        #: seconds, since the host was up again, until the last of these mailboxes got mail again
        self.longest_lock = 0.0
        self._mailboxes = host.directory / "mail"

    def strike(self, victim: str) -> None:
        """Kill one of VICTIMS, who has a moment to appear, or else the runner; return when the host is up."""
        kind, pids = victim, self._appeared(victim)
        if not pids:
            kind, pids = "runner", [self._host.pid]
        self._host.kill(pids if kind == "everything" else [self._luck.choice(pids)])
        self.struck[kind] += 1
        left = self._held()
        self._raise_again()
        self._wait_for_mailboxes(left)

    def _appeared(self, victim: str) -> list[int]:
        """Its candidates, as soon as there are some; [] if none appear."""
        end = time.monotonic() + _PATIENCE
        while not (found := self._candidates(victim)) and time.monotonic() < end:
            time.sleep(0.001)
        return found

    def _candidates(self, victim: str) -> list[int]:
        host = self._host
        everything = [pid for pid in descendants(host.pid) if host.is_up()]
        if victim == "everything":
            return everything[::-1]
        if victim == "runner":
            return [host.pid]
        if victim == "listener":
            return host.listeners()
        if victim == "program":
            return running(str(host.program))
        below = set(everything[1:]).difference(*map(descendants, host.listeners()))
        return [pid for pid in below if victim == "child" or _has_connection(pid)]

    def _raise_again(self) -> None:
        """Start a daemon anew that has ended, when the rest of it has; a new listener comes by itself."""
        host = self._host
        if wait_for(lambda: host.listeners() or not host.is_up(), _LEAVING) and host.is_up():
            return
        wait_for(lambda: not host.is_port_taken(), _LEAVING)
        host.kill([host.pid, *host.listeners_left()])
        wait_for(lambda: not host.is_port_taken(), _LEAVING)
        host.up()

    def _held(self) -> dict[Path, int]:
        """Mailboxes with a lock file, and their sizes."""
        locks = [lock.with_suffix("") for lock in self._mailboxes.glob("*.lock")]
        return {box: box.stat().st_size for box in locks if box.exists()}

    def _wait_for_mailboxes(self, left: dict[Path, int]) -> None:
        """Note when each mailbox that somebody had locked is another size; the load has mail for all."""
        begin = time.monotonic()
        self.locks_left += len(left)
        for box, size in left.items():
            wait_for(lambda box=box, size=size: box.stat().st_size != size, 20)  # type: ignore[misc]
            self.longest_lock = max(self.longest_lock, time.monotonic() - begin)


def _has_connection(pid: int) -> bool:
    """Has it a TCP socket that is connected?"""
    held = {link[8:-1] for link in descriptors(pid).values() if link.startswith("socket:[")}
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[9] in held for line in lines if line.split()[3] == "01")
