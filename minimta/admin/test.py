"""``minimta test``: the whole suite, on this Python or in var/venv."""

from __future__ import annotations

import os
import sys

from minimta.admin.checkout import HOME, need_checkout
from minimta.admin.output import say
from minimta.admin.virtual_environment import enter


def run(arguments: list[str]) -> int:
    """Become pytest, in the checkout; *arguments* are for it, but for a leading ``--newest``."""
    need_checkout("test")
    newest = arguments[:1] == ["--newest"]
    enter("test", newest=newest)
    os.chdir(HOME)
    say(f"minimta test: {sys.executable}, Python {sys.version.split()[0]}")
    command = [sys.executable, "-I", "-m", "pytest", "-q", *arguments[newest:]]
    os.execv(sys.executable, command)
