"""Keep what is in a process's memory from others: no core dump, no debugger of the same user.

Linux clears the flag when a process changes its user, and sets it when it executes a program
(prctl(2), PR_SET_DUMPABLE); without root neither happens, so it is cleared here.
"""

from __future__ import annotations

import errno
import os
import resource

_PR_SET_DUMPABLE = 4


def load() -> None:
    """Import ctypes now (10 ms), so that children that are forked later need not."""
    import ctypes  # noqa: F401


def hide() -> None:
    """Nobody but root may read this process's memory from now on, nor is it dumped.

    Raise OSError if that cannot be had.
    """
    import ctypes

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        code = ctypes.get_errno() or errno.EPERM
        raise OSError(code, f"prctl: {os.strerror(code)}")
