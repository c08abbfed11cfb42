"""The database of an alias file made anew by who has changed the text: as newaliases does, without asking who calls."""

from __future__ import annotations

from minimta.admin.output import say
from minimta.aliases.rebuild import rebuild
from minimta.aliases.source import Source
from minimta.config.options import Options
from minimta.routing.local_host import LocalHost


def renew(path: str, options: Options | None) -> None:
    """Compile *path*, and tell what is wrong in it. Raise OSError.

    *options* are those of this host; None for the file of another machine, whose names are not known.
    """
    here = LocalHost(options or Options())
    report = rebuild(Source(path), here.users, here.router.is_local if options else lambda _: True)
    for line in (*report.refusal, *report.errors):
        say(line)
