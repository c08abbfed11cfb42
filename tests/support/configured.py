"""A command as a process that takes another file for the configuration of this host."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from minimta.admin.checkout import HOME

_SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from minimta.config import file
file.DEFAULT_FILE = sys.argv[2]
from importlib import import_module
main = import_module(f"minimta.commands.{sys.argv[3]}").main
code = main([sys.argv[3], *sys.argv[4:]])
sys.stdout.flush()
sys.exit(code)
"""


@dataclass(frozen=True)
class Ended:
    """What a process did."""

    code: int
    out: str
    err: str


def command(configuration: Path, name: str, *words: str) -> list[str]:
    """How the module *name* of minimta/commands is run."""
    return [sys.executable, "-c", _SCRIPT, HOME, str(configuration), name, *words]


def run(configuration: Path, name: str, *words: str, stdin: bytes = b"") -> Ended:
    """Run a module of minimta/commands."""
    done = subprocess.run(
        command(configuration, name, *words),
        input=stdin,
        capture_output=True,
        check=False,
        timeout=60,
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())
