"""Models that are wrong in one place: does the exploration notice?

A line is left out, or stands after the next one. Each of these must break a promise, or stand in
``HARMLESS`` with the reason why the code may well do so.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace

from tests.model.explore import SCENARIOS, Broken, Explorer
from tests.model.machine import Machine, Scenario
from tests.model.programs import PROGRAMS, Programs

#: a program -> how the names of scenarios begin that come through it
WHERE = {
    "accept": ("a mailbox",),
    "accept together": ("several",),
    "accept and keep": ("delivered",),
    "submit": ("adopted",),
    "adopt": ("adopted",),
    "let the letter go": ("adopted",),
    "take": ("a mailbox",),
    "to a mailbox": ("a mailbox",),
    "to a new mailbox": ("several",),
    "record": ("a mailbox, another host",),
    "finish": ("a mailbox", "another host says no"),
    "sweep df": ("several",),
}
_ENTRIES = {"accept": "new", "accept together": "new", "accept and keep": "new", "submit": "client"}


def _in_entries() -> Iterator[tuple[str, str]]:
    for name, new in _ENTRIES.items():
        looks = next(str(step) for step in PROGRAMS[name] if step.call == "look")
        yield f"{name}: without lock {new}/df", "a df is swept an hour after its maker; see README"
        for change in (
            *(f"without {looks}", f"{looks} before lock {new}/df"),
            f"write {new}/df before {looks}",
        ):
            yield f"{name}: {change}", "no id is used twice in the model"
        if name != "accept together":
            change = f"{name}: create {new}/tf before fsync {new}/df"
            yield change, "an empty tf and a df that is not durable are the same to everybody"
            change = f"{name}: rename {new}/tf {new}/qf before fsync {new}/tf"
            yield change, "nobody was told yet; what is torn is put aside"


#: change -> why no promise is broken by it
HARMLESS = {
    **dict(_in_entries()),
    "accept together: create new/tf before write new/df": "nothing is durable yet",
    "accept and keep: write new/tf before lock new/tf": "nobody locks a tf that is being written",
    "submit: without fsync client/tf": "the file is fsynced again by its new name",
    "submit: fsync client/tf before write client/tf": "the file is fsynced again by its new name",
    "adopt: without open client/df": "a letter without df is not acknowledged",
    "adopt: read client/qf before open client/df": "only reads",
    "let the letter go: without look client/qf": "nobody replaces a letter in the model; users may",
    "let the letter go: without look client/df": "nobody replaces a letter in the model; users may",
    "let the letter go: without close client/qf": "it is closed at the end of the process",
    "let the letter go: without unlink client/df": "it is swept",
    "let the letter go: unlink client/qf before look client/qf": "the look is for what users do",
    "let the letter go: fsync client/directory before close client/qf": "the name is gone before",
    "let the letter go: look client/df before fsync client/directory": "only reads",
    "let the letter go: unlink client/df before look client/df": "the look is for what users do",
}
_AT_THE_END = "it is closed at the end of the process"
HARMLESS |= {
    "finish: without unlock qf": _AT_THE_END,
    "finish: without close qf": _AT_THE_END,
    "finish: without unlink df": "it is swept",
    "finish: close qf before unlock qf": "both let go of the lock",
    "finish: fsync directory before close qf": "the name is gone before",
}
#: programs of which every change was judged
JUDGED = (
    "accept",
    "accept together",
    "accept and keep",
    "submit",
    "adopt",
    "let the letter go",
    "finish",
)


def mutants(name: str) -> Iterator[tuple[str, Programs]]:
    """What was changed in the program *name*, and the programs with that."""
    steps = PROGRAMS[name]
    for number, step in enumerate(steps):
        less = (*steps[:number], *steps[number + 1 :])
        if less:
            yield f"{name}: without {step}", {**PROGRAMS, name: less}
    for number, (one, other) in enumerate(itertools.pairwise(steps)):
        swapped = (*steps[:number], other, one, *steps[number + 2 :])
        yield f"{name}: {other} before {one}", {**PROGRAMS, name: swapped}


def is_noticed(name: str, programs: Programs) -> str:
    """The promise that is broken; "" if none is."""
    for scenario in SCENARIOS:
        for small in _small(scenario) if scenario.name.startswith(WHERE[name]) else ():
            try:
                Explorer(Machine(small, programs)).explore()
            except Broken as error:
                return str(error).partition("\n")[0]
    return ""


def _small(scenario: Scenario) -> Iterator[Scenario]:
    """One runner and a crash, two runners without one: enough to see it, and fast."""
    yield replace(scenario, crashes=1, runners=1)
    yield replace(scenario, crashes=0, runners=2)


if __name__ == "__main__":
    for program in sys.argv[1:] or WHERE:
        for change, programs in mutants(program):
            print(f"{change:60} {is_noticed(program, programs) or 'NOT NOTICED'}", flush=True)
