"""A path is run once for each call that it makes and each error that this may report, and is judged.

    class Scene:                                # made anew for each case, in a directory of its own
        def act(self) -> None: ...              # what is done while the call fails
        def judge(self, fault, log) -> None: ...    # AssertionError says what is wrong

What holds for every path is asked here: no exception that nobody expected, no descriptor left open.
"""

from __future__ import annotations

import gc
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.callfaults import CallFault, Calls, faults

#: cases that are shown if many are wrong
_MOST_SHOWN = 12


#: values of is_full: what runs in CI, and what takes minutes
AMOUNTS = [
    pytest.param(False, id="some"),
    pytest.param(True, id="all", marks=pytest.mark.long),
]
TABLE = Path(__file__).parent / "README.md"


class Scene(Protocol):
    """One case of a path."""

    #: does the process end with it? Then it may leave closing to that
    is_process: bool

    def act(self) -> None:
        """Go the path: once, with a call that fails, or with none."""

    def judge(self, fault: CallFault | None, log: list[str]) -> None:
        """Raise AssertionError if what came of it is not as it must be; *log* are the lines."""


def sweep(make: Callable[[Path], Scene], directory: Path, *, is_full: bool, every: int = 1) -> int:
    """Run all cases, or if it is not *is_full* one of *every* so many of the chosen ones.

    Returns how many came to the call. AssertionError names what is wrong.
    """
    _run(make, directory, None)  # what is read once in a process was read then
    gc.freeze()  # the collections after the cases pass over what is here now: all of pytest
    try:
        return _swept(make, directory, is_full=is_full, every=every)
    finally:
        gc.unfreeze()


def _swept(make: Callable[[Path], Scene], directory: Path, *, is_full: bool, every: int) -> int:
    wrong, made = _run(make, directory, None)
    assert not wrong, wrong
    count = 0
    step = 1 if is_full else every
    for fault in itertools.islice(faults(made.made, is_full=is_full), None, None, step):
        found, calls = _run(make, directory, fault)
        count += calls.hit
        wrong += found
    assert not wrong, "\n".join([f"{len(wrong)} of {count} cases:", *wrong[:_MOST_SHOWN]])
    return count


def _run(
    make: Callable[[Path], Scene], directory: Path, fault: CallFault | None
) -> tuple[list[str], Calls]:
    """What is wrong with one case, if anything is; and its calls."""
    place = directory / "case"
    place.mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)  # nobody pulls the plug here
        try:
            return _played(make(place), fault)
        finally:
            shutil.rmtree(place)


def _played(scene: Scene, fault: CallFault | None) -> tuple[list[str], Calls]:
    before, escaped = descriptors(), ""
    with Calls(fault) as calls:
        try:
            scene.act()
        except Exception as error:
            escaped = repr(error)
    try:
        assert not escaped, escaped
        left = descriptors() - before
        if left:
            gc.collect()  # what nobody holds any more closes by itself
            left = descriptors() - before
        assert scene.is_process or not left, f"open: {left}"
        for name in left:
            os.close(int(name.split()[0]))
        assert not [line for line in calls.log if "Traceback" in line], "an exception"
        scene.judge(fault, calls.log)
        left = descriptors() - before
        assert scene.is_process or not left, f"open, now that the rest was done: {left}"
    except AssertionError as error:
        what = str(error).partition("\n")[0]
        return [f"{fault}: {what[:200]} | {' | '.join(calls.log[-4:])[:300]}"], calls
    return [], calls


def descriptors() -> set[str]:
    """What this process has open, by number and name."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except FileNotFoundError:
            continue  # that of this listing
    return found


def compare(path: str, count: int, *, is_full: bool) -> None:
    """Does the table say how many cases of *path* there are? About: machines differ a little."""
    rows = [line.split("|") for line in TABLE.read_text(encoding="utf-8").split("\n")]
    [told] = [row[4 if is_full else 3] for row in rows if len(row) > 4 and row[1].strip() == path]
    assert abs(int(told) - count) <= max(5, 0.25 * count), (
        f"{path}: {count} cases, the table says {told}"
    )
