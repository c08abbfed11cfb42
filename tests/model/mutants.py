"""Models that are wrong in one place: does the exploration notice?

A line is left out, or stands after the next one. Each of these must break a promise, or stand in
``HARMLESS`` with the reason why the code may well do so, as far as the programs were ``JUDGED``.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
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
    "to a mailbox": ("a mailbox with letters",),
    "to a new mailbox": ("several",),
    "record": ("a mailbox, another host",),
    "to an empty mailbox": ("several",),
    "to a torn mailbox": ("several",),
    "finish": ("a mailbox", "another host says no", "done together", "removed"),
    "retire": ("done together",),
    "flush": ("done together",),
    "hold": ("held",),
    "let go": ("held",),
    "put aside": ("nobody takes",),
    "take back": ("nobody takes",),
    "remove": ("put aside, removed",),
    "sweep df": ("swept",),
}
_LOOKS = "look new/qf new/tf new/xf new/af new/hf new/Qf"
_AT_THE_END = "it is closed at the end of the process"
_ONE_ID = "no id is used twice in the model"
_OTHERS = "nobody replaces a letter in the model"
_ALL_THREE = "all are made before anybody is told"
_ONE_PERSON = "one person at a time; nobody else takes a Qf"
_ONE_WRITER = "one message, so nobody else writes to it"
_SAME_MAILBOX = "nobody replaces a mailbox in the model"
_NOT_OPENED = "a mailbox is not opened in the model"
_BEHIND_THE_LOCK = "the piece is seen behind the lock: the model begins there"
_FOR_BOTH = "the fsync behind the write is for the cut, too"
#: what holds for whatever is accepted; "new" is "client" in clientmqueue
_CREATING = {
    "without lock new/df": "a df is swept an hour after its maker; see README",
    f"without {_LOOKS}": _ONE_ID,
    f"{_LOOKS} before lock new/df": _ONE_ID,
    f"write new/df before {_LOOKS}": _ONE_ID,
    "create new/tf before write new/df": "nothing is durable yet",
}
_COMMITTING = _CREATING | {
    "fsync new/df before write new/tf": _ALL_THREE,
    "fsync new/tf before fsync new/df": _ALL_THREE,
    "rename new/tf new/qf before fsync new/tf": _ALL_THREE,
}
#: change -> why no promise is broken by it; of the programs in JUDGED
HARMLESS = {
    **{f"accept: {change}": why for change, why in _COMMITTING.items()},
    **{f"accept together: {change}": why for change, why in _CREATING.items()},
    **{f"accept and keep: {change}": why for change, why in _COMMITTING.items()},
    **{f"submit: {change}".replace("new/", "client/"): why for change, why in _COMMITTING.items()},
    "accept and keep: write new/tf before lock new/tf": "it is locked before it is a qf",
    "submit: without fsync client/tf": "it is fsynced once more as the qf",
    "adopt: without open client/df": "a letter without df is not acknowledged",
    "adopt: read client/qf before open client/df": "only reads",
    "let the letter go: without look client/qf": _OTHERS,
    "let the letter go: unlink client/qf before look client/qf": _OTHERS,
    "let the letter go: without look client/df": _OTHERS,
    "let the letter go: unlink client/df before look client/df": _OTHERS,
    "let the letter go: look client/df before fsync client/directory": _OTHERS,
    "let the letter go: without close client/qf": _AT_THE_END,
    "let the letter go: fsync client/directory before close client/qf": "the name is gone before",
    "let the letter go: without unlink client/df": "it is swept",
    "take: read qf before look qf": "only reads",
    "take: open df before read qf": "only reads",
    "record: without utime tf": "when it is due is not in the model",
    "record: utime tf before write tf": "when it is due is not in the model",
    "record: fsync tf before utime tf": "when it is due is not in the model",
    "record: write tf before lock tf": "it is locked before it is the qf",
    "record: without close qf": _AT_THE_END,
    "record: fsync directory before close qf": "the new qf is locked already",
    "finish: without unlock qf": _AT_THE_END,
    "finish: without close qf": _AT_THE_END,
    "finish: without unlink df": "it is swept",
    "finish: close qf before unlock qf": "both let go of the lock",
    "finish: fsync directory before close qf": "the name is gone before",
    "retire: without unlock qf": _AT_THE_END,
    "retire: without close qf": _AT_THE_END,
    "retire: close qf before unlock qf": "both let go of the lock",
    "flush: without unlink df": "it is swept",
    "put aside: without look Qf": _ONE_ID,
    "put aside: rename qf Qf before look Qf": _ONE_ID,
    "put aside: without close Qf": _AT_THE_END,
    "hold: without rename qf hf": "the qf says that it is held, too",
    "hold: without fsync directory": "the qf says that it is held, too",
    "hold: fsync directory before rename qf hf": "the qf says that it is held, too",
    "take back: without lock Qf": _ONE_PERSON,
    "take back: without look Qf qf hf": _ONE_ID,
    "take back: look Qf qf hf before lock Qf": _ONE_ID,
    "take back: without utime Qf": "when it is due is not in the model",
    "take back: utime Qf before look Qf qf hf": "when it is due is not in the model",
    "take back: rename Qf qf before utime Qf": "when it is due is not in the model",
    "take back: without rename Qf qf": "it is kept as well as before",
    "take back: without fsync directory": "it is kept as well as before",
    "take back: fsync directory before rename Qf qf": "it is kept as well as before",
    "take back: without close qf": _AT_THE_END,
    "take back: close qf before fsync directory": "nothing follows but the end",
    "remove: without lock Qf": _ONE_PERSON,
    "remove: without look Qf": _ONE_ID,
    "remove: look Qf before lock Qf": _ONE_ID,
    "remove: unlink Qf before look Qf": _ONE_ID,
    "remove: without look df": _ONE_ID,
    "remove: look df before fsync directory": _ONE_ID,
    "remove: unlink df before look df": _ONE_ID,
    "remove: without unlink df": "it is swept",
    "remove: without close Qf": _AT_THE_END,
    "remove: close Qf before unlink df": "the name is gone before",
    "to a mailbox: without look mailbox": "it is there, and has letters",
    "to a mailbox: open mailbox before look mailbox": "it is there, and has letters",
    "to a mailbox: without look mailbox (2)": _SAME_MAILBOX,
    "to a mailbox: look mailbox before lock mailbox": _SAME_MAILBOX,
    "to a mailbox: write mailbox before look mailbox": _SAME_MAILBOX,
    "to a mailbox: without open mailbox": _NOT_OPENED,
    "to a mailbox: lock mailbox before open mailbox": _NOT_OPENED,
    "to a mailbox: without close mailbox": _ONE_WRITER,
    "to a mailbox: close mailbox before fsync mailbox": _ONE_WRITER,
    "to a new mailbox: without lock mailbox": _ONE_WRITER,
    "to a new mailbox: lock mailbox before fsync mail": _ONE_WRITER,
    "to a new mailbox: without look mailbox (2)": _SAME_MAILBOX,
    "to a new mailbox: look mailbox before lock mailbox": _SAME_MAILBOX,
    "to a new mailbox: write mailbox before look mailbox": _SAME_MAILBOX,
    "to a new mailbox: without close mailbox": _ONE_WRITER,
    "to a new mailbox: close mailbox before fsync mailbox": _ONE_WRITER,
    "to an empty mailbox: without open mailbox": _NOT_OPENED,
    "to an empty mailbox: open mailbox before fsync mail": _NOT_OPENED,
    "to an empty mailbox: lock mailbox before open mailbox": _NOT_OPENED,
    "to an empty mailbox: without lock mailbox": _ONE_WRITER,
    "to an empty mailbox: without look mailbox (2)": _SAME_MAILBOX,
    "to an empty mailbox: look mailbox before lock mailbox": _SAME_MAILBOX,
    "to an empty mailbox: write mailbox before look mailbox": _SAME_MAILBOX,
    "to an empty mailbox: without close mailbox": _ONE_WRITER,
    "to an empty mailbox: close mailbox before fsync mailbox": _ONE_WRITER,
    "to a torn mailbox: without look mailbox": _BEHIND_THE_LOCK,
    "to a torn mailbox: without open mailbox": _BEHIND_THE_LOCK,
    "to a torn mailbox: without lock mailbox": _BEHIND_THE_LOCK,
    "to a torn mailbox: without look mailbox (2)": _BEHIND_THE_LOCK,
    "to a torn mailbox: open mailbox before look mailbox": _BEHIND_THE_LOCK,
    "to a torn mailbox: lock mailbox before open mailbox": _BEHIND_THE_LOCK,
    "to a torn mailbox: look mailbox before lock mailbox": _BEHIND_THE_LOCK,
    "to a torn mailbox: cut mailbox before look mailbox": _SAME_MAILBOX,
    "to a torn mailbox: without fsync mailbox": _FOR_BOTH,
    "to a torn mailbox: fsync mailbox before cut mailbox": _FOR_BOTH,
    "to a torn mailbox: write mailbox before fsync mailbox": _FOR_BOTH,
    "to a torn mailbox: without close mailbox": _ONE_WRITER,
    "to a torn mailbox: close mailbox before fsync mailbox": _ONE_WRITER,
}
#: programs of which every change was judged
JUDGED = (
    *("accept", "accept together", "accept and keep", "submit", "adopt", "let the letter go"),
    *("take", "record", "finish", "retire", "flush", "put aside"),
    *("hold", "let go", "take back", "remove"),
    *("to a mailbox", "to a new mailbox", "to an empty mailbox", "to a torn mailbox"),
)


def mutants(name: str) -> Iterator[tuple[str, Programs]]:
    """What was changed in the program *name*, and the programs with that.

    Of changes that read alike the second is "... (2)".
    """
    seen = Counter[str]()
    for change, programs in _mutants(name):
        seen[change] += 1
        yield change if seen[change] == 1 else f"{change} ({seen[change]})", programs


def _mutants(name: str) -> Iterator[tuple[str, Programs]]:
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
        for small in _small(name, scenario) if scenario.name.startswith(WHERE[name]) else ():
            try:
                Explorer(Machine(small, programs)).explore()
            except Broken as error:
                return str(error).partition("\n")[0]
    return ""


def _small(name: str, scenario: Scenario) -> Iterator[Scenario]:
    """One runner and a crash, two runners without one: enough to see it, and fast.

    What is swept wants another runner, and a crash; a mailbox that is empty, or ends in a piece, one
    that is killed, and then a power cut.
    """
    if name.startswith("sweep") or name in ("to an empty mailbox", "to a torn mailbox"):
        yield scenario
        return
    yield replace(scenario, crashes=1, runners=1)
    yield replace(scenario, crashes=0, runners=2)


if __name__ == "__main__":
    if unknown := set(sys.argv[1:]) - set(WHERE):
        sys.exit(f"no such program: {', '.join(unknown)}; there are: {', '.join(WHERE)}")
    for program in sys.argv[1:] or WHERE:
        for change, programs in mutants(program):
            print(f"{change:60} {is_noticed(program, programs) or 'NOT NOTICED'}", flush=True)
