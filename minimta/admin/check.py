"""``minimta check``: is the configuration file as it should be?

All that is wrong is told at once, as a daemon or ``sendmail -bC`` would, and what is suspicious.
It reads the file, the tables and lists that it names, and the certificate of the listener, with its
key, if the caller may; and it talks to the filters.
"""

from __future__ import annotations

import json
import os
from argparse import ArgumentError, ArgumentParser
from pathlib import Path

from minimta.admin import check_tables
from minimta.admin.checkout import AdminError
from minimta.admin.install import install
from minimta.admin.output import say
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.listener import starttls
from minimta.maps.table import SUFFIX
from minimta.milter import input_filters
from minimta.system import privileges, safefile
from minimta.system.tls_values import TlsError

#: seconds in which a filter has answered, or a file is open, or never will
_FILTER_TIME = 15.0


def run(arguments: list[str]) -> int:
    """0: it can be used; 78: something is wrong, in a table too; 72, 75: it cannot be read.

    Raise AdminError (64) for other words.
    """
    named = _parse(arguments)
    path = named or config_file.DEFAULT_FILE
    try:
        options = config_file.load(named, [], safefile.why_untrusted)
    except config_file.ConfigError as error:
        say(str(error))
        if error.options is not None:
            _warn(error.options.warnings)
        return error.exit_code
    _warn(options.warnings)
    has_tls = _check_certificate(options, path)
    is_wrong = _check_tables(options)
    _check_logins(options, path, has_tls)
    is_wrong = _check_filters(options, path) or is_wrong
    _check_listener(options)
    for sentence in install.taken_away(Path("/")):
        say(f"Warning: {sentence}")
    if os.path.lexists(path):
        say(f"{path}: every line is understood")
    else:
        say(f"{path}: there is no such file; all options have their defaults")
    return os.EX_CONFIG if is_wrong else os.EX_OK


def _check_certificate(options: Options, path: str) -> bool:
    """Say why the listener will have no TLS, if so; a user who may not read the key cannot know.

    Returns whether there may be TLS.
    """
    try:
        return starttls.from_options(options) is not None
    except TlsError as error:
        if isinstance(error.__cause__, PermissionError) and os.geteuid():
            say(f"{path}: {error.reason}; only root can tell whether there will be TLS")
            return True
        say(f"{path}: Warning: STARTTLS is not offered: {error.reason}")
    return False


def _check_tables(options: Options) -> bool:
    """Tell what is wrong in tables and lists; is anything?"""
    is_wrong = False
    for finding in check_tables.findings(options):
        say(str(finding))
        is_wrong = is_wrong or finding.is_wrong
    return is_wrong


def _missing_socket(backend: str) -> str:
    """The socket of Dovecot or saslauthd, if there is none; "" if there is, or who knows."""
    kind, _, path = backend.partition(":")
    if kind in ("dovecot", "saslauthd"):
        try:
            os.lstat(path)
        except FileNotFoundError:
            return path
        except OSError:
            pass
    return ""


def _check_logins(options: Options, path: str, has_tls: bool) -> None:
    """Say why nobody can log in where a login is required (DaemonPortOptions M=a)."""
    wanting = [port.name for port in options.daemon_ports if "a" in port.modifiers]
    backend = options.auth_backend
    why = ""
    if backend.startswith("/") and not os.path.lexists(backend):
        why = f"there is no {backend}; minimta passwd NAME makes it"
    elif not backend:
        why = "AuthBackend is empty"
    elif gone := _missing_socket(backend):
        why = f"there is no {gone}; does {backend.partition(':')[0]} run?"
    elif not has_tls and options.clear_auth == "none":
        why = "there is no TLS (ServerCertFile)"
    if wanting and why:
        say(f"{path}: Warning: {', '.join(wanting)} (M=a) takes no mail: nobody can log in, {why}")


def _check_filters(options: Options, path: str) -> bool:
    """Tell of filters that are named and not there; is a name wrong?"""
    if why_not := input_filters.why_not(options):
        say(f"{path}: {why_not}")
        return True
    try:
        silent = _silent_filters(options)
    except OSError as error:
        say(f"{path}: Warning: no filter was asked: {error.strerror or error}")
        return False
    for name, on_failure, why in silent:
        after = {"T": "mail waits", "R": "mail is refused", "4": "mail waits"}
        fate = after.get(on_failure, "mail passes without it")
        say(f"{path}: Warning: the filter {name} does not answer ({why}): {fate}")
    return False


def _check_listener(options: Options) -> None:
    """Tell of tables that root opens for the listener at its start, and it cannot open once they change."""
    try:
        closed = _closed_tables(options)
    except OSError:
        return  # there is no RunAsUser: nothing is installed
    for path, why in closed:
        user = options.run_as_user
        remedy = f"chmod 644, or 640 and the group of {user}"
        say(
            f"{path}: Warning: {user}, the listener, cannot read it ({why}), and delays mail: {remedy}"
        )


def _closed_tables(options: Options) -> list[tuple[str, str]]:
    """Paths and reasons. Raise OSError."""
    if os.geteuid():
        return []
    tables = (options.access_file, options.virtuser_table, options.login_senders)
    paths = [path + suffix for path in tables if path for suffix in (SUFFIX, "")]
    paths += [options.relay_domains] if options.relay_domains else []

    def look() -> bytes:
        privileges.become(options.run_as_user)
        closed = []
        for path in paths:
            try:
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                closed.append((path, error.strerror))
        return json.dumps(closed).encode("ascii")

    return [tuple(row) for row in json.loads(privileges.in_child(look, _FILTER_TIME))]


def _silent_filters(options: Options) -> list[tuple[str, str, str]]:
    """Name, F= and reason of those that do not answer RunAsUser. Raise OSError."""

    def look() -> bytes:
        # To root every socket is open: the listener may be told "Permission denied".
        privileges.become(options.run_as_user, with_groups=True)
        silent = input_filters.silent(options)
        return json.dumps([(row.name, row.on_failure, why) for row, why in silent]).encode("ascii")

    if not options.mail_filters:
        return []
    seconds = _FILTER_TIME * (1 + len(options.mail_filters))
    return [tuple(row) for row in json.loads(privileges.in_child(look, seconds))]


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        say(warning)


def _parse(arguments: list[str]) -> str | None:
    """The file that -C names. Raise AdminError."""
    parser = ArgumentParser(prog="minimta check", exit_on_error=False)
    parser.add_argument("-C", metavar="FILE", help="instead of /etc/mail/minimta.cf")
    try:
        given, unknown = parser.parse_known_args(arguments)
    except ArgumentError as error:
        raise AdminError(str(error), os.EX_USAGE) from error
    if unknown:
        raise AdminError(f"cannot make sense of {' '.join(unknown)}; see --help", os.EX_USAGE)
    return given.C or None
