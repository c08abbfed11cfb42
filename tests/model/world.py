"""Processes that step through the programs, one call at a time, on a disk that forgets.

A ``World`` is one state, taken apart: a step changes it, ``pack`` makes a State of it again. What a
call does is told once, for all programs (``_Calls``); what comes after the last line of a program is
told by ``next_steps``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.model.disk import (
    EMPTY,
    Change,
    Content,
    Control,
    Inode,
    Mailbox,
    Names,
    apply,
)

#: who has the report about a recipient that failed
SENDER = "sender"
#: all recipients of a message
EVERYBODY = "*"


class Violation(Exception):
    """The queue breaks its promise."""


class Process(NamedTuple):
    """One process that has something in hand. A runner that waits is none."""

    #: "entry": listener or sendmail(8); "runner"; "person": who administers the queue
    who: str
    program: str
    at: int = 0
    #: the message it has taken: directory and number, "" if none
    taken: str = ""
    #: the message it makes
    made: str = ""
    #: open files: the control file and the df of what it has taken, those of what it makes
    control: int = 0
    data: int = 0
    new: int = 0
    new_data: int = 0
    #: inodes that it has locked
    locks: tuple[int, ...] = ()
    has_mailbox: bool = False
    #: what the control file says that it writes next: of the message taken, and of the one made
    left: Control = Control(())
    text: Control = Control(())
    #: whom it is delivering to, who is still to be tried, who failed
    recipient: str = ""
    untried: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    #: has anybody got it since the last record?
    unrecorded: bool = False
    #: the record has its name, and a power cut may take it away
    is_unsynced: bool = False
    #: what follows when this program is over
    then: str = ""
    #: messages of its batch that are done: their df stay until the directory is fsynced
    retired: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[int, ...]:
        """Inodes that it has open."""
        return (self.control, self.data, self.new, self.new_data)

    def renumbered(self, to: dict[int, int]) -> Process:
        """The same with other numbers of its files."""
        return self._replace(
            control=to[self.control],
            data=to[self.data],
            new=to[self.new],
            new_data=to[self.new_data],
            locks=tuple(sorted(to[number] for number in self.locks if number in to)),
        )


class Flight(NamedTuple):
    """An act that is not durably recorded: if it is done again, that is no fault."""

    message: str
    #: whose name goes from the control file when it is recorded
    recipient: str
    #: who gets another copy if it is done again
    again: str
    #: the record has its name, but a power cut may take it away
    is_recorded: bool = False


class State(NamedTuple):
    """Everything that is, was promised, and was done."""

    names: Names
    disk: Names
    pending: tuple[Change, ...]
    inodes: tuple[Inode, ...]
    mailbox: Mailbox
    processes: tuple[Process, ...]
    #: has the message come? has its sender heard 250 (or 0)? was it removed, held, by a person?
    entered: bool
    acknowledged: bool
    removed: bool
    held: bool
    #: the message that a person was told is removed
    gone: str
    #: messages of which a commit is complete
    durable: tuple[str, ...]
    #: copies that other hosts, programs and the sender (of reports) have, by recipient
    copies: tuple[tuple[str, int], ...]
    #: copies beyond the first that are excused
    excused: tuple[tuple[str, int], ...]
    flights: tuple[Flight, ...]
    #: kills and power cuts that may still come
    crashes: int
    #: deeds of a person that may still come
    deeds: tuple[str, ...]
    #: attempts that may still leave somebody for later
    delays: int


class World:
    """A state that is being changed."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.names = dict(state.names)
        self.disk = dict(state.disk)
        self.pending = list(state.pending)
        self.inodes = {number: (seen, durable) for number, seen, durable in state.inodes}
        self.mailbox = state.mailbox
        self.others: list[Process] = []
        self.flights = set(state.flights)
        self.copies = dict(state.copies)
        self.excused = dict(state.excused)
        self.entered, self.acknowledged = state.entered, state.acknowledged
        self.removed, self.held, self.gone = state.removed, state.held, state.gone
        self.durable = set(state.durable)
        self.crashes, self.deeds, self.delays = state.crashes, state.deeds, state.delays

    def pack(self, process: Process | None) -> State:
        """The state as it is now, with *process* beside the others."""
        processes = [*self.others, process] if process else self.others
        to = self._numbers(processes)
        here = {name[0] + name[4:] for name in self.names}
        return State(
            tuple(sorted((name, to[number]) for name, number in self.names.items())),
            tuple(sorted((name, to[number]) for name, number in self.disk.items())),
            tuple(tuple((name, to[n]) for name, n in change) for change in self.pending),
            tuple((new, *self.inodes[old]) for old, new in to.items() if old),
            self.mailbox,
            tuple(sorted(process.renumbered(to) for process in processes)),
            self.entered,
            self.acknowledged,
            self.removed,
            self.held,
            self.gone,
            tuple(sorted(self.durable & (here | {name[0] + name[4:] for name in self.disk}))),
            tuple(sorted(self.copies.items())),
            tuple(sorted(self.excused.items())),
            tuple(sorted(self.flights)),
            self.crashes,
            self.deeds,
            self.delays,
        )

    def _numbers(self, processes: list[Process]) -> dict[int, int]:
        """Inodes that something leads to, with their new numbers: equal states shall look equal."""
        to = {0: 0}
        for _, number in sorted(self.names.items()):
            to.setdefault(number, len(to))
        for _, number in sorted(self.disk.items()):
            to.setdefault(number, len(to))
        for change in self.pending:
            for _, number in change:
                to.setdefault(number, len(to))
        for process in processes:
            for number in process.files:
                to.setdefault(number, len(to))
        return to

    # --- names and files --------------------------------------------------------------------------

    def change(self, *names: tuple[str, int]) -> None:
        """One call makes, moves or removes names of one directory."""
        change: Change = tuple(sorted(names))
        apply(self.names, change)
        self.pending.append(change)

    def inode(self, name: str) -> int:
        """What *name* leads to. Raise Violation if it is not there."""
        if name not in self.names:
            raise Violation(f"{name[2:4]} is not there")
        return self.names[name]

    def new_inode(self) -> int:
        """A new, empty file."""
        number = 1
        while number in self.inodes:
            number += 1
        self.inodes[number] = (EMPTY, EMPTY)
        return number

    def write(self, number: int, content: Content) -> None:
        """Process see *content* in it from now on."""
        self.inodes[number] = (content, self.inodes[number][1])

    def seen(self, number: int) -> Content:
        """What is in an open file. Raise Violation if none is open."""
        if not number:
            raise Violation("no file is open")
        return self.inodes[number][0]

    def sync(self, number: int) -> None:
        """fsync of a file."""
        self.inodes[number] = (self.seen(number),) * 2

    def sync_names(self, directory: str) -> None:
        """fsync of a directory, or what the journal does for it."""
        for change in [c for c in self.pending if c[0][0][0] == directory]:
            apply(self.disk, change)
            self.pending.remove(change)
        self.flights = {
            one for one in self.flights if not (one.is_recorded and one.message[0] == directory)
        }

    def sync_all(self) -> None:
        """syncfs."""
        for number in self.inodes:
            self.sync(number)

    def free_number(self, directory: str) -> str:
        """A message id that is not used: the smallest, so that equal states look equal."""
        used = {name[0] + name[4:] for name in (*self.names, *self.disk)}
        used |= {name[0] + name[4:] for change in self.pending for name, _ in change}
        used |= {one for process in self.others for one in (process.taken, process.made)}
        used.add(self.gone)
        number = 0
        while f"{directory}{number}" in used:
            number += 1
        return f"{directory}{number}"

    # --- what was promised ------------------------------------------------------------------------

    def act(self, message: str, recipient: str) -> None:
        """Somebody outside has it."""
        self.fly(message, recipient, recipient)
        self.copies[recipient] = self.copies.get(recipient, 0) + 1

    def fly(self, message: str, recipient: str, again: str) -> None:
        """What is being done now may be done again."""
        self.flights.add(Flight(message, recipient, again))

    def record(self, message: str, left: tuple[str, ...]) -> None:
        """Who is not *left* has it, says the control file that has just got its name."""
        for one in [f for f in self.flights if f.message == message and not f.is_recorded]:
            if one.recipient not in left:
                self.flights.remove(one)
                self.flights.add(one._replace(is_recorded=True))

    def excuse(self, which: Callable[[Flight], bool], everybody: tuple[str, ...]) -> None:
        """A crash: what was under way may come once more."""
        for one in [flight for flight in self.flights if which(flight)]:
            self.flights.remove(one)
            for recipient in everybody if one.again == EVERYBODY else (one.again,):
                self.excused[recipient] = self.excused.get(recipient, 0) + 1


def path(process: Process, file: str) -> str:
    """The name of a file of a program's line: "new/df" -> "m/df1"."""
    directory, _, kind = file.rpartition("/")
    is_taken = process.taken.startswith("c") or not directory
    message = process.taken if is_taken and directory != "new" else process.made
    return f"{message[0]}/{kind}{message[1:]}"
