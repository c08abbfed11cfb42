"""The mailers by name, each made when its first job comes.

    local     users of this host; LocalMailer says how: mbox, maildir, lmtp:PLACE, |PROGRAM
    *file*    a path of an alias, a .forward or a list
    prog      a "|command" there
    esmtp     other hosts

A run without programs or remote mail neither makes nor imports those mailers: a row is a function
that imports its class when it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from minimta.config.options import Options
from minimta.mailers.job import Mailer
from minimta.system.users import Users

#: gets each line of a dialogue (-v), None if nobody reads them
Say = Callable[[str], None] | None


class Mailers(dict[str, Mailer]):
    """``mailers["prog"]`` makes that mailer the first time; what was made is kept."""

    def __init__(self, options: Options, users: Users, *, say: Say = None) -> None:
        """*users* are those of this host; *say* gets the dialogues of esmtp and lmtp."""
        super().__init__()
        self._options = options
        self._users = users
        self._say = say

    def __missing__(self, name: str) -> Mailer:
        """Make the mailer *name*. Raise KeyError if there is no such mailer."""
        self[name] = self._row(name).make(self._options, self._users, self._say)
        return self[name]

    def is_slow(self, name: str) -> bool:
        """May its jobs wait for minutes, for a program or a host? Known without making it.

        Raise KeyError if there is no such mailer.
        """
        return self._row(name).is_slow

    def _row(self, name: str) -> _Row:
        if name != "local":
            return _ROWS[name]
        chosen = self._options.local_mailer
        return next(row for begins, row in _LOCAL.items() if chosen.startswith(begins))


def local_mailer(options: Options, users: Users, say: Say = None) -> Mailer:
    """The mailer ``local`` alone."""
    return Mailers(options, users, say=say)["local"]


class _Row(NamedTuple):
    is_slow: bool
    make: Callable[[Options, Users, Say], Mailer]


def _mbox(options: Options, users: Users, say: Say) -> Mailer:
    from minimta.mailers.files.mbox import MboxMailer

    return MboxMailer(options, users)


def _maildir(options: Options, users: Users, say: Say) -> Mailer:
    from minimta.mailers.files.maildir import MaildirMailer

    return MaildirMailer(options, users)


def _lmtp(options: Options, users: Users, say: Say) -> Mailer:
    from minimta.mailers.remote.lmtp import LmtpMailer

    return LmtpMailer(options, say=say)


def _agent(options: Options, users: Users, say: Say) -> Mailer:
    from minimta.mailers.programs.agent import AgentMailer

    return AgentMailer(options, users)


def _file(options: Options, users: Users, say: Say) -> Mailer:
    from minimta.mailers.files.file_mailer import FileMailer

    return FileMailer(options, users)


def _prog(options: Options, users: Users, say: Say) -> Mailer:
    from minimta.mailers.programs.prog import ProgMailer

    return ProgMailer(options)


def _esmtp(options: Options, users: Users, say: Say) -> Mailer:
    from minimta.mailers.remote.mailer import RemoteMailer

    return RemoteMailer(options, say=say)


#: what LocalMailer begins with -> the mailer ``local``
_LOCAL = {
    "mbox": _Row(False, _mbox),
    "maildir": _Row(False, _maildir),
    "lmtp:": _Row(True, _lmtp),
    "|": _Row(True, _agent),
}
#: all others
_ROWS = {
    "*file*": _Row(False, _file),
    "prog": _Row(True, _prog),
    "esmtp": _Row(True, _esmtp),
}
