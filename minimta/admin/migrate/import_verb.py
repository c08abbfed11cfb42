"""``minimta import FILE...``: the configuration of another mail program becomes minimta's.

    minimta import /etc/mail/sendmail.mc           prints the equal minimta.cf; what it cannot carry is
                                                   named on standard error, with file and line
    minimta import --write /etc/postfix/main.cf    puts it in place: logins into authinfo (600), rows
                                                   into the tables that they belong to

Tables and logins that a file names are read with it. A minimta.cf that is there is not replaced, but
with --force, and then kept as minimta.cf.bak. No secret is printed.

    exit code    0 all is carried, or has no effect here; 69 something is not carried; 65 a line is wrong,
                 or the file of no known kind, and nothing is written; 66 a file cannot be read; 73 a file is there, or cannot
                 be written; 78 what came of it cannot be used
"""

from __future__ import annotations

import os
import stat
from argparse import ArgumentParser, Namespace
from pathlib import Path

from minimta.admin import alias_database
from minimta.admin.arguments import parsed, tree
from minimta.admin.checkout import AdminError
from minimta.admin.install.advice import about_queue, how_to_start
from minimta.admin.install.sendmail_cf import SendmailCf
from minimta.admin.install.steps import below
from minimta.admin.migrate import foreign_files, written
from minimta.admin.migrate.foreign_files import OldSurroundings
from minimta.admin.migrate.migration import Migration, NoteKind
from minimta.admin.migrate.written import WrittenFiles
from minimta.admin.output import say
from minimta.admin.placing import Placing, alone
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.system import hostnames, log, memory, safefile
from minimta.system.terminal import complain

_MOST = 4 << 20
#: where files of this kind are, for who does not say
_USUAL = (
    "/etc/mail/sendmail.mc", "/etc/postfix/main.cf", "/etc/ssmtp/ssmtp.conf", "/etc/msmtprc",
    "/etc/dma/dma.conf", "/etc/nullmailer/remotes",
)  # fmt: skip


def run(arguments: list[str]) -> int:
    """See the module. Raise AdminError, with the codes that stand there."""
    given = _parse(arguments)
    root = tree(given.root)
    memory.hide()
    migration, sources = Migration(), []
    around = _surroundings(root)
    for name in given.files:
        sources.append(_carry(name, root, migration, around))
    for note in migration.notes:
        complain(log.clean(str(note), 1000))
    _tell_of_queue(migration, root)
    if given.write:
        _write(migration, given, root, sources)
    else:
        say(written.printed(migration, sources).rstrip("\n"))
    if migration.has(NoteKind.WRONG):
        return os.EX_DATAERR
    return os.EX_UNAVAILABLE if migration.has(NoteKind.NOT_CARRIED) else os.EX_OK


def _tell_of_queue(migration: Migration, root: Path) -> None:
    """Of Sendmail's queue, which becomes ours as it is, but for some of it."""
    options = Options()
    options.queue_directory = str(below(root, migration.last("QueueDirectory")))
    for sentence in about_queue(options):
        complain(log.clean(f"warning: {sentence}", 1000))


def _surroundings(root: Path) -> OldSurroundings:
    """Of the machine below *root*."""

    def included(path: str) -> str | None:
        place = str(below(root, path))
        try:
            # A fifo would make us wait, and a device may do something when it is opened.
            return _text(place) if stat.S_ISREG(os.stat(place).st_mode) else None
        except (OSError, AdminError):
            return None

    if root == Path("/"):
        name = hostnames.own_name(Options())
    else:
        name = (included("/etc/hostname") or "localhost").strip().partition("\n")[0]
    return OldSurroundings(included, name, lambda path: below(root, path).exists())


def _carry(name: str, root: Path, migration: Migration, around: OldSurroundings) -> str:
    """Read one file; gives its path as the machine below *root* has it. Raise AdminError."""
    path = os.path.abspath(name)
    shown = f"/{os.path.relpath(path, root)}" if Path(path).is_relative_to(root) else path
    try:
        text = _text(path)
    except OSError as error:
        raise AdminError(f"{name}: {error.strerror}", os.EX_NOINPUT) from error
    kind = foreign_files.kind_of(shown, text)
    if kind is None:
        why = foreign_files.why_unknown(shown, text)
        raise AdminError(f"{name}: {why}", os.EX_DATAERR)
    kind.carry(text, shown, migration, around)
    return shown


def _text(path: str) -> str:
    """Octets that are no UTF-8 stay as they are. Raise OSError, and AdminError for what is no text."""
    with open(path, "rb") as file:
        octets = file.read(_MOST + 1)
    if len(octets) > _MOST:
        raise AdminError(f"{path}: is larger than {_MOST >> 20} MB", os.EX_DATAERR)
    if b"\0" in octets:
        raise AdminError(f"{path}: is no text", os.EX_DATAERR)
    return octets.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def _write(migration: Migration, given: Namespace, root: Path, sources: list[str]) -> None:
    """Raise AdminError if nothing may be, or can be."""
    config = given.C or config_file.DEFAULT_FILE
    place = below(root, config)
    if migration.has(NoteKind.WRONG) and not given.force:
        raise AdminError(
            "a line is wrong: nothing is written (--force leaves it out)", os.EX_DATAERR
        )
    if place.exists() and not given.force:
        text = f"{place} is there already: --force replaces it, and keeps it as {place.name}.bak"
        raise AdminError(text, os.EX_CANTCREAT)
    try:
        with alone(str(place)), Placing() as placing:
            WrittenFiles(migration, root, sources).add(config, placing)
            _check(placing.aside(str(place)))
            paths = placing.paths
            placing.commit()
    except OSError as error:
        code = os.EX_TEMPFAIL if isinstance(error, BlockingIOError) else os.EX_CANTCREAT
        raise AdminError(f"{error.filename or place}: {error.strerror}", code) from error
    for path in paths:
        say(f"written: {path}")
    checked = SendmailCf(root)
    if checked.is_ours() and not checked.is_done():
        checked.do()
    aliases = str(below(root, written.path_of(migration, "AliasFile")))
    if aliases in paths:
        alias_database.renew(aliases, Options() if root == Path("/") else None)
    say(f"Look at it with: minimta check; then: {how_to_start(root)}")


def _check(path: str) -> None:
    """Raise AdminError if minimta could not use the new file."""
    try:
        config_file.load(path, [], safefile.why_untrusted)
    except config_file.ConfigError as error:
        raise AdminError(f"that would be no configuration: {error}", error.exit_code) from error


def _parse(arguments: list[str]) -> Namespace:
    """Raise AdminError."""
    parser = ArgumentParser(prog="minimta import", exit_on_error=False)
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help=", ".join(kind.name for kind in foreign_files.KINDS),
    )
    parser.add_argument("-C", metavar="FILE", help="instead of /etc/mail/minimta.cf")
    parser.add_argument(
        "--root", default="/", metavar="DIR", help="files that others name are below DIR"
    )
    parser.add_argument("--write", action="store_true", help="put it in place")
    parser.add_argument(
        "--force",
        action="store_true",
        help="a minimta.cf that is there is replaced, and kept as .bak; wrong lines are left out",
    )
    given = parsed(parser, arguments)
    if not given.files:
        there = [path for path in _USUAL if below(Path(given.root), path).exists()]
        found = f" (here there is {', '.join(there)})" if there else ""
        raise AdminError(f"which FILE?{found} See --help", os.EX_USAGE)
    return given
