"""Where the checkout lies, and the one exception of the administrator's commands."""

from __future__ import annotations

import os

#: the checkout
HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))


SENDMAIL = os.path.join(HOME, "bin", "sendmail")


class AdminError(Exception):
    """Something outside is missing or in the way: one sentence with the remedy, and an exit code."""

    def __init__(self, text: str, exit_code: int = os.EX_UNAVAILABLE) -> None:
        super().__init__(text)
        self.exit_code = exit_code
