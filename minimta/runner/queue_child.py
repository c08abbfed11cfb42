"""A child of the resident runner, as the runner sees it."""

from __future__ import annotations

import os

#: what it says when it is done with mailboxes: it has a slot for the rest, or there is none
GOES_ON, NO_SLOT = b"+", b"-"


class Child:
    """A forked process and the pipe that tells of its progress."""

    def __init__(self, pid: int, pipe: int, what: str, qids: list[str]) -> None:
        """*pipe* is where it speaks, -1 when it has nothing more to say; *qids* are its messages."""
        self.pid = pid
        self.pipe = pipe
        #: "local" while it delivers locally, then "remote", or "half" if it got no slot for that;
        #: "adopt", "full"
        self.what = what
        self.qids = qids

    def listen(self) -> None:
        """Take what it has said, if anything; does not wait."""
        try:
            said = os.read(self.pipe, 1) if self.pipe >= 0 else b""
        except BlockingIOError:
            return
        if not said:
            self.hang_up()  # it ends
        elif self.what == "local":
            self.what = "half" if said == NO_SLOT else "remote"

    def hang_up(self) -> None:
        """Listen no more; may be called twice."""
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1
