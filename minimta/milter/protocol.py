"""The milter protocol, version 6, as octets: packets to a filter, packets of a filter; no socket.

    packet    4 octets: how many follow (big-endian), 1 octet: what it is, the rest
    to a filter     C connect  H HELO  M MAIL  R RCPT  T DATA  L one field of the header  N its end
                    B a piece of the body  E the end of it  U unknown command  A abort  Q quit
                    D macros, in front of the packet that they belong to  O our offer
    from a filter   O what it takes of the offer, and one answer to each packet but D, A and Q:
                    c continue  a accept  r reject  t tempfail  d discard  y its own reply
                    s skip, to a piece of the body; after E changes and p (still at work) before it

It was never written down by who made it; Sendmail's libmilter is what counts. What a filter says is
read in ``answers``.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from minimta.smtp.reply import Reply

VERSION = 6


class FilterFailed(Exception):
    """The filter cannot be asked, or its answer makes no sense; the text says why."""


class Action(enum.IntFlag):
    """What a filter may change (SMFIF)."""

    ADD_HEADER = 0x01
    REPLACE_BODY = 0x02
    ADD_RECIPIENT = 0x04
    DELETE_RECIPIENT = 0x08
    CHANGE_HEADER = 0x10
    QUARANTINE = 0x20
    CHANGE_SENDER = 0x40
    ADD_RECIPIENT_WITH_PARAMETERS = 0x80
    SET_MACROS = 0x100


class Wish(enum.IntFlag):
    """How a filter wants to be talked to (SMFIP): NO_: not sent, MUTE_: not answered."""

    NO_CONNECT = 0x01
    NO_HELO = 0x02
    NO_MAIL = 0x04
    NO_RCPT = 0x08
    NO_BODY = 0x10
    NO_HEADER = 0x20
    NO_END_OF_HEADER = 0x40
    MUTE_HEADER = 0x80
    NO_UNKNOWN = 0x100
    NO_DATA = 0x200
    SKIP = 0x400
    REJECTED_RCPT = 0x800
    MUTE_CONNECT = 0x1000
    MUTE_HELO = 0x2000
    MUTE_MAIL = 0x4000
    MUTE_RCPT = 0x8000
    MUTE_DATA = 0x10000
    MUTE_UNKNOWN = 0x20000
    MUTE_END_OF_HEADER = 0x40000
    MUTE_BODY = 0x80000
    LEADING_SPACE = 0x100000


ALL_ACTIONS = sum(Action)
ALL_WISHES = sum(Wish)
#: octets of data in a packet (Milter.maxdatasize) -> how it is offered (SMFIP_MDS)
SIZES = {65535: 0, 262143: 0x10000000, 1048575: 0x20000000}
OFFERED_SIZE = 0x30000000


class Stage(enum.IntEnum):
    """Where macros are sent (SMFIM)."""

    CONNECT = 0
    HELO = 1
    MAIL = 2
    RCPT = 3
    DATA = 4
    END_OF_MESSAGE = 5
    END_OF_HEADER = 6


class Event(enum.Enum):
    """What a filter is told: its letter, the wish not to be told, the wish not to answer."""

    CONNECT = (b"C", Wish.NO_CONNECT, Wish.MUTE_CONNECT, Stage.CONNECT)
    HELO = (b"H", Wish.NO_HELO, Wish.MUTE_HELO, Stage.HELO)
    MAIL = (b"M", Wish.NO_MAIL, Wish.MUTE_MAIL, Stage.MAIL)
    RCPT = (b"R", Wish.NO_RCPT, Wish.MUTE_RCPT, Stage.RCPT)
    DATA = (b"T", Wish.NO_DATA, Wish.MUTE_DATA, Stage.DATA)
    HEADER = (b"L", Wish.NO_HEADER, Wish.MUTE_HEADER, None)
    END_OF_HEADER = (b"N", Wish.NO_END_OF_HEADER, Wish.MUTE_END_OF_HEADER, Stage.END_OF_HEADER)
    BODY = (b"B", Wish.NO_BODY, Wish.MUTE_BODY, None)
    UNKNOWN = (b"U", Wish.NO_UNKNOWN, Wish.MUTE_UNKNOWN, None)

    def __init__(self, letter: bytes, unwanted: Wish, mute: Wish, stage: Stage | None) -> None:
        """*unwanted* and *mute* are the wishes not to be told and not to answer; *stage* of macros."""
        self.letter = letter
        self.unwanted = unwanted
        self.mute = mute
        self.stage = stage


# --- what a filter says -----------------------------------------------------------------------------


class Word(enum.Enum):
    """A verdict."""

    CONTINUE = "c"
    ACCEPT = "a"
    REJECT = "r"
    TEMPFAIL = "t"
    DISCARD = "d"
    SKIP = "s"
    #: FilterVerdict.reply says it
    REPLY = "y"
    #: 421, and the end of the session
    SHUTDOWN = "4"


@dataclass(frozen=True, slots=True)
class FilterVerdict:
    """The answer to an event."""

    word: Word
    #: with Word.REPLY
    reply: Reply | None = None


CONTINUE = FilterVerdict(Word.CONTINUE)


@dataclass(frozen=True, slots=True)
class Progress:
    """The filter is still at work."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """Of the header. *kind* "add", "insert" or "change"; an empty value takes a field away."""

    kind: str
    name: bytes
    value: bytes
    #: "insert": behind so many fields; "change": the so-manieth of this name
    index: int = 0


@dataclass(frozen=True, slots=True)
class EnvelopeChange:
    """*kind* "sender", "add" or "delete" (recipients); *parameters* as they follow MAIL and RCPT."""

    kind: str
    address: bytes
    parameters: bytes = b""


@dataclass(frozen=True, slots=True)
class BodyPiece:
    """The next octets of what replaces the body, CRLF line ends, cut anywhere."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Hold:
    """The message is to be held (quarantine); *reason* is printable."""

    reason: str


Change = FieldChange | EnvelopeChange | BodyPiece | Hold


@dataclass(frozen=True, slots=True)
class Terms:
    """What came of the negotiation."""

    actions: int = 0
    wishes: int = 0
    #: octets of data in a packet
    data_size: int = 65535
    #: the macros that the filter asked for, in place of those of the options
    macros: dict[Stage, tuple[bytes, ...]] = field(default_factory=dict)

    def wants(self, event: Event) -> bool:
        """Is it to be told of *event*?"""
        return not self.wishes & event.unwanted

    def answers(self, event: Event) -> bool:
        """Does it answer to *event*?"""
        return not self.wishes & event.mute


# --- packets to a filter ----------------------------------------------------------------------------


def packet(letter: bytes, data: bytes = b"") -> bytes:
    """One packet."""
    return struct.pack(">I", len(data) + 1) + letter + data


def offer(data_size: int) -> bytes:
    """The packet that begins it all; *data_size* is Milter.maxdatasize."""
    wishes = ALL_WISHES | SIZES[data_size]
    return packet(b"O", struct.pack(">III", VERSION, ALL_ACTIONS, wishes))


def macros(letter: bytes, pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The packet of macros in front of the packet *letter*."""
    data = b"".join(b"%b\0%b\0" % (name, value.replace(b"\0", b"")) for name, value in pairs)
    return packet(b"D", letter + data)


def connect(name: str, ip: str, port: int) -> bytes:
    """Data of Event.CONNECT; *ip* "": a local program."""
    host = name.encode("ascii", "replace")
    if not ip:
        return host + b"\0U"
    family = b"6" if ":" in ip else b"4"
    return host + b"\0" + family + struct.pack(">H", port) + address(ip).encode("ascii") + b"\0"


def address(ip: str) -> str:
    """An address as Sendmail writes it for filters: "10.0.3.134", "IPv6:::1"."""
    return f"IPv6:{ip}" if ":" in ip else ip


def arguments(*words: bytes) -> bytes:
    """Data of HELO, MAIL, RCPT and UNKNOWN: an address, and its parameters."""
    return b"".join(word.replace(b"\0", b"") + b"\0" for word in words)


def header_field(raw: bytes, *, leading_space: bool) -> bytes:
    """Data of Event.HEADER for a *raw* field, "Name: value", LF line ends."""
    name, _, value = raw.partition(b":")
    if not leading_space:
        value = value.removeprefix(b" ")
    return b"%b\0%b\0" % (name.rstrip(b" \t"), value)
