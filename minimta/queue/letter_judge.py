"""What is asked of those who look at a letter of the client queue before it is taken (filters)."""

from __future__ import annotations

import fcntl
import os

from minimta.queue.directory import READING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from minimta.message.envelope import Recipient
    from minimta.queue.control import Control
    from minimta.queue.spool import Spool
else:
    Protocol = object


class NotNow(Exception):
    """The message stays where it is, for a while; the text says why."""


class Judge(Protocol):
    """Those who look at a letter before it is taken (filters)."""

    def judge(self, qid: str, data: int, control: Control) -> JudgedLetter:
        """What they say to the letter that is to be *qid*: its body in the file *data*, *control*.

        Both may be changed. Raise NotNow, OSError or client_limits.Unacceptable.
        """
        ...

    def give_back(self, qid: str) -> None:
        """Return the letter *qid*, in quarantine now, to its sender, for those who were refused."""


class JudgedLetter:
    """What becomes of a letter."""

    __slots__ = ("above", "is_discarded", "refused")

    def __init__(self) -> None:
        #: fields to stand above our Received
        self.above: list[bytes] = []
        #: it is taken and thrown away
        self.is_discarded = False
        #: recipients who do not get it, and the reply to each
        self.refused: list[tuple[Recipient, str]] = []


def in_hand(client: Spool, names: list[str]) -> set[str]:
    """Those of the letters *names* that somebody has locked. Raise OSError."""
    found = set()
    for name in names:
        try:
            file = os.open("qf" + name, READING, dir_fd=client.descriptor)
        except OSError:
            continue  # gone, or no letter: whoever adopts it will say so
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found.add(name)
        finally:
            os.close(file)
    return found
