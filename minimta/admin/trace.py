"""``minimta trace``: the story of a message (ID), or which file and line send an address where.

It expands as the queue runner does and asks the name servers, and changes nothing. The runner is
root; any other user sees what they may read and is told what they may not.
"""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from minimta.admin import mail_log
from minimta.admin.address_rules import AddressRules
from minimta.admin.arguments import parsed
from minimta.admin.checkout import AdminError
from minimta.admin.output import say
from minimta.admin.queue import messages
from minimta.admin.story import log_events
from minimta.admin.story.message_story import MessageStory
from minimta.admin.story.ways import Ways
from minimta.admin.trace_report import TraceReport
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.mailers.remote.route_preview import RoutePreviewer
from minimta.message import addresslist
from minimta.message.envelope import Recipient
from minimta.message.outcome import Fate
from minimta.queue import permission
from minimta.routing.expand import explain
from minimta.routing.local_host import LocalHost
from minimta.runner import redirect
from minimta.system import log, safefile


def run(arguments: list[str]) -> int:
    """0: all is deliverable; 67: something is not; 75: something cannot be told now.

    Raise AdminError for arguments, a configuration or a table that cannot be read.
    """
    given = _parse(arguments)
    try:
        options = config_file.load(given.C, [], safefile.why_untrusted)
        ids = [word for word in given.what if is_id(word)]
        addresses = [os.fsencode(word) for word in given.what if word not in ids]
        codes = [_tell_messages(options, ids, given)] if ids else []
        if addresses:
            codes.append(Trace(options).tell(addresses))
        return max(codes)
    except config_file.ConfigError as error:
        raise AdminError(str(error), error.exit_code) from error
    except OSError as error:  # the mailer table, the list of users
        where = f"{log.clean(str(error.filename))}: " if error.filename else ""
        raise AdminError(f"{where}{error.strerror or error}", os.EX_TEMPFAIL) from error
    except ImportError as error:
        raise AdminError(f"{error}; see Install in the README") from error


def _tell_messages(options: Options, ids: list[str], given: Namespace) -> int:
    places = mail_log.places(options, given.log or ())
    path = given.C or config_file.DEFAULT_FILE
    found = {one.qid: one for one in messages.found(options)}
    ways, now = Ways(options, path), time.time()
    code = os.EX_OK
    for qid in ids:
        logged = log_events.read(qid, options, places, now)
        queued = found.get(qid) or found.get(logged.after)
        story = MessageStory(qid, queued, logged, options, ways)
        say("\n".join(story.lines(now)))
        code = max(code, story.exit_code)
    return code


def _parse(arguments: list[str]) -> Namespace:
    """What to trace. Raise AdminError."""
    parser = ArgumentParser(prog="minimta trace", exit_on_error=False)
    parser.add_argument("-C", metavar="FILE", help="configuration, instead of /etc/mail/minimta.cf")
    parser.add_argument(
        "--log",
        action="append",
        metavar="PLACE",
        help="a log file, or journal, instead of the usual",
    )
    parser.add_argument("what", nargs="*", metavar="ID|ADDRESS")
    given = parsed(parser, arguments)
    if not given.what:
        raise AdminError("no address and no queue id; see --help", os.EX_USAGE)
    for word in given.what:
        if not is_id(word) and not addresslist.parse(os.fsencode(word)):
            raise AdminError(f"{word!r} names no address; see --help", os.EX_USAGE)
    return given


def is_id(word: str) -> bool:
    """Has it the form of a queue id? An address with such a local part is traced with its domain."""
    return bool(log_events.IS_ID.fullmatch(word))


class Trace:
    """Tells the ways of addresses; *say* gets the lines."""

    def __init__(
        self,
        options: Options,
        say: Callable[[str], None] = say,
        previewer: RoutePreviewer | None = None,
    ) -> None:
        """*previewer* asks the name servers. Raise OSError for the mailer table."""
        self._options = options
        self._say = say
        self._previewer = previewer or RoutePreviewer(options)
        # It is about what the runner will do, whoever asks.
        is_stranger = not permission.may_administer(options)
        self._here = LocalHost(options, asks_as_root=is_stranger)
        self._here.read_tables()

    def tell(self, arguments: list[bytes]) -> int:
        """The exit code."""
        for line in self._warnings():
            self._say(line)
        report, rules = TraceReport(self._here, self._previewer), AddressRules(self._here)
        recipients = [
            Recipient(mailbox.address)
            for argument in arguments
            for mailbox in self._mailboxes(argument, report)
        ]
        # One by one: what two arguments have in common is told twice, not "is a duplicate".
        for recipient in recipients:
            for node in explain([recipient], self._here):
                report.tell(node)
            report.lines += [f"  {line}" for line in rules.lines(recipient.address)]
        for line in report.lines:
            self._say(line)
        return _exit_code(report.fates)

    def _mailboxes(self, argument: bytes, report: TraceReport) -> list[addresslist.ListedAddress]:
        found = addresslist.parse(argument)
        for mailbox in found:
            if mailbox.problem:
                report.refuse(argument, mailbox.problem)
        return [mailbox for mailbox in found if not mailbox.problem]

    def _warnings(self) -> list[str]:
        told = [redirect.notice(self._options)] if self._options.redirect_all else []
        if os.geteuid() != 0 and not permission.may_administer(self._options):
            user = self._here.users.by_uid(os.geteuid())
            name = log.clean(user.name) if user else str(os.geteuid())
            told.append(f"Read with the rights of {name}; mail is delivered with others.")
        for source in self._here.aliases.sources:
            if source.is_stale():
                told.append(f"{log.clean(source.path)} has changed: it counts after newaliases.")
        return told


def _exit_code(fates: set[Fate]) -> int:
    if Fate.FAILED in fates:
        return os.EX_NOUSER
    return os.EX_TEMPFAIL if Fate.DEFERRED in fates else os.EX_OK
