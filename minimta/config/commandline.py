"""Sendmail's command line: what it asks for, before anything is done.

getopt(3) rules: letters may be grouped (-ti), a value is glued on or the next argument, "--" ends
the options; so does anything that begins with "--". Long options do not exist. What a letter means
is a row of _FLAGS: how it takes its value, and what becomes of that. A new flag is a new row.

Nothing is looked up and nobody's rights are asked here: what needs them is noted in
``Command.unsafe``. What is wrong is a UsageError, or an OptionError for the value of an option.
"""

from __future__ import annotations

import os

from minimta.config import options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minimta.config.option import Option

#: modes that exist, here or in Sendmail (-bX)
MODES = "abCdDhHimpPstv"
#: names of the program that stand for a mode; runq is -q
_MODE_OF_NAME = {"mailq": "p", "newaliases": "i", "smtpd": "d", "hoststat": "h", "purgestat": "H"}
#: macros that -M sets -> what they are here; j is this host's name
_MACROS = {"j": "", "r": "protocol", "s": "helo", "x": "full_name"}
_NOTIFY = ("success", "failure", "delay")


class UsageError(Exception):
    """The command line cannot be obeyed."""

    def __init__(self, text: str, *, exit_code: int = os.EX_USAGE, on_stderr: bool = False) -> None:
        """*text* is to be printed, on standard output unless *on_stderr*, as Sendmail has it."""
        super().__init__(text)
        self.exit_code = exit_code
        self.on_stderr = on_stderr


class Command:
    """A command line, read."""

    def __init__(self, argv: list[str]) -> None:
        #: as it was given, the program's name first
        self.argv = argv
        #: one letter of MODES; -b, or what the program's name stands for
        self.mode = _MODE_OF_NAME.get(os.path.basename(argv[0]), "m") if argv else "m"
        #: what is no option: the recipients
        self.arguments: list[bytes] = []
        #: -f or -r, None if not given; b"" and b"<>" are the null reverse-path
        self.sender: bytes | None = None
        #: -F, b"" if not given; so are the others that are empty
        self.full_name = b""
        #: -t
        self.take_header_recipients = False
        #: -N as N S F D letters of an R line's flags
        self.notify = ""
        #: -R: b"FULL" or b"HDRS"
        self.ret = b""
        #: -V as it was given, None if it was not; submission refuses what is no xtext
        self.envid: bytes | None = None
        #: -B: b"7BIT" or b"8BITMIME"
        self.body_type = b""
        #: -p PROTOCOL:HOST or -M: macros $r and $s
        self.protocol = self.helo = b""
        #: -h, Received fields that the message had elsewhere
        self.hops = 0
        #: not -n
        self.expand_aliases = True
        #: -G, the message comes from elsewhere: its addresses stay as they are
        self.gateway = False
        #: -v
        self.verbose = False
        #: -C, None for the default file
        self.config_file: str | None = None
        #: (name, value) of -O and -o, in order
        self.settings: list[tuple[str, str]] = []
        #: what only those with rights may say, as it was said
        self.unsafe: list[str] = []
        #: -A: "m" the MTA queue, "c" the client queue, "" as the caller's rights are
        self.queue = ""
        #: values of -q, in order; "" is one run
        self.queue_runs: list[str] = [""] if argv and os.path.basename(argv[0]) == "runq" else []
        #: -Q, a reason; "" is to release
        self.quarantine: str | None = None
        #: -L, for the log
        self.tag = ""
        #: -d
        self.debug: str | None = None
        #: -D and -X: files
        self.debug_file = self.traffic_log = ""


def parse(argv: list[str]) -> Command:
    """Read the command line, the program's name first. Raise UsageError or OptionError."""
    command = Command(argv)
    rest = argv[1:]
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
        if letter not in _FLAGS:
            shown = letter if " " < letter <= "~" else "?"
            raise UsageError(f"sendmail: illegal option -- {shown}", on_stderr=True)
        takes, act = _FLAGS[letter]
        if takes is not _NOTHING:
            # The rest of the word is the value, or there is none and the next argument may be it.
            act(command, word or _separate_value(letter, takes, rest))
            return
        act(command, "")


def _separate_value(letter: str, takes: str, rest: list[str]) -> str:
    if takes is _GLUED or (takes is _OPTIONAL and (not rest or rest[0].startswith("-"))):
        return ""
    if not rest:
        raise UsageError(f"sendmail: option requires an argument -- {letter}", on_stderr=True)
    return rest.pop(0)


# --- what becomes of a flag -----------------------------------------------------------------------


def _sets(attribute: str, value: object) -> Callable[[Command, str], None]:
    """The flag stands for *value* of an attribute."""
    return lambda command, text: setattr(command, attribute, value)


def _stores(
    attribute: str, read: Callable[[str], object] = str, *, unsafe: str = ""
) -> Callable[[Command, str], None]:
    """The value goes into an attribute, as *read* makes it of the text, or raises UsageError."""

    def store(command: Command, text: str) -> None:
        setattr(command, attribute, read(text))
        if unsafe:
            command.unsafe.append(unsafe)

    return store


def _is_option(name: str, value: str = "") -> Callable[[Command, str], None]:
    """The flag is a short form of an option; *value* if it takes none itself."""
    return lambda command, text: _set(command, options.by_name(name), value or text, f"-O {name}")


def _refuses(text: str) -> Callable[[Command, str], None]:
    """The flag exists in Sendmail; here it is answered with *text*."""

    def refuse(command: Command, value: str) -> None:
        raise UsageError(text)

    return refuse


def _has_no_effect(command: Command, text: str) -> None:
    """The flag is taken."""


def _set(command: Command, option: Option, text: str, shown: str) -> None:
    """Note an option; *shown* is how it was said."""
    if not option.attribute:
        option.value(text)  # it is so already, or it is an error
        return
    if option.file_only:
        raise UsageError(f"{shown}: only the configuration file can set it")
    command.settings.append((option.name, text))
    if not option.anybody:
        command.unsafe.append(shown)


def _option(command: Command, text: str) -> None:
    """-O Name=value."""
    name, _, value = text.partition("=")
    _set(command, options.by_name(name), value, f"-O {name.strip()}")


def _short_option(command: Command, text: str) -> None:
    """-oX, the value glued on: -oi, -odq, -oem, -oQ/some/where."""
    letter, value = text[:1], text[1:]
    if letter == "M":
        _macro(command, value)
    elif letter == "v":
        command.verbose = True
    else:
        _set(command, options.by_letter(letter or "?"), value, f"-o{letter}")


def _sender(command: Command, text: str) -> None:
    if command.sender is not None:
        raise UsageError('More than one "from" person')
    command.sender = os.fsencode(text)


def _macro(command: Command, text: str) -> None:
    """-MxVALUE, -M{x}VALUE and -oM set a macro: one of those that mean something to a submission."""
    name, value = text[:1], text[1:]
    if name == "{" and "}" in text:
        name, _, value = text[1:].partition("}")
    if name not in _MACROS:
        known = ", ".join(_MACROS)
        raise UsageError(f"-M: macro {name!r} means nothing here; those that do: {known}")
    command.unsafe.append("-M")
    if name == "j":
        _set(command, options.by_name("HostName"), value, "-Mj")
    else:
        setattr(command, _MACROS[name], os.fsencode(value))


def _protocol(command: Command, text: str) -> None:
    """-p PROTOCOL[:HOST], how the message came to us (rmail)."""
    protocol, _, host = text.partition(":")
    command.protocol, command.helo = os.fsencode(protocol), os.fsencode(host)


def _queue_run(command: Command, text: str) -> None:
    command.queue_runs.append(text)


# --- what checks a value --------------------------------------------------------------------------


def _queue(text: str) -> str:
    return "c" if text == "c" else "m"


def _body_type(text: str) -> bytes:
    if text.upper() not in ("7BIT", "8BITMIME"):
        raise UsageError(f"Illegal body type {text[:60]}")
    return text.upper().encode("ascii")


def _mode(text: str) -> str:
    if len(text) != 1 or text not in MODES:
        raise UsageError(f"Invalid operation mode {text[:1]}")
    return text


def _config_file(text: str) -> str | None:
    return text or None


def _debug(text: str) -> str:
    if text and text.partition(".")[0].partition("-")[0] != "0":
        raise UsageError("-d: only category 0 (version and identity) exists")
    return text


def _hops(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise UsageError(f"Bad hop count ({text[:60]})")
    return int(text)


def _tag(text: str) -> str:
    if not text or not (text.isascii() and text.replace("-", "").replace("_", "").isalnum()):
        raise UsageError(f"-L: bad tag {text[:60]!r}")
    return text[:32]


def _notify(text: str) -> str:
    words = [word.strip().lower() for word in text.split(",")]
    if words == ["never"]:
        return "N"
    if not all(word in _NOTIFY for word in words):
        raise UsageError("Invalid -N argument")
    # Sendmail's order of the flags: N S F D.
    return "N" + "".join(word[0].upper() for word in _NOTIFY if word in words)


def _ret(text: str) -> bytes:
    if text.upper() not in ("FULL", "HDRS"):
        raise UsageError("Invalid -R argument")
    return text.upper().encode("ascii")


# --- the flags ------------------------------------------------------------------------------------

#: a flag takes no value; one that is glued on or the next argument; the same, but may do without;
#: one that is glued on or none
_NOTHING, _VALUE, _OPTIONAL, _GLUED = "nothing", "value", "optional", "glued"

_FLAGS: dict[str, tuple[str, Callable[[Command, str], None]]] = {
    "A": (_VALUE, _stores("queue", _queue)),
    "B": (_VALUE, _stores("body_type", _body_type)),
    "b": (_VALUE, _stores("mode", _mode)),
    "C": (_OPTIONAL, _stores("config_file", _config_file)),
    "c": (_NOTHING, _is_option("HoldExpensive", "true")),
    "D": (_VALUE, _stores("debug_file", unsafe="-D")),
    "d": (_GLUED, _stores("debug", _debug)),
    "e": (_VALUE, _is_option("ErrorMode")),
    "F": (_VALUE, _stores("full_name", os.fsencode)),
    "f": (_VALUE, _sender),
    "G": (_NOTHING, _sets("gateway", True)),
    "h": (_VALUE, _stores("hops", _hops)),
    "I": (_NOTHING, _sets("mode", "i")),
    "i": (_NOTHING, _is_option("IgnoreDots", "true")),
    "L": (_VALUE, _stores("tag", _tag)),
    "M": (_VALUE, _macro),
    "m": (_NOTHING, _is_option("MeToo", "true")),
    "N": (_VALUE, _stores("notify", _notify)),
    "n": (_NOTHING, _sets("expand_aliases", False)),
    "O": (_VALUE, _option),
    "o": (_VALUE, _short_option),
    "p": (_VALUE, _protocol),
    "Q": (_GLUED, _stores("quarantine")),
    "q": (_GLUED, _queue_run),
    "R": (_VALUE, _stores("ret", _ret)),
    "r": (_VALUE, _sender),
    "s": (_NOTHING, _is_option("SaveFromLine", "true")),
    "T": (_NOTHING, _refuses("Invalid time unit `T'")),
    "t": (_NOTHING, _sets("take_header_recipients", True)),
    # DIFFERS: once it meant an initial submission, and Sendmail without USE_EAI refuses it; with that it
    # wants SMTPUTF8 for a header in UTF-8, which needs none here.
    "U": (_NOTHING, _has_no_effect),
    "V": (_VALUE, _stores("envid", os.fsencode)),
    "v": (_NOTHING, _sets("verbose", True)),
    "X": (_VALUE, _stores("traffic_log")),
}
