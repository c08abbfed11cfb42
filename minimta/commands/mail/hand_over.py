"""A finished message is given to sendmail, and kept for the user if sendmail does not take it."""

from __future__ import annotations

import os
import time

from minimta.commands.mail import piped
from minimta.commands.mail.draft import Draft
from minimta.message import addresslist, dates
from minimta.submission import deadletter
from minimta.system import files
from minimta.system.terminal import complain

SENDMAIL = "/usr/sbin/sendmail"


def send(draft: Draft, sendmail: str, home: str, *, is_verbose: bool = False) -> int:
    """Give *draft* to the program *sendmail*; its exit code (sysexits).

    What it does not take is appended to dead.letter in *home*, with a word to the user. Raise
    ValueError for a draft that cannot be sent as it is.
    """
    recipients = draft.recipients()
    if not recipients:
        raise ValueError("no recipients")
    message = draft.header() + b"\n" + draft.text
    command = [sendmail, "-i", *(["-v"] if is_verbose else [])]
    command += [f"-f{_bare(draft.sender)}"] if draft.sender else []
    before = _size_of_kept(home)
    try:
        done = piped.run([*map(os.fsencode, command), b"--", *recipients], message)
        code = done.returncode if done.returncode >= 0 else os.EX_TEMPFAIL
        # What it refuses sendmail keeps in dead.letter itself, but not if it was killed, or read nothing.
        if code and _size_of_kept(home) == before:
            keep(message, home)
    except OSError as error:
        complain(f"mail: {sendmail}: {error.strerror}")
        code = os.EX_UNAVAILABLE
        keep(message, home)
    if code:
        # Recipients that are good get it, though others are refused.
        what = "not sent" if len(recipients) == 1 else "not sent, or not to all"
        complain(f"mail: the message was {what} (sendmail's exit code is {code})")
    return code


def _size_of_kept(home: str) -> int:
    try:
        return os.lstat(os.path.join(home, "dead.letter")).st_size
    except OSError:
        return -1


def keep_draft(draft: Draft, home: str) -> None:
    """keep() what was written; without its header if no header can be made of what was said."""
    if not draft.text:
        return
    try:
        header = draft.header()
    except ValueError:
        header = b""
    keep(header + b"\n" + draft.text, home)


def keep(message: bytes, home: str) -> None:
    """Append *message* to dead.letter, and tell; what goes wrong is told, too."""
    path = os.path.join(home, "dead.letter")
    lines = message.count(b"\n")
    try:
        append(path, message)
    except OSError as error:
        complain(f"mail: {path}: {error.strerror}: the message is lost")
        return
    complain(f'"{path}" {lines}/{len(message)}')


def append(path: str, message: bytes) -> None:
    """Append *message* as one of an mbox file, made with mode 0600. Raise OSError."""
    user = os.environ.get("LOGNAME") or str(os.getuid())
    line = f"From {user} {dates.asctime(time.time())}\n".encode()
    quoted = (b"\n" + message).replace(b"\nFrom ", b"\n>From ")[1:]
    end = b"\n" if quoted.endswith(b"\n") else b"\n\n"
    with deadletter.opened(path) as file:
        files.write_all(file, line + quoted + end)


def _bare(sender: str) -> str:
    """The address of "Emma <emma@lab1.campus>"."""
    listed = addresslist.parse(os.fsencode(sender))
    if len(listed) != 1 or listed[0].problem:
        raise ValueError(f"{sender}: not one address")
    return os.fsdecode(listed[0].address)
