"""The file system of the model: what processes see, and what a power cut leaves of it.

A name is "m/qf0": directory (m: the MTA queue, c: clientmqueue), kind, number of the message. An
inode is a small number; ``Inode`` says what is in it, as seen by processes and as it is on the disk.

    a df      EMPTY, TORN or WHOLE
    a qf, tf  EMPTY, TORN, or a Control: what a whole control file says

What a power cut leaves: of the names that were made, changed or removed since the directory was last
fsynced any subset, in any combination; of a file that was not fsynced what it was then, all of it, or
something TORN: short, or as long as it should be and with other octets in it, so that no look at its
size helps. A journal (``fsync`` of a file that takes all earlier names along) is believed in only
where the code has nothing else: in clientmqueue.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

EMPTY, TORN, WHOLE = "empty", "torn", "whole"


class Control(NamedTuple):
    """A whole control file: who is still to get the message, and is it in quarantine?"""

    recipients: tuple[str, ...]
    held: bool = False


Content = str | Control
#: number, what processes see in it, what is on the disk
Inode = tuple[int, Content, Content]
#: what one call did to the names of one directory; 0: removed
Change = tuple[tuple[str, int], ...]
Names = tuple[tuple[str, int], ...]


class Mailbox(NamedTuple):
    """An mbox file: how many whole copies, seen and durable; is a piece at its end, seen and durable?

    Of the letters of others it is enough that there are some, durable.
    """

    exists: bool = True
    is_named: bool = True  # durably
    copies: int = 0
    durable: int = 0
    torn: bool = False
    torn_durable: bool = False
    has_others: bool = False

    def survivors(self) -> Iterator[Mailbox]:
        """What a power cut may leave."""
        if not self.is_named:
            yield Mailbox(exists=False, is_named=False)
        if not self.exists:
            return
        for copies in range(self.durable, self.copies + 1):
            whole = Mailbox(copies=copies, durable=copies, has_others=self.has_others)
            piece = whole._replace(torn=True, torn_durable=True)
            is_less = copies < self.copies or self.torn
            if copies > self.durable or not self.torn_durable or not self.torn:
                yield whole
            if is_less or self.torn_durable:
                yield piece


#: it is there, and its name is durable
EMPTY_MAILBOX = Mailbox()


def after_power_cut(
    disk: Names, pending: tuple[Change, ...], inodes: tuple[Inode, ...]
) -> Iterator[tuple[Names, tuple[Inode, ...]]]:
    """All that may be on the disk: names and what they lead to, each combination once."""
    seen = set()
    for some in _subsets(pending):
        names = dict(disk)
        for change in some:
            apply(names, change)
        used = set(names.values())
        choices = [_contents(inode) for inode in inodes if inode[0] in used]
        for contents in itertools.product(*choices):
            left = tuple(sorted(names.items())), contents
            if left not in seen:
                seen.add(left)
                yield left


def _subsets(pending: tuple[Change, ...]) -> Iterator[tuple[Change, ...]]:
    for count in range(len(pending) + 1):
        yield from itertools.combinations(pending, count)


def _contents(inode: Inode) -> list[Inode]:
    number, seen, durable = inode
    if seen == durable:
        return [inode]
    return [(number, one, one) for one in dict.fromkeys((seen, durable, TORN))]


def apply(names: dict[str, int], change: Change) -> None:
    """What a call did, done to *names*."""
    for name, inode in change:
        if inode:
            names[name] = inode
        else:
            names.pop(name, None)
