"""``newaliases``, ``sendmail -bi``: the alias databases made anew from their text.

For root, the owner of the queue and TrustedUsers. A file that cannot be compiled keeps the database
that it had; the other files are compiled all the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from minimta.aliases.rebuild import rebuild
from minimta.config.commandline import UsageError
from minimta.config.options import Options
from minimta.routing import recipients, targets
from minimta.routing.local_host import LocalHost
from minimta.submission.caller import Caller
from minimta.system import log
from minimta.system.progress import ProgressLine
from minimta.system.terminal import complain, say


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
    with ProgressLine("looking up names") as progress:
        for source in here.aliases.sources:
            try:
                for name, value in source.records():
                    progress.step()
                    for shown in _nobody(name, value, here):
                        progress.pause()
                        say(f"{source.path}: {shown}... Warning: no such user or alias")
            except OSError:
                continue  # told already, when it was compiled


def _nobody(name: bytes, value: bytes, here: LocalHost) -> Iterator[str]:
    for target in targets.parse(value):
        if target.kind == "user" and recipients.is_unknown(target.value, here):
            yield f"{log.clean(name)}: {log.clean(target.value)}"
