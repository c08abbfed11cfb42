"""What is said in the attempt at one next hop, for who wants to know later why it failed.

    === lab2.campus. [10.0.3.135] port 25         a connection, and what became of it
    220 lab2.campus ESMTP
    >>> EHLO lab1.campus
    === TLSv1.3, TLS_AES_256_GCM_SHA384, verify=OK
    >>> AUTH PLAIN ***                            never more of a login
    === 1234 octets of text                       never the text itself

The opening of a connection is part of the story of each message that goes over it, what was said about
another message is not. Bounded: a peer that talks without end fills no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from minimta.message.excerpt import LINE, excerpt
from minimta.message.outcome import DIALOGUE, Fate, Outcome

#: lines of an opening, and of one message's part
_OPENING, _PART = 150, 400
#: connections before the last one that are remembered
_EARLIER = 5


class RecordedDialogue:
    """Grows while hosts are talked to; ``of`` gives what concerns one message."""

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        """*say* gets each line of the dialogue too (-v)."""
        self._say = say
        #: of earlier connections: their opening, and the part of the message that was under way
        self._earlier: list[tuple[list[str], object, list[str]]] = []
        self._opening: list[str] = []
        self._about: object = None
        self._part: list[str] = []

    def connect(self, where: str) -> None:
        """A connection to *where* is tried."""
        if self._opening:
            self._earlier.append((self._opening, self._about, self._part))
            del self._earlier[:-_EARLIER]
        self._opening, self._about, self._part = [f"=== {where}"], None, []

    def begin(self, message: object) -> None:
        """What follows is about this *message*."""
        self._about, self._part = message, []

    def hear(self, line: str) -> None:
        """A line was said, or heard."""
        self._add(line)
        if self._say:
            self._say(line)

    def happened(self, what: str) -> None:
        """Something that is no line of the dialogue."""
        self._add(f"=== {what}")

    def of(self, message: object) -> tuple[str, ...]:
        """What concerns *message*, in order."""
        told: list[str] = []
        now = (self._opening, self._about, self._part)
        for opening, about, part in [*self._earlier, now]:
            told += opening
            told += part if about is message else []
        return excerpt(told, DIALOGUE)

    def added_to(
        self, outcomes: Mapping[bytes, Outcome], message: object
    ) -> Mapping[bytes, Outcome]:
        """The *outcomes* of *message*; those that are no success have what was said about it."""
        if all(outcome.fate is Fate.SENT for outcome in outcomes.values()):
            return outcomes
        said = self.of(message)
        return {
            name: outcome if outcome.fate is Fate.SENT else replace(outcome, dialogue=said)
            for name, outcome in outcomes.items()
        }

    def _add(self, line: str) -> None:
        lines, most = (self._opening, _OPENING) if self._about is None else (self._part, _PART)
        if len(lines) >= most:
            del lines[most // 2]
        lines.append(line[:LINE])
