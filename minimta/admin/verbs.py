"""``minimta VERB``: picks the door. Needs nothing but the standard library."""

from __future__ import annotations

import os
import signal
from importlib import import_module

from minimta import __version__
from minimta.admin.checkout import AdminError
from minimta.admin.output import say
from minimta.config.values import nearest
from minimta.system import log
from minimta.system.terminal import complain

#: verb -> (module with its run(arguments) -> exit code, what it does)
VERBS = {
    "demo": ("minimta.admin.demo.demo", "play the way of a letter with a private root in var/demo"),
    "test": (
        "minimta.admin.test",
        "run the test suite [--newest: not on this Python's libraries]; more goes to pytest",
    ),
    "install": (
        "minimta.admin.install.install",
        "put sendmail in its place on this machine [--dry-run]",
    ),
    "uninstall": ("minimta.admin.install.uninstall", "take that back, leave all mail [--dry-run]"),
    "import": (
        "minimta.admin.migrate.import_verb",
        "the configuration of Sendmail, Postfix, ssmtp, msmtp, dma, nullmailer in our words [--write] FILE...",
    ),
    "setup": (
        "minimta.admin.setup.setup",
        "mail goes out by a provider: gmail, office365, ..., HOST, mx, local; tried with a letter",
    ),
    "package": (
        "minimta.admin.package.package",
        "write this checkout as a Debian package [--output DIR|FILE.deb]",
    ),
    "check": (
        "minimta.admin.check",
        "tell what is wrong: configuration and machine [-C FILE, -v, --json, --offline, --test-alert]",
    ),
    "alert": (
        "minimta.admin.alert",
        "tell what AlertCommand was told of an outage [-C FILE] [--test: tell it now]",
    ),
    "ledger": (
        "minimta.admin.ledger",
        "every accepted message, and where it ended [--since WHEN, --json, --log FILE]",
    ),
    "report": (
        "minimta.admin.report",
        "hours, senders, destinations, delays, failures [--since WHEN, --html FILE, --json]",
    ),
    "status": (
        "minimta.admin.status",
        "what runs and what waits, a Nagios plugin's way [--warn, --crit LIMIT, --prometheus FILE]",
    ),
    "passwd": (
        "minimta.admin.passwd",
        "a password for NAME, who may then log in to the listener [--delete, --list, --check]",
    ),
    "tlsrpt": (
        "minimta.admin.tlsrpt",
        "tell how TLS with other hosts came out, a report (JSON) for each domain [-C FILE] [DAY]",
    ),
    "dkim": (
        "minimta.admin.dkim",
        "a key that signs mail of DOMAIN, and the record for its zone [-C FILE, --selector NAME]",
    ),
    "queue": (
        "minimta.admin.queue.command",
        "what waits: list, show, retry, hold, release, delete, bounce, redirect [-C FILE] [ID...]",
    ),
    "trace": (
        "minimta.admin.trace",
        "tell the story of a message, or where an address leads, and why [-C FILE] ID|ADDRESS...",
    ),
    "token": (
        "minimta.admin.token",
        "access to providers that want OAuth: get, renew, list, check, remove [-C FILE]",
    ),
}

_HELP = ("--help", "-h", "help")


def main(arguments: list[str]) -> int:
    """Run the verb and give its exit code; trouble is one sentence on stderr."""
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    try:
        if verb == "help" and rest and rest[0] not in _HELP:
            return _run(rest[0], ["--help"])
        if verb in _HELP:
            say(usage())
            return os.EX_OK if arguments else os.EX_USAGE
        if verb == "--version":
            say(f"minimta {__version__}")
            return os.EX_OK
        return _run(verb, rest)
    except AdminError as trouble:
        if str(trouble):
            complain(f"minimta {verb}: {trouble}")
        return trouble.exit_code
    except OSError as error:
        where = f"{log.clean(str(error.filename))}: " if error.filename else ""
        complain(f"minimta {verb}: {where}{error.strerror or error}")
        return os.EX_NOPERM if isinstance(error, PermissionError) else os.EX_OSERR
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _run(verb: str, arguments: list[str]) -> int:
    if verb not in VERBS:
        known = {name: name for name in VERBS}
        complain(f"minimta: unknown verb {verb!r}{nearest(verb.lower(), known)}\n{usage()}")
        return os.EX_USAGE
    return int(import_module(VERBS[verb][0]).run(arguments))


def usage() -> str:
    """What ``minimta --help`` prints: a line for each verb."""
    lines = [f"  {verb:<10} {meaning}" for verb, (_, meaning) in VERBS.items()]
    return "\n".join(["usage: minimta VERB [ARGUMENT...]", *lines])
