"""Where the checkout lies, or what Debian's package has of it, and the one exception of the
administrator's commands.
"""

from __future__ import annotations

import os

#: the checkout
HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))


#: where the package has bin/ and minimta/
PACKAGED = "/usr/share/minimta"

SENDMAIL = os.path.join(HOME, "bin", "sendmail")


class AdminError(Exception):
    """Something outside is missing or in the way: one sentence with the remedy, and an exit code."""

    def __init__(self, text: str, exit_code: int = os.EX_UNAVAILABLE) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def is_packaged(home: str = HOME) -> bool:
    """Is this the copy that dpkg installed?"""
    return home == PACKAGED


def need_checkout(what: str, home: str = HOME) -> None:
    """Raise AdminError, with the remedy, for a copy that dpkg or pip installed."""
    if is_packaged(home) or not os.path.isfile(os.path.join(home, "bin", "sendmail")):
        raise AdminError(
            f"{what} needs a checkout of the project, and {home} is an installed copy:"
            f" git clone, and there bin/minimta {what}"
        )
