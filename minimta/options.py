"""Every option, once: Sendmail's name, its letter, type, default, meaning. Nothing else defines one.

Names that Sendmail does not have are marked "ours". ``config.py`` reads the file and the command
line into an ``Options``; the README's table is checked against TABLE by a test.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class OptionError(ValueError):
    """A name or value that cannot be read; the text names the option."""


def interval(text: str, default_unit: str = "m") -> int:
    """Sendmail's time syntax to seconds: "5d", "1h30m", and a bare "30" in minutes."""
    total, digits = 0, ""
    for character in text.strip() or "?":
        if "0" <= character <= "9":
            digits += character
        elif digits and character.lower() in _UNITS:
            total += int(digits) * _UNITS[character.lower()]
            digits = ""
        else:
            raise ValueError(f"Invalid time unit {character!r}")
    return total + (int(digits) * _UNITS[default_unit] if digits else 0)


def seconds(text: str) -> int:
    """Like interval(), for the options whose bare number means seconds."""
    return interval(text, "s")


def number(text: str) -> int:
    """A decimal number of ASCII digits, perhaps negative."""
    digits = text.strip().removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"not a number: {text.strip()!r}")
    return int(text)


def boolean(text: str) -> bool:
    """Sendmail's truth: empty, t, T, y, Y, 1 are true (op.txt, "options of type boolean")."""
    word = text.strip().lower()
    if word not in ("", "t", "true", "y", "yes", "1", "f", "false", "n", "no", "0"):
        raise ValueError(f"not a boolean: {text.strip()!r}")
    return word in ("", "t", "true", "y", "yes", "1")


def words(text: str) -> tuple[str, ...]:
    """Words separated by commas or blanks, in small letters."""
    return tuple(text.lower().replace(",", " ").split())


#: names of DontBlameSendmail that leave out a check which is made here
BLAMES = (
    "Safe",
    "ForwardFileInGroupWritableDirPath",
    "ForwardFileInUnsafeDirPath",
    "ForwardFileInUnsafeDirPathSafe",
    "GroupWritableForwardFile",
    "GroupWritableForwardFileSafe",
    "WorldWritableForwardFile",
    "IncludeFileInGroupWritableDirPath",
    "IncludeFileInUnsafeDirPath",
    "IncludeFileInUnsafeDirPathSafe",
    "GroupWritableIncludeFile",
    "GroupWritableIncludeFileSafe",
    "WorldWritableIncludeFile",
    "GroupWritableAliasFile",
    "WorldWritableAliasFile",
    "FileDeliveryToHardLink",
    "FileDeliveryToSymLink",
    "NonRootSafeAddr",
    "RunProgramInUnsafeDirPath",
    "RunWritableProgram",
)


def blame(text: str) -> frozenset[str]:
    """Names of BLAMES in any case, separated by commas or blanks, to small letters."""
    given = words(text)
    known = {name.lower(): name for name in BLAMES}
    for word in given:
        if word not in known:
            raise ValueError(f"unknown name {word}{_nearest(word, known)}")
    return frozenset(given)


def forward_path(text: str) -> str:
    """Names of files with $z, $u, $h and $w, separated by colons (Sendmail's J)."""
    for part in text.split("$")[1:]:
        if part[:1] not in ("z", "u", "h", "w"):
            raise ValueError(f"${part[:1]} is none of $z, $u, $h, $w")
    return text.strip()


def directory(text: str) -> str:
    """An absolute path, or nothing."""
    if text.strip()[:1] not in ("", "/"):
        raise ValueError(f"no absolute path: {text.strip()!r}")
    return text.strip()


#: Sendmail's classes of maps in which aliases may be; here all of them are the one database
_ALIAS_CLASSES = ("", "implicit", "hash", "btree", "dbm", "cdb")


def alias_files(text: str) -> tuple[str, ...]:
    """Files separated by commas, each "PATH", or "-o PATH" if it need not be there.

    Sendmail's "CLASS:" before it is left out: there is one kind of database.
    """
    files = []
    for spec in text.split(","):
        kind, colon, rest = spec.partition(":")
        if not colon or "/" in kind:
            kind, rest = "", spec
        if kind.strip().lower() not in _ALIAS_CLASSES:
            raise ValueError(f"unknown alias class {kind.strip()}")
        *flags, path = rest.split() or [""]
        if flags not in ([], ["-o"]) or path[:1] in ("", "-"):
            raise ValueError(f"{spec.strip()!r} is no path of a file")
        files.append(" ".join([*flags, path]))
    return tuple(files)


def choice(*allowed: str) -> Callable[[str], str]:
    """A reader for one of *allowed* words, of which the first letter suffices."""

    def read(text: str) -> str:
        word = text.strip().lower()
        for candidate in allowed:
            if word and (word == candidate or word == candidate[0]):
                return candidate
        raise ValueError(f"{text.strip()!r} is none of {', '.join(allowed)}")

    return read


def daemon_port(text: str) -> tuple[str, str, str]:
    """One DaemonPortOptions value to (name, address, port): "Name=MTA, Addr=127.0.0.1, Port=25"."""
    fields = {"n": "MTA", "a": "", "p": "25", "f": "inet"}
    for item in text.replace(",", " ").split():
        key, equals, value = item.partition("=")
        name = key.lower()
        full = next((n for n in ("name", "address", "port", "family") if n.startswith(name)), "")
        if not equals or not name or not full:
            raise ValueError(f"{item!r} is none of Name=, Addr=, Port=, Family=")
        fields[name[0]] = value
    address = fields["a"] or ("::" if fields["f"].lower() == "inet6" else "0.0.0.0")
    port = {"smtp": "25", "submission": "587"}.get(fields["p"].lower(), fields["p"])
    if number(port) > 65535:
        raise ValueError(f"no port: {port}")
    return fields["n"], address.strip("[]").removeprefix("IPv6:"), port


#: where an LMTP server listens if nothing else is said (IANA: "any private mail system")
LMTP_PORT = 24


def local_delivery(text: str) -> str:
    """What LocalMailer may be; a socket is an absolute path, an IPv6 address stands in brackets."""
    text = text.strip()
    if text.lower() in ("mbox", "maildir"):
        return text.lower()
    if text[:1] == "|" and agent_words(text)[0][:1] == "/":
        return text
    try:
        place = text[5:].strip() if text[:5].lower() == "lmtp:" else ""
        if place[:1] != "/":
            host_and_port(place)
    except ValueError as error:
        allowed = "mbox, maildir, lmtp:/SOCKET, lmtp:HOST:PORT, |/PROGRAM ARGUMENTS"
        raise ValueError(f"{text!r} is none of {allowed}") from error
    return "lmtp:" + place


def agent_words(text: str) -> list[str]:
    """The words of "|/usr/bin/procmail -a $h -d $u", quotes as in a shell; [""] if there is none."""
    words = text[1:].split()
    if any(mark in text for mark in "'\"\\"):
        import shlex  # 5 ms

        words = shlex.split(text[1:])
    for part in [part for word in words[1:] for part in word.split("$")[1:]]:
        if part[:1] not in ("u", "h", "f"):
            raise ValueError(f"${part[:1]} is none of $u, $h, $f")
    return words or [""]


def host_and_port(place: str) -> tuple[str, int]:
    """The parts of "HOST:PORT", "HOST", "[::1]:PORT", "[::1]"; the port of LMTP if none is given."""
    if place[:1] == "[":
        host, bracket, rest = place[1:].partition("]")
        if not bracket or rest[:1] not in ("", ":"):
            raise ValueError(f"no host and port: {place!r}")
        port = rest[1:]
    else:
        host, _, port = place.partition(":")
    value = number(port) if port else LMTP_PORT
    if not host or "/" in host or " " in host or not 0 < value < 65536:
        raise ValueError(f"no host and port: {place!r}")
    return host, value


class Option:
    """One row of the table."""

    __slots__ = ("attribute", "default", "letter", "meaning", "name", "read")

    def __init__(
        self,
        name: str,
        attribute: str,
        default: str,
        read: Callable[[str], object] | None,
        meaning: str,
        letter: str = "",
    ) -> None:
        self.name = name
        self.attribute = attribute
        #: as it would stand in the file
        self.default = default
        #: text to value; None accumulates (DaemonPortOptions)
        self.read = read
        self.meaning = meaning
        #: one-letter form for -oX, "" if none
        self.letter = letter


# fmt: off
TABLE: tuple[Option, ...] = tuple(
    Option(*row)
    for row in (
        ("HostName", "host_name", "", str.strip, "this host's full name ($j); empty: ask the system (ours)"),
        ("QueueDirectory", "queue_directory", "/var/spool/mqueue", str.strip, "where qf and df files live", "Q"),
        ("ClientQueueDirectory", "client_queue_directory", "/var/spool/clientmqueue", str.strip, "where callers without rights leave their messages (ours)"),
        ("MailboxDirectory", "mailbox_directory", "/var/mail", str.strip, "where the mailboxes are, one file a user (ours)"),
        ("AliasFile", "alias_files", "/etc/aliases", alias_files, "sources of the alias databases that newaliases compiles, separated by commas; the first that has a name counts; -o PATH: it may be missing", "A"),
        ("PasswdFile", "passwd_file", "", str.strip, "users from this file in passwd form instead of the system's (ours)"),
        ("LocalHostNames", "local_host_names", "/etc/mail/local-host-names", str.strip, "file of further names that this host takes mail for (class w)"),
        ("TrustedUsers", "trusted_users", "/etc/mail/trusted-users", str.strip, "file of users who may give any sender with -f without a warning (class t)"),
        ("ForwardPath", "forward_path", "$z/.forward.$w+$h:$z/.forward+$h:$z/.forward.$w:$z/.forward", forward_path, "files that forward a user's mail, the first that exists counts; $z home, $u user, $h detail, $w host; empty: none", "J"),
        ("DefaultUser", "default_user", "daemon", str.strip, "as whom programs and files of the aliases run", "u"),
        ("DontBlameSendmail", "dont_blame", "safe", blame, "checks of files that are left out: GroupWritableForwardFile, ForwardFileInUnsafeDirPath and others"),
        ("LocalMailer", "local_mailer", "mbox", local_delivery, "mbox, maildir, lmtp:SOCKET, lmtp:HOST:PORT, or a program with its arguments behind a bar: $u user, $h detail, $f sender (ours)"),
        ("SmrshDirectory", "smrsh_directory", "/etc/mail/smrsh", directory, "if it exists, aliases and .forward files may run only what is in it (smrsh); empty: anything (ours)"),
        ("MaxProgramMemory", "max_program_memory", "512000000", number, "octets of memory for each process of a program, 0 = no limit (ours)"),
        ("MaxProgramProcesses", "max_program_processes", "200", number, "processes the user may have while a program of his runs, 0 = no limit (ours)"),
        ("MailerTable", "mailer_table", "/etc/mail/mailertable", str.strip, "text table domain -> mailer:host"),
        ("SmartHost", "smart_host", "", str.strip, "send all that is not local there: host, [host] without MX lookup, [host]:port"),
        ("DaemonPortOptions", "daemon_ports", "Name=MTA, Addr=127.0.0.1, Port=25; Name=MTA-v6, Addr=::1, Port=25", None, "where to listen; may be given several times", "O"),
        ("DeliveryMode", "delivery_mode", "background", choice("background", "interactive", "queueonly", "deferred"), "when a new message is first tried", "d"),
        ("ErrorMode", "error_mode", "print", choice("print", "quiet", "mail", "write", "exit"), "how the submitter is told of errors", "e"),
        ("IgnoreDots", "ignore_dots", "False", boolean, "a line with a single dot does not end the message (-i)", "i"),
        ("MeToo", "me_too", "True", boolean, "the sender gets a copy when an alias names him too", "m"),
        ("NoRecipientAction", "no_recipient_action", "none", choice("none", "add-to", "add-apparently-to", "add-bcc", "add-to-undisclosed"), "what to do with a message without To, Cc, Bcc"),
        ("PrivacyOptions", "privacy_options", "authwarnings", words, "authwarnings, needmailhelo, novrfy, noexpn, goaway, public", "p"),
        ("RunAsUser", "run_as_user", "minimta", str.strip, "whom listener and remote worker become when started as root"),
        ("PidFile", "pid_file", "/run/sendmail.pid", str.strip, "pid and command line of the daemon"),
        ("LogLevel", "log_level", "9", number, "0 nothing, 9 every message, 10 and more details", "L"),
        ("LogTo", "log_to", "syslog", choice("syslog", "stderr", "none"), "syslog (facility mail), stderr, none (ours)"),
        ("SmtpGreetingMessage", "greeting", "$j minimta $v/$Z; $b", str.strip, "text of the 220; $j host, $v and $Z version, $b date"),
        ("MaxMessageSize", "max_message_size", "0", number, "largest message accepted in octets, 0 = no limit (RFC 1870)"),
        ("MaxHeadersLength", "max_headers_length", "262144", number, "largest header block accepted in octets"),
        ("MaxRecipientsPerMessage", "max_recipients", "1000", number, "recipients accepted for one message, 0 = no limit; over it 452"),
        ("MaxHopCount", "max_hop_count", "25", number, "Received fields before a message is taken for a loop"),
        ("MaxAliasRecursion", "max_alias_recursion", "10", number, "depth of alias and .forward expansion"),
        ("MaxDaemonChildren", "max_daemon_children", "100", number, "connections at the same time, 0 = no limit; over it 421"),
        ("MaxConnectionsPerClient", "max_connections_per_client", "20", number, "the same for one address that may not relay, 0 = no limit (ours)"),
        ("MaxQueueChildren", "max_queue_children", "10", number, "delivery attempts that run at the same time"),
        ("QueueLA", "queue_la", "8", number, "load average from which on messages are only queued", "x"),
        ("RefuseLA", "refuse_la", "12", number, "load average from which on connections are refused", "X"),
        ("MinFreeBlocks", "min_free_blocks", "100", number, "free blocks the queue's file system must have, else 452", "b"),
        ("BadRcptThrottle", "bad_rcpt_throttle", "10", number, "refused recipients after which each costs the client a second, 0 = never"),
        ("GroupCommit", "group_commit", "True", boolean, "messages that arrive together become durable together; False: fsync each (ours)"),
        ("EightBitMode", "eight_bit_mode", "mimify", choice("mimify", "pass8", "strict"), "8-bit text for a host without 8BITMIME: convert, send as it is, return", "8"),
        ("MinQueueAge", "min_queue_age", "0", interval, "how long a deferred message rests between attempts"),
        ("QueueSortOrder", "queue_sort_order", "priority", choice("priority", "host", "time", "filename", "modification", "none"), "which message a queue run takes first"),
        ("MaxQueueRunSize", "max_queue_run_size", "0", number, "messages in one queue run, 0 = all"),
        ("RecipientFactor", "recipient_factor", "30000", number, "what each recipient adds to the priority number", "y"),
        ("ClassFactor", "class_factor", "1800", number, "what each point of Precedence takes from it", "z"),
        ("RetryFactor", "retry_factor", "90000", number, "what each attempt adds to it", "Z"),
        ("DoubleBounceAddress", "double_bounce_address", "postmaster", str.strip, "who gets a bounce that cannot be delivered; empty: nobody"),
        ("DeadLetterDrop", "dead_letter_drop", "", str.strip, "file for messages that can be neither delivered nor returned nor saved at home"),
        ("Timeout.queuereturn", "timeout_queuereturn", "5d", interval, "bounce what has waited longer", "T"),
        ("Timeout.queuewarn", "timeout_queuewarn", "4h", interval, "tell the sender, once, when it has waited longer; 0 = never"),
        ("Timeout.program", "timeout_program", "15m", interval, "a program that runs longer is ended and tried again later (ours)"),
        ("Timeout.command", "timeout_command", "5m", seconds, "listener: wait for the next command"),
        ("Timeout.datablock", "timeout_datablock", "5m", seconds, "wait for the next block of message data, both ways"),
        ("Timeout.connect", "timeout_connect", "1m", seconds, "client: TCP connection"),
        ("Timeout.iconnect", "timeout_iconnect", "1m", seconds, "client: TCP connection in the first attempt"),
        ("Timeout.initial", "timeout_initial", "5m", seconds, "client: the 220 greeting"),
        ("Timeout.helo", "timeout_helo", "5m", seconds, "client: reply to EHLO and HELO"),
        ("Timeout.mail", "timeout_mail", "10m", seconds, "client: reply to MAIL"),
        ("Timeout.rcpt", "timeout_rcpt", "1h", seconds, "client: reply to RCPT"),
        ("Timeout.datainit", "timeout_datainit", "5m", seconds, "client: the 354"),
        ("Timeout.datafinal", "timeout_datafinal", "1h", seconds, "client: reply to the final dot"),
        ("Timeout.rset", "timeout_rset", "5m", seconds, "client: reply to RSET"),
        ("Timeout.quit", "timeout_quit", "2m", seconds, "client: reply to QUIT"),
    )
)
# fmt: on

_BY_NAME = {option.name.lower(): option for option in TABLE}
_BY_LETTER = {option.letter: option for option in TABLE if option.letter}


class Options:
    """Typed values of the table. Times are seconds, sizes octets. Read-only after start-up."""

    host_name: str
    queue_directory: str
    client_queue_directory: str
    mailbox_directory: str
    alias_files: tuple[str, ...]
    passwd_file: str
    local_host_names: str
    trusted_users: str
    forward_path: str
    default_user: str
    #: in small letters
    dont_blame: frozenset[str]
    local_mailer: str
    smrsh_directory: str
    max_program_memory: int
    max_program_processes: int
    mailer_table: str
    smart_host: str
    #: (name, address, port)
    daemon_ports: tuple[tuple[str, str, str], ...]
    delivery_mode: str
    error_mode: str
    ignore_dots: bool
    me_too: bool
    no_recipient_action: str
    privacy_options: tuple[str, ...]
    run_as_user: str
    pid_file: str
    log_level: int
    log_to: str
    greeting: str
    max_message_size: int
    max_headers_length: int
    max_recipients: int
    max_hop_count: int
    max_alias_recursion: int
    max_daemon_children: int
    max_connections_per_client: int
    max_queue_children: int
    queue_la: int
    refuse_la: int
    min_free_blocks: int
    bad_rcpt_throttle: int
    group_commit: bool
    eight_bit_mode: str
    min_queue_age: int
    queue_sort_order: str
    max_queue_run_size: int
    recipient_factor: int
    class_factor: int
    retry_factor: int
    double_bounce_address: str
    dead_letter_drop: str
    timeout_queuereturn: int
    timeout_queuewarn: int
    timeout_program: int
    timeout_command: int
    timeout_datablock: int
    timeout_connect: int
    timeout_iconnect: int
    timeout_initial: int
    timeout_helo: int
    timeout_mail: int
    timeout_rcpt: int
    timeout_datainit: int
    timeout_datafinal: int
    timeout_rset: int
    timeout_quit: int

    def __init__(self) -> None:
        self._ports_given = False
        for option in TABLE:
            if option.read:
                setattr(self, option.attribute, option.read(option.default))
        ports = next(option for option in TABLE if option.attribute == "daemon_ports")
        self.daemon_ports = tuple(daemon_port(text) for text in ports.default.split(";"))

    def set(self, option: Option, text: str) -> None:
        """Set one option; DaemonPortOptions accumulates. Raise OptionError for a bad value."""
        try:
            if option.read:
                setattr(self, option.attribute, option.read(text))
            else:
                given = self.daemon_ports if self._ports_given else ()
                self.daemon_ports = (*given, daemon_port(text))
                self._ports_given = True
        except ValueError as error:
            raise OptionError(f"option {option.name}: {error}") from error


def by_name(name: str) -> Option:
    """Find an option by Sendmail's name, in any case. Raise OptionError if there is none."""
    option = _BY_NAME.get(name.strip().lower())
    if option is None:
        raise OptionError(f"unknown option name {name.strip()}{_hint(name.strip())}")
    return option


def by_letter(letter: str) -> Option:
    """Find an option by its one-letter name (-oX). Raise OptionError if there is none."""
    option = _BY_LETTER.get(letter)
    if option is None:
        shown = letter if letter.isascii() and letter.isalnum() else f"0x{ord(letter):x}"
        raise OptionError(f"unknown option name {shown}")
    return option


def _hint(name: str) -> str:
    return _nearest(name.lower(), {key: option.name for key, option in _BY_NAME.items()})


def _nearest(word: str, known: dict[str, str]) -> str:
    from difflib import get_close_matches  # only on the way to an error: it costs 10 ms

    near = get_close_matches(word, list(known), 1)
    return f" (did you mean {known[near[0]]}?)" if near else ""
