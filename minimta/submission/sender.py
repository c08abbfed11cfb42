"""Who sends a message from the command line: sender, full name, and what is to be said of it."""

from __future__ import annotations

import os

from minimta.message import address, addresslist, fullname
from minimta.system import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.commandline import Command
    from minimta.config.options import Options
    from minimta.routing.local_host import LocalHost
    from minimta.submission.caller import Caller


class SubmissionError(Exception):
    """The submission ends here: exit code, and what to tell."""

    def __init__(self, text: str, exit_code: int, *, save: bool = False) -> None:
        super().__init__(text)
        self.exit_code = exit_code
        #: keep the message in dead.letter
        self.save = save


class Author:
    """The caller, or whom he gives with -f. Raise Trouble for what is no sender."""

    def __init__(self, command: Command, options: Options, who: Caller, here: LocalHost) -> None:
        self._command = command
        self._options = options
        self._caller = who
        self._here = here
        self._login = os.fsencode(who.name)
        #: bare; b"" is the null reverse-path
        self.sender = self._login if command.sender is None else _given(command.sender)

    def full_name(self) -> bytes:
        """-F, NAME, or passwd; somebody elsewhere has no name here, as Sendmail has it."""
        if not self.sender or not self._here.is_local(self.sender):
            return b""
        if self._command.full_name:
            return self._command.full_name
        if self._command.sender is None:
            return os.fsencode(os.environ.get("NAME", "")) or self._caller.full_name()
        user = self._here.users.find(address.split(self.sender)[0])
        return fullname.from_gecos(user.gecos, user.name) if user else b""

    def is_other(self) -> bool:
        """Is the sender somebody (not the null reverse-path), and not the caller?"""
        return bool(self.sender) and not self._is_caller()

    def warning(self, shown: bytes) -> str:
        """Text of an X-Authentication-Warning for a sender that the caller is not, "" if none.

        *shown* is the sender as it stands in the queue.
        """
        if self._command.sender is None or self._is_caller():
            return ""
        if "authwarnings" not in self._options.privacy_options:
            return ""
        if self._caller.is_trusted(self._options):
            return ""
        who, sender = log.clean(self._caller.name), log.clean(shown or b"<>")
        return f"{self._here.name}: {who} set sender to {sender} using -f"

    def _is_caller(self) -> bool:
        local = address.split(self.sender)[0]
        return local == self._login and self._here.is_local(self.sender)


def _given(text: bytes) -> bytes:
    if text.strip() in (b"", b"<>"):
        return b""
    found = addresslist.parse(text)
    if len(found) != 1 or found[0].problem:
        problem = (found[0].problem if found else "User address required") or "One sender only"
        raise SubmissionError(f"{log.clean(text)}... {problem}", os.EX_DATAERR)
    return found[0].address
