"""``newaliases``, ``sendmail -bi``: the alias databases made anew from their text.

For root, the owner of the queue and TrustedUsers. A file that cannot be compiled keeps the database
that it had; the other files are compiled all the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import lru_cache

from minimta.aliases.rebuild import rebuild
from minimta.config.commandline import UsageError
from minimta.config.options import Options
from minimta.routing import recipients, targets
from minimta.routing.local_host import LocalHost
from minimta.submission.caller import Caller
from minimta.system import log
from minimta.system.progress import ProgressLine
from minimta.system.terminal import complain, say

#: names and right-hand sides that are kept in mind, the latest
_REMEMBERED = 10_000


def run(options: Options) -> int:
    """Rebuild every database of option AliasFile, whatever became of the one before it.

    Returns the exit code of the first that could not be made, and tells what each has become.
    Raise UsageError for a caller who may not.
    """
    caller = Caller(options)
    if not caller.is_trusted():
        log.line("", f"user {caller.uid} attempted to rebuild the alias map")
        raise UsageError("Permission denied (real uid not trusted)")
    here = LocalHost(options)
    code = os.EX_OK
    for source in here.aliases.sources:
        try:
            report = rebuild(source, here.users, here.router.is_local)
        except OSError as error:
            complain(f"newaliases: cannot write the database of {source.path}: {error}")
            code = code or os.EX_CANTCREAT
            continue
        for line in report.lines():
            say(line)
        code = code or report.exit_code
    _warn_of_nobody(here)
    return code


def _warn_of_nobody(here: LocalHost) -> None:
    """Tell of names on right-hand sides that are neither alias nor user: a typo hides mail.

    DIFFERS: Sendmail says nothing. The alias stands: the user may come with the next login.
    """
    # A long list names few people, each of whom is looked up in passwd.
    is_unknown = lru_cache(_REMEMBERED)(lambda name: recipients.is_unknown(name, here))
    unknown = lru_cache(_REMEMBERED)(lambda value: tuple(_nobody(value, is_unknown)))
    with ProgressLine("looking up names") as progress:
        for source in here.aliases.sources:
            try:
                for name, value in source.records():
                    progress.step()
                    for target in unknown(value):
                        progress.pause()
                        shown = f"{log.clean(name)}: {log.clean(target)}"
                        say(f"{source.path}: {shown}... Warning: no such user or alias")
            except OSError:
                continue  # told already, when it was compiled


def _nobody(value: bytes, is_unknown: Callable[[bytes], bool]) -> Iterator[bytes]:
    """The names on a right-hand side that *is_unknown*."""
    for target in targets.parse(value):
        if target.kind == "user" and is_unknown(target.value):
            yield target.value
