"""A letter while minimta.cf is broken: it waits in the client queue for the mended file.

A wrong line of the administrator's is no reason to lose a user's letter, or cron's. Here it is only
kept, with the caller's rights, whoever calls: no recipient is judged, nothing is delivered, and no
value of a wrong line is guessed; our full name and AlwaysBcc, if they are in doubt, are left to the
runner. If one of QUEUEING is in doubt, or all of the file, the letter goes into dead.letter and the exit code says so.
"""

from __future__ import annotations

from minimta.config.options import Options
from minimta.queue.sanitize import UNKNOWN_BCC, UNKNOWN_HOST
from minimta.submission.caller import UnusableSpool, choose_spool
from minimta.submission.sender import SubmissionError
from minimta.submission.submit import Submission
from minimta.system import log
from minimta.system.terminal import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.commandline import Command
    from minimta.config.file import ConfigError
    from minimta.queue.directories import Queue

#: where the letter waits, within which limits, whose it is, how its text reads
QUEUEING = frozenset(
    (
        *("QueueDirectory", "ClientQueueDirectory", "MinFreeBlocks"),
        *("MaxMessageSize", "MaxHeadersLength", "MaxRecipientsPerMessage", "MaxHopCount"),
        *("PasswdFile", "IgnoreDots", "NoRecipientAction"),
    )
)


class HeldSubmission(Submission):
    """One message from standard input, into the client queue or into dead.letter."""

    def __init__(self, command: Command, options: Options, now: float, broken: ConfigError) -> None:
        """*broken* is what is wrong with the file, *options* are those of its good lines and of the
        command line, *now* is when the letter came, epoch seconds. Raise as Submission does.
        """
        self._broken = broken
        said = {name for name, _ in command.settings}
        unknown = broken.unknown - said
        self._is_kept = broken.options is not None and not unknown & QUEUEING
        if self._is_kept and "HostName" in unknown:
            options.host_name = UNKNOWN_HOST.decode("ascii")
        if self._is_kept and "AlwaysBcc" in unknown:
            options.always_bcc = UNKNOWN_BCC.decode("ascii")
        super().__init__(command, options, now)

    def _require_address(self) -> None:
        """Only if it is kept: else PasswdFile may be what is in doubt, and what is wrong is the file."""
        if self._is_kept:
            super()._require_address()

    def _open_queue(self) -> tuple[Queue, bool]:
        if self._is_kept:
            return choose_spool(self._options, "c")
        return UnusableSpool(OSError(self._reason())), False

    def _reason(self) -> str:
        """The first fault, and how many more there are."""
        first, *others = self._broken.sentences
        return f"{first} (and {len(others)} more: sendmail -bC)" if others else first

    def _why_no_queue(self) -> Exception | None:
        if self._is_kept:
            return super()._why_no_queue()
        self._incoming.keep_apart()
        return SubmissionError(str(self._broken), self._broken.exit_code, save=True)

    def _key(self, bare: bytes) -> bytes:
        return bare  # which names are ours may be what is in doubt

    def _warn(self) -> None:
        """The runner warns of a sender who is not the caller: it knows all our names."""

    def _find_unknown(self) -> None:
        """Nobody is unknown: aliases and users may be what is in doubt. What is no address is told."""
        if self._exit_code:
            self._save()

    def _queue(self) -> int:
        code = super()._queue()
        place = self._options.client_queue_directory
        reason = f"{self._reason()}; until that is mended the letter waits in {place}"
        who, shown = log.clean(self._caller.name), log.clean(reason, 400)
        log.line(self._incoming.qid, f"SYSERR({who}): {shown}", error=True)
        complain(f"sendmail: {reason}")
        return code
