"""What a running daemon cannot change by reading its configuration anew (SIGHUP)."""

from __future__ import annotations

from minimta.config.option import OptionError
from minimta.config.options import Options

#: locks, descriptors and names that others rely on stay where they are
_FIXED = ("queue_pattern", "client_queue_directory", "pid_file", "one_user")


def refuse_changes(old: Options, new: Options) -> None:
    """Raise OptionError if *new* changes what a daemon that began with *old* has to keep."""
    for attribute in _FIXED:
        if getattr(old, attribute) != getattr(new, attribute):
            name = vars(Options)[attribute].name
            raise OptionError(f"option {name} has changed, which needs a restart")
