"""``minimta passwd NAME``: the users who may log in to the listener (AUTH), and their passwords.

    minimta passwd emma            asks twice; without a terminal the first line of standard input
    minimta passwd --delete emma
    minimta passwd --list
    minimta passwd --check emma    is that the password? Exit code 0, or 1

The file (option AuthBackend, /etc/mail/smtp-users) is 0640 root:minimta and written anew each time,
under a lock: readers see the old one or the new one, and after a crash one of them is whole. The
listener sees the change by itself. Its format stands in ``listener.smtp_users``.
"""

from __future__ import annotations

import getpass
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from minimta.admin.arguments import known
from minimta.admin.checkout import AdminError
from minimta.admin.output import say
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.listener import smtp_users
from minimta.listener.smtp_users import SmtpUserFile
from minimta.smtp.saslprep import saslprep
from minimta.system import files, locks, safefile, users

#: seconds for another one who writes the file
_PATIENCE = 10.0
_MODE = 0o640

T = TypeVar("T")


def run(arguments: list[str]) -> int:
    """0, or 1 if --check finds another password, 67 if there is no such user.

    Raise AdminError for other words (64), a configuration or file that cannot be used (78), and
    names or passwords that cannot be (65).
    """
    given = _parse(arguments)
    options = _options(given.C)
    path = options.auth_backend
    if not path.startswith("/"):
        raise AdminError(f"AuthBackend is {path or 'empty'}, not a file of ours", os.EX_CONFIG)
    if given.list:
        return _list(path)
    name = _checked(lambda: smtp_users.user_name(given.name))
    if given.check:
        return _check(path, name)
    return _change(path, name, given.delete, options)


def _parse(arguments: list[str]) -> Namespace:
    parser = ArgumentParser(prog="minimta passwd", exit_on_error=False)
    parser.add_argument("-C", metavar="FILE", help="instead of /etc/mail/minimta.cf")
    verbs = parser.add_mutually_exclusive_group()
    verbs.add_argument("--delete", action="store_true", help="the user may log in no more")
    verbs.add_argument("--list", action="store_true", help="the names, one a line")
    verbs.add_argument("--check", action="store_true", help="is that the password?")
    parser.add_argument("name", nargs="?", metavar="NAME")
    given, unknown = known(parser, arguments)
    if unknown or given.list is (given.name is not None):
        raise AdminError("one NAME, or --list; see --help", os.EX_USAGE)
    return given


def _options(path: str | None) -> Options:
    try:
        return config_file.load(path, [], safefile.why_untrusted)
    except config_file.ConfigError as error:
        raise AdminError(str(error), error.exit_code) from error


def _list(path: str) -> int:
    for name in sorted(_read(path).users):
        say(name)
    return os.EX_OK


def _check(path: str, name: str) -> int:
    keys = _read(path).users.get(name)
    if keys is None:
        raise AdminError(f"{path}: no user {name}", os.EX_NOUSER)
    is_right = keys.scrypt.fits(_checked(lambda: saslprep(_ask("Password: "))))
    say("that is the password" if is_right else "that is another password")
    return os.EX_OK if is_right else 1


def _change(path: str, name: str, delete: bool, options: Options) -> int:
    keys = None if delete else _checked(lambda: smtp_users.new_keys(_new_password(name)))
    lock = locks.wait_for(f"{path}.lock", lambda: False, _PATIENCE)
    if lock is None:
        raise AdminError(f"{path} is being written by somebody else", os.EX_TEMPFAIL)
    with lock:
        file = _read(path)
        if keys is None and name not in file.users:
            raise AdminError(f"{path}: no user {name}", os.EX_NOUSER)
        others = {other: kept for other, kept in file.users.items() if other != name}
        changed = others if keys is None else {**others, name: keys}
        _write(path, replace(file, users=changed), _group(options))
    say(f"{name} may log in no more" if keys is None else f"{name} may log in")
    return os.EX_OK


def _checked(act: Callable[[], T]) -> T:
    """What *act* makes of a name or a password. Raise AdminError for what cannot be one."""
    try:
        return act()
    except ValueError as error:
        raise AdminError(str(error), os.EX_DATAERR) from error


def _read(path: str) -> SmtpUserFile:
    """No file is one without users. Raise AdminError."""
    try:
        return smtp_users.read(path)
    except FileNotFoundError:
        return smtp_users.new_file()
    except OSError as error:
        raise AdminError(f"{path}: {error.strerror}", os.EX_CONFIG) from error


def _group(options: Options) -> int:
    """The primary group of RunAsUser, as whom the listener reads the file; ours without root."""
    if os.geteuid() != 0 or not options.run_as_user:
        return os.getegid()
    user = users.Users("").find(options.run_as_user.encode())
    if user is None:
        text = f"RunAsUser {options.run_as_user}: no such user; minimta install makes it"
        raise AdminError(text, os.EX_CONFIG)
    return user.gid


def _write(path: str, file: SmtpUserFile, group: int) -> None:
    """Raise OSError."""
    aside = f"{path}.new"
    new = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        files.write_all(new, smtp_users.encode(file))
        os.fchown(new, -1, group)
        os.fchmod(new, _MODE)
        os.fsync(new)
    finally:
        os.close(new)
    os.rename(aside, path)
    files.sync_directory(os.path.dirname(path))


# --- passwords ------------------------------------------------------------------------------------


def _new_password(name: str) -> str:
    password = _ask(f"New password of {name}: ")
    if sys.stdin.isatty() and _ask("Once more: ") != password:
        raise AdminError("the two passwords differ; nothing was changed", os.EX_DATAERR)
    return password


def _ask(prompt: str) -> str:
    """From the terminal without echo, else the first line of standard input. Raise AdminError."""
    if sys.stdin.isatty():
        return getpass.getpass(prompt)
    line = sys.stdin.buffer.readline().removesuffix(b"\n").removesuffix(b"\r")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise AdminError("the password is not UTF-8", os.EX_DATAERR) from None
