"""The local mailer as a program: LocalMailer = |/usr/bin/procmail -a $h -d $u

    $u  the user's name           $h  the detail of user+detail, or nothing
    $f  the reverse-path, or MAILER-DAEMON

The words are split once; a value is part of one word and never seen by a shell. Details and senders
come from strangers: those with an unusual character, or a "-" in front, are left out (injection of
options or of what the agent itself gives to a shell).

DIFFERS: the agent runs as the recipient, never as root as under Sendmail, and needs no set-id bit.
Procmail lets only root and its trusted users name a sender: it adds a line ">From dave".

DIFFERS: a "From " line stands before the message, which Sendmail leaves to procmail (flag n):
without one procmail takes the recipient for the sender.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace

from minimta.config.options import Options
from minimta.config.values import agent_words
from minimta.mailers.files.mbox import MboxMailer
from minimta.mailers.job import Job, Settled
from minimta.mailers.programs import process
from minimta.mailers.programs.process import Invocation
from minimta.message.outcome import Outcome, deferred, from_exit_code
from minimta.system import executables, log
from minimta.system.safefile import Untrusted
from minimta.system.users import User, Users
from minimta.system.waiting import Wait, alone

_HARMLESS = b"@._+=:-ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class AgentMailer:
    """Mailer ``local``: user.name is a login name, job.host the detail."""

    name = "local"

    def __init__(
        self, options: Options, users: Users, *, clock: Callable[[], float] = time.time
    ) -> None:
        """*users* are those of this host; *clock* dates the "From " line."""
        self._options = options
        self._runner = process.ProgramRunner(options)
        self._users = users
        self._clock = clock
        self._words = [os.fsencode(word) for word in agent_words(options.local_mailer)]
        self._who = f"local mailer ({log.clean(self._words[0])})"

    def deliver(self, jobs: Sequence[Job]) -> Iterator[Settled]:
        """See Mailer.deliver; one process for each user."""
        return alone(self.steps(jobs))

    def steps(self, jobs: Sequence[Job]) -> Iterator[Settled | Wait]:
        """See SteppedMailer."""
        for job in jobs:
            outcomes = {}
            for name in dict.fromkeys(user.name for user in job.users):
                outcomes[name] = yield from self._outcome(job, name)
            yield job, outcomes

    def _outcome(self, job: Job, name: bytes) -> Generator[Wait, None, Outcome]:
        try:
            user = self._users.find(name)
            if user is None:
                return from_exit_code(os.EX_NOUSER)
            if user.uid == 0 and os.geteuid() == 0:
                return self._to_root(job, name)
            result = yield from self._runner.run(job, user, b"", self._prepared(job, user))
        except Untrusted as error:
            reason = f"{self._who} may not be trusted: {error}"
            log.line(job.qid, reason, error=True)
            return deferred("4.3.0", reason)
        except OSError as error:
            reason = log.clean(error.strerror or str(error))
            return deferred("4.3.0", f"{self._who} cannot be run: {reason}")
        return process.outcome(result, self._who, self._options)

    def _to_root(self, job: Job, name: bytes) -> Outcome:
        """Nothing runs as root: mail for root that no alias sends elsewhere goes to root's mailbox."""
        job = replace(job, users=tuple(user for user in job.users if user.name == name))
        ((_, outcomes),) = MboxMailer(self._options, self._users, clock=self._clock).deliver([job])
        return outcomes[name]

    def _prepared(self, job: Job, user: User) -> Callable[[], Invocation]:
        words = self._filled(job, user)
        first_line = process.from_line(job.reverse_path, b"  ", self._clock())
        made = Invocation(words, process.environment(user), first_line)
        owners = executables.trusted_owners()  # asked here: in the child it would be the user too

        def prepare() -> Invocation:
            fault = executables.why_not(words[0], owners, self._options.dont_blame)
            if fault:
                raise OSError(None, fault)
            return made

        return prepare

    def _filled(self, job: Job, user: User) -> list[bytes]:
        """The words, with the values in the place of their names."""
        values = {
            b"u": os.fsencode(user.name),
            b"h": harmless(os.fsencode(job.host)),
            b"f": harmless(job.reverse_path) or b"MAILER-DAEMON",
        }
        # Unlike the other two it cannot be left out: the mail would go to somebody else.
        if values[b"u"][:1] == b"-":
            raise OSError(None, "a user's name that looks like an option")
        # Not in the program's own path: there a value would choose what is run.
        program, *arguments = self._words
        return [program, *(_filled(word, values) for word in arguments)]


def _filled(word: bytes, values: Mapping[bytes, bytes]) -> bytes:
    first, *parts = word.split(b"$")
    return first + b"".join(values[part[:1]] + part[1:] for part in parts)


def harmless(value: bytes) -> bytes:
    """*value* if it is no danger on a command line, else nothing."""
    return b"" if value[:1] == b"-" or value.translate(None, _HARMLESS) else value
