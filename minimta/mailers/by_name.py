"""The mailers by name, each made when its first job comes.

    local     users of this host; LocalMailer says how: mbox, maildir, lmtp:PLACE, |PROGRAM
    *file*    a path of an alias, a .forward or a list
    prog      a "|command" there
    esmtp     other hosts

A run without programs or remote mail neither makes nor imports those mailers: a row is a function
that imports its class when it is called.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from minimta.config.options import Options
from minimta.mailers.job import Mailer
from minimta.system.slots import Slots, of_queue
from minimta.system.users import Users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.mailers.remote.kept_workers import KeptWorkers

#: gets each line of a dialogue (-v), None if nobody reads them
Say = Callable[[str], None] | None


class Mailers(dict[str, Mailer]):
    """``mailers["prog"]`` makes that mailer the first time; what was made is kept."""

    def __init__(
        self,
        options: Options,
        users: Users,
        slots: Slots | None = None,
        *,
        say: Say = None,
        is_run: bool = True,
        kept: KeptWorkers | None = None,
    ) -> None:
        """*users* are those of this host; *say* gets the dialogues of esmtp and lmtp.

        *slots* bound how many hosts esmtp talks to at the same time, if not those of the queue. If
        it *is_run*, hosts that were not reached before now are asked all the same. *kept* has
        connections of esmtp to busy next hops.
        """
        super().__init__()
        self.options = options
        self.users = users
        self.say = say
        self._slots = slots
        self.is_run = is_run
        self.kept = kept
        #: when the run began
        self.since = time.time()
        chosen = options.local_mailer
        local = next(row for begins, row in _LOCAL.items() if chosen.startswith(begins))
        self._rows = {"local": local, **_ROWS}
        #: names of those that may wait for minutes, for a program or a host: mailboxes come first
        self.slow = frozenset(name for name, row in self._rows.items() if row.is_slow)
        #: names of those that run programs of users
        self.by_users = frozenset(name for name, row in self._rows.items() if row.runs_programs)

    def __missing__(self, name: str) -> Mailer:
        """Make the mailer *name*. Raise KeyError if there is no such mailer."""
        self[name] = self._rows[name].make(self)
        return self[name]

    @property
    def slots(self) -> Slots:
        """The slots for what is slow."""
        if self._slots is None:
            self._slots = of_queue(self.options)
        return self._slots


class _Row(NamedTuple):
    is_slow: bool
    make: Callable[[Mailers], Mailer]
    runs_programs: bool = False


def _mbox(mailers: Mailers) -> Mailer:
    from minimta.mailers.files.locked_file import BRIEF
    from minimta.mailers.files.mbox import MboxMailer

    return MboxMailer(mailers.options, mailers.users, pauses=BRIEF)


def _maildir(mailers: Mailers) -> Mailer:
    from minimta.mailers.files.maildir import MaildirMailer

    return MaildirMailer(mailers.options, mailers.users)


def _lmtp(mailers: Mailers) -> Mailer:
    from minimta.mailers.remote.lmtp import LmtpMailer

    return LmtpMailer(mailers.options, mailers.slots, say=mailers.say)


def _agent(mailers: Mailers) -> Mailer:
    from minimta.mailers.programs.agent import AgentMailer

    return AgentMailer(mailers.options, mailers.users)


def _file(mailers: Mailers) -> Mailer:
    from minimta.mailers.files.file_mailer import FileMailer
    from minimta.mailers.files.locked_file import BRIEF

    return FileMailer(mailers.options, pauses=BRIEF)


def _prog(mailers: Mailers) -> Mailer:
    from minimta.mailers.programs.prog import ProgMailer

    return ProgMailer(mailers.options)


def _esmtp(mailers: Mailers) -> Mailer:
    from minimta.mailers.remote import host_status, sts_cache, tls_results
    from minimta.mailers.remote.findings import Findings
    from minimta.mailers.remote.mailer import RemoteMailer

    memory = host_status.of_queue(mailers.options, mailers.since, is_run=mailers.is_run)
    stores = sts_cache.of_queue(mailers.options), tls_results.of_queue(mailers.options)
    findings = Findings(mailers.options, memory, *stores)
    return RemoteMailer(
        mailers.options, mailers.slots, say=mailers.say, findings=findings, kept=mailers.kept
    )


#: what LocalMailer begins with -> the mailer ``local``
_LOCAL = {
    "mbox": _Row(False, _mbox),
    "maildir": _Row(False, _maildir),
    "lmtp:": _Row(True, _lmtp),
    "|": _Row(True, _agent, True),
}
#: all others
_ROWS = {
    "*file*": _Row(False, _file),
    "prog": _Row(True, _prog, True),
    "esmtp": _Row(True, _esmtp),
}
