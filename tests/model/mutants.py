"""Models that are wrong in one place: does the exploration notice?

A line is left out, or stands after the next one. Each of these must break a promise, or stand in
``HARMLESS`` with the reason why the code may well do so, as far as the programs were ``JUDGED``.
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
_LOOKS = "look new/qf new/tf new/xf new/af new/hf new/Qf"
_AT_THE_END = "it is closed at the end of the process"
_ONE_ID = "no id is used twice in the model"
#: change -> why no promise is broken by it; of the programs in JUDGED
HARMLESS = {
    "accept together: without lock new/df": "a df is swept an hour after its maker; see README",
    f"accept together: without {_LOOKS}": _ONE_ID,
    f"accept together: {_LOOKS} before lock new/df": _ONE_ID,
    f"accept together: write new/df before {_LOOKS}": _ONE_ID,
    "accept together: create new/tf before write new/df": "nothing is durable yet",
    "adopt: without open client/df": "a letter without df is not acknowledged",
    "adopt: read client/qf before open client/df": "only reads",
    "finish: without unlock qf": _AT_THE_END,
    "finish: without close qf": _AT_THE_END,
    "finish: without unlink df": "it is swept",
    "finish: close qf before unlock qf": "both let go of the lock",
    "finish: fsync directory before close qf": "the name is gone before",
}
#: programs of which every change was judged
JUDGED = ("accept together", "adopt", "finish")


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
