"""What went wrong with a queued message, each time: ``af`` beside its qf, for ``minimta queue show``.

    minimta failed attempts 1
    {"number": 0, "time": 1795858662, "seconds": 3, "to": ["<dave@lab2.campus>"], "mailer": "esmtp",
     "relay": "lab2.campus. [10.0.3.135]", "status": "4.4.1", "stat": "Deferred: ...", "reply": "",
     "dialogue": [">>> EHLO lab1.campus", ...]}

One line for each host, program or mailbox that did not take it. It is written by who has the message
locked, without fsync: nothing depends on it, and what is lost of it loses no mail. It goes with the
message; one whose message went another way is swept.

The last ATTEMPTS attempts are kept. The text of the message is not in it, nor what a login is made
with: see ``mailers.remote.dialogue``.

DIFFERS: Sendmail's own letter for transcripts is xf, which it keeps in memory and throws away at the
end of an attempt. A file of that name makes it complain ("Can't create transcript file: File exists")
when both work on one queue; names in af it passes over.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from typing import Any

from minimta.message.excerpt import LINE
from minimta.message.printable import shown
from minimta.queue.directory import READING, QueueDirectory, close
from minimta.system import files

_FIRST = b"minimta failed attempts 1\n"
#: attempts that are kept of a message
ATTEMPTS = 10
#: octets of the file; of an attempt at very many hosts the last are kept
MOST = 256 * 1024
#: characters of a fact, and recipients that are named
_FACT, _NAMED = 400, 20


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """What one host, program or mailbox did not take, or when it was not reached.

    A message for which nobody was asked, because a run had just found the host down, has none.
    """

    #: attempts before it; those with the same number belong together
    number: int
    #: when it began (epoch seconds), and how long it took (seconds)
    time: int
    seconds: int
    #: recipients, the first of them
    to: tuple[str, ...]
    mailer: str
    #: who was talked to: "lab2.campus. [10.0.3.135]", "" if nobody
    relay: str
    #: RFC 3463, "4.4.1"
    status: str
    #: as in log and mailq: "Deferred: Connection refused by lab2.campus."
    stat: str
    #: the peer's own last line, "" if there was none
    reply: str
    #: ">>> " what we said, what the peer said, "=== " what happened
    dialogue: tuple[str, ...] = ()


def note(directory: QueueDirectory, qid: str, found: Iterable[FailedAttempt]) -> None:
    """Add to the file of a message that the caller has locked. Raise OSError; then it may be torn."""
    file = _open(directory, qid, os.O_RDWR | os.O_CREAT)
    if file < 0:
        return
    try:
        text = b"".join(_encoded(one) for one in found)
        is_first = not os.fstat(file).st_size
        if is_first and len(text) < MOST // 2:  # as with most of those that wait
            files.write_all(file, _FIRST + text)
            return
        there = files.read_to_limit(file, MOST + 1)
        whole = _kept(there, text)
        if there and whole == there + text:
            os.lseek(file, 0, os.SEEK_END)
            files.write_all(file, text)
        else:
            os.ftruncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)
            files.write_all(file, whole)
    finally:
        close(file)


def read(directory: QueueDirectory, qid: str) -> list[FailedAttempt]:
    """What is noted of a message, the oldest first; what cannot be read is left out."""
    try:
        file = _open(directory, qid, os.O_RDONLY)
    except OSError:
        return []
    if file < 0:
        return []
    try:
        text = files.read_to_limit(file, MOST + 1)
    except OSError:
        return []
    finally:
        close(file)
    lines = text.split(b"\n")[1:] if text.startswith(_FIRST) else []
    return [made for line in lines if (made := _decoded(line)) is not None]


def named(addresses: Collection[bytes]) -> tuple[str, ...]:
    """The first of the recipients, as FailedAttempt has them."""
    first = [shown(one, _FACT) for one in list(addresses)[:_NAMED]]
    left = len(addresses) - len(first)
    return (*first, f"and {left} others") if left else tuple(first)


# --- the file -----------------------------------------------------------------------------------------


def _open(directory: QueueDirectory, qid: str, flags: int) -> int:
    """The file; -1 if something that is not ours has its name."""
    try:
        file = os.open("af" + qid, flags | READING, 0o600, dir_fd=directory.descriptor)
    except FileNotFoundError:
        return -1
    found = os.fstat(file)
    is_ours = found.st_uid in (0, os.geteuid()) and found.st_nlink == 1
    if stat.S_ISREG(found.st_mode) and is_ours and not found.st_mode & 0o022:
        return file
    os.close(file)
    return -1


def _kept(there: bytes, text: bytes) -> bytes:
    """The whole file with *text* behind what was *there*, without the attempts that are too old."""
    if there and not (there.startswith(_FIRST) and there.endswith(b"\n")):
        there = b""  # torn, or nobody knows whose
    lines = there.removeprefix(_FIRST).splitlines() + text.splitlines()
    numbers = [made.number if (made := _decoded(line)) else -1 for line in lines]
    recent = set(sorted(set(numbers) - {-1})[-ATTEMPTS:])
    chosen = [line for line, number in zip(lines, numbers, strict=True) if number in recent]
    room = MOST - len(_FIRST)
    while chosen and sum(len(line) + 1 for line in chosen) > room:
        del chosen[0]
    return _FIRST + b"".join(line + b"\n" for line in chosen)


def _encoded(one: FailedAttempt) -> bytes:
    return json.dumps({name: getattr(one, name) for name in _NAMES}).encode("ascii") + b"\n"


_NAMES = [field.name for field in fields(FailedAttempt)]
_NUMBERS = ("number", "time", "seconds")
_LISTS = ("to", "dialogue")


def _decoded(line: bytes) -> FailedAttempt | None:
    """None for what is torn, or of another version."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.keys() != set(_NAMES):
        return None
    checked: dict[str, Any] = {}
    for name, value in said.items():
        if name in _NUMBERS and type(value) is int:
            checked[name] = value
        elif name in _LISTS and isinstance(value, list):
            checked[name] = _texts(value)
        elif name not in (*_NUMBERS, *_LISTS) and isinstance(value, str):
            checked[name] = shown(value, _FACT)
    return FailedAttempt(**checked) if checked.keys() == set(_NAMES) else None


def _texts(value: list[object]) -> tuple[str, ...]:
    return tuple(shown(one, LINE) for one in value if isinstance(one, str))
