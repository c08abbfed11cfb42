"""All states of the queue, and what must hold in each.

python3 -m tests.model.explore          # from the top of the project
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.model.disk import WHOLE, Control, Mailbox
from tests.model.machine import DEFERRED, FAILED, SENT, Machine, Scenario
from tests.model.programs import PROGRAMS, Programs
from tests.model.world import SENDER, State, Violation

_ANY = (SENT, DEFERRED)
#: the names of a control file
_CONTROLS = ("qf", "hf", "Qf")
SCENARIOS = (
    Scenario("a mailbox", "accept", {"mailbox": _ANY}, runners=2),
    Scenario("a mailbox, another host", "accept", {"mailbox": (SENT,), "remote": _ANY}, runners=2),
    Scenario("another host says no", "accept", {"mailbox": (SENT,), "remote": (FAILED,)}),
    Scenario(
        "several at once",
        "accept together",
        {"mailbox": (SENT,)},
        mailbox=Mailbox(exists=False, is_named=False),
        runners=2,
        crashes=2,
    ),
    Scenario("done together", "accept", {"remote": (FAILED,)}, batch=2),
    Scenario("swept meanwhile", "accept", {"remote": (SENT,)}, batch=2, runners=2),
    Scenario("delivered at once", "accept and keep", {"program": _ANY}, runners=2, crashes=2),
    Scenario("adopted", "submit", {"mailbox": (SENT,)}),
    Scenario("held, let go", "accept", {"remote": (SENT,)}, deeds=("hold", "let go"), runners=2),
    Scenario("removed", "accept", {"mailbox": _ANY}, deeds=("remove",)),
    Scenario(
        "a mailbox with letters",
        "accept",
        {"mailbox": (SENT,)},
        mailbox=Mailbox(has_others=True),
        runners=2,
        crashes=2,
    ),
    Scenario(
        "put aside, removed",
        "accept",
        {"remote": (FAILED,)},
        report=(FAILED,),
        deeds=("remove what was put aside",),
    ),
    Scenario(
        "nobody takes the report",
        "accept",
        {"remote": (FAILED,)},
        report=(SENT, FAILED),
        deeds=("take back",),
    ),
)


@dataclass
class Explored:
    """What was seen."""

    scenario: str
    states: int = 0
    transitions: int = 0
    ends: int = 0
    seconds: float = 0.0


class Broken(Exception):
    """A promise is broken; ``str()`` is the way there."""


@dataclass
class Explorer:
    """Breadth first, so that the way to a violation is as short as can be."""

    machine: Machine
    is_progress_asked: bool = True
    numbers: dict[int, int] = field(default_factory=dict)
    came: list[tuple[int, str]] = field(default_factory=list)
    quiet: list[list[int]] = field(default_factory=list)
    vain: list[list[int]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def explore(self) -> Explored:
        """Visit every state. Raise Broken."""
        begun, transitions = time.process_time(), 0
        first = self.machine.initial()
        todo = deque([(self._see(first, -1, "nothing has come"), first)])
        while todo:
            number, state = todo.popleft()
            try:
                check(state, self.machine.scenario)
                for move in self.machine.successors(state):
                    transitions += 1
                    label, after, is_quiet, is_vain = move
                    there = self.numbers.get(hash(after))
                    if there is None:
                        there = self._see(after, number, label)
                        todo.append((there, after))
                    if is_quiet:
                        (self.vain if is_vain else self.quiet)[number].append(there)
            except Violation as error:
                raise Broken(self._story(number, str(error))) from error
            if is_end(state):
                self.ends.append(number)
        self._progress()
        seconds = time.process_time() - begun
        name = self.machine.scenario.name
        return Explored(name, len(self.numbers), transitions, len(self.ends), seconds)

    def _see(self, state: State, before: int, label: str) -> int:
        number = self.numbers[hash(state)] = len(self.came)
        self.came.append((before, label))
        self.quiet.append([])
        self.vain.append([])
        return number

    def _story(self, number: int, error: str) -> str:
        lines = [f"{self.machine.scenario.name}: {error}"]
        while number >= 0:
            number, label = self.came[number]
            lines.append(label)
        return "\n".join([lines[0], *reversed(lines[1:])])

    def _progress(self) -> None:
        """On a quiet day everything comes to an end: no way goes round, none stops before."""
        waits = [len(after) for after in self.quiet]
        before: list[list[int]] = [[] for _ in self.quiet]
        for number, after in enumerate(self.quiet):
            for one in after:
                before[one].append(number)
        todo = [number for number, count in enumerate(waits) if not count]
        ends = set(self.ends)
        for number in todo:
            if number not in ends and not self.vain[number]:
                raise Broken(self._story(number, "nothing can go on"))
        seen = 0
        while todo:
            number = todo.pop()
            seen += 1
            for one in before[number]:
                waits[one] -= 1
                if not waits[one]:
                    todo.append(one)
        if seen < len(waits):
            number = next(n for n, count in enumerate(waits) if count)
            raise Broken(self._story(number, "this may go on for ever"))


# --- what must hold ---------------------------------------------------------------------------------


def queued(state: State) -> set[str]:
    """Recipients of what is queued, or put aside, whole."""
    names, seen = dict(state.names), {number: content for number, content, _ in state.inodes}
    found: set[str] = set()
    for name, inode in state.names:
        if name[2:4] in _CONTROLS:
            control = seen[inode]
            data = names.get(f"{name[:2]}df{name[4:]}", 0)
            if isinstance(control, Control) and data and seen[data] == WHOLE:
                found.update(control.recipients)
    return found


def check(state: State, scenario: Scenario) -> None:
    """The promises. Raise Violation."""
    there, copies, excused = queued(state), dict(state.copies), dict(state.excused)
    copies["mailbox"] = state.mailbox.copies
    told = SENDER in there or copies.get(SENDER, 0)
    for recipient in (*scenario.outcomes, SENDER):
        if copies.get(recipient, 0) > 1 + excused.get(recipient, 0):
            raise Violation(f"{recipient} has it again, without a reason")
        is_safe = recipient in there or copies.get(recipient) or told or state.removed
        if state.acknowledged and recipient != SENDER and not is_safe:
            raise Violation(f"the message for {recipient} is lost")
    # Of what nobody was promised the next delivery takes the piece away, by its note.
    is_owed = state.acknowledged and not state.removed
    if is_owed and state.mailbox.torn and "mailbox" not in there:
        raise Violation("a piece stays in the mailbox")
    if any(name[0] + name[4:] == state.gone and name[2:4] in _CONTROLS for name, _ in state.names):
        raise Violation("what a person has removed is there again")
    _check_files(state)


def _check_files(state: State) -> None:
    names = dict(state.names)
    for message in state.durable:
        directory, number = message[0], message[1:]
        for kind in ("qf", "hf"):
            if f"{directory}/{kind}{number}" in names and f"{directory}/df{number}" not in names:
                raise Violation(f"a {kind} without its df")


def is_end(state: State) -> bool:
    """Nothing is under way, and all that is left was put aside or waits for a person."""
    if state.processes or not state.entered:
        return False
    seen = {number: content for number, content, _ in state.inodes}
    resting = {n[0] + n[4:] for n, inode in state.names if _rests(n[2:4], seen[inode])}
    return all(name[0] + name[4:] in resting for name, _ in state.names)


def _rests(kind: str, content: str | Control) -> bool:
    """Was it put aside, or is it in quarantine, if only by what stands in it?"""
    return kind in ("Qf", "hf") or (kind == "qf" and isinstance(content, Control) and content.held)


def explore(scenario: Scenario, programs: Programs = PROGRAMS) -> Explored:
    """All states of one scenario. Raise Broken."""
    return Explorer(Machine(scenario, programs)).explore()


def main(arguments: Sequence[str]) -> None:
    """Print what was explored: of the scenarios that have one of the *arguments* in their name."""
    if arguments and not any(word in one.name for word in arguments for one in SCENARIOS):
        sys.exit(f"no such scenario; there are: {'; '.join(one.name for one in SCENARIOS)}")
    total = Explored("all")
    print(f"{'scenario':36}{'states':>10}{'transitions':>13}{'ends':>7}{'seconds':>9}")
    for scenario in SCENARIOS:
        if arguments and not any(word in scenario.name for word in arguments):
            continue
        found = explore(scenario)
        total.states += found.states
        total.transitions += found.transitions
        total.ends += found.ends
        total.seconds += found.seconds
        _print(found)
    _print(total)


def _print(found: Explored) -> None:
    print(
        f"{found.scenario:36}{found.states:10}{found.transitions:13}{found.ends:7}{found.seconds:9.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
