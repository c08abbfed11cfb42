"""``minimta VERB``: picks the door. Needs nothing but the standard library."""

from __future__ import annotations

import os
import sys
from importlib import import_module

from minimta import __version__
from minimta.admin.checkout import AdminError

#: verb -> (module with its run(arguments) -> exit code, what it does)
VERBS = {
    "demo": ("minimta.admin.demo.demo", "play the way of a letter with a private root in var/demo"),
    "test": (
        "minimta.admin.test",
        "run the test suite [--newest: not on this Python's libraries]; more goes to pytest",
    ),
    "install": (
        "minimta.admin.install.install",
        "put sendmail in its place on this machine [--dry-run]",
    ),
    "trace": ("minimta.admin.trace", "tell where an address leads, and why [-C FILE] ADDRESS..."),
    "uninstall": ("minimta.admin.install.uninstall", "take that back, leave all mail [--dry-run]"),
}


def main(arguments: list[str]) -> int:
    """Run the verb and give its exit code; trouble is one sentence on stderr."""
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if verb in ("--help", "-h", "help"):
        print(usage())
        return os.EX_OK if arguments else os.EX_USAGE
    if verb == "--version":
        print(f"minimta {__version__}")
        return os.EX_OK
    if verb not in VERBS:
        print(f"minimta: unknown verb {verb!r}\n{usage()}", file=sys.stderr)
        return os.EX_USAGE
    return _run(verb, rest)


def _run(verb: str, arguments: list[str]) -> int:
    try:
        run = import_module(VERBS[verb][0]).run
        return int(run(arguments))
    except AdminError as trouble:
        print(f"minimta {verb}: {trouble}", file=sys.stderr)
        return trouble.exit_code
    except KeyboardInterrupt:
        return 130


def usage() -> str:
    """What ``minimta --help`` prints: a line for each verb."""
    lines = [f"  {verb:<10} {meaning}" for verb, (_, meaning) in VERBS.items()]
    return "\n".join(["usage: minimta VERB [ARGUMENT...]", *lines])
