"""``minimta install``: this checkout becomes the machine's mail system (Debian).

Links lead into the checkout, so an update is a ``git pull`` and another ``install`` for the byte
code. A second run changes nothing. Names that other mail systems' packages have, or will have, are
diverted: their files stay, under other names. A file that no package has is never touched.

In the copy of Debian's package the programs are dpkg's, and ``install`` is what its postinst runs: it
sees to user, directories, aliases, name and certificate.
"""

from __future__ import annotations

import os
import subprocess
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

from minimta.admin.arguments import parsed, tree
from minimta.admin.checkout import (
    HOME,
    SENDMAIL,
    AdminError,
    is_packaged,
    need_checkout,
)
from minimta.admin.install import machine_files, other_mta
from minimta.admin.install.accounts import Account
from minimta.admin.install.advice import tell_next, warn_of_configuration
from minimta.admin.install.alternatives import MailAlternative
from minimta.admin.install.certificate import Certificate
from minimta.admin.install.diversions import Diversion, package_of
from minimta.admin.install.files import (
    CountsFile,
    Directory,
    Link,
    LockFile,
    RememberedHosts,
    TextFile,
    Unwanted,
)
from minimta.admin.install.machine_files import MachineFile, Where
from minimta.admin.install.modes import need_readable, warn_of_writers
from minimta.admin.install.sendmail_cf import SendmailCf
from minimta.admin.install.services import (
    CLIENT_QUEUE,
    QUEUE,
    AliasDatabase,
    ByteCode,
    Service,
)
from minimta.admin.install.startup_code import StartupFile
from minimta.admin.install.steps import Step, below
from minimta.admin.output import say
from minimta.admin.virtual_environment import RUN_TIME
from minimta.config import file as config_file
from minimta.mailers.remote import (
    host_status,
    login_memory,
    pace,
    sts_cache,
    tls_results,
)
from minimta.runner import alert_state
from minimta.system import hostnames, safefile, slots, statistics, terminal
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
    "/usr/sbin/mailstats": "mailstats",
    "/usr/sbin/makemap": "makemap",
    "/usr/sbin/editmap": "editmap",
    "/usr/sbin/rmail": "rmail",
    "/usr/sbin/runq": "runq",
    "/usr/libexec/sendmail/mail.local": "mail.local",
    "/usr/libexec/sendmail/smrsh": "smrsh",
    "/usr/sbin/minimta": "minimta",
    "/usr/sbin/sendmail": "sendmail",
}


#: what packages of other mail systems never have
OURS_ALONE = (
    "/usr/sbin/minimta",
    "/usr/libexec/sendmail/mail.local",
    "/usr/libexec/sendmail/smrsh",
)


def steps(root: Path) -> list[Step]:
    """All rows, in the order in which they are done; undone the other way round.

    The commands come late: they appear when everything that they need is in place.
    """
    units = machine_files.ENABLED_UNITS if root == Path("/") else ()
    services = [Service(unit) for unit in units]
    package = Path(HOME, "minimta")
    code: list[Step] = [ByteCode(package), StartupFile(package)]
    return [*code, *state_steps(root), *program_steps(root), *services]


def state_steps(root: Path) -> list[Step]:
    """What running programs need and find: of every kind of installation, a package's too."""
    rows: list[Step] = [
        Account(root, "minimta", QUEUE),
        Directory(root, QUEUE, 0o1730, "minimta"),
        Directory(root, CLIENT_QUEUE, 0o1733),
        Directory(root, "/etc/mail", 0o755, keep=True),
        LockFile(root, beside(QUEUE)),
        LockFile(root, of_daemon(QUEUE)),
        LockFile(root, slots.beside(QUEUE)),
        LockFile(root, login_memory.beside(QUEUE)),
        LockFile(root, pace.beside(QUEUE)),
        CountsFile(root, statistics.path_of("", QUEUE), "minimta"),
        LockFile(root, alert_state.beside(QUEUE)),
        LockFile(root, alert_state.aside(QUEUE)),
        RememberedHosts(root, host_status.beside(QUEUE)),
        RememberedHosts(root, sts_cache.beside(QUEUE)),
        RememberedHosts(root, tls_results.beside(QUEUE)),
        TextFile(root, "/etc/aliases", ALIASES, keep=True),
        LockFile(root, "/etc/aliases.cdb.lock"),
        AliasDatabase(root, "/etc/aliases", SENDMAIL),
        SendmailCf(root),
    ]
    # A name, or a key, in an image would be every machine's.
    return rows if root != Path("/") else [*rows, *_of_this_host(root)]


def program_steps(root: Path) -> list[Step]:
    """What starts programs of the checkout; a package's own files stand in their place."""
    diverted = [path for path in COMMANDS if path not in OURS_ALONE]
    return [
        *(Directory(root, path, 0o755, keep=True) for path in own_directories()),
        *(machine_step(root, file) for file in machine_files.FILES),
        *_drop_ins(root),
        *(Diversion(root, path) for path in diverted),
        *(Link(root, manual_place(page), str(page)) for page in manual_pages()),
        *(Link(root, path, f"{HOME}/bin/{name}") for path, name in COMMANDS.items()),
        MailAlternative(root, f"{HOME}/bin/mail"),
    ]


def own_directories() -> list[str]:
    """Those that a minimal system lacks; uninstall takes away what is empty then."""
    found = {
        "/etc/fail2ban",
        "/etc/fail2ban/filter.d",
        "/usr/libexec/sendmail",
        "/usr/local/share/bash-completion",
        "/usr/local/share/bash-completion/completions",
        "/usr/local/share/zsh",
        "/usr/local/share/zsh/site-functions",
    }
    return sorted(found | {os.path.dirname(manual_place(page)) for page in manual_pages()})


def _drop_ins(root: Path) -> list[Step]:
    if not machine_files.wanted(Where.WITH_SYSTEMD, root):
        return []
    files = machine_files.drop_ins(HOME)
    parents = [Directory(root, os.path.dirname(path), 0o755, keep=True) for path in files]
    return [*parents, *(TextFile(root, path, text) for path, text in files.items())]


def machine_step(root: Path, file: MachineFile) -> Step:
    """The file written, or gone from a machine that does not want it (any more)."""
    if machine_files.wanted(file.where, root):
        return TextFile(root, file.installed, file.text(), mode=file.mode)
    return Unwanted(root, file.installed)


def manual_pages() -> list[Path]:
    """The manual pages of this copy: minimta/man/NAME.SECTION."""
    return sorted(Path(HOME, "minimta", "man").glob("*.[1-8]"))


def manual_place(page: Path) -> str:
    """Where man(1) looks before it looks at what packages have."""
    return f"/usr/local/share/man/man{page.suffix[1:]}/{manual_name(page)}"


def manual_name(page: Path) -> str:
    """``mail.1`` may be another mailx's."""
    return "mail.minimta.1" if page.name == "mail.1" else page.name


def _of_this_host(root: Path) -> list[Step]:
    """None for a host without a name, or a wrong minimta.cf: warn_of_configuration() tells of it."""
    try:
        options = config_file.load(None, [], safefile.why_untrusted)
        name = hostnames.own_name(options)
    except (config_file.ConfigError, OSError):
        return []
    rows: list[Step] = [Certificate(root, name)]
    if "." in name:  # Debian Policy 11.6: other programs complete addresses with it
        rows.append(TextFile(root, "/etc/mailname", f"{name}\n", keep=True, shared=True))
    return rows


def run(arguments: list[str]) -> int:
    """Install, or say what an installation would do."""
    root, is_dry = parse("install", arguments)
    need_root(is_dry=is_dry)
    if is_packaged():
        return run_packaged(root, is_dry=is_dry)
    need_checkout("install")
    need_no_package(root)
    rows = steps(root)
    need_modules()
    need_readable()
    need_no_other_mta(root, [row for row in rows if isinstance(row, Link)])
    warn_of_writers()
    warn_of_configuration(root)
    for sentence in other_mta.sentences(root):
        terminal.complain(f"warning: {sentence}")
    for left in other_mta.left_mail(root):
        terminal.complain(f"note: {left}")
    missing = [row for row in rows if not row.is_done()]
    perform([(str(row), row.do) for row in missing], is_dry=is_dry)
    if missing and not is_dry:
        tell_next(root)
    return os.EX_OK


def run_packaged(root: Path, *, is_dry: bool) -> int:
    """What postinst does in Python: mail that comes must find what it needs, whatever /etc holds.

    So what lies in files of the administrator (a line of the aliases, a name) is told and stops nothing.
    """
    warn_of_configuration(root)
    rows = [StartupFile(Path(HOME, "minimta")), *state_steps(root), packaged_cron(root)]
    missing = [row for row in rows if not row.is_done()]
    for row in missing:
        try:
            perform([(str(row), row.do)], is_dry=is_dry)
        except AdminError as trouble:
            if isinstance(row, Account | Directory):
                raise
            terminal.complain(f"warning: {trouble}")
    for left in other_mta.left_mail(root):
        terminal.say(f"note: {left}")
    if not is_dry and any(isinstance(row, Account) for row in missing):
        tell_next(root)
    return os.EX_OK


def packaged_cron(root: Path) -> Step:
    """The cron entry, if systemd neither runs nor is there to run when the machine starts."""
    cron = machine_files.by_name("cron")
    has_systemd = (root / "usr/lib/systemd/systemd").exists()
    if has_systemd or not machine_files.wanted(cron.where, root):
        return Unwanted(root, cron.packaged)
    return TextFile(root, cron.packaged, cron.text())


def parse(verb: str, arguments: list[str]) -> tuple[Path, bool]:
    """The tree to work on, and whether only to tell. Raise AdminError."""
    parser = ArgumentParser(prog=f"minimta {verb}", exit_on_error=False)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--root", default="/", metavar="DIR", help="work on the tree below DIR")
    given = parsed(parser, arguments)
    return tree(given.root), given.dry_run


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


def need_no_package(root: Path) -> None:
    """Raise AdminError if Debian's package of minimta is what is installed."""
    if package_of(root, "/usr/sbin/minimta") == "minimta":
        remedy = "apt remove minimta, which leaves mail and configuration, and try again"
        raise AdminError(f"Debian's package minimta is installed: {remedy}", os.EX_CANTCREAT)


def need_no_other_mta(root: Path, links: list[Link]) -> None:
    """Raise AdminError if a name that we need is taken by what no diversion puts aside.

    A package's own file is diverted. A link of update-alternatives(1), and what no package has, is not.
    """
    for link in links:
        is_there = os.path.lexists(below(root, link.path))
        if is_there and not (link.is_done() or link.is_ours() or _can_divert(root, link.path)):
            package = other_mta.owner(root, link.path)
            remedy = f"apt remove {package}" if package else "move it away"
            whose = f"of the package {package}" if package else "of nobody that dpkg knows"
            text = f"{link.path} is there already, {whose}: {remedy}, and try again"
            raise AdminError(text, os.EX_CANTCREAT)


def _can_divert(root: Path, path: str) -> bool:
    return path not in OURS_ALONE and bool(package_of(root, path))


def is_installed(root: Path) -> bool:
    """Do the names of our commands lead to minimta?"""
    return Link(root, "/usr/sbin/minimta", "").is_ours()


def taken_away(root: Path) -> list[str]:
    """What of an installation other mail systems have taken since, a sentence each."""
    if not is_installed(root):
        return []
    sentences = []
    for path in (
        "/usr/sbin/sendmail",
        "/usr/lib/sendmail",
        "/usr/bin/mailq",
        "/usr/bin/newaliases",
    ):
        if not Link(root, path, "").is_ours():
            package = other_mta.owner(root, path) if os.path.lexists(below(root, path)) else ""
            again = "apt install --reinstall minimta" if is_packaged() else "minimta install"
            remedy = f"apt remove {package}, then {again}" if package else again
            sentences.append(f"{path} does not lead to minimta: {remedy}")
    return sentences
