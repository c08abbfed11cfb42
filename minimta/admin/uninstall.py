"""``minimta uninstall``: what ``install`` did is taken back, and all mail stays.

A queue that still holds messages stays, with the user who owns them; so do mailboxes, the alias
file once somebody has changed it, and everything in /etc/mail.
"""

from __future__ import annotations

import os

from minimta.admin.install import parse, perform, steps


def run(arguments: list[str]) -> int:
    """Undo the rows, last first, each as far as it is ours."""
    root, is_dry = parse("uninstall", arguments)
    rows = [row for row in reversed(steps(root)) if row.is_ours()]
    deeds = [(f"take back: {row}", row.undo) for row in rows]
    perform(deeds, is_dry=is_dry)
    return os.EX_OK
