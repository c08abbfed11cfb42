"""Every option, once: Sendmail's name, its letter, type, default, meaning. Nothing else defines one.

Names that Sendmail does not have are marked "ours". ``config.py`` reads the file and the command
line into an ``Options``; the README's table is checked against TABLE by a test.
"""

from __future__ import annotations

from minimta.config.values import (
    alias_files,
    blame,
    boolean,
    choice,
    daemon_port,
    directory,
    forward_path,
    interval,
    local_delivery,
    nearest,
    number,
    seconds,
    words,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class OptionError(ValueError):
    """A name or value that cannot be read; the text names the option."""


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
    return nearest(name.lower(), {key: option.name for key, option in _BY_NAME.items()})
