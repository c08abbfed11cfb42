"""Who sends a message from the command line: address, full name, and what is to be said of it."""

from __future__ import annotations

import os

from minimta.message import address, addresslist
from minimta.system import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.commandline import Command
    from minimta.config.options import Options
    from minimta.routing.local_host import LocalHost
    from minimta.submission.caller import Caller


class SubmissionError(Exception):
    """The message is not queued; ``str()`` is what to tell the caller."""

    def __init__(self, text: str, exit_code: int, *, save: bool = False) -> None:
        """*exit_code* is one of sysexits.h; *save*: the message belongs in dead.letter."""
        super().__init__(text)
        self.exit_code = exit_code
        self.save = save


class Sender:
    """The caller, or whom they give with -f."""

    def __init__(self, command: Command, options: Options, caller: Caller, here: LocalHost) -> None:
        """*command* says -f and -F. Raise SubmissionError if -f has no address, or several."""
        self._command = command
        self._options = options
        self._caller = caller
        self._here = here
        self._login = os.fsencode(caller.name)
        #: bare; b"" is the null reverse-path
        self.address = self._caller_or(command.sender)

    def _caller_or(self, given: bytes | None) -> bytes:
        """The caller's address, also if -f has their login, which need be no atom: "EXAMPLE\\dave"."""
        if given is None or (given == self._login and b"@" not in given):
            return address.of_login(self._login)
        return _given(given)

    def full_name(self) -> bytes:
        """From -F, $NAME or passwd; b"" for a sender elsewhere, whose name is not ours to give."""
        if not self.address or not self._here.is_local(self.address):
            return b""
        if self._command.full_name:
            return self._command.full_name
        if self._command.sender is None:
            return os.fsencode(os.environ.get("NAME", "")) or self._caller.full_name()
        return self._here.full_name(self.address)

    def is_other(self) -> bool:
        """Is the sender somebody (not the null reverse-path) other than the caller?"""
        return bool(self.address) and not self._is_caller()

    def warning(self, shown: bytes) -> str:
        """Text of an X-Authentication-Warning for a sender that the caller is not, "" if none.

        *shown* is the sender as it stands in the queue.
        """
        if self._command.sender is None or self._is_caller():
            return ""
        if "authwarnings" not in self._options.privacy_options:
            return ""
        if self._caller.is_trusted():
            return ""
        who, sender = log.clean(self._caller.name), log.clean(shown or b"<>")
        return f"{self._here.name}: {who} set sender to {sender} using -f"

    def _is_caller(self) -> bool:
        local = address.unquote(address.split(self.address)[0])
        return local == self._login and self._here.is_local(self.address)


def _given(text: bytes) -> bytes:
    """The bare address of -f. Raise SubmissionError."""
    if text.strip() in (b"", b"<>"):
        return b""
    found = addresslist.parse(text, blanks_separate=False)
    if len(found) != 1 or found[0].problem:
        problem = (found[0].problem if found else "User address required") or "One sender only"
        raise SubmissionError(f"{log.clean(text)}... {problem}", os.EX_DATAERR)
    return address.without_final_dot(found[0].address)
