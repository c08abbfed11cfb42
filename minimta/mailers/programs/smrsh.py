"""The restriction of programs to one directory: what ``smrsh`` checks, runs and logs.

The prog mailer checks in its own child; ``smrsh -c command`` is the same for other mailers, which
think that it is a shell:

    smrsh: uid 1: attempt to use "cat" (stat failed)

What is not in the directory is refused for good. A directory or program that others could have
written, or that cannot be looked at now, is the administrator's to mend: that mail waits.
"""

from __future__ import annotations

import os
import sys

from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.mailers.programs import smrsh_rules
from minimta.mailers.programs.smrsh_rules import Refused
from minimta.system import executables, log
from minimta.system.safefile import Untrusted

#: where it is installed, as Debian's sendmail has it; messages name it so
PATH = "/usr/libexec/sendmail/smrsh"
#: all that a restricted program finds in its environment
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def is_restricted(options: Options) -> bool:
    """Is there a SmrshDirectory? Raise OSError if that cannot be known."""
    try:
        os.stat(options.smrsh_directory)  # "" is none
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def checked(command: bytes, options: Options, owners: tuple[int, ...]) -> bytes:
    """The command for /bin/sh. Raise Refused, which is logged."""
    directory, blamed = options.smrsh_directory, options.dont_blame

    def why_not(path: bytes) -> str:
        return executables.why_not(path, owners, blamed) if directory else "stat failed"

    try:
        return smrsh_rules.restrict(command, os.fsencode(directory), why_not)
    except Refused as error:
        refused = error
    except Untrusted as error:
        refused = _later(f"{directory} or a program in it may not be trusted: {error}")
    except OSError as error:
        refused = _later(f"cannot look at {error.filename or directory}: {error.strerror}")
    log.line_of("smrsh", f"uid {os.getuid()}: {log.clean(refused.logged, 1000)}")
    raise refused


def _later(text: str) -> Refused:
    return Refused(log.clean(text), exit_code=os.EX_TEMPFAIL)


def main(arguments: list[str], options: Options | None = None) -> int:
    """``smrsh -c command``: becomes /bin/sh, or returns the exit code of a refusal."""
    program = arguments[0] if arguments else PATH
    try:
        options = options or config_file.load(None, [])
    except config_file.ConfigError as error:
        return _end(program, str(error), os.EX_TEMPFAIL)
    log.configure("smrsh", options.log_to, options.log_level)
    if len(arguments) != 3 or arguments[1] != "-c":
        log.line_of("smrsh", "usage")
        print(f"Usage: {program} -c command", file=sys.stderr)
        return os.EX_USAGE
    command = os.fsencode(arguments[2])
    try:
        command = checked(command, options, executables.trusted_owners())
    except Refused as error:
        return _end(program, str(error), error.exit_code)
    _forget_pythons_signals()
    os.execve("/bin/sh", [b"/bin/sh", b"-c", command], ENVIRONMENT)


def _end(program: str, text: str, exit_code: int) -> int:
    print(f"{program}: {text}", file=sys.stderr)
    return exit_code


def _forget_pythons_signals() -> None:
    import signal

    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
