"""mail(1): send a message, or read a mailbox. Exit codes: sendmail's where it was called, else sysexits."""

from __future__ import annotations

import os
import signal
import sys
from getopt import GetoptError

from minimta.commands.mail import compose, display, hand_over, reading, settings
from minimta.commands.mail.arguments import USAGE, Arguments
from minimta.commands.mail.draft import Draft
from minimta.commands.mail.session import TROUBLE, FolderPlace, ReadingSession
from minimta.commands.mail.settings import Settings
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.system import safefile
from minimta.system.terminal import complain, printed, say, wrong_option
from minimta.system.users import User, Users


def main(argv: list[str]) -> int:
    """Run the command."""
    try:
        given = Arguments(argv[1:])
    except GetoptError as error:
        return wrong_option("mail", error, USAGE)
    except ValueError as error:
        complain(f"mail: {error}\n{USAGE}")
        return os.EX_USAGE
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        options = config_file.load(None, [], safefile.why_untrusted)
        users = Users(options.passwd_file)
        user = users.by_uid(os.geteuid())
    except (config_file.ConfigError, OSError) as error:
        complain(f"mail: {error}")
        return os.EX_CONFIG
    if user is None:
        complain(f"mail: who are you? uid {os.geteuid()} is no user of this host")
        return os.EX_NOUSER
    user.home = os.environ.get("HOME") or user.home
    own, said = settings.load(user.home, skips_system_file=given.skips_system_file)
    for sentence in said:
        complain(f"mail: {sentence}")
    sendmail = own.variables.get("sendmail") or _sendmail()
    if given.sends:
        return _send(given, own, user, sendmail)
    return _read(given, own, user, users, options, sendmail)


def _sendmail() -> str:
    """The one beside this program in a checkout, else the machine's."""
    beside = os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), "sendmail")
    return beside if os.access(beside, os.X_OK) else hand_over.SENDMAIL


# --- sending --------------------------------------------------------------------------------------


def _send(given: Arguments, own: Settings, user: User, sendmail: str) -> int:
    draft = Draft(
        to=own.expanded(given.recipients),
        cc=own.expanded(given.cc),
        bcc=own.expanded(given.bcc),
        subject=given.subject or "",
        reply_to=own.variables.get("REPLYTO", "") or os.environ.get("REPLYTO", ""),
        sender=given.sender or own.variables.get("from", ""),
        headers=given.headers,
    )
    is_typed = given.is_interactive or sys.stdin.isatty()
    try:
        draft.recipients()  # before anything is typed
        if is_typed:
            compose.Composer(draft, own, user.home).run(asks_subject=given.subject is None)
        else:
            draft.text = sys.stdin.buffer.read()
        if not draft.text.strip():
            if given.skips_empty or "skipempty" in own.variables:
                return os.EX_OK
            if not draft.text and not is_typed:
                complain("Null message body; hope that's ok")
        _record(draft, own, user)
        return hand_over.send(draft, sendmail, user.home, is_verbose=given.is_verbose)
    except compose.Aborted as aborted:
        if aborted.keeps:
            hand_over.keep_draft(draft, user.home)
        return 1
    except ValueError as error:
        complain(f"mail: {error}")
        hand_over.keep_draft(draft, user.home)
        return os.EX_DATAERR


def _record(draft: Draft, own: Settings, user: User) -> None:
    """The variable record names a file that takes a copy of what is sent."""
    if path := own.variables.get("record"):
        place = os.path.join(user.home, os.path.expanduser(path))
        try:
            hand_over.append(place, draft.header() + b"\n" + draft.text)
        except OSError as error:
            complain(f"mail: {place}: {error.strerror}")


# --- reading --------------------------------------------------------------------------------------


def _read(
    given: Arguments, own: Settings, user: User, users: Users, options: Options, sendmail: str
) -> int:
    try:
        place, home_place = _places(given, user, users, options)
        session = ReadingSession(place, home_place, user, own, sendmail)
    except TROUBLE as error:
        complain(f"mail: {reading.explained(error)}")
        return os.EX_NOINPUT
    if not session.letters:
        if given.reads_file and session.folder.file is None:
            complain(f"mail: {place.path}: {os.strerror(2)}")
        elif not given.only_asks:
            say(
                f"No mail for {place.owner.name}"
                if place.is_mailbox
                else f"{place.path}: no messages"
            )
        return 1
    if given.only_asks:
        return os.EX_OK
    if given.only_headers:
        for number in range(1, len(session.letters) + 1):
            say(display.row(number, session.letter(number), is_current=number == 1))
        return printed("mail", os.EX_OK)
    return reading.run(session, skips_headers=given.skips_headers)


def _places(
    given: Arguments, user: User, users: Users, options: Options
) -> tuple[FolderPlace, FolderPlace]:
    """What is read, and the mailbox of who reads. Raise OSError, ValueError."""
    own_path = os.environ.get("MAIL") or os.path.join(options.mailbox_directory, user.name)
    own = FolderPlace(own_path, os.path.basename(own_path) == user.name, user)
    if given.reads_file:
        path = os.path.expanduser(given.file) if given.file else os.path.join(user.home, "mbox")
        return FolderPlace(os.path.realpath(path), False, user), own
    if given.user:
        other = users.find(os.fsencode(given.user))
        if other is None:
            raise ValueError(f"{given.user}: no such user")
        return FolderPlace(os.path.join(options.mailbox_directory, other.name), True, other), own
    return own, own
