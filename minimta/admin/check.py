"""``minimta check``: is the configuration as it should be, and the machine under it?

First the configuration: all that is wrong is told at once, as a daemon or ``sendmail -bC`` would, and
what is suspicious; in the file, the tables and lists that it names, the certificate of the listener with
its key, if the caller may read it; and filters are asked. Then the examinations of ``doctor``.

    exit code    the worst is
    0            nothing, a warning, or something that nobody could look at
    69           a fault where others are: a host that is not reached, or refuses our login; name servers
    72, 75       the file cannot be read
    78           a fault here

With --json an object:

    {"version": 1, "host": "vm1.example.org", "configuration": "/etc/mail/minimta.cf", "exit_code": 78,
     "findings": [{"examination": "queues", "state": "fault", "subject": "/var/spool/mqueue",
                   "text": "...", "remedy": "chmod 1730 ...", "is_outside": false}]}

state is "fault", "warning", "unknown" or "ok"; examination is "configuration" or a name of
``examinations.TABLE``. Fields may be added, none is taken away within a version.
"""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence

from minimta.admin import check_tables
from minimta.admin.arguments import parsed
from minimta.admin.doctor import examinations
from minimta.admin.doctor.examine import examine
from minimta.admin.doctor.patient import (
    Diagnosis,
    Health,
    Patient,
    fault,
    ok,
    outside,
    to_json,
    unknown,
    warning,
)
from minimta.admin.output import say
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.listener import starttls
from minimta.maps.table import SUFFIX
from minimta.milter import input_filters
from minimta.runner import alert, alert_send
from minimta.runner.alert_send import Alert
from minimta.system import dns, log, privileges, safefile
from minimta.system.safefile import Untrusted
from minimta.system.tls_values import TlsError

#: seconds in which a filter has answered, or a file is open, or never will
_FILTER_TIME = 15.0
_VERSION = 1
#: name of an examination, and what it found
_Found = tuple[str, list[Diagnosis]]


def run(arguments: list[str]) -> int:
    """The exit code, see above. Raise AdminError (64) for other words."""
    given = _parse(arguments)
    path = given.C or config_file.DEFAULT_FILE
    try:
        options = config_file.load(given.C or None, [], safefile.why_untrusted)
    except config_file.ConfigError as error:
        warnings = error.options.warnings if error.options is not None else []
        told = [fault(*_taken_apart(one)) for one in error.sentences]
        found = [("configuration", [*told, *map(_line, warnings)])]
        _tell(found, given, path, "", error.exit_code)
        return error.exit_code
    if options.one_user and os.geteuid() != 0:
        safefile.forget_readers()
    configuration = [*map(_line, options.warnings), *_configuration(options, path)]
    found = [
        ("configuration", [*configuration, _understood(path)]),
        *_machine(options, path, given),
    ]
    if given.test_alert:
        found.append(("test of alerts", [_test_alert(options)]))
    code = max((one.exit_code for _, several in found for one in several), default=os.EX_OK)
    _tell(found, given, path, alert.own_name(options), code)
    return code


def _understood(path: str) -> Diagnosis:
    if os.path.lexists(path):
        return ok(path, "every line is understood")
    return ok(path, "there is no such file; all options have their defaults")


def _machine(options: Options, path: str, given: Namespace) -> list[_Found]:
    """The examinations, as far as they are wanted and the caller may."""
    # Without RunAsUser all is one user's, who sees what there is to see.
    is_root = os.geteuid() == 0 or options.one_user or not options.run_as_user
    rows = [row for row in examinations.TABLE if not (given.offline and row.outside)]
    closed = [row.name for row in rows if row.root and not is_root]
    found: list[_Found] = []
    try:
        dns.load()
    except ImportError as error:
        rows = [row for row in rows if not row.outside]
        text = f"{error}: no mail goes to other hosts"
        found.append(
            ("library", [fault("python3-dnspython", text, "apt install python3-dnspython")])
        )
    patient = Patient(options, path, is_root=is_root)
    found += examine(patient, [row for row in rows if row.name not in closed])
    if closed:
        told = unknown("minimta check", f"only root can look at {', '.join(closed)}")
        found.append(("rights", [told]))
    return found


def _test_alert(options: Options) -> Diagnosis:
    subject = "AlertCommand"
    if not options.alert_command:
        return fault(subject, "is empty: nobody hears of outages", "minimta(8), ALERTS")
    host = alert.own_name(options)
    try:
        alert_send.send(options, Alert("test", host, f"{host}: a test of AlertCommand"))
    except (OSError, Untrusted, ValueError) as error:
        why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        return outside(subject, f"the test was not sent: {log.clean(why)}")
    return ok(subject, "the test was sent")


# --- what is printed ------------------------------------------------------------------------------


def _tell(found: Sequence[_Found], given: Namespace, path: str, host: str, code: int) -> None:
    if given.json:
        rows = [{"examination": name, **to_json(one)} for name, several in found for one in several]
        whole = {"version": _VERSION, "host": host, "configuration": path, "exit_code": code}
        say(json.dumps({**whole, "findings": rows}))
        return
    for name, several in found:
        for one in several:
            is_shown = one.state is not Health.OK or name in ("configuration", "test of alerts")
            if is_shown or given.v:
                say(f"ok: {one}" if not is_shown else str(one))


def _line(line: str) -> Diagnosis:
    """A warning that was made elsewhere: "PATH: line N: Warning: ..."."""
    return Diagnosis(Health.WARNING, *_taken_apart(line.replace("Warning: ", "", 1)))


def _taken_apart(line: str) -> tuple[str, str]:
    """What a line is about, and what it says of it: "PATH: line 3", "..."."""
    parts = line.split(": ", 2)
    if len(parts) == 3 and parts[1][:5] == "line ":
        return f"{parts[0]}: {parts[1]}", parts[2]
    return parts[0], ": ".join(parts[1:])


# --- the configuration ----------------------------------------------------------------------------


def _configuration(options: Options, path: str) -> Iterator[Diagnosis]:
    has_tls, told = _check_certificate(options, path)
    yield from told
    for finding in check_tables.findings(options):
        where = f"{finding.path}: line {finding.line}" if finding.line else finding.path
        state = Health.FAULT if finding.is_wrong else Health.WARNING
        yield Diagnosis(state, where, finding.text)
    yield from _check_logins(options, path, has_tls)
    yield from _check_filters(options, path)
    yield from _check_listener(options)


def _check_certificate(options: Options, path: str) -> tuple[bool, list[Diagnosis]]:
    """May there be TLS, and why not. A user who may not read the key cannot know."""
    try:
        return starttls.from_options(options) is not None, []
    except TlsError as error:
        if isinstance(error.__cause__, PermissionError) and os.geteuid():
            text = f"{error.reason}; only root can tell whether there will be TLS"
            return True, [unknown(path, text)]
        return False, [warning(path, f"STARTTLS is not offered: {error.reason}")]


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


def _check_logins(options: Options, path: str, has_tls: bool) -> Iterator[Diagnosis]:
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
        text = f"{', '.join(wanting)} (M=a) takes no mail: nobody can log in, {why}"
        yield warning(path, text)


def _check_filters(options: Options, path: str) -> Iterator[Diagnosis]:
    """Tell of filters that are named and not there."""
    if why_not := input_filters.why_not(options):
        yield fault(path, why_not)
        return
    try:
        silent = _silent_filters(options)
    except OSError as error:
        yield warning(path, f"no filter was asked: {error.strerror or error}")
        return
    for name, on_failure, why in silent:
        after = {"T": "mail waits", "R": "mail is refused", "4": "mail waits"}
        fate = after.get(on_failure, "mail passes without it")
        yield warning(path, f"the filter {name} does not answer ({why}): {fate}")


def _check_listener(options: Options) -> Iterator[Diagnosis]:
    """Tell of tables that root opens for the listener at its start, and it cannot open once they change."""
    try:
        closed = _closed_tables(options)
    except OSError:
        return  # there is no RunAsUser: nothing is installed
    for path, why in closed:
        user = options.run_as_user
        text = f"{user}, the listener, cannot read it ({why}), and delays mail"
        yield warning(path, text, f"chmod 644, or 640 and the group of {user}")


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


def _parse(arguments: list[str]) -> Namespace:
    """C, v, json, offline, test_alert. Raise AdminError."""
    parser = ArgumentParser(prog="minimta check", exit_on_error=False)
    parser.add_argument("-C", metavar="FILE", help="instead of /etc/mail/minimta.cf")
    parser.add_argument("-v", action="store_true", help="tell what is well, too")
    parser.add_argument("--json", action="store_true", help="one object for programs")
    parser.add_argument(
        "--offline", action="store_true", help="ask neither name servers nor other hosts"
    )
    parser.add_argument("--test-alert", action="store_true", help="call AlertCommand, too")
    return parsed(parser, arguments)
