"""Change one place of the code, run the tests that concern it, and see whether one of them notices.

    python3 -m tests.mutation --durable                 # what makes mail durable: every call and order
    python3 -m tests.mutation --random 80 --seed 1      # all modules, at random
    python3 -m tests.mutation --module queue/commit     # one

Works on a copy of the tree in a temporary directory. The tests of minimta/queue/commit.py are
tests/queue/test_commit.py if it is there, and else all of tests/queue/test_*.py; for the durable
path the suites that pull the plug and compare calls come first. Prints a line for each change: killed
(by which test), survived, or timed out, which counts as killed; and in the end how many of how many.
A change that stands in ``EXPLAINED`` is not made.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.mutation.changes import Change, changes
from tests.mutation.explained import EXPLAINED

HOME = Path(__file__).resolve().parents[2]
#: seconds for the tests of one change; what hangs is noticed
PATIENCE = 300
#: what makes mail durable, and which of its calls are of that kind
DURABLE = (
    *("queue/collect", "queue/commit", "queue/spool", "queue/locked", "queue/adopt"),
    *("queue/directory", "queue/put_aside", "queue/split"),
    *("mailers/files/append", "mailers/files/mbox", "mailers/files/maildir"),
    *("mailers/files/locked_file", "mailers/files/file_mailer"),
    *("runner/checkpoint", "runner/deliver", "runner/send_reports"),
    *("maps/cdbwriter", "system/files"),
)
_WORDS: tuple[str, ...] = (
    "fsync",
    "sync",
    "rename",
    "unlink",
    "lock",
    "retire",
    "flush",
    "release",
    "commit",
)
_WORDS += ("checkpoint", "rewrite", "withdraw", "discard", "cut", "mend", "settle", "link(")
#: before the tests of the room: they look at calls
_FIRST = ("tests/model/test_same_calls.py", "tests/queue/test_crash.py", "tests/test_crash.py")


class Mutant(NamedTuple):
    """A change of a module ("queue/commit")."""

    module: str
    change: Change

    @property
    def name(self) -> str:
        """How it is called in what is printed, and in EXPLAINED: lines move, this does not."""
        return f"{self.module}: {self.change.kind}: {' '.join(self.change.what.split())[:90]}"


def mutants(module: str, home: Path = HOME) -> Iterator[Mutant]:
    """All changes of a module but the explained ones."""
    for change in changes((home / "minimta" / f"{module}.py").read_text()):
        made = Mutant(module, change)
        if made.name not in EXPLAINED:
            yield made


def is_durable(mutant: Mutant) -> bool:
    """Is it a call, or an order of calls, by which mail becomes durable?"""
    what = mutant.change.what
    return mutant.change.kind in ("call", "order") and any(word in what for word in _WORDS)


def concerning(module: str, home: Path = HOME) -> list[str]:
    """The test files that concern a module, those that are quick to notice first."""
    room, name = os.path.split(module)
    mirrored = home / "tests" / room / f"test_{name}.py"
    first = [path for path in _FIRST if module in DURABLE and (home / path).exists()]
    if mirrored.exists():
        first.insert(0, str(mirrored.relative_to(home)))
    rest = sorted(str(path.relative_to(home)) for path in (home / "tests" / room).glob("test_*.py"))
    return list(dict.fromkeys([*first, *rest]))


def verdict(mutant: Mutant, copy: Path, tests: Sequence[str]) -> str:
    """Make the change in the *copy* of the tree, run *tests*, and take it back.

    "killed by TEST", "timed out", or "survived".
    """
    path = copy / "minimta" / f"{mutant.module}.py"
    before = path.read_bytes()
    path.write_text(mutant.change.text)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=copy, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return "timed out"
    finally:
        path.write_bytes(before)
    if not done.returncode:
        return "survived"
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return f"killed by {lines[0].split()[1] if lines else 'the start of the tests'}"


def chosen(given: argparse.Namespace) -> list[Mutant]:
    """What the options ask for."""
    if given.module:
        return list(mutants(given.module))
    if given.durable:
        return [one for module in DURABLE for one in mutants(module) if is_durable(one)]
    modules = sorted(
        str(path.relative_to(HOME / "minimta").with_suffix(""))
        for path in (HOME / "minimta").rglob("*.py")
        if path.stat().st_size > 200 and concerning(str(path.relative_to(HOME / "minimta"))[:-3])
    )
    dice = random.Random(given.seed)
    found = [list(mutants(dice.choice(modules))) for _ in range(given.random)]
    return [dice.choice(some) for some in found if some]


def main(arguments: Sequence[str]) -> int:
    """Exit code 1 if a change survived."""
    options = argparse.ArgumentParser(prog="tests.mutation", description=__doc__)
    options.add_argument("--durable", action="store_true")
    options.add_argument("--random", type=int, default=20, metavar="N")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--module", metavar="ROOM/NAME")
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, "tree")
        shutil.copytree(HOME, copy, ignore=shutil.ignore_patterns(".git", "var", "__pycache__"))
        for mutant in chosen(options.parse_args(arguments)):
            found = verdict(mutant, copy, concerning(mutant.module))
            counts[found.split()[0]] += 1
            print(f"{mutant.name} (line {mutant.change.line}): {found}", flush=True)
    total = sum(counts.values())
    print(f"{total - counts['survived']} of {total} noticed, {counts['timed']} by a timeout")
    return int(counts["survived"] > 0)
