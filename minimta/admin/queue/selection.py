"""Which messages a verb of ``minimta queue`` is about: ids, or what they have in common.

    ID...                    these, exactly
    all                      every one; nothing else means that
    --sender emma@           the sender contains it, in any case; <> is the null sender
    --recipient lab2         a recipient contains it
    --host lab2.campus       a recipient's domain, or a host that the reason names, or one below it
    --reason refused         why it waits, or is held, contains it
    --older 2d --younger 1h  by its age
    --state held             waiting, delivering, held, aside, submitted

Of several all must hold. An empty text would mean everything, and is refused.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from dataclasses import dataclass

from minimta.admin.checkout import AdminError
from minimta.admin.queue.messages import STATES, QueuedMessage
from minimta.config.quantities import interval
from minimta.queue.qid import valid

ALL = "all"
_TEXTS = {
    "sender": "the sender contains it; <> is that of bounces",
    "recipient": "a recipient contains it",
    "host": "a recipient's domain, or a host that the reason names, or one below it",
    "reason": "why it waits, or is held, contains it",
}


@dataclass(frozen=True, slots=True)
class Criteria:
    """What is asked for; nothing at all if all is empty."""

    ids: frozenset[str] = frozenset()
    everything: bool = False
    sender: str = ""
    recipient: str = ""
    host: str = ""
    reason: str = ""
    #: seconds, None: of any age
    older: int | None = None
    younger: int | None = None
    state: str = ""

    @property
    def is_empty(self) -> bool:
        """Was nothing said of what is meant?"""
        return self == Criteria()

    def is_meant(self, one: QueuedMessage, now: float) -> bool:
        """Is this message meant, *now* (epoch seconds)?"""
        age = now - one.created
        return (
            (not self.ids or one.qid in self.ids)
            and (not self.sender or _contains([one.sender], self.sender))
            and (not self.recipient or _contains([to for to, _ in one.recipients], self.recipient))
            and (not self.host or any(_is_below(host, self.host) for host in one.hosts))
            and (not self.reason or _has_reason(one, self.reason))
            # Of a file that cannot be read nobody knows when it came: it is neither.
            and (self.older is None or (one.created > 0 and age > self.older))
            and (self.younger is None or (one.created > 0 and age < self.younger))
            and self.state in ("", one.state)
        )


def _contains(values: Iterable[bytes], text: str) -> bool:
    wanted = text.encode("utf-8", "surrogateescape").lower()
    return any(wanted in value.lower() for value in values)


def _is_below(host: str, wanted: str) -> bool:
    name = wanted.lower().strip("[]").rstrip(".")
    return host == name or host.strip("[]") == name or host.endswith("." + name)


def _has_reason(one: QueuedMessage, text: str) -> bool:
    reasons = [one.reason, one.quarantine, *(status for _, status in one.recipients)]
    return any(text.lower() in reason.lower() for reason in reasons)


def add_arguments(parser: ArgumentParser) -> None:
    """The words of a selection, for a *parser*."""
    parser.add_argument("what", nargs="*", metavar="ID", help=f"queue ids, or {ALL}")
    for name, meaning in _TEXTS.items():
        parser.add_argument(f"--{name}", metavar="TEXT", help=meaning)
    parser.add_argument("--older", metavar="AGE", help="than 30m, 2h, 5d")
    parser.add_argument("--younger", metavar="AGE", help="than that")
    parser.add_argument("--state", choices=STATES, help="in which it is")


def parsed(given: Namespace) -> Criteria:
    """What the words mean. Raise AdminError."""
    for name in _TEXTS:
        if getattr(given, name) == "":
            raise AdminError(f"--{name} of nothing means everything; say {ALL}", os.EX_USAGE)
    ids = frozenset(given.what) - {ALL}
    wrong = sorted(word for word in ids if not valid(word))
    if wrong:
        raise AdminError(f"{wrong[0]!r} is no queue id (mailq shows them)", os.EX_USAGE)
    everything = ALL in given.what
    if everything and ids:
        raise AdminError(f"either ids or {ALL}", os.EX_USAGE)
    sender, recipient, host, reason = (getattr(given, name) or "" for name in _TEXTS)
    return Criteria(
        ids,
        everything,
        sender,
        recipient,
        host,
        reason,
        _age("older", given.older),
        _age("younger", given.younger),
        given.state or "",
    )


def _age(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return interval(text)
    except ValueError as error:
        raise AdminError(f"--{name} {text!r}: {error} (30m, 2h, 5d)", os.EX_USAGE) from error
