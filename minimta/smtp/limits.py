"""LIMITS (RFC 9422): how much of what a server takes in one session, and in one message.

    LIMITS MAILMAX=20 RCPTMAX=100 RCPTDOMAINMAX=1

What is unknown or no number is as if it had not been said (section 3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# RFC 9422 section 4: one to six digits, of which the first is no zero.
_LIMIT = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)=([1-9][0-9]{0,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer has told; 0: nothing."""

    #: messages in one session
    mails: int = 0
    #: recipients of one message
    recipients: int = 0
    #: domains of the recipients of one message
    domains: int = 0


def parse(text: str) -> Limits:
    """Read what stands behind LIMITS in the answer to EHLO."""
    found = {
        match[1].upper(): int(match[2])
        for word in text.split()
        if (match := _LIMIT.fullmatch(word))
    }
    return Limits(found.get("MAILMAX", 0), found.get("RCPTMAX", 0), found.get("RCPTDOMAINMAX", 0))


def keyword(recipients: int) -> str:
    """Our own line for EHLO; "" if nothing is limited."""
    return f"LIMITS RCPTMAX={min(recipients, 999_999)}" if recipients else ""
