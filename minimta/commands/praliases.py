"""praliases: the aliases as they stand in the databases, "name:right-hand side" a line.

    praliases [-C cffile] [-f aliasfile] [key ...]

In the order of the files, all of them; with keys only those, which are in small letters there. As
recorded in Sendmail 8.17 a file that cannot be read is told and is no failure.
"""

from __future__ import annotations

import os
from getopt import GetoptError, gnu_getopt

from minimta.aliases.source import Source
from minimta.config import file as config_file
from minimta.config.values import alias_files
from minimta.system import log, safefile
from minimta.system.terminal import complain, print_octets, printed, wrong_option

USAGE = "usage: praliases [-C cffile] [-f aliasfile] [key ...]"


def main(argv: list[str]) -> int:
    """Run the command; its exit code (sysexits)."""
    try:
        flags, keys = gnu_getopt(argv[1:], "C:f:")
        sources = _sources(dict(flags))
    except GetoptError as error:
        return wrong_option("praliases", error, USAGE)
    except config_file.ConfigError as error:
        complain(f"praliases: {error}")
        return os.EX_NOINPUT if error.exit_code == os.EX_OSFILE else error.exit_code
    except ValueError as error:
        complain(f"praliases: {error}")
        return os.EX_USAGE
    for source in sources:
        _show_file(source, [os.fsencode(key) for key in keys])
    return printed("praliases", os.EX_OK)


def _sources(flags: dict[str, str]) -> list[Source]:
    """Raise ConfigError for -C, ValueError for -f."""
    given = config_file.load(flags.get("-C"), [], safefile.why_untrusted)
    log.configure("praliases", given.log_to, given.log_level)
    files = alias_files(flags["-f"]) if "-f" in flags else given.alias_files
    return [Source(file, given.dont_blame) for file in files]


def _show_file(source: Source, keys: list[bytes]) -> None:
    try:
        lines = _found(source, keys) if keys else (b"%b:%b\n" % row for row in source.records())
        print_octets(lines)
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError)
        reason = os.strerror(error.errno or 0) if is_missing else error.strerror
        complain(f"praliases: {source.path}: open: {reason}")


def _found(source: Source, keys: list[bytes]) -> list[bytes]:
    found = [(key, source.find(key)) for key in keys]
    return [
        b"%b: No such key\n" % key if value is None else b"%b:%b\n" % (key, value)
        for key, value in found
    ]
