"""smrsh -c command: the restricted shell as other mailers call it (see mailers/programs/smrsh).

Exit codes: 64 wrong usage, 69 refused, 75 cannot be told now; else that of the command.
"""

from __future__ import annotations

import os
import sys

from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.mailers.programs.smrsh import ENVIRONMENT, PATH, CommandRefused, checked
from minimta.system import executables, log, safefile


def main(arguments: list[str], options: Options | None = None) -> int:
    """Become /bin/sh, or return the exit code of a refusal. *arguments* begin with the name.

    *options* None reads the configuration file. Raise OSError if there is no /bin/sh.
    """
    program = arguments[0] if arguments else PATH
    try:
        options = options or config_file.load(None, [], safefile.why_untrusted)
    except config_file.ConfigError as error:
        return _refuse(program, str(error), os.EX_TEMPFAIL)
    log.configure("smrsh", options.log_to, options.log_level)
    if len(arguments) != 3 or arguments[1] != "-c":
        log.line_of("smrsh", "usage")
        print(f"Usage: {program} -c command", file=sys.stderr)
        return os.EX_USAGE
    try:
        command = checked(os.fsencode(arguments[2]), options, executables.trusted_owners())
    except CommandRefused as error:
        return _refuse(program, str(error), error.exit_code)
    _restore_signals()
    os.execve("/bin/sh", [b"/bin/sh", b"-c", command], ENVIRONMENT)


def _refuse(program: str, text: str, exit_code: int) -> int:
    print(f"{program}: {text}", file=sys.stderr)
    return exit_code


def _restore_signals() -> None:
    """Let a closed pipe and a full disk end the command: Python ignores these, and exec keeps that."""
    import signal

    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
