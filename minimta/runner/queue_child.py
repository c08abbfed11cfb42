"""A child of the resident runner, as the runner sees it."""

from __future__ import annotations

import os
from collections.abc import Mapping

#: what it says when it is done with mailboxes: it has a slot for the rest, or there is none
GOES_ON, NO_SLOT = b"+", b"-"
#: octets of a pipe that are heard at most
_MOST = 65536


def held(qids: Mapping[str, float]) -> bytes:
    """What it says of messages that found no place: they are to be tried again when one is free (0.0),
    or at that time (epoch seconds).
    """
    return b"".join(b"=%b %d\n" % (qid.encode("ascii"), turn) for qid, turn in qids.items())


class Child:
    """A forked process and the pipe that tells of its progress."""

    def __init__(self, pid: int, pipe: int, what: str, qids: list[str], begun: float = 0.0) -> None:
        """*pipe* is where it speaks, -1 when it has nothing more to say; *qids* are its messages, and
        it was *begun* then (monotonic seconds).
        """
        self.pid = pid
        self.pipe = pipe
        #: "local" while it delivers locally, then "remote", or "half" if it got no slot for that;
        #: "adopt", "full"
        self.what = what
        self.qids = qids
        self.begun = begun
        self._said = b""

    @property
    def held(self) -> dict[str, float]:
        """The messages that it said found no place, with 0.0 or their turn (epoch seconds)."""
        *lines, _ = self._said.lstrip(GOES_ON + NO_SLOT).split(b"\n")
        words = [line[1:].decode("ascii").split(" ") for line in lines]
        return {qid: float(turn) for qid, turn in words}

    def listen(self) -> None:
        """Take what it has said, if anything; does not wait."""
        try:
            said = os.read(self.pipe, _MOST) if self.pipe >= 0 else b""
        except BlockingIOError:
            return
        if not said:
            self.hang_up()  # it ends
        elif self.what == "local" and not self._said:
            self.what = "half" if said[:1] == NO_SLOT else "remote"
        self._said += said

    def hang_up(self) -> None:
        """Listen no more; may be called twice."""
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1
