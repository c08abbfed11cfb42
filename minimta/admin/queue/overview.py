"""``minimta queue list``: one message after the other, in groups, or as JSON, an object a line.

6AM9bJoP003680  waiting      2h13m    1.2k  <emma@lab1.campus>
    to <dave@lab2.campus>
    Deferred: Connection refused by lab2.campus.; due at 10:43:07, in 12m
1 message: 1 waiting
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from minimta.admin.queue import wording
from minimta.admin.queue.messages import STATES, QueuedMessage
from minimta.config.options import Options
from minimta.message.printable import shown
from minimta.system import log

#: characters of an address or a reason
_LONG = 200
#: recipients of a message that are listed
_NAMED = 5


def lines(found: Sequence[QueuedMessage], options: Options, now: float) -> Iterator[str]:
    """The listing, *now* (epoch seconds)."""
    for one in found:
        sender = log.clean(one.sender or b"(no control file)", _LONG)
        head = f"{one.qid}  {one.state:<10} {_passed(one.created, now):>7}"
        yield f"{head} {wording.size(one.size):>7}  {sender}"
        for recipient, status in one.recipients[:_NAMED]:
            yield f"    to {log.clean(recipient, _LONG)}" + (f": {status}" if status else "")
        if len(one.recipients) > _NAMED:
            yield f"    and {len(one.recipients) - _NAMED} others"
        why = why_here(one, options, now)
        if why:
            yield f"    {why}"
    yield total(found)


def _passed(created: int, now: float) -> str:
    """How old it is; "-" for a file that does not say when it came."""
    return wording.age(now - created) if created > 0 else "-"


def why_here(one: QueuedMessage, options: Options, now: float) -> str:
    """Why it is still here, and until when."""
    told = [f"held: {one.quarantine}"] if one.quarantine else []
    if one.reason and one.reason not in one.quarantine:
        told.append(log.clean(one.reason, _LONG))
    due = one.next_attempt(options)
    if one.state == "waiting" and due:
        told.append(wording.next_attempt(due, now))
    return "; ".join(told)


def total(found: Sequence[QueuedMessage]) -> str:
    """ "3 messages: 2 waiting, 1 held"."""
    states = Counter(one.state for one in found)
    told = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
    return wording.count(len(found)) + (f": {told}" if told else "")


# --- groups -------------------------------------------------------------------------------------------

_AGES = ((300, "up to 5m"), (3600, "up to 1h"), (21600, "up to 6h"), (86400, "up to 1d"))


def _age(one: QueuedMessage, now: float) -> list[str]:
    if one.created <= 0:
        return ["unknown"]
    passed = now - one.created
    return [next((name for limit, name in _AGES if passed <= limit), "more than 1d")]


def _reasons(one: QueuedMessage, now: float) -> list[str]:
    reasons = [status for _, status in one.recipients if status] or [one.reason]
    return [one.quarantine] if one.quarantine else list(dict.fromkeys(reasons))


#: word behind --by -> what a message counts under
KEYS: dict[str, Callable[[QueuedMessage, float], list[str]]] = {
    "sender": lambda one, now: [shown(one.sender)],
    "recipient": lambda one, now: [shown(recipient) for recipient, _ in one.recipients],
    "host": lambda one, now: one.domains,
    "reason": _reasons,
    "age": _age,
}


def grouped(found: Sequence[QueuedMessage], key: str, now: float) -> Iterator[str]:
    """How many there are of each *key* (of KEYS), the most first, and how old the oldest is."""
    groups: dict[str, list[QueuedMessage]] = {}
    for one in found:
        for value in KEYS[key](one, now):
            groups.setdefault(value, []).append(one)
    yield f"{'messages':>8} {'oldest':>8}  {key}"
    order = sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    for value, members in order:
        oldest = _passed(min(filter(None, (one.created for one in members)), default=0), now)
        name = log.clean(value, _LONG) or ("(this host)" if key == "host" else "(none yet)")
        yield f"{len(members):>8} {oldest:>8}  {name}"
    yield total(found)


# --- for programs -------------------------------------------------------------------------------------


def as_json(one: QueuedMessage, options: Options) -> str:
    """One message, in one line. Times are epoch seconds, sizes octets, addresses as in the queue."""
    return written(facts(one, options))


def written(value: object) -> str:
    """JSON in one line, ASCII."""
    return json.dumps(value)


def facts(one: QueuedMessage, options: Options) -> dict[str, object]:
    """The same as a dictionary."""
    return {
        "id": one.qid,
        "queue": one.directory,
        "state": one.state,
        "sender": _text(one.sender),
        "recipients": [
            {"address": _text(recipient), "reason": status} for recipient, status in one.recipients
        ],
        "hosts": one.domains,
        "size": one.size,
        "arrived": one.created,
        "attempts": one.attempts,
        "last_attempt": one.last_attempt or None,
        "next_attempt": one.next_attempt(options) or None,
        "reason": one.reason,
        "quarantine": one.quarantine,
    }


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")
