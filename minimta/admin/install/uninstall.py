"""``minimta uninstall``: what ``install`` did is taken back, and all mail stays.

Diverted files of other packages have their names again. A queue that still holds messages stays, with
the user who owns them; so do mailboxes, the alias file once somebody has changed it, and everything in
/etc/mail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from minimta.admin.checkout import AdminError, is_packaged, need_checkout
from minimta.admin.install.accounts import Account
from minimta.admin.install.install import need_root, parse, perform, steps
from minimta.admin.install.running import need_nothing_running
from minimta.admin.install.services import CLIENT_QUEUE, QUEUE, Service
from minimta.admin.install.steps import Step, below
from minimta.system import terminal


def run(arguments: list[str]) -> int:
    """Undo the rows, last first, each as far as it is ours. Raise AdminError."""
    root, is_dry = parse("uninstall", arguments)
    if is_packaged():
        raise AdminError("this copy is Debian's package: apt remove minimta")
    need_checkout("uninstall")
    need_root(is_dry=is_dry)
    try:
        rows = [row for row in reversed(steps(root)) if row.is_ours()]
    except PermissionError as error:  # only root sees whether a queue is empty
        raise AdminError(f"only root can tell: {error.filename} is closed", os.EX_NOPERM) from error
    if rows and not any(isinstance(row, Service) for row in rows):  # which systemd would end
        need_nothing_running(root, [row.name for row in rows if isinstance(row, Account)])
    perform([(f"take back: {row}", partial(take_back, row)) for row in rows], is_dry=is_dry)
    # A directory that has become empty by that, and then the one that it was in.
    while not is_dry:
        later = [row for row in reversed(steps(root)) if row.is_ours() and row not in rows]
        if not later:
            break
        perform([(f"take back: {row}", partial(take_back, row)) for row in later], is_dry=False)
        rows += later
    for sentence in left_mail(root):
        terminal.say(f"note: {sentence}")
    return os.EX_OK


def left_mail(root: Path) -> Iterator[str]:
    """A sentence for each queue of ours that is not empty."""
    for path in (QUEUE, CLIENT_QUEUE):
        place = below(root, path)
        names = os.listdir(place) if place.is_dir() else []
        number = sum(name.startswith(("qf", "hf", "Qf")) for name in names)
        if number:
            stay = "message stays" if number == 1 else "messages stay"
            yield f"{number} {stay} in {path}, which only minimta sends: minimta install"


def take_back(row: Step) -> None:
    """Ask again: the commands are gone by now, but a message may have come before they went."""
    if row.is_ours():
        row.undo()
