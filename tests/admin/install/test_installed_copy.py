"""What only a checkout can do, asked of a copy that pip has installed: the package without bin/."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minimta.admin.checkout import HOME

_START = "import sys; sys.path.insert(0, sys.argv[1]); from minimta.admin.verbs import main; sys.exit(main(sys.argv[2:]))"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that has the copy."""
    there = tmp_path_factory.mktemp("lib")
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(HOME, "minimta"), there / "minimta", ignore=unwanted)
    return there


@pytest.mark.parametrize(
    "words",
    [["install", "--dry-run"], ["uninstall", "--dry-run"], ["package"], ["demo"], ["test", "-h"]],
)
def test_it_says_what_it_cannot_do_and_how_it_is_done(installed: Path, words: list[str]) -> None:
    command = [sys.executable, "-IB", "-c", _START, str(installed), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    verb = words[0]
    needs = f"{verb} needs a checkout of the project, and {installed} is an installed copy"
    assert done.stderr == f"minimta {verb}: {needs}: git clone, and there bin/minimta {verb}\n"
    assert (done.returncode, done.stdout) == (os.EX_UNAVAILABLE, "")
