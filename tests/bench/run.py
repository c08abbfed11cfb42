#!/usr/bin/python3
"""Measure a minimta of its own on this machine, and kill it under load: see README.md beside this file.

python3 tests/bench/run.py                     all works, 2,000 messages each
python3 tests/bench/run.py --kill 30           30 times kill -9 under load, then all is counted
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench import machine
from tests.bench.generators import GeneratorError, Generators, find
from tests.bench.killing import VICTIMS, Killer
from tests.bench.load import Load, SourceLoad
from tests.bench.mixture import Mixture
from tests.bench.works import WORKS, Bench, Row

#: of other programs, in messages a second: what they publish, measured on 64 cores (README.md)
PUBLISHED = {"NitroMTA 0.1.3": 3313, "KumoMTA": 1048, "Postfix": 806}
PUBLISHED_CORES = 64


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line. SystemExit if it makes no sense."""
    parser = argparse.ArgumentParser(prog="run.py", description="measure minimta on this machine")
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"of {', '.join(WORKS)}; all")
    parser.add_argument("-n", type=int, default=2000, help="messages of a measurement")
    parser.add_argument("-c", default="1,10,50", help="numbers of connections, for accept")
    parser.add_argument("-r", type=int, default=1, help="repetitions; medians are given")
    parser.add_argument("--kill", type=int, default=0, metavar="N", help="kill -9 so often instead")
    parser.add_argument("--sender", choices=("postfix", "python"), default="")
    parser.add_argument("--postfix", default="", help="directory of smtp-source and smtp-sink")
    parser.add_argument("--directory", default="/var/tmp", help="whose file system is used")
    parser.add_argument("--json", default="", help="write the figures there as well")
    given = parser.parse_args(arguments)
    if unknown := [work for work in given.works if work not in WORKS]:
        parser.error(f"no such work: {' '.join(unknown)}")
    if min(given.n, given.r) < 1 or not all(_is_count(word) for word in given.c.split(",")):
        parser.error("-n, -r and each of -c are 1 at least")
    for place in (given.directory, os.path.dirname(given.json) or "."):
        if not os.access(place, os.W_OK | os.X_OK):
            parser.error(f"cannot write in {place}")
    return given


def _is_count(word: str) -> bool:
    return word.isdecimal() and int(word) > 0


def main(arguments: list[str]) -> int:
    """Exit code 0; 1 if something was lost, torn, or could not be measured; 69 if a package is missing."""
    given = parse(arguments)
    if missing := [name for name in ("dns", "filelock") if not importlib.util.find_spec(name)]:
        print(f"run.py: needs {' and '.join(missing)}: see README.md, or take var/venv/bin/python")
        return os.EX_UNAVAILABLE
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="minimta-bench-", dir=given.directory) as name:
        directory = Path(name)
        try:
            generators = find(given.sender, given.postfix)
            facts = [*machine.facts(directory), ("sender, receiver", generators.names())]
            show([f"{what:<22}{how}" for what, how in facts])
            if given.kill:
                return killed(directory, generators, given.n, given.kill)
            rows = measured(directory, generators, given)
        except GeneratorError as error:
            print(f"run.py: {error}", file=sys.stderr)
            return 1
    show(table(rows))
    if given.json:
        figures = {"machine": dict(facts), "rows": [asdict(row) for row in rows]}
        Path(given.json).write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def measured(directory: Path, generators: Generators, given: argparse.Namespace) -> list[Row]:
    """The medians of all repetitions of the works. Raise GeneratorError."""
    connections = [int(word) for word in given.c.split(",")]
    seen: dict[str, list[Row]] = defaultdict(list)
    for _ in range(given.r):
        for work in given.works or WORKS:
            for row in WORKS[work](Bench(directory, generators, given.n, connections)):
                seen[row.work].append(row)
    return [
        Row(
            work,
            statistics.median(row.rate for row in rows),
            statistics.median(row.cpu_ms for row in rows),
        )
        for work, rows in seen.items()
    ]


def table(rows: list[Row]) -> list[str]:
    """The lines of the report, with what others publish below."""
    cores = machine.cores()
    lines = [f"{'':<22}{'messages/s':>12}{'a core':>10}{'CPU ms':>10}"]
    lines += [f"{r.work:<22}{r.rate:>12.0f}{r.rate / cores:>10.0f}{r.cpu_ms:>10.2f}" for r in rows]
    lines.append(f"published by others, {PUBLISHED_CORES} cores:")
    return lines + [
        f"{name:<22}{rate:>12.0f}{rate / PUBLISHED_CORES:>10.0f}"
        for name, rate in PUBLISHED.items()
    ]


def killed(directory: Path, generators: Generators, messages: int, kills: int) -> int:
    """Kill under load, count, report; 1 if a message was lost or torn, or one in a hundred came twice."""
    mixture = Mixture(directory)
    mixture.build()
    killer = Killer(mixture.host, random.Random())
    mixture.host.up("-bD", "-q15m")
    source = generators.source
    try:
        loaded = (
            SourceLoad(mixture, messages, source) if source else Load(mixture, messages, rest=0.1)
        )
        with loaded as load:
            for number in range(kills):
                goal = messages * (number + random.random()) / (kills + 1)
                while mixture.acknowledged < goal and load.is_going():
                    time.sleep(0.002)
                killer.strike(VICTIMS[number % len(VICTIMS)])
            load.wait()
        is_empty = mixture.host.drain(300)
        tallies = mixture.tallies()
    finally:
        mixture.host.kill(mixture.host.processes())
        mixture.close()
    copies = sum(tally.expected for tally in tallies.values())
    lost = sum(len(tally.lost) for tally in tallies.values())
    torn = sum(tally.torn for tally in tallies.values())
    twice = sum(tally.duplicates for tally in tallies.values())
    kinds = ", ".join(f"{kind} {number}" for kind, number in killer.struck.items())
    show(
        [
            f"{'acknowledged':<22}{mixture.acknowledged} messages, {copies} copies to come",
            f"{'kill -9':<22}{kinds}",
            f"{'lost':<22}{lost}",
            f"{'torn':<22}{torn}",
            f"{'came twice':<22}{twice} ({100 * twice / max(1, copies):.2f} %)",
            f"{'locked mailboxes':<22}{killer.locks_left}, {killer.longest_lock:.1f} s at most",
            f"{'the queue':<22}{'is empty' if is_empty else 'is not empty'}",
        ]
    )
    return int(bool(lost or torn or twice * 100 > copies or not is_empty))


def show(lines: list[str]) -> None:
    """Print them."""
    print("\n".join(lines), end="\n\n", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
