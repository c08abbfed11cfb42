"""``minimta install``: this checkout becomes the machine's mail system (Debian).

Links lead into the checkout, so an update is a ``git pull`` and another ``install`` for the byte
code. A second run changes nothing. Files of another mail system are never touched: one MTA takes
another's place by removing its package, and that is the administrator's decision.
"""

from __future__ import annotations

import os
import subprocess
from argparse import ArgumentError, ArgumentParser
from collections.abc import Callable
from pathlib import Path

from minimta.admin.checkout import HOME, SENDMAIL, AdminError
from minimta.admin.install.accounts import Account
from minimta.admin.install.advice import tell_next, warn_of_configuration
from minimta.admin.install.certificate import Certificate
from minimta.admin.install.files import Directory, Link, LockFile, RememberedHosts, TextFile
from minimta.admin.install.modes import need_readable, warn_of_writers
from minimta.admin.install.services import (
    CLIENT_QUEUE,
    CRON,
    QUEUE,
    TMPFILES,
    UNIT,
    AliasDatabase,
    ByteCode,
    Service,
)
from minimta.admin.install.services import run as run_program
from minimta.admin.install.steps import Step, below
from minimta.admin.output import say
from minimta.admin.virtual_environment import RUN_TIME
from minimta.config import file as config_file
from minimta.mailers.remote import host_status, login_memory, pace, sts_cache, tls_results
from minimta.system import hostnames, safefile, slots, terminal
from minimta.system.locks import beside, of_daemon

#: what the first line of bin/sendmail names
PYTHON = "/usr/bin/python3"

ALIASES = """\
# Compiled by newaliases(1): run it after every change.
postmaster: root
MAILER-DAEMON: postmaster
abuse: postmaster
nobody: /dev/null
"""


#: path on the machine -> name in bin/
COMMANDS = {
    "/usr/lib/sendmail": "sendmail",
    "/usr/bin/mailq": "mailq",
    "/usr/bin/newaliases": "newaliases",
    "/usr/bin/hoststat": "hoststat",
    "/usr/bin/purgestat": "purgestat",
    "/usr/sbin/praliases": "praliases",
    "/usr/sbin/makemap": "makemap",
    "/usr/libexec/sendmail/smrsh": "smrsh",
    "/usr/sbin/minimta": "minimta",
    "/usr/sbin/sendmail": "sendmail",
}


def steps(root: Path) -> list[Step]:
    """All rows, in the order in which they are done; undone the other way round.

    The commands come late: they appear when everything that they need is in place.
    """
    rows: list[Step] = [
        ByteCode(Path(HOME, "minimta")),
        Account(root, "minimta", QUEUE),
        Directory(root, QUEUE, 0o1730, "minimta"),
        Directory(root, CLIENT_QUEUE, 0o1733),
        Directory(root, "/etc/mail", 0o755, keep=True),
        LockFile(root, beside(QUEUE)),
        LockFile(root, of_daemon(QUEUE)),
        LockFile(root, slots.beside(QUEUE)),
        LockFile(root, login_memory.beside(QUEUE)),
        LockFile(root, pace.beside(QUEUE)),
        RememberedHosts(root, host_status.beside(QUEUE)),
        RememberedHosts(root, sts_cache.beside(QUEUE)),
        RememberedHosts(root, tls_results.beside(QUEUE)),
        TextFile(root, "/etc/aliases", ALIASES, keep=True),
        LockFile(root, "/etc/aliases.cdb.lock"),
        AliasDatabase(root, "/etc/aliases", SENDMAIL),
        TextFile(root, "/etc/tmpfiles.d/minimta.conf", TMPFILES),
        TextFile(root, "/etc/cron.d/minimta", CRON),
        TextFile(root, "/etc/systemd/system/minimta.service", UNIT.format(home=HOME)),
        *(Link(root, path, f"{HOME}/bin/{name}") for path, name in COMMANDS.items()),
    ]
    # A key in an image would be every machine's.
    return rows if root != Path("/") else [*rows, *_certificate(root), Service("minimta.service")]


def _certificate(root: Path) -> list[Step]:
    """None for a host without a name, or a wrong minimta.cf: warn_of_configuration() tells of it."""
    try:
        options = config_file.load(None, [], safefile.why_untrusted)
        return [Certificate(root, hostnames.own_name(options))]
    except (config_file.ConfigError, OSError):
        return []


def run(arguments: list[str]) -> int:
    """Install, or say what an installation would do."""
    root, is_dry = parse("install", arguments)
    rows = steps(root)
    need_root(is_dry=is_dry)
    need_modules()
    need_readable()
    need_no_other_mta(root, [row for row in rows if isinstance(row, Link)])
    warn_of_writers()
    warn_of_configuration(root)
    missing = [row for row in rows if not row.is_done()]
    perform([(str(row), row.do) for row in missing], is_dry=is_dry)
    if missing and not is_dry:
        tell_next(root)
    return os.EX_OK


def parse(verb: str, arguments: list[str]) -> tuple[Path, bool]:
    """The tree to work on, and whether only to tell. Raise AdminError (64) for other words."""
    parser = ArgumentParser(prog=f"minimta {verb}", exit_on_error=False)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--root", default="/", metavar="DIR", help="work on the tree below DIR")
    try:
        given, unknown = parser.parse_known_args(arguments)
    except ArgumentError as error:
        raise AdminError(str(error), os.EX_USAGE) from error
    if unknown:
        raise AdminError(f"cannot make sense of {' '.join(unknown)}; see --help", os.EX_USAGE)
    return Path(given.root).resolve(), given.dry_run


def need_root(*, is_dry: bool) -> None:
    """Raise AdminError if somebody else wants to do more than look."""
    if not is_dry and os.geteuid() != 0:
        raise AdminError("only root can do that (--dry-run shows what it would be)", os.EX_NOPERM)


def perform(deeds: list[tuple[str, Callable[[], None]]], *, is_dry: bool) -> None:
    """Do them one by one and tell each. Raise AdminError at the first that fails.

    Nothing is left half done because nobody reads what is told (``minimta install | head``).
    """
    os.umask(0o022)
    for name, deed in deeds:
        if is_dry:
            say(f"would do: {name}")
        else:
            terminal.say(name)
        try:
            if not is_dry:
                deed()
        except OSError as error:
            raise AdminError(f"{name}: {error}", os.EX_CANTCREAT) from error
    if not deeds:
        say("nothing to do")


def need_modules() -> None:
    """Raise AdminError if the Python that will run sendmail (not this one) lacks a library."""
    code = f"import {', '.join(RUN_TIME)}"
    done = subprocess.run([PYTHON, "-I", "-c", code], capture_output=True, check=False)
    if done.returncode:
        raise AdminError(f"{PYTHON} lacks a library: apt install {' '.join(RUN_TIME.values())}")


def need_no_other_mta(root: Path, links: list[Link]) -> None:
    """Raise AdminError if a name that we need is taken by anything but a checkout of ours."""
    for link in links:
        if os.path.lexists(below(root, link.path)) and not (link.is_done() or link.is_ours()):
            package = package_of(root, link.path)
            remedy = f"apt remove {package}" if package else "move it away"
            owner = f"of the package {package}" if package else "of nobody that dpkg knows"
            text = f"{link.path} is there already, {owner}: {remedy}, and try again"
            raise AdminError(text, os.EX_CANTCREAT)


def taken_away(root: Path) -> list[str]:
    """The commands that another mail system has taken since an installation, a sentence each."""
    if not Link(root, "/usr/sbin/minimta", "").is_ours():
        return []  # nothing is installed
    sentences = []
    for path in (
        "/usr/sbin/sendmail",
        "/usr/lib/sendmail",
        "/usr/bin/mailq",
        "/usr/bin/newaliases",
    ):
        if not Link(root, path, "").is_ours():
            package = package_of(root, path) if os.path.lexists(below(root, path)) else ""
            remedy = f"apt remove {package}, then minimta install" if package else "minimta install"
            sentences.append(f"{path} does not lead to minimta: {remedy}")
    return sentences


def package_of(root: Path, path: str) -> str:
    """Debian's package that holds *path*, or what it leads to; "" if none does."""
    for name in (path, os.path.realpath(path)):
        try:
            done = run_program(["dpkg", f"--root={root}", "--search", name])
        except AdminError:
            return ""
        if done.returncode == 0:
            return done.stdout.partition(":")[0]
    return ""
