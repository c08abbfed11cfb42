"""Sendmail's command line: what it asks for, before anything is done.

getopt(3) rules: letters may be grouped (-ti), a value is glued or the next argument, "--" ends the
options; so does anything that begins with "--". Long options do not exist. -C, -d and -q may
stand without a value. A new flag is a row of _STORES, or a function and a row of _WITH_VALUE.
"""

from __future__ import annotations

import os

from minimta.config import options


class UsageError(Exception):
    """The command line cannot be obeyed: the text to print, where, and the exit code."""

    def __init__(self, text: str, *, exit_code: int = os.EX_USAGE, on_stderr: bool = False) -> None:
        super().__init__(text)
        self.exit_code = exit_code
        self.on_stderr = on_stderr


class Command:
    """A command line, read."""

    __slots__ = (
        "arguments",
        "body_type",
        "config_file",
        "debug",
        "debug_file",
        "envid",
        "expand_aliases",
        "full_name",
        "gateway",
        "helo",
        "hops",
        "mode",
        "notify",
        "program",
        "protocol",
        "quarantine",
        "queue",
        "queue_runs",
        "ret",
        "sender",
        "settings",
        "tag",
        "take_header_recipients",
        "traffic_log",
        "unsafe",
        "verbose",
    )

    def __init__(self, program: str) -> None:
        self.program = program
        self.mode = "m"
        self.arguments: list[bytes] = []
        #: -f or -r, None if not given; b"" and b"<>" are the null reverse-path
        self.sender: bytes | None = None
        self.full_name = b""
        self.take_header_recipients = False
        #: N S F D letters of an R line's flags, "" if -N was not given
        self.notify = ""
        self.ret = b""
        #: -V as it was given, None if it was not; submission refuses what is no xtext
        self.envid: bytes | None = None
        self.body_type = b""
        self.protocol = b""
        self.helo = b""
        self.hops = 0
        self.expand_aliases = True
        self.gateway = False
        self.verbose = False
        self.config_file: str | None = None
        #: (name, value) of -O and -o, in order
        self.settings: list[tuple[str, str]] = []
        #: what only those with rights may say, as it was said
        self.unsafe: list[str] = []
        #: "m" the MTA queue, "c" the client queue, "" as the caller's rights are
        self.queue = ""
        #: values of -q, in order; "" is one run
        self.queue_runs: list[str] = []
        self.quarantine: str | None = None
        self.tag = ""
        self.debug: str | None = None
        self.debug_file = ""
        self.traffic_log = ""


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: modes that exist, here or in Sendmail (-bX)
_MODES = "abCdDhHimpPstv"
_NOTIFY = ("success", "failure", "delay")


def parse(argv: list[str]) -> Command:
    """Read the command line. Raise UsageError, or OptionError for -O and -o."""
    command = Command(os.path.basename(argv[0]) if argv else "sendmail")
    command.mode = {"mailq": "p", "newaliases": "i", "smtpd": "d"}.get(command.program, "m")
    rest = list(argv[1:])
    while rest and rest[0][:1] == "-" and rest[0] != "-":
        word = rest.pop(0)
        if word.startswith("--"):
            break
        _read_word(command, word[1:], rest)
    command.arguments = [os.fsencode(argument) for argument in rest]
    return command


def _read_word(command: Command, word: str, rest: list[str]) -> None:
    """One argument that begins with "-"; *rest* gives the value if none is glued on."""
    while word:
        letter, word = word[0], word[1:]
        if letter in _PLAIN:
            _PLAIN[letter](command)
        elif letter in _WITH_VALUE:
            return _WITH_VALUE[letter](command, _value(letter, word, rest))
        else:
            shown = letter if " " < letter <= "~" else "?"
            raise UsageError(f"sendmail: illegal option -- {shown}", on_stderr=True)
    return None


def _value(letter: str, glued: str, rest: list[str]) -> str:
    if glued or letter in "dq":
        return glued
    if letter == "C" and (not rest or rest[0].startswith("-")):
        return ""
    if not rest:
        raise UsageError(f"sendmail: option requires an argument -- {letter}", on_stderr=True)
    return rest.pop(0)


def _queue(command: Command, value: str) -> None:
    command.queue = "c" if value == "c" else "m"


def _body_type(command: Command, value: str) -> None:
    if value.upper() not in ("7BIT", "8BITMIME"):
        raise UsageError(f"Illegal body type {value[:60]}")
    command.body_type = value.upper().encode("ascii")


def _mode(command: Command, value: str) -> None:
    if len(value) != 1 or value not in _MODES:
        raise UsageError(f"Invalid operation mode {value[:1]}")
    command.mode = value


def _config_file(command: Command, value: str) -> None:
    command.config_file = value or None


def _debug(command: Command, value: str) -> None:
    if value and value.partition(".")[0].partition("-")[0] != "0":
        raise UsageError("-d: only category 0 (version and identity) exists")
    command.debug = value


def _debug_file(command: Command, value: str) -> None:
    command.debug_file = value
    command.unsafe.append("-D")


def _error_mode(command: Command, value: str) -> None:
    command.settings.append(("ErrorMode", value))


def _sender(command: Command, value: str) -> None:
    if command.sender is not None:
        raise UsageError('More than one "from" person')
    command.sender = os.fsencode(value)


def _full_name(command: Command, value: str) -> None:
    command.full_name = os.fsencode(value)


def _hops(command: Command, value: str) -> None:
    if not (value.isascii() and value.isdigit() and len(value) < 6):
        raise UsageError(f"Bad hop count ({value[:60]})")
    command.hops = int(value)


def _tag(command: Command, value: str) -> None:
    if not value or not (value.isascii() and value.replace("-", "").replace("_", "").isalnum()):
        raise UsageError(f"-L: bad tag {value[:60]!r}")
    command.tag = value[:32]


def _macro(command: Command, value: str) -> None:
    """-M and -oM set a macro; only protocol ($r) and host ($s) mean something to a submission."""
    name, text = value[:1], os.fsencode(value[1:])
    if name not in ("r", "s"):
        raise UsageError(f"-M: there is no macro {name[:1]!r} to set")
    command.unsafe.append("-M")
    if name == "r":
        command.protocol = text
    else:
        command.helo = text


def _notify(command: Command, value: str) -> None:
    words = [word.strip().lower() for word in value.split(",")]
    if words == ["never"]:
        command.notify = "N"
        return
    if not all(word in _NOTIFY for word in words):
        raise UsageError("Invalid -N argument")
    # Sendmail's order of the flags: N S F D.
    command.notify = "N" + "".join(word[0].upper() for word in _NOTIFY if word in words)


def _option(command: Command, value: str) -> None:
    """-O Name=value."""
    name, equals, text = value.partition("=")
    _set(command, options.by_name(name), text if equals else "", f"-O {name.strip()}")


def _short_option(command: Command, value: str) -> None:
    """-oX, the value glued on: -oi, -odq, -oem, -oQ/some/where."""
    letter, text = value[:1], value[1:]
    if letter == "M":
        _macro(command, text)
    elif letter == "v":
        command.verbose = True
    else:
        _set(command, options.by_letter(letter or "?"), text, f"-o{letter}")


def _set(command: Command, option: options.Option, text: str, shown: str) -> None:
    if not option.attribute:
        option.value(text)  # it is so already, or it is an error
        return
    command.settings.append((option.name, text))
    if not option.anybody:
        command.unsafe.append(shown)


def _protocol(command: Command, value: str) -> None:
    """-p PROTOCOL[:HOST], how the message came to us (rmail)."""
    protocol, _, host = value.partition(":")
    command.protocol, command.helo = os.fsencode(protocol), os.fsencode(host)
    command.unsafe.append("-p")


def _quarantine(command: Command, value: str) -> None:
    command.quarantine = value


def _queue_run(command: Command, value: str) -> None:
    command.queue_runs.append(value)


def _ret(command: Command, value: str) -> None:
    if value.upper() not in ("FULL", "HDRS"):
        raise UsageError("Invalid -R argument")
    command.ret = value.upper().encode("ascii")


def _envid(command: Command, value: str) -> None:
    command.envid = os.fsencode(value)


def _traffic_log(command: Command, value: str) -> None:
    command.traffic_log = value
    command.unsafe.append("-X")


def _ignore_dots(command: Command) -> None:
    command.settings.append(("IgnoreDots", "true"))


def _me_too(command: Command) -> None:
    command.settings.append(("MeToo", "true"))


def _take_header_recipients(command: Command) -> None:
    command.take_header_recipients = True


def _verbose(command: Command) -> None:
    command.verbose = True


def _gateway(command: Command) -> None:
    command.gateway = True


def _no_aliases(command: Command) -> None:
    command.expand_aliases = False


def _newaliases(command: Command) -> None:
    command.mode = "i"


def _always_so(command: Command) -> None:
    """-c: hold expensive mailers, of which there are none."""


def _save_from_line(command: Command) -> None:
    raise UsageError(
        "-s: a From_ line is never kept as a header field", exit_code=os.EX_UNAVAILABLE
    )


def _timeout(command: Command) -> None:
    raise UsageError("Invalid time unit `T'")


def _smtputf8(command: Command) -> None:
    raise UsageError("-U: SMTPUTF8 is not supported", on_stderr=True)


_PLAIN: dict[str, Callable[[Command], None]] = {
    "c": _always_so,
    "G": _gateway,
    "I": _newaliases,
    "i": _ignore_dots,
    "m": _me_too,
    "n": _no_aliases,
    "s": _save_from_line,
    "T": _timeout,
    "t": _take_header_recipients,
    "U": _smtputf8,
    "v": _verbose,
}
_WITH_VALUE: dict[str, Callable[[Command, str], None]] = {
    "A": _queue,
    "B": _body_type,
    "b": _mode,
    "C": _config_file,
    "D": _debug_file,
    "d": _debug,
    "e": _error_mode,
    "F": _full_name,
    "f": _sender,
    "h": _hops,
    "L": _tag,
    "M": _macro,
    "N": _notify,
    "O": _option,
    "o": _short_option,
    "p": _protocol,
    "Q": _quarantine,
    "q": _queue_run,
    "R": _ret,
    "r": _sender,
    "V": _envid,
    "X": _traffic_log,
}
