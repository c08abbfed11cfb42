"""The mailer prog: runs a command of an alias or a .forward, as the user in whose name it stands.

    From emma@lab1.campus Sun Nov 22 09:25:57 2026      one blank, no Return-Path; as recorded
    header fields, empty line, body

/bin/sh -c COMMAND as ``process`` runs it: as the controlling user, never as root. Where there is a
SmrshDirectory, only what ``smrsh`` lets pass, with nothing but PATH in its environment. Nothing of
the message gets into the command: a sender could be "; rm -r ~" (shell injection).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace

from minimta.config.options import Options
from minimta.mailers.job import Job, Settled
from minimta.mailers.programs import process, smrsh
from minimta.mailers.programs.process import Invocation, ProgramResult
from minimta.mailers.programs.smrsh import CommandRefused
from minimta.message.outcome import Outcome, deferred
from minimta.system import executables, log, privileges
from minimta.system.users import User
from minimta.system.waiting import Wait, alone

_SHELL = "/bin/sh"


class ProgMailer:
    """Mailer ``prog``: user.name is a command, job.controlling as whom it runs."""

    name = "prog"

    def __init__(self, options: Options, *, clock: Callable[[], float] = time.time) -> None:
        self._options = options
        self._runner = process.ProgramRunner(options)
        self._clock = clock

    def deliver(self, jobs: Sequence[Job]) -> Iterator[Settled]:
        """See Mailer.deliver; one process for each command."""
        return alone(self.steps(jobs))

    def steps(self, jobs: Sequence[Job]) -> Iterator[Settled | Wait]:
        """See SteppedMailer."""
        for job in jobs:
            outcomes = {}
            for command in dict.fromkeys(user.name for user in job.users):
                outcomes[command] = yield from self._run(job, command)
            yield job, outcomes

    def _run(self, job: Job, command: bytes) -> Generator[Wait, None, Outcome]:
        user, options = job.controlling, self._options
        if user is None or (user.uid == 0 and os.geteuid() == 0):
            log.line(job.qid, f"no user to run {log.clean(command)} as", error=True)
            return deferred("4.3.0", "no user to run it as")
        if why_not := privileges.why_not_as(user, options):
            return deferred("4.3.5", why_not)
        try:
            is_restricted = smrsh.is_restricted(options)
            prepare = self._restricted if is_restricted else self._unrestricted
            result = yield from self._runner.run(job, user, command, prepare(job, command, user))
        except OSError as error:
            reason = log.clean(error.strerror or str(error))
            return deferred("4.3.0", f"cannot run the program: {reason}")
        shell = smrsh.PATH if is_restricted else _SHELL
        return process.outcome(_unwrapped(result), f"prog mailer ({shell})", options)

    def _unrestricted(self, job: Job, command: bytes, user: User) -> Callable[[], Invocation]:
        made = Invocation([_SHELL, "-c", command], process.environment(user), self._first_line(job))
        return lambda: made

    def _restricted(
        self, job: Job, command: bytes, _: User
    ) -> Callable[[], Invocation | ProgramResult]:
        owners = executables.trusted_owners()  # asked here: in the child it would be the user too
        first_line = self._first_line(job)

        def prepare() -> Invocation | ProgramResult:
            try:
                checked = smrsh.checked(command, self._options, owners)
            except CommandRefused as error:
                return ProgramResult(error.exit_code, f"smrsh: {error}\n".encode())
            return Invocation([_SHELL, "-c", checked], smrsh.ENVIRONMENT, first_line)

        return prepare

    def _first_line(self, job: Job) -> bytes:
        return process.from_line(job.reverse_path, b" ", self._clock())


def _unwrapped(result: ProgramResult) -> ProgramResult:
    """What the shell hides in its exit code and may pass: it could not fork, or a signal.

    DIFFERS: for Sendmail these are unknown errors, and final.
    """
    if result.code == 2 and b"Cannot fork" in result.output:
        return replace(result, code=os.EX_TEMPFAIL)
    if 128 < result.code <= 192:
        return replace(result, code=128 - result.code)
    return result
