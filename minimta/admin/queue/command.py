"""``minimta queue VERB``: list, show, retry, hold, release, delete, bounce, redirect.

    list [--by KEY | --json]    everything, or what is chosen
    show ID... [--body, --json]
    retry WHICH                 try now, here, and tell what becomes of it
    hold WHICH [--why TEXT]     no run takes it until it is released
    release WHICH
    delete WHICH                without telling anybody
    bounce WHICH [--why TEXT]   return it to its sender
    redirect WHICH --to ADDRESS

WHICH are queue ids, what messages have in common (``selection``), or the word all. root, and who owns
the queue directory, may do all of it; others list, show and delete what they left in the client queue.

    0   done                        64  words that make no sense, or none that say which
    66  no such message             69  cannot be done to this message
    75  a runner has it now: again  77  for root only
"""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence

from minimta.admin.arguments import parsed
from minimta.admin.checkout import AdminError
from minimta.admin.output import say
from minimta.admin.queue import messages, overview, selection, wording
from minimta.admin.queue.deeds import Administration, Deed
from minimta.admin.queue.messages import QueuedMessage
from minimta.admin.queue.retry import retry
from minimta.admin.queue.selection import Criteria
from minimta.admin.queue.show import QueuedMessageReport, for_terminal
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.message import address, addresslist
from minimta.queue import permission
from minimta.routing import recipients
from minimta.routing.local_host import LocalHost
from minimta.system import log, safefile
from minimta.system.progress import ProgressLine
from minimta.system.users import Users

VERBS = ("list", "show", "retry", "hold", "release", "delete", "bounce", "redirect")
#: what those may do who do not administer the queue
_OF_USERS = ("list", "show", "delete")
#: the worst code first
_WORST = (os.EX_UNAVAILABLE, os.EX_TEMPFAIL, os.EX_NOINPUT)


def run(arguments: list[str]) -> int:
    """See above. Raise AdminError, OSError."""
    given = _parse(arguments)
    options = _options(given.C)
    log.configure("sendmail", options.log_to, options.log_level)
    criteria = selection.parsed(given)
    _check_rights(options, given.verb)
    now = time.time()
    if given.verb == "list":
        return _list(options, criteria, given, now)
    if criteria.is_empty:
        raise AdminError(
            f"which? Name queue ids, or --sender, --host ..., or {selection.ALL}", os.EX_USAGE
        )
    found = [one for one in messages.found(options) if criteria.is_meant(one, now)]
    code = _tell_missing(criteria, found)
    if given.verb == "show":
        return _show(options, found, given, now) or code
    return _act(options, found, criteria, given, now) or code


# --- words --------------------------------------------------------------------------------------------


def _parse(arguments: list[str]) -> Namespace:
    parser = ArgumentParser(prog="minimta queue", exit_on_error=False)
    parser.add_argument("verb", nargs="?", choices=VERBS)
    parser.add_argument("-C", metavar="FILE", help="instead of /etc/mail/minimta.cf")
    selection.add_arguments(parser)
    parser.add_argument(
        "--by", choices=list(overview.KEYS), help="list: how many there are of each"
    )
    parser.add_argument("--json", action="store_true", help="list, show: an object a line")
    parser.add_argument("--body", action="store_true", help="show: the body, too")
    parser.add_argument("--why", metavar="TEXT", help="hold, bounce: the reason")
    parser.add_argument("--to", metavar="ADDRESS", help="redirect: where it goes instead")
    given = parsed(parser, arguments, is_mixed=True)
    if given.verb is None:
        raise AdminError(f"one of {', '.join(VERBS)}; see --help", os.EX_USAGE)
    for name, verbs in _ONLY_WITH.items():
        if getattr(given, name) and given.verb not in verbs:
            raise AdminError(f"--{name} goes with {' and '.join(verbs)}", os.EX_USAGE)
    if given.by and given.json:
        raise AdminError("either --by or --json, not both", os.EX_USAGE)
    if given.verb == "redirect" and not given.to:
        raise AdminError("redirect needs --to ADDRESS", os.EX_USAGE)
    return given


_ONLY_WITH = {
    "by": ("list",),
    "json": ("list", "show"),
    "body": ("show",),
    "why": ("hold", "bounce"),
    "to": ("redirect",),
}


def _options(path: str | None) -> Options:
    try:
        return config_file.load(path, [], safefile.why_untrusted)
    except config_file.ConfigError as error:
        raise AdminError(str(error), error.exit_code) from error


def _check_rights(options: Options, verb: str) -> None:
    """Raise AdminError (77), OSError."""
    if permission.may_administer(options):
        return
    if "restrictmailq" in options.privacy_options and not permission.may_see(options):
        raise AdminError(permission.NOT_TO_SEE, os.EX_NOPERM)
    if verb not in _OF_USERS:
        raise AdminError(f"only root may {verb} what waits (sudo minimta queue ...)", os.EX_NOPERM)


def _tell_missing(criteria: Criteria, found: Sequence[QueuedMessage]) -> int:
    missing = sorted(criteria.ids - {one.qid for one in found})
    for qid in missing:
        say(f"{qid}: no such message that you may see, or not as chosen (minimta trace {qid})")
    if not found and not missing:
        say("no message is meant")
    return os.EX_NOINPUT if missing or not found else os.EX_OK


# --- list, show ---------------------------------------------------------------------------------------


def _list(options: Options, criteria: Criteria, given: Namespace, now: float) -> int:
    found = [one for one in messages.found(options) if criteria.is_meant(one, now)]
    if given.json:
        for one in found:
            say(overview.as_json(one, options))
    elif given.by:
        say("\n".join(overview.grouped(found, given.by, now)))
    else:
        say("\n".join(overview.lines(found, options, now)))
    if not given.json and not permission.may_administer(options):
        say("Of what the queue runner has taken over only root can see the list.")
    return os.EX_NOINPUT if criteria.ids and not found else os.EX_OK


def _show(options: Options, found: Sequence[QueuedMessage], given: Namespace, now: float) -> int:
    for one in found:
        report = QueuedMessageReport(one, options)
        if given.json:
            say(overview.written(report.facts()))
        else:
            say("\n".join(report.lines(now)))
        if given.body:
            _show_body(report)
    return os.EX_OK


def _show_body(report: QueuedMessageReport) -> None:
    if sys.stdout.isatty():
        say("  body")
    for block in report.body():
        if sys.stdout.isatty():
            sys.stdout.write(for_terminal(block))
            sys.stdout.flush()
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(block)
            sys.stdout.buffer.flush()


# --- deeds --------------------------------------------------------------------------------------------


def _act(
    options: Options,
    found: Sequence[QueuedMessage],
    criteria: Criteria,
    given: Namespace,
    now: float,
) -> int:
    if given.verb == "retry":
        return retry(options, found, say, now)
    administration = Administration(options, _who(options), criteria, now)
    deeds: dict[str, Callable[[QueuedMessage], Deed]] = {
        "hold": lambda one: administration.hold(one, given.why or ""),
        "release": administration.release,
        "delete": administration.delete,
        "bounce": lambda one: administration.bounce(one, given.why or ""),
        "redirect": lambda one: administration.redirect(one, new),
    }
    new = _new_recipient(options, given.to) if given.to else b""
    try:
        return _each(found, deeds[given.verb], given.verb)
    finally:
        administration.close()


def _each(found: Sequence[QueuedMessage], deed: Callable[[QueuedMessage], Deed], verb: str) -> int:
    """Do it to one after the other; trouble with one stops no other."""
    codes: list[int] = []
    with ProgressLine(verb, len(found)) as progress:
        for number, one in enumerate(found):
            progress.at(number)
            try:
                done = deed(one)
            except OSError as error:
                done = Deed(f"not done: {error.strerror or error}", os.EX_TEMPFAIL)
            codes.append(done.exit_code)
            progress.pause()
            say(f"{one.qid}: {done.text}")
    if len(found) > 1:
        say(f"{codes.count(os.EX_OK)} of {wording.count(len(found))}: {verb}")
    return next((code for code in _WORST if code in codes), os.EX_OK)


def _who(options: Options) -> str:
    """Who does it, for the log: "root", "root for emma" behind sudo."""
    user = Users(options.passwd_file).by_uid(os.getuid()) or Users().by_uid(os.getuid())
    name = user.name if user else f"uid {os.getuid()}"
    behind = os.environ.get("SUDO_USER", "") if os.getuid() == 0 else ""
    return f"{name} for {log.clean(behind, 40)}" if behind and behind != name else name


def _new_recipient(options: Options, text: str) -> bytes:
    """The bare address of --to. Raise AdminError if it is none, or nobody's here."""
    given = addresslist.parse(os.fsencode(text))
    if len(given) != 1 or given[0].problem:
        why = given[0].problem if given else "no address"
        raise AdminError(f"--to {log.clean(text)}: {why or 'one address, please'}", os.EX_USAGE)
    bare = address.bare(given[0].address)
    special = address.why_special(bare)
    if special:
        raise AdminError(f"--to {log.clean(text)}: {special}", os.EX_USAGE)
    here = LocalHost(options)
    here.read_tables()
    refusal = recipients.why_refused(bare, here)
    if refusal is not None:
        raise AdminError(f"--to {log.clean(text)}: {refusal.text}", os.EX_NOUSER)
    return bare
