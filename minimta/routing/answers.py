"""The outcomes that an expansion decides without a mailer, in Sendmail's words."""

from __future__ import annotations

import os

from minimta.message.outcome import Fate, Outcome, deferred
from minimta.system import log

DISCARDED = Outcome(Fate.SENT, "2.0.0", "Sent")


def refusal(status: str, text: str) -> Outcome:
    """What a table or "error:5.7.1:550 No" says; 4.x.x waits."""
    if status.startswith("4"):
        return deferred(status, log.clean(text))
    return Outcome(Fate.FAILED, status, log.clean(text), exit_code=os.EX_UNAVAILABLE)


def unknown_user(shown: str) -> Outcome:
    transcript = (f"550 5.1.1 {shown}... User unknown",)
    return Outcome(
        Fate.FAILED, "5.1.1", "User unknown", transcript=transcript, exit_code=os.EX_NOUSER
    )


def not_allowed(shown: str, text: str) -> Outcome:
    """A program or file that who names it may not name (5.7.1, delivery not authorized)."""
    return _usage("5.7.1", f"550 5.7.1 {shown}... {text}", text)


def no_list(shown: str, text: str) -> Outcome:
    """An :include: that is not there or not to be trusted (5.2.4, list expansion problem)."""
    return _usage("5.2.4", f"550 5.2.4 {shown}... {text}", text)


def loop_broken(text: str) -> Outcome:
    return _usage("5.4.6", f"554 5.4.6 {text}", text)


def _usage(status: str, line: str, text: str) -> Outcome:
    return Outcome(Fate.FAILED, status, text, transcript=(line,), exit_code=os.EX_USAGE)
