"""Message lists of mailx (POSIX.1-2017, mailx, "Command Message Lists"): which messages are meant.

    3   2-5   .  ^  $  +  -  *      by number; the current, first, last, next, previous one, all
    name   /text   :n               by sender, by subject, by state (d deleted, n new, o old, r read, u unread)

Several words together are all that any of them means; a state narrows what else is named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class ListedMessage(Protocol):
    """What a list may ask about a message."""

    @property
    def sender(self) -> str:
        """Its author's address."""

    @property
    def subject(self) -> str:
        """The text of its Subject, "" without one."""

    @property
    def is_deleted(self) -> bool:
        """Is it marked as deleted?"""

    @property
    def is_new(self) -> bool:
        """Has no program shown it yet, in a list or whole?"""

    @property
    def is_read(self) -> bool:
        """Has it been read?"""


class WrongList(ValueError):
    """The text says what is wrong with a list, in mailx's words."""


_STATES: dict[str, Callable[[ListedMessage], bool]] = {
    "d": lambda message: message.is_deleted,
    "n": lambda message: message.is_new and not message.is_read,
    "o": lambda message: not message.is_new,
    "r": lambda message: message.is_read,
    "u": lambda message: not message.is_read,
}


def chosen(
    words: list[str], messages: list[ListedMessage], current: int, *, deleted: bool
) -> list[int]:
    """Numbers, from 1, of the messages that *words* mean, in their order.

    *current* is the number of the current message, 0 for none. Of no words it is the current one.
    *deleted*: are deleted messages wanted, and no others (undelete)? Raise WrongList.
    """
    states = [word[1:] for word in words if word.startswith(":")]
    named = [word for word in words if not word.startswith(":")]
    if states and not named:
        named = ["*"]
    asks_deleted = deleted or any("d" in state for state in states)
    found: set[int] = set()
    for word in named or ["."]:
        found |= _of_word(word, messages, current, deleted=asks_deleted)
    for state in states:
        found = {number for number in found if _is_in(state, messages[number - 1])}
    right = [number for number in sorted(found) if messages[number - 1].is_deleted == asks_deleted]
    if not right:
        raise WrongList(_why_none(named, found))
    return right


def _why_none(named: list[str], found: set[int]) -> str:
    if len(named) == 1 and named[0].isdigit() and found:
        return f"{named[0]}: Inappropriate message"
    return "No applicable messages"


def _is_in(states: str, message: ListedMessage) -> bool:
    if wrong := states.strip("".join(_STATES)):
        raise WrongList(f":{wrong[0]}: no such state (d n o r u)")
    return any(_STATES[letter](message) for letter in states)


def _of_word(word: str, messages: list[ListedMessage], current: int, *, deleted: bool) -> set[int]:
    if word == "*":
        return set(range(1, len(messages) + 1))
    first, dash, last = word.partition("-")
    if dash and first and last:
        begin, end = (_number(part, messages, current, deleted=deleted) for part in (first, last))
        if begin > end:
            raise WrongList(f"{word}: the first is behind the last")
        return set(range(begin, end + 1))
    if word.isdigit() or word in (".", "^", "$", "+", "-"):
        return {_number(word, messages, current, deleted=deleted)}
    return _of_text(word, messages)


def _number(word: str, messages: list[ListedMessage], current: int, *, deleted: bool) -> int:
    wanted = [i for i, message in enumerate(messages, 1) if message.is_deleted == deleted]
    if word.isdigit():
        number = int(word) if len(word) < 10 else 0
        if not 1 <= number <= len(messages):
            raise WrongList(f"{word}: Invalid message number")
        return number
    behind = [number for number in wanted if number > current]
    before = [number for number in wanted if number < current]
    meant = {
        ".": [current] if current else wanted[:1],
        "^": wanted[:1],
        "$": wanted[-1:],
        "+": behind[:1],
        "-": before[-1:],
    }.get(word)
    if meant is None:
        raise WrongList(f"{word}: no message")
    if not meant:
        raise WrongList("No applicable messages")
    return meant[0]


def _of_text(word: str, messages: list[ListedMessage]) -> set[int]:
    if word.startswith("/"):
        text = word[1:].casefold()
        found = {i for i, message in enumerate(messages, 1) if text in message.subject.casefold()}
    else:
        text = word.casefold()
        found = {i for i, message in enumerate(messages, 1) if text in message.sender.casefold()}
    if not found:
        raise WrongList(f"No applicable messages from {{{word}}}")
    return found
