"""SIGHUP of a resident runner that has no listener: its options are read anew.

    a wrong file     is logged, and nothing changes
    a good one       counts for what is begun from now on; attempts that have begun go on as they are

A runner with a listener gets its options from that: see ``listener.supervisor``.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

from minimta.config.commandline import UsageError
from minimta.config.file import ConfigError
from minimta.config.option import OptionError
from minimta.config.options import Options
from minimta.config.reload import refuse_changes
from minimta.milter import input_filters
from minimta.system import log, privileges


class Reload:
    """Notes SIGHUP from now on."""

    def __init__(self, options: Options, reread: Callable[[], Options]) -> None:
        """*options* hold now; *reread* gives those of the file. Raises ConfigError, OptionError."""
        self._options = options
        self._reread = reread
        self._is_wanted = False
        signal.signal(signal.SIGHUP, self._note)

    def _note(self, *unused: object) -> None:
        self._is_wanted = True

    def _need_user(self, name: str) -> None:
        """Who talks with other hosts is to be begun as that user. Raise OptionError.

        One that was wrong before is no reason to refuse the rest.
        """
        if name != self._options.run_as_user and (why_not := privileges.why_not_become(name)):
            raise OptionError(f"RunAsUser {name}: {why_not}")

    def renewed(self) -> Options | None:
        """New options, once, if they were asked for and are good. Raises nothing."""
        if not self._is_wanted:
            return None
        self._is_wanted = False
        log.line("", "reload: reading the configuration anew, due to a signal", level=1)
        before = log.settings()
        try:
            options = self._reread()
            refuse_changes(self._options, options)
            if why_not := input_filters.why_not(options):
                raise OptionError(why_not)
            self._need_user(options.run_as_user)
        except (ConfigError, OptionError, UsageError, OSError) as error:
            log.configure(*before)
            for text in str(error).split("\n"):
                why = log.clean(text, 400)
                log.line("", f"reload: nothing is changed: {why}", level=1, error=True)
            return None
        self._options = options
        log.line("", "reload: done", level=1)
        return options
