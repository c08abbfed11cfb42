"""smrsh, Sendmail's restricted shell: which commands it takes, and what /bin/sh is given for them.

    command = simple *( ("&&" / "||") simple )
    simple  = *( "exec" blank ) name *( blank argument )

Directories are taken off a name; what is left must be in the one directory of programs that may be
run (SmrshDirectory), or the shell's own "exit" or "echo". Characters that could make a shell do
anything else are refused wherever they stand, in quotes too.

The prog mailer checks in its own child. ``smrsh -c command`` (commands/smrsh) does the same for
other mailers, to which it is a shell. A refusal is logged:

    smrsh: uid 1: attempt to use "cat" (stat failed)

What is not in the directory is refused for good. A directory or program that others could have
written, or that cannot be looked at now, is the administrator's to mend: that mail waits.
"""

from __future__ import annotations

import errno
import os
import stat

from minimta.config.options import Options
from minimta.system import executables, log
from minimta.system.safefile import Untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: where it is installed, as Debian's sendmail has it; messages name it so
PATH = "/usr/libexec/sendmail/smrsh"
#: all that a restricted program finds in its environment
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}

_BLANKS = b" \t\n\v\f\r"
_SPECIAL = b"<|>^();&`$\r\n\0"
#: Old shells drop the eighth bit before they look.
_FORBIDDEN = _SPECIAL + bytes(octet | 0x80 for octet in _SPECIAL)
_OPERATORS = (b"&&", b"||")
_BUILTINS = (b"exit", b"echo")
#: needs no quotes in a shell
_PLAIN = b"/._+-@%:,=ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class CommandRefused(Exception):
    """The command is not run. ``str()`` is what its user is told, without the name of the shell."""

    def __init__(self, told: str, logged: str = "", exit_code: int = os.EX_UNAVAILABLE) -> None:
        """*logged* is what the log says instead of *told*; *exit_code* is from sysexits."""
        super().__init__(told)
        self.logged = logged or told
        self.exit_code = exit_code


def is_restricted(options: Options) -> bool:
    """Is there a SmrshDirectory? Raise OSError if that cannot be known, or if it is no directory."""
    try:
        found = os.stat(options.smrsh_directory)  # "" is none
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory", options.smrsh_directory)
    return True


def checked(command: bytes, options: Options, owners: tuple[int, ...]) -> bytes:
    """What /bin/sh is given for *command*. Raise CommandRefused, which is logged.

    *owners* are those whose programs are trusted (executables.trusted_owners, asked before this
    process became a user).
    """
    directory, blamed = options.smrsh_directory, options.dont_blame

    def why_not(path: bytes) -> str:
        return executables.why_not(path, owners, blamed) if directory else "stat failed"

    try:
        return restrict(command, os.fsencode(directory), why_not)
    except CommandRefused as error:
        refused = error
    except Untrusted as error:
        refused = _later(f"{directory} or a program in it may not be trusted: {error}")
    except OSError as error:
        refused = _later(f"cannot look at {error.filename or directory}: {error.strerror}")
    log.line_of("smrsh", f"uid {os.getuid()}: {log.clean(refused.logged, 1000)}")
    raise refused


def _later(text: str) -> CommandRefused:
    return CommandRefused(log.clean(text), exit_code=os.EX_TEMPFAIL)


def restrict(command: bytes, directory: bytes, why_not: Callable[[bytes], str]) -> bytes:
    """*command* with full paths into *directory* in the place of the names of programs.

    *why_not* says of a path why it may not be run, "" if it may. Raise CommandRefused, and what
    *why_not* raises.
    """
    made, operator, rest = b"", b"", command
    while operator or not made:
        before, name, rest = _name(rest)
        made += before + _program(name, directory, why_not)
        arguments, operator, rest = _arguments(rest, command)
        made += arguments + operator + (b" " if operator else b"")
    return made


def _name(text: bytes) -> tuple[bytes, bytes, bytes]:
    """What stands before the name of the program ("exec "), the name, and what follows it."""
    before = b""
    while text := text.lstrip(_BLANKS):
        end = next((at for at, octet in enumerate(text) if octet in b" \t"), len(text))
        name, text = text[:end], text[end:]
        if name != b"exec" or not text:
            return before, name, text
        before += b"exec "
    raise CommandRefused("missing command to exec" if before else "missing command")


def _program(name: bytes, directory: bytes, why_not: Callable[[bytes], str]) -> bytes:
    """*name* if the shell has it itself, else the path of the program."""
    if name in _BUILTINS:
        return name
    last = name.rpartition(b"/")[2]
    path = directory.rstrip(b"/") + b"/" + last
    reason = why_not(path)
    if reason:
        shown = _shown(last)
        told = f'"{shown}" not available for sendmail programs ({reason})'
        raise CommandRefused(told, f'attempt to use "{shown}" ({reason})')
    return _quoted(path)


def _arguments(text: bytes, command: bytes) -> tuple[bytes, bytes, bytes]:
    """*text* up to its first operator, the operator, and what follows."""
    at = next((at for at, octet in enumerate(text) if octet in _FORBIDDEN), len(text))
    operator = text[at : at + 2]
    if operator and operator not in _OPERATORS:
        character = _shown(operator[:1])
        told = f"cannot use {character} in command"
        raise CommandRefused(told, f"attempt to use {character} in command: {_shown(command)}")
    return text[:at], operator, text[at + 2 :]


def _quoted(path: bytes) -> bytes:
    if not path.translate(None, _PLAIN):
        return path
    # Within '...' a shell takes all as it is; a quote itself has to be outside, as \'.
    return b"'" + path.replace(b"'", b"'\\''") + b"'"


def _shown(text: bytes) -> str:
    return "".join(chr(octet) if 32 <= octet < 127 else "?" for octet in text[:200])
