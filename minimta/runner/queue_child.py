"""A child of the resident runner, as each of the two sees the other.

    child -> runner     +           all mailboxes are served, and it has a slot for the rest
                        -           it has none
                        =ID TURN    a message that found no place at its next hop, with 0 or the time
                                    (epoch seconds) when it has its turn there
                        @HOP        a message went to this next hop
                        !NUMBER     the batch is over; it keeps so many connections, and may be given
                                    another batch
                        *           it has taken that
    runner -> child     ID ID ...   the messages of another batch; the end of the file: none will come

Each is a line of a pipe of its own. A child that ends before it has taken a batch has not begun it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from minimta.mailers.remote.kept_workers import KeptWorkers
from minimta.system import processes
from minimta.system.waiting import readable

GOES_ON, NO_SLOT, TAKEN = b"+\n", b"-\n", b"*\n"
#: octets of a pipe that are heard at most
_MOST = 65536
#: seconds between two looks whether the child is told to end
_LOOK = 1.0


def held(qids: Mapping[str, float]) -> bytes:
    """What it says of messages that found no place: they are to be tried again when one is free (0.0),
    or at that time (epoch seconds).
    """
    return b"".join(b"=%b %d\n" % (qid.encode("ascii"), turn) for qid, turn in qids.items())


def served(hops: Iterable[str]) -> bytes:
    """What it says of the next hops to which a message went."""
    return b"".join(b"@%b\n" % hop.encode("ascii") for hop in hops)


class Child:
    """A forked process, and the pipes to it, in the runner."""

    def __init__(
        self,
        pid: int,
        pipe: int,
        what: str,
        qids: list[str],
        begun: float = 0.0,
        orders: int = -1,
    ) -> None:
        """*pipe* is where it speaks, -1 when it has nothing more to say; *qids* are its messages, and
        it was *begun* then (monotonic seconds). It takes *orders*, -1: it does not.
        """
        self.pid = pid
        self.pipe = pipe
        #: "local" while it delivers locally, then "remote", or "half" if it got no slot for that;
        #: "idle" while it has connections and no messages; "adopt", "full"
        self.what = what
        self.qids = qids
        self.begun = begun
        #: the messages that it said found no place, with 0.0 or their turn (epoch seconds)
        self.held: dict[str, float] = {}
        #: next hops to which it said that a message went
        self.hops: list[str] = []
        #: connections that it keeps; of one that has some the batch is over
        self.kept = 0
        #: has it begun with its messages? What was there when it was forked it has
        self.has_taken = True
        self._orders = orders
        self._said = b""

    def listen(self) -> None:
        """Take what it has said, if anything; does not wait."""
        try:
            said = os.read(self.pipe, _MOST) if self.pipe >= 0 else b""
        except BlockingIOError:
            return
        if not said:
            self.hang_up()  # it ends
        *lines, self._said = (self._said + said).split(b"\n")
        for line in lines:
            self._hear(line)

    def _hear(self, line: bytes) -> None:
        kind, rest = line[:1], line[1:].decode("ascii")
        if kind in b"+-" and self.what == "local":
            self.what = "half" if kind == b"-" else "remote"
        elif kind == b"=":
            qid, turn = rest.split(" ")
            self.held[qid] = float(turn)
        elif kind == b"@":
            self.hops.append(rest)
        elif kind == b"!":
            self.kept = int(rest)
        elif kind == b"*":
            self.has_taken = True

    def rest(self, now: float) -> None:
        """Its batch is over, and noted; it is idle from *now* on (monotonic seconds)."""
        self.what, self.begun = "idle", now
        self.qids, self.held, self.hops = [], {}, []

    def give(self, qids: list[str], now: float) -> bool:
        """Let it, which is idle, go on with *qids*; False if it cannot be told."""
        try:
            os.write(self._orders, " ".join(qids).encode("ascii") + b"\n")
        except OSError:
            return False
        self.what, self.qids, self.begun = "local", qids, now
        self.kept, self.has_taken = 0, False
        return True

    def dismiss(self) -> None:
        """Let it end when it has done what it has; may be called twice."""
        if self._orders >= 0:
            os.close(self._orders)
            self._orders = -1

    def hang_up(self) -> None:
        """Listen no more; may be called twice."""
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1


def forked(what: str, qids: list[str], act: Callable[[tuple[int, int], RunnerPipes], int]) -> Child:
    """A new child, which does act(the runner's ends of the pipes, its own). Raise OSError."""
    # Not blocking: a grandchild that outlives its parent may still have the other end.
    pipes: list[int] = []
    try:
        for _ in range(2):
            pipes += os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        ours, saying, taking, orders = pipes
        theirs = RunnerPipes(saying, taking)
        pid = processes.fork("queue child", lambda: act((ours, orders), theirs))
    except OSError as error:
        for end in pipes:
            os.close(end)
        raise OSError(error.errno, f"cannot fork: {error.strerror}") from error
    os.close(saying)
    os.close(taking)
    return Child(pid, ours, what, qids, time.monotonic(), orders)


class Children(dict[int, Child]):
    """Those that the runner has, by pid. A process has one of it."""

    def __init__(self) -> None:
        super().__init__()
        os.register_at_fork(after_in_child=self._let_go)

    def _let_go(self) -> None:
        """In any process that the runner forks, a listener, too.

        One that has the ends of these pipes keeps a child from seeing that the runner has closed them.
        """
        for child in self.values():
            child.dismiss()
            child.hang_up()

    def count(self, what: str) -> int:
        """How many of this kind there are."""
        return sum(child.what == what for child in self.values())

    def idle(self) -> list[Child]:
        """Those that keep connections for another batch, the oldest first."""
        idle = [child for child in self.values() if child.what == "idle"]
        return sorted(idle, key=lambda child: child.begun)

    def at_mailboxes(self) -> list[Child]:
        """Those that have not yet said that all mailboxes are served, or that got no slot for the rest."""
        return [child for child in self.values() if child.what in ("local", "half")]

    def by_pipe(self) -> dict[int, Child]:
        """Those that may say something, by the descriptor where they do."""
        return {child.pipe: child for child in self.values() if child.pipe >= 0}


class RunnerPipes:
    """The child's ends of the pipes."""

    def __init__(self, saying: int, orders: int) -> None:
        self._saying = saying
        self._orders = orders

    def say(self, octets: bytes) -> None:
        """Tell the runner. Raises nothing: perhaps nobody is there any more, or it is too much to hear."""
        try:
            os.write(self._saying, octets)
        except OSError:
            pass

    def next_batch(
        self, found_no_place: Mapping[str, float], kept: KeptWorkers, stop: Callable[[], bool]
    ) -> Sequence[str]:
        """Say what became of the last batch, and wait for another one while connections are *kept*.

        Nothing if the time is over, or stop().
        """
        told = held(found_no_place) + served(kept.served)
        kept.served.clear()
        kept.listen()
        self.say(told + b"!%d\n" % len(kept) if kept else told)
        while kept and not stop():
            if self._orders in readable([self._orders, *kept.descriptors()], _LOOK):
                qids = os.read(self._orders, _MOST).decode("ascii").split()
                if qids:
                    self.say(TAKEN)
                return qids
            kept.listen()
        return ()
