"""Tarpitting: delays and limits for a client that misbehaves. Pure: the owner of the socket waits.

    refused commands      after 10 each costs a second; the 26th ends the session
    refused recipients    after BadRcptThrottle every RCPT costs a second; the 101st ends the
                          session, unless as many were accepted
    NOOP, VRFY ...        after some (MaxNOOPCommands, 5) each costs a second, and one log line tells of it
    VRFY, EXPN            the 251st of a session ends it

What is sent at once costs a minute at most: a connection that waits is one that others cannot have.

Against guessing of user names (RCPT, VRFY, EXPN), and clients that only keep a connection busy.
"""

from __future__ import annotations

PATIENT_ERRORS, MAX_ERRORS = 10, 25
MAX_REFUSED_RECIPIENTS = 100
#: VRFY, and EXPN, of a session
MAX_QUESTIONS = 250
_QUESTIONS = ("VRFY", "EXPN")
#: seconds
MAX_PAUSE = 60.0
#: verb -> (as what it is counted, how often that may be said: VRFY and EXPN in a session, others between
#: two messages)
LIMITED = {
    "NOOP": ("NOOP", 20),
    "HELO": ("HELO/EHLO", 20),
    "EHLO": ("HELO/EHLO", 20),
    "VRFY": ("VRFY", 5),
    "EXPN": ("EXPN", 5),
}


class Throttle:
    """What the client of one session has done so far, and what it costs the client."""

    __slots__ = ("_accepted", "_errors", "_noops", "_refused", "_said", "_throttle", "pause")

    def __init__(self, bad_rcpt_throttle: int, noops: int = LIMITED["NOOP"][1]) -> None:
        """The options BadRcptThrottle, of which 0 slows down no recipient, and MaxNOOPCommands."""
        #: seconds, see take_pause()
        self.pause = 0.0
        self._throttle = bad_rcpt_throttle
        self._noops = noops
        self._errors = self._refused = self._accepted = 0
        self._said: dict[str, int] = {}

    def message_begins(self) -> None:
        """MAIL was accepted: NOOP and HELO are counted anew.

        Not VRFY and EXPN: MAIL costs nothing, and a dictionary could be asked through.
        """
        self._said = {name: self._said[name] for name in _QUESTIONS if name in self._said}

    def take_pause(self) -> float:
        """Seconds to wait before the replies are sent that are due now; asked once for them."""
        pause, self.pause = min(self.pause, MAX_PAUSE), 0.0
        return pause

    def has_asked_enough(self) -> bool:
        """Were there so many VRFY or EXPN that the session must end?"""
        return any(self._said.get(verb, 0) > MAX_QUESTIONS for verb in _QUESTIONS)

    def verb(self, name: str) -> str:
        """The client said *name*, one of LIMITED. Returns what the log should say, "" if nothing."""
        free = self._noops if name == "NOOP" else LIMITED[name][1]
        name = LIMITED[name][0]
        count = self._said[name] = self._said.get(name, 0) + 1
        self.pause += count > free
        return f"possible SMTP attack: command={name}, count={count}" if count == free else ""

    def error(self) -> bool:
        """A command was refused. Must the session end?"""
        self._errors += 1
        self.pause += self._errors > PATIENT_ERRORS
        return self._errors > MAX_ERRORS

    def recipient(self, *, accepted: bool) -> str:
        """A recipient was accepted or refused. Returns what the log should say, "" if nothing."""
        if accepted:
            self._accepted += 1
        else:
            self._refused += 1
        if not self._throttle or self._refused < self._throttle:
            return ""
        if self._refused == self._throttle:
            return "" if accepted else "Possible SMTP RCPT flood, throttling."
        self.pause += 1
        return ""

    def has_harvester(self) -> bool:
        """Are the refused recipients too many? Then the session must end.

        DIFFERS: a list with some dead addresses is mail and gets through, if slowly. Were every
        session ended after 25, the list's host would try for ever.
        """
        return self._refused > max(MAX_REFUSED_RECIPIENTS, self._accepted)
