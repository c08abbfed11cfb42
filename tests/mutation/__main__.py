"""Change the code in one place, and see which test notices.

    --durable            every change of the durable path that durable.tsv has no row for
    --durable --write    the same, and the table brought up to date: rows of what is gone go, too
    --table --root       every row of durable.tsv: does the test that it names still notice?
    --random N           N changes of the whole code, by --seed
    --module PATH        all changes of one module, or with --durable those of its durable path

One line for each change as it is judged, the survivors at the end; exit code 1 if there are any,
69 if this Python has not what the tests need.
"""

from __future__ import annotations

import argparse
import os
import queue
import random
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.util import find_spec

from tests.mutation import durable, table
from tests.mutation.changes import COMMON, Change, changes
from tests.mutation.run import HOME, Verdict, Workplace, stages

Case = tuple[str, Change]
#: what the tests import
_WANTED = ("pytest", "freezegun", "dns", "filelock")


def main(arguments: list[str]) -> int:
    """Judge what the *arguments* ask for; the exit code."""
    asked = _parser().parse_args(arguments)
    # Without them every test fails, changed or not.
    if missing := [name for name in _WANTED if not find_spec(name)]:
        print(f"needs {', '.join(missing)}: see README.md, or take var/venv/bin/python")
        return os.EX_UNAVAILABLE
    cases, survived = list(_cases(asked)), 0
    found = {row.key: row for row in table.rows(table.DURABLE)}
    for (module, change), verdict in _judged(cases, asked):
        place = f"{module}:{change.line} {change.function}"
        print(f"{verdict.fate:9} {place}: {change.what}  {verdict.test}", flush=True)
        survived += not verdict.is_killed
        if asked.write and verdict.is_killed:
            row = table.row(module, change, verdict.test)
            found[row.key] = row
            table.write(table.DURABLE, durable.in_order(found))
    print(f"{len(cases)} changes, {survived} survived")
    return 1 if survived else 0


def _parser() -> argparse.ArgumentParser:
    assert __doc__
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.mutation", description=__doc__.partition("\n")[0]
    )
    add = parser.add_argument
    add("--durable", action="store_true", help="what durable.tsv has no row for")
    add("--table", action="store_true", help="each row of durable.tsv, by its test alone")
    add("--random", type=int, default=0, metavar="N", help="so many changes of the whole code")
    add("--seed", default="1", help="which they are")
    add("--module", default="", metavar="PATH", help="only minimta/queue/commit.py, say")
    add("--write", action="store_true", help="with --durable: bring durable.tsv up to date")
    add("--near", action="store_true", help="not the suites that crash and cut the power")
    add("--root", action="store_true", help="with root's rights, not an ordinary user's")
    add("--jobs", type=int, default=2, metavar="N", help="so many at a time")
    return parser


def _cases(asked: argparse.Namespace) -> Iterator[Case]:
    rows = table.rows(table.DURABLE)
    if asked.table or asked.durable:
        known = {row.key for row in rows if not (asked.table and row.reason)}
        for case in durable.all_changes():
            if asked.module in ("", case[0]) and (table.key(*case) in known) is asked.table:
                yield case
        return
    explained = {row.key for row in table.rows(table.SURVIVORS)}
    found = [case for case in _common(asked.module) if table.key(*case) not in explained]
    if asked.random:
        found = random.Random(asked.seed).sample(found, min(asked.random, len(found)))
    yield from found


def _common(module: str) -> Iterator[Case]:
    for path in [HOME / module] if module else sorted((HOME / "minimta").rglob("*.py")):
        for change in changes(path.read_text(encoding="utf-8")):
            if change.kind in COMMON:
                yield str(path.relative_to(HOME)), change


def _judged(cases: list[Case], asked: argparse.Namespace) -> Iterator[tuple[Case, Verdict]]:
    """Each with what became of it, as they end."""
    judge = _Judge(asked)
    try:
        with ThreadPoolExecutor(asked.jobs) as threads:
            begun = {threads.submit(judge.verdict, case): case for case in cases}
            for over in as_completed(begun):
                yield begun[over], over.result()
    finally:
        judge.close()


class _Judge:
    """As many copies of the tree as changes are judged at a time. For all threads."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._near = asked.near
        self._tests = {row.key: row.killed_by for row in table.rows(table.DURABLE)}
        self._by_name = asked.table
        self._all = [Workplace(as_root=asked.root) for _ in range(asked.jobs)]
        self._free: queue.SimpleQueue[Workplace] = queue.SimpleQueue()
        for place in self._all:
            self._free.put(place)
        #: (module, test file) -> changes that it has noticed
        self._good = Counter[tuple[str, str]]()

    def close(self) -> None:
        for place in self._all:
            place.close()

    def verdict(self, case: Case) -> Verdict:
        module, change = case
        place = self._free.get()
        try:
            if self._by_name:
                test = self._tests[table.key(module, change)]
                return Verdict(place.notices(module, change, test), test)
            verdict = place.judge(module, change, self._stages(module))
        finally:
            self._free.put(place)
        if verdict.test:
            self._good[module, verdict.test.partition("::")[0]] += 1
        return verdict

    def _stages(self, module: str) -> list[list[str]]:
        """Those files first that have noticed most changes of the module."""
        found = stages(module, suites=()) if self._near else stages(module)
        noticed = [(count, test) for (where, test), count in self._good.items() if where == module]
        good = [test for _, test in sorted(noticed, reverse=True)]
        rest = [[test for test in stage if test not in good] for stage in found]
        return [stage for stage in (good, *rest) if stage]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
