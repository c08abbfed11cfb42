"""What became of one recipient: the only answer a mailer may give.

Nothing is FAILED that is not proven permanent: mail that is tried too often is a delay, mail that
is returned too early is lost to the recipient.
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field

from minimta.message.printable import shown

#: RFC 3463 section 3.5: congestion
_CONGESTED = "4.4.5"
#: octets of a dialogue
DIALOGUE = 16 * 1024
#: characters of a text that the log and mailq show
_STAT = 400


class Fate(enum.Enum):
    """RFC 3464 section 2.3.3 actions, in the field's short words."""

    SENT = "delivered"
    DEFERRED = "delayed"  # stay in the queue, try again
    FAILED = "failed"  # bounce, never try again


@dataclass(frozen=True, slots=True)
class Outcome:
    """The fate of one recipient, with what mailq, the log and the DSN will say.

    Empty strings mean "not known", never None, so that every consumer can
    print every field.
    """

    fate: Fate
    #: RFC 3463, "4.4.1"
    status: str
    #: what follows "stat=", less the word "Deferred: ": "Sent", "User unknown",
    #: "Connection refused by lab2.campus."
    text: str
    #: who was talked to, for the log: "lab2.campus. [10.0.3.135]"
    relay: str = ""
    #: for the DSN: "lab2.campus"
    remote_mta: str = ""
    #: the peer's own last reply line, verbatim: "550 5.1.1 <x@y>... User unknown"
    diagnostic: str = ""
    #: lines for "Transcript of session follows" in the bounce
    transcript: tuple[str, ...] = ()
    #: sysexits code that ``sendmail -odi`` ends with if this is the worst outcome
    exit_code: int = os.EX_OK
    #: the next host offered DSN and got NOTIFY: reporting success is up to it now
    dsn_passed_on: bool = False
    #: another program has it locked: to be tried again after all others, in this attempt
    is_busy: bool = False
    #: of one that is_crowded: when it has its turn (epoch seconds), 0.0: when another delivery ended
    turn: float = 0.0
    #: nobody was asked for this message: another of the same run had found the host so
    is_remembered: bool = field(default=False, compare=False)
    #: what was said before it came to that, at most DIALOGUE octets; of no meaning to who compares
    dialogue: tuple[str, ...] = field(default=(), compare=False)

    @property
    def stat(self) -> str:
        """The words of log and mailq: "Sent", "User unknown", "Deferred: Connection refused"."""
        text = shown(self.text, _STAT)
        if self.fate is not Fate.DEFERRED:
            return text
        if text.startswith("reply: "):
            return text  # as Sendmail: what the peer did stands alone
        return f"Deferred: {text}" if text else "Deferred"

    @property
    def is_crowded(self) -> bool:
        """Do so many of our own deliveries go there that this one was not begun? (crowded())"""
        return self.status == _CONGESTED and not self.diagnostic

    def told(self) -> list[str]:
        """The transcript without codes, as a person at a terminal reads it: "x... User unknown"."""
        return [line.split(" ", 2)[-1] for line in self.transcript if line[:3].isdigit()]


def deferred(status: str, text: str, *, is_busy: bool = False) -> Outcome:
    """Not now: what is not proven permanent. *status* is "4.x.x"."""
    return Outcome(Fate.DEFERRED, status, text, exit_code=os.EX_TEMPFAIL, is_busy=is_busy)


def crowded(where: str, number: int) -> Outcome:
    """Not begun: *number* other deliveries go to *where* already."""
    many = "another delivery" if number == 1 else f"{number} deliveries"
    return deferred(_CONGESTED, f"waits for {many} to {where}")


def paced(where: str, seconds: int, turn: float) -> Outcome:
    """Not begun: a message goes to *where* each so many *seconds*; its *turn* is then (epoch seconds)."""
    each = "each second" if seconds == 1 else f"each {seconds} seconds"
    text = f"waits for its turn: one message {each} to {where}"
    return Outcome(Fate.DEFERRED, _CONGESTED, text, exit_code=os.EX_TEMPFAIL, turn=turn)


# sysexits(3) -> (fate, RFC 3463 status, text). Exit codes not listed are final.
_SYSEXITS = {
    os.EX_OK: (Fate.SENT, "2.0.0", "Sent"),
    os.EX_USAGE: (Fate.FAILED, "5.5.4", "Command line usage error"),
    os.EX_DATAERR: (Fate.FAILED, "5.6.0", "Data format error"),
    os.EX_NOINPUT: (Fate.FAILED, "5.3.0", "Cannot open input"),
    os.EX_NOUSER: (Fate.FAILED, "5.1.1", "User unknown"),
    os.EX_NOHOST: (Fate.FAILED, "5.1.2", "Host unknown"),
    os.EX_UNAVAILABLE: (Fate.FAILED, "5.0.0", "Service unavailable"),
    os.EX_SOFTWARE: (Fate.FAILED, "5.3.0", "Internal error"),
    os.EX_OSERR: (Fate.DEFERRED, "4.3.0", "Operating system error"),
    os.EX_OSFILE: (Fate.FAILED, "5.3.0", "System file missing"),
    os.EX_CANTCREAT: (Fate.FAILED, "5.0.0", "Can't create output"),
    os.EX_IOERR: (Fate.DEFERRED, "4.3.0", "I/O error"),
    os.EX_TEMPFAIL: (Fate.DEFERRED, "4.0.0", "Deferred"),
    os.EX_PROTOCOL: (Fate.FAILED, "5.5.0", "Remote protocol error"),
    os.EX_NOPERM: (Fate.FAILED, "5.0.0", "Insufficient permission"),
    os.EX_CONFIG: (Fate.FAILED, "5.3.5", "Local configuration error"),
}


def from_exit_code(code: int) -> Outcome:
    """Translate a delivery program's exit code; negative is minus the signal that killed it."""
    if code < 0:
        text = f"mailer died with signal {-code}"
        return deferred("4.3.0", text)
    unknown = (Fate.FAILED, "5.3.0", f"unknown mailer error {code}")
    fate, status, text = _SYSEXITS.get(code, unknown)
    return Outcome(fate, status, text, exit_code=code)
