"""Until when a message is to be delivered, or its sender to be told: BY= of MAIL (RFC 2852), pure.

BY=600;R     within 600 seconds of its arrival, or it goes back (5.4.7)
BY=600;N     the sender is told (a delay report) if it takes longer; may lie in the past
BY=600;RT    the same, and every hop reports that it has relayed it

!<octet> 600    the same in the control file: an octet of flags, seconds after the T line (Sendmail)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from minimta.message.printable import shown

_DAY = 86400.0
_NOTIFY, _RETURN, _TRACE = 0x01, 0x02, 0x10
#: RFC 2852 section 4: by-time has nine digits at most
_VALUE = re.compile(rb"([+-]?[0-9]{1,9});([^;]?)(.*)", re.DOTALL)
_LINE = re.compile(rb"!(.) ([+-]?[0-9]{1,9})", re.DOTALL)


class BadDeliverBy(ValueError):
    """What is wrong with a value of BY=, in Sendmail's words."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class DeliverBy:
    """A wish of the sender."""

    #: after the message has come
    seconds: int
    #: does it go back then? Else its sender is told
    returns: bool
    traces: bool

    def left(self, created: float, now: float) -> int:
        """Seconds that are left of a message *created* then."""
        return int(created + self.seconds - now)

    def is_over(self, created: float, now: float, *, attempts: int, last_attempt: float) -> bool:
        """Is a message *created* then to go back untried? It has had so many *attempts*.

        DIFFERS: one that nobody has tried, or not for longer than this (and a day), is tried once more: the
        machine was off, or its clock jumped, and neither says anything about the next hop. Sendmail's
        sender gets back what was never on its way.
        """
        is_past = self.returns and self.left(created, now) <= 0
        rested = now - max(last_attempt, created)
        return is_past and attempts > 0 and rested <= max(self.seconds, _DAY)

    def parameter(self, left: int) -> bytes:
        """The value of BY= for the next hop, which has so many seconds *left*."""
        mode = b"R" if self.returns else b"N"
        seconds = max(left, 1) if self.returns else max(left, -999999999)
        return b"%d;%b%b" % (seconds, mode, b"T" * self.traces)

    def line(self) -> bytes:
        """Of the control file."""
        flags = (_RETURN if self.returns else _NOTIFY) | (_TRACE if self.traces else 0)
        return b"!%c %d" % (flags, self.seconds)


def parse(value: bytes) -> DeliverBy:
    """Read the value of BY=. Raise BadDeliverBy."""
    match = _VALUE.fullmatch(value)
    if match is None:
        raise BadDeliverBy("5.5.2", "BY= missing ';'")
    seconds, mode, trace = int(match[1]), match[2].upper(), match[3].upper()
    if mode not in (b"R", b"N"):
        raise BadDeliverBy("5.5.2", f"illegal by-mode '{shown(match[2])}'")
    if trace not in (b"", b"T"):
        raise BadDeliverBy("5.5.2", f"illegal by-trace '{shown(match[3], 20)}'")
    if mode == b"R" and seconds <= 0:
        raise BadDeliverBy("5.5.4", "mode R requires BY time > 0")
    return DeliverBy(seconds, mode == b"R", trace == b"T")


def of_lines(lines: Iterable[bytes]) -> DeliverBy | None:
    """What the control file says in those of its *lines* that few messages have; None: nothing."""
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is not None:
            flags = match[1][0]
            return DeliverBy(int(match[2]), bool(flags & _RETURN), bool(flags & _TRACE))
    return None
