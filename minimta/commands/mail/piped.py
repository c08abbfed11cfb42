"""Text is given to a program (sendmail, a pager, a filter), which reads of it what it wants.

mail(1) itself ends when nobody reads what it prints (SIGPIPE, as programs in a pipe do). That a pager was
left, or sendmail refused before it read, must not end it: what was typed or marked would be lost.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence


def run(
    command: Sequence[str | bytes], text: bytes, *, stdout: int | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run *command* with *text* as its standard input; *stdout* as subprocess has it. Raise OSError."""
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # the program has it as always
    try:
        return subprocess.run(command, input=text, stdout=stdout, check=False)
    finally:
        signal.signal(signal.SIGPIPE, before)
