"""The harness of the README works, with its own sender and few messages."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import run
from tests.bench.copies import Copy, Tally, of_mailbox, tally, text

RUN = Path(run.__file__)


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="minimta-bench-") as name:
        Path(name).chmod(0o755)  # users of the host run programs there
        yield Path(name)


def harness(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(RUN),
        "--sender",
        "python",
        "--directory",
        str(directory),
        *words,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


# Three seconds for the first two, on a quiet machine.
@pytest.mark.parametrize(
    "works",
    [
        {"accept": ["accept c2", "accept c2 kept"], "relay": ["relay"]},
        pytest.param(
            {
                "local": ["local, end to end"],
                "submit": ["submit, 1 at once", "submit, 10 at once"],
            },
            marks=pytest.mark.long,
        ),
    ],
    ids=" ".join,
)
def test_works_give_rates_and_the_machine_is_described(
    directory: Path, works: dict[str, list[str]]
) -> None:
    figures = directory / "figures.json"
    done = harness(directory, "-n", "5", "-c", "2", "--json", str(figures), *works)
    assert done.returncode == 0, done.stderr
    told = json.loads(figures.read_text())
    assert [row["work"] for row in told["rows"]] == [*itertools.chain(*works.values())]
    assert all(row["rate"] > 0 and row["cpu_ms"] > 0 for row in told["rows"])
    assert told["machine"]["sender, receiver"] == "tests/bench/sender.py, tests/bench/sink.py"
    assert " on " in told["machine"]["file system"]
    assert "NitroMTA" in done.stdout
    assert os.listdir(directory) == ["figures.json"], "nothing is left behind"


@pytest.mark.long
def test_kills_are_counted_and_nothing_is_lost(directory: Path) -> None:
    done = harness(directory, "-n", "20", "--kill", "1")
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert (lines["lost"], lines["torn"]) == ("0", "0")
    assert lines["acknowledged"].startswith("20 messages")


@pytest.mark.parametrize("words", [["nothing"], ["--sender", "exim"]])
def test_what_it_cannot_do_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        run.parse(words)


# --- the account ------------------------------------------------------------------------------------


def test_a_mailbox_is_read_message_by_message_and_a_torn_end_is_told(tmp_path: Path) -> None:
    box = tmp_path / "dave"
    one, two = text("1@x", 500), text("2@x", 500)
    box.write_bytes(b"From frank Mon\n" + one + b"\nFrom frank Mon\n" + two + b"\n")
    assert tally(["1@x", "2@x"], of_mailbox(box)) == Tally(2, (), 0, 0)
    for cut in (1, 2, 50):
        box.write_bytes(box.read_bytes()[:-cut])
        assert tally(["1@x", "2@x"], of_mailbox(box)) == Tally(2, ("2@x",), 1, 0)


def test_what_did_not_come_is_lost_and_what_came_again_is_a_duplicate() -> None:
    found = [Copy("a", 5, 5), Copy("a", 5, 5), Copy("unknown", 5, 5)]
    assert tally(["a", "b"], found) == Tally(2, ("b",), 0, 1)


def test_without_a_promise_a_copy_is_whole_that_is_as_long_as_most() -> None:
    found = [Copy("a", None, 9), Copy("b", None, 9), Copy("c", None, 4)]
    assert tally(["a", "b", "c"], found) == Tally(3, ("c",), 1, 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-n", "0"], "-n, -r and each of -c are 1 at least"),
        (["-c", "1,0"], "-n, -r and each of -c are 1 at least"),
        (["--directory", "/nonexistent"], "cannot write in /nonexistent"),
        (["--json", "/nonexistent/x"], "cannot write in /nonexistent"),
    ],
)
def test_what_cannot_be_measured_or_kept_is_told_before(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run.parse(words)
    assert capsys.readouterr().err.endswith(f"run.py: error: {told}\n")
