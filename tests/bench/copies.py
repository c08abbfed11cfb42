"""What arrived: every copy of every message, whole or torn, in mailboxes and in directories of files.

Our messages say themselves how long they are (``text``), so that a torn copy is known as such, and are
known by their Message-Id. Those of smtp-source are known by the queue id, and whole if they are as long as
most of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_MESSAGE_ID = re.compile(rb"^Message-I[dD]:\s*<([^>]*)>", re.M)
_QID = re.compile(rb"^Received: .*?\bid (\w{14})\b", re.M | re.S)
_OCTETS = re.compile(rb"^X-Octets: (\d+)$", re.M)
_LINE = b"%08d and some words more, that fill a line of the message.\n"


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy, by its Message-Id or by the queue id of its newest Received field."""

    name: str
    #: octets of the body that it should have; None if it does not say
    promised: int | None
    octets: int


def text(message_id: str, octets: int) -> bytes:
    """A message with LF line ends, whose body has about so many octets."""
    body = b"".join(_LINE % number for number in range(max(1, octets // len(_LINE % 0))))
    head = f"Subject: load\nMessage-Id: <{message_id}>\nX-Octets: {len(body)}\n\n"
    return head.encode() + body


def of_mailbox(path: Path) -> Iterator[Copy]:
    """Messages of an mbox. What stands before the first is a torn copy without a name."""
    content = path.read_bytes() if path.exists() else b""
    if not content:
        return
    if not content.startswith(b"From "):
        yield Copy("", 1, 0)
    # The empty line after a message is that of the mailbox; without it the last one is too long: torn.
    for message in content.removeprefix(b"From ").removesuffix(b"\n\n").split(b"\n\nFrom "):
        yield _read(message.partition(b"\n")[2] + b"\n")


def of_bounces(path: Path, name: str) -> Iterator[Copy]:
    """What came back to a mailbox: by the Message-Ids with *name* that the returned headers hold."""
    content = path.read_bytes() if path.exists() else b""
    for found in _MESSAGE_ID.finditer(content):
        if name.encode() in found[1]:
            yield Copy(found[1].decode(), None, 0)


def of_directory(path: Path) -> Iterator[Copy]:
    """Messages that are files; names with a dot in front are not finished."""
    for file in path.iterdir():
        if not file.name.startswith("."):
            yield _read(file.read_bytes())


def _read(message: bytes) -> Copy:
    head, _, body = message.partition(b"\n\n")
    octets = _OCTETS.search(head + b"\n")
    name = (_MESSAGE_ID if octets else _QID).search(head)
    promised = int(octets[1]) if octets else None
    return Copy(name[1].decode() if name else "", promised, len(body))


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the acknowledged messages. A duplicate is a copy more than one."""

    expected: int
    lost: tuple[str, ...]
    torn: int
    duplicates: int


def tally(expected: Iterable[str], found: Iterable[Copy]) -> Tally:
    """Compare the names of messages that should have come to one place, once each, with the copies there.

    Copies that nobody expects are left out: of these messages the client does not know whether they were
    accepted. They count if they came torn, or twice.
    """
    wanted, copies = tuple(expected), list(found)
    silent = Counter(copy.octets for copy in copies if copy.promised is None)
    usual = max(silent, key=lambda octets: silent[octets]) if silent else 0
    is_whole = [
        copy.octets == (usual if copy.promised is None else copy.promised) for copy in copies
    ]
    whole = Counter(copy.name for copy, good in zip(copies, is_whole, strict=True) if good)
    return Tally(
        len(wanted),
        tuple(name for name in wanted if not whole[name]),
        is_whole.count(False),
        sum(number - 1 for number in whole.values()),
    )
