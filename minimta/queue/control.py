"""The control file (``qf``) as text: encode and decode, never open.

Line format: one code letter, then the value; a lone "." ends the file (Sendmail Operations Guide,
appendix B; recorded in Sendmail 8.17). We write version 8 and keep, in order, any line whose
letter Sendmail knows and we do not use, so that its data survives our rewriting. Any other letter
is an error, as it is for Sendmail, which loses such a file.

    V8                          format version, first line
    T1574107389                 creation time, seconds since the epoch
    K1574107420                 last attempt, same unit; 0 = never
    N1                          number of attempts
    P30017                      priority, low runs first; may be negative
    I8/1/1234                   device and inode of the df (dropped: it does not survive a restore)
    B8BITMIME                   body type
    MDeferred: ...              why it is still here, as mailq prints it
    F8bs                        flags: 8 8-bit data, b delete Bcc, n no body in bounces, d RET was
                                given, r a bounce, w delay warning sent, s split
    qreason                     quarantine reason
    $_lab1.campus [10.0.3.134]  macros: $_ client, $r protocol, $s HELO name, ${daemon_flags},
                                ${if_addr}, ${deliveryMode} q or d: wait for a full queue run;
                                any name is taken and kept
    ${df_size}1234              ours: octets of the df. A macro, because Sendmail reads a macro it
                                never heard of without complaint (and drops it when it rewrites the
                                file, which says what is true: nobody vouches for the size any more)
    ${settled}2                 ours too: recipients (after aliases) who have it, or were given up,
                                and are no longer listed
    ${requiretls}1              ours too: REQUIRETLS was said (RFC 8689)
    S<emma@lab1.campus>         reverse-path as given, "<>" when null
    ZQQ314                      ENVID, xtext
    A<>                         AUTH
    !n 600                      DELIVERBY, see ``message.deliver_by``; n is an octet of flags
    G X d D                     what other versions write: kept, not understood
    Cemma:1001:1001:<emma@h>    controlling user of the recipients from here to the next C; "C" ends
    M Q r                       of the next R alone: its own status, ORCPT, final recipient
    RPFD:<dave@lab2.campus>     recipient; flags: P primary, N NOTIFY was given, S F D tell of
                                success, failure, delay, A from an alias
    H?flags?Name: value         header field, flags as in ``message.headers``; continuation lines
                                begin with a tab or blank
    .                           end

A file that is cut short or garbled is a CorruptControlFile; what cannot be encoded, because a line
end in it would forge a line, is a ValueError.
"""

from __future__ import annotations

from minimta.message import address
from minimta.message.envelope import Recipient
from minimta.message.printable import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = 8
#: the sender of reports, to which no report may be sent
MAILER_DAEMON = b"MAILER-DAEMON"
#: macro with the DeliveryMode of a message that is to wait for a full queue run
DELIVERY_MODE = b"{deliveryMode}"
#: macro of ours that is there if the message may leave only with TLS that is proved (RFC 8689)
REQUIRE_TLS = b"{requiretls}"
#: a macro of ours: the client that it came from may relay
OWN_MAIL = b"{own_mail}"
#: the modes that mean so
QUEUE_ONLY = ("queueonly", "deferred")
#: letters that Sendmail has written in some version and we only carry along
_CARRIED = b"!GXdD"
#: a macro of ours: how many recipients no longer stand in the file
SETTLED = b"{settled}"
_SIZE = b"{df_size}"


class CorruptControlFile(Exception):
    """The text is not a whole control file. The caller renames qf to Qf.

    ``str()`` says what and where, ``reason`` is Sendmail's short word for it.
    """

    def __init__(self, text: str, reason: str = "unrecognized line") -> None:
        super().__init__(text)
        self.reason = reason


class Control:
    """A control file in memory; the holder of the lock edits it, ``LockedMessage`` writes it back.

    All times are seconds since the epoch. ``headers`` are (flags, field) pairs: b"P" and
    b"Return-Path: <g>"; a field has no final line end, its continuation lines are inside.
    """

    __slots__ = (
        "attempts",
        "auth",
        "body_type",
        "carried",
        "created",
        "envid",
        "flags",
        "headers",
        "last_attempt",
        "macros",
        "message",
        "priority",
        "quarantine",
        "recipients",
        "reverse_path",
        "size",
    )

    def __init__(self, created: int, reverse_path: bytes, recipients: list[Recipient]) -> None:
        """Of a message that came at *created* and was not tried yet; the rest is set one by one."""
        self.created = created
        #: as given: b"<emma@lab1.campus>", b"emma", b"<>"
        self.reverse_path = reverse_path
        self.recipients = recipients
        self.last_attempt = 0
        self.attempts = 0
        self.priority = 0
        self.message = ""
        self.body_type = b""
        self.flags = ""
        self.quarantine = ""
        #: name -> value: b"_", b"r", b"s", b"{daemon_flags}", b"{if_addr}"
        self.macros: dict[bytes, bytes] = {}
        #: octets of the df, -1 if the writer (Sendmail) did not say; ``spool`` sets it
        self.size = -1
        self.envid = b""
        self.auth = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.carried: list[bytes] = []

    @property
    def sender(self) -> bytes:
        """The bare reverse-path, b"" for a bounce: who hears of failures (RFC 5321 section 4.5.5)."""
        bare = address.bare(self.reverse_path)
        return b"" if "r" in self.flags or bare.upper() == MAILER_DAEMON else bare

    @property
    def requires_tls(self) -> bool:
        """Was REQUIRETLS said? Then it leaves only as RFC 8689 wants it."""
        return REQUIRE_TLS in self.macros

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Control):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]


def encode(control: Control) -> bytes:
    """The text of a control file, the inverse of decode().

    Raise ValueError for what decode() would refuse, or take for a line of its own.
    """
    if not control.reverse_path:
        raise ValueError("no sender")
    lines = _head_lines(control)
    lines += [b"$" + name + value for name, value in control.macros.items()]
    if control.size >= 0:
        lines.append(b"$%b%d" % (_SIZE, control.size))
    lines.append(b"S" + control.reverse_path)
    if control.envid:
        lines.append(b"Z" + control.envid)
    if control.auth:
        lines.append(b"A" + control.auth)
    lines += control.carried
    lines += _recipient_lines(control.recipients)
    together = b"".join(lines)
    if b"\n" in together or b"\r" in together or b"\0" in together:
        raise ValueError("a newline in a field would forge a line")
    lines += [_header_line(flags, field) for flags, field in control.headers]
    lines.append(b".\n")
    return b"\n".join(lines)


def _head_lines(control: Control) -> list[bytes]:
    lines = [
        b"V%d" % VERSION,
        b"T%d" % control.created,
        b"K%d" % control.last_attempt,
        b"N%d" % control.attempts,
        b"P%d" % control.priority,
    ]
    if control.body_type:
        lines.append(b"B" + control.body_type)
    if control.message:
        lines.append(b"M" + control.message.encode("ascii", "backslashreplace"))
    lines.append(b"F" + control.flags.encode("ascii"))
    if control.quarantine:
        lines.append(b"q" + control.quarantine.encode("ascii", "backslashreplace"))
    return lines


def _header_line(flags: bytes, field: bytes) -> bytes:
    """Every line of a field but the first begins with white space; no NUL."""
    folds = field.count(b"\n")
    if (folds and field.count(b"\n\t") + field.count(b"\n ") != folds) or b"\0" in field:
        raise ValueError("a newline in a header field would forge a line")
    if b":" not in field or b"?" in flags or b"\n" in flags:
        raise ValueError(f"no header field: {_shown(field)}")
    return b"H?%b?%b" % (flags, field)


def _recipient_lines(recipients: list[Recipient]) -> list[bytes]:
    lines: list[bytes] = []
    controlling_user = b""
    for r in recipients:
        if not r.address or ":" in r.flags:
            raise ValueError("recipient without an address")
        if r.message:
            lines.append(b"M" + r.message.encode("ascii", "backslashreplace"))
        if r.controlling_user != controlling_user:
            lines.append(b"C" + r.controlling_user)
            controlling_user = r.controlling_user
        if r.original:
            lines.append(b"Q" + r.original)
        if r.final:
            lines.append(b"r" + r.final)
        lines.append(b"R%b:%b" % (r.flags.encode("ascii"), r.address))
    return lines


def is_plain(recipient: Recipient) -> bool:
    """Is it an address and nothing more: no program, file or list, and nobody's authority?

    All that a file may name whose writer talks to the network; who wrote it says the inode's owner.
    """
    return not recipient.controlling_user and not address.why_special(recipient.address)


def decode(text: bytes) -> Control:
    """Read a control file. Raise CorruptControlFile if it is cut short or garbled."""
    if not text.endswith(b"\n.\n"):
        _, dot, rest = text.partition(b"\n.\n")
        if dot:
            raise _extra(rest)
        raise CorruptControlFile("incomplete queue file read", "incomplete queue file")
    if b"\0" in text:
        # What encode() cannot write must not be delivered: nobody could record that it was.
        raise CorruptControlFile("NUL in queue file", "bogus queue line")
    reader = _Reader()
    # A field's continuation lines begin with white space; all other lines begin with a letter.
    for number, line in enumerate(text[:-3].split(b"\n"), 1):
        try:
            reader.read(line)
        except ValueError as error:
            raise CorruptControlFile(f"line {number}: {error}") from error
    control = reader.finish()
    if not reader.versioned or not control.reverse_path:
        raise CorruptControlFile("no version or no sender", "incomplete queue file")
    return control


def _extra(line: bytes) -> CorruptControlFile:
    shown = _shown(line.partition(b"\n")[0])
    text = f"SECURITY ALERT: extra or bogus data in queue file: {shown}"
    return CorruptControlFile(text, "bogus queue line")


def _number(value: bytes) -> int:
    if not value.removeprefix(b"-").isdigit() or len(value) > 20:
        raise ValueError(f"not a number: {_shown(value)}")
    return int(value)


def _count(value: bytes) -> int:
    if value[:1] == b"-":
        raise ValueError(f"less than nothing: {_shown(value)}")
    return _number(value)


def _ascii(value: bytes) -> str:
    return value.decode("ascii")


def _text(value: bytes) -> str:
    return value.decode("ascii", "backslashreplace")


def _shown(value: bytes) -> str:
    """For a log line, no more than a few words of it."""
    return shown(value[:60])


class _Reader:
    """What decode() has to remember from line to line."""

    def __init__(self) -> None:
        self.control = Control(0, b"", [])
        self.versioned = False
        #: what M, C, Q and r lines said of the next recipient
        self._next = Recipient(b"")
        self._sender_seen = False
        self._field_flags = b""
        #: lines of the header field that may still go on
        self._field: list[bytes] = []

    def read(self, line: bytes) -> None:
        letter, value = line[:1], line[1:]
        if letter in (b"\t", b" "):
            if not self._field:
                raise ValueError("continuation line without a header field")
            self._field.append(line)
            return
        if self._field:
            self._end_field()
        if b"\r" in line and letter != b"H":
            raise ValueError(f"a carriage return: {_shown(line)}")
        if letter in _STORED:
            attribute, meaning = _STORED[letter]
            setattr(self.control, attribute, meaning(value))
        elif letter in _OF_NEXT:
            setattr(self._next, _OF_NEXT[letter], value)
        elif letter in _LETTERS:
            _LETTERS[letter](self, value)
        elif letter and letter in _CARRIED:
            self.control.carried.append(line)
        elif line == b".":
            raise _extra(b"")
        else:
            raise ValueError(f'bad line "{_shown(line)}"')

    def finish(self) -> Control:
        if self._field:
            self._end_field()
        return self.control

    def _end_field(self) -> None:
        self.control.headers.append((self._field_flags, b"\n".join(self._field)))
        self._field = []

    def _version(self, value: bytes) -> None:
        if _count(value) > VERSION:
            raise CorruptControlFile(
                f"Version number in queue file ({_number(value)}) greater than max ({VERSION})",
                "unsupported queue file version",
            )
        self.versioned = True

    def _message(self, value: bytes) -> None:
        text = _text(value)
        if self._sender_seen:
            self._next.message = text
        else:
            self.control.message = text

    def _macro(self, value: bytes) -> None:
        end = value.find(b"}") + 1 if value[:1] == b"{" else 1
        if not value or not end:
            raise ValueError("macro without a name")
        if value[:end] == _SIZE:
            self.control.size = _count(value[end:])
            return
        self.control.macros[value[:end]] = value[end:]

    def _sender(self, value: bytes) -> None:
        if not value:
            raise ValueError("empty sender")
        self.control.reverse_path = value
        self._sender_seen = True

    def _recipient(self, value: bytes) -> None:
        flags, colon, path = value.partition(b":")
        if not colon or not path:
            raise ValueError(f'bad recipient "{_shown(value)}"')
        self._next.flags, self._next.address = flags.decode("ascii"), path
        self.control.recipients.append(self._next)
        self._next = Recipient(b"", controlling_user=self._next.controlling_user)

    def _header(self, value: bytes) -> None:
        flags, field = b"", value
        if value[:1] == b"?":
            flags, mark, field = value[1:].partition(b"?")
            if not mark:
                raise ValueError("header flags without an end")
        if b":" not in field:
            raise ValueError("header field without a colon")
        self._field_flags, self._field = flags, [field]


#: letters that only store their value: attribute of Control, what makes the value of the octets
_STORED: dict[bytes, tuple[str, Callable[[bytes], object]]] = {
    b"T": ("created", _count),
    b"K": ("last_attempt", _count),
    b"N": ("attempts", _count),
    b"P": ("priority", _number),
    b"B": ("body_type", bytes),
    b"F": ("flags", _ascii),
    b"q": ("quarantine", _text),
    b"Z": ("envid", bytes),
    b"A": ("auth", bytes),
}
#: the same, attributes of the next Recipient
_OF_NEXT = {b"C": "controlling_user", b"Q": "original", b"r": "final"}
#: letters that depend on what stood before, or decide what may follow
_LETTERS: dict[bytes, Callable[[_Reader, bytes], None]] = {
    b"V": _Reader._version,
    b"I": lambda reader, value: None,
    b"M": _Reader._message,
    b"$": _Reader._macro,
    b"S": _Reader._sender,
    b"R": _Reader._recipient,
    b"H": _Reader._header,
}
