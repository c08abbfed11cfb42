"""What a filter says, from octets to values; what it may not say at that point is FilterFailed."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from minimta.message.headers import field_name
from minimta.message.printable import shown
from minimta.milter.protocol import (
    ALL_ACTIONS,
    ALL_WISHES,
    CONTINUE,
    OFFERED_SIZE,
    SIZES,
    VERSION,
    Action,
    BodyPiece,
    Change,
    EnvelopeChange,
    FieldChange,
    FilterFailed,
    FilterVerdict,
    Hold,
    Progress,
    Stage,
    Terms,
    Wish,
    Word,
)
from minimta.smtp.reply import Reply

#: versions of filters that we can talk to; the first one had no negotiation
_VERSIONS = range(2, VERSION + 1)
#: lines of a filter's own reply, and characters of each
_MOST_LINES, _LONGEST_LINE = 32, 480
#: octets of a name, and of the value, of a field that a filter adds
_LONGEST_NAME, _LONGEST_VALUE = 256, 65535
_REPLY_LINE = re.compile(r"([45][0-9][0-9])([ -]|$)(.*)", re.ASCII | re.DOTALL)
_ENHANCED = re.compile(r"([45]\.[0-9]{1,3}\.[0-9]{1,3})(?: +|$)", re.ASCII)


def terms(letter: bytes, data: bytes, data_size: int) -> Terms:
    """What a filter takes of our offer, of packets of *data_size* at most. Raise FilterFailed."""
    if letter != b"O" or len(data) < 12:
        raise FilterFailed(f"negotiation: {shown(letter)!r}, {len(data)} octets")
    version, actions, wishes = struct.unpack_from(">III", data)
    if version not in _VERSIONS:
        raise FilterFailed(f"negotiation: version {version}")
    if actions & ~ALL_ACTIONS:
        raise FilterFailed(f"negotiation: unknown actions {actions & ~ALL_ACTIONS:#x}")
    # Three bits are between libmilter and us alone; they come back as they were offered.
    if wishes & ~(ALL_WISHES | 0x70000000):
        raise FilterFailed(f"negotiation: unknown wishes {wishes & ~ALL_WISHES:#x}")
    if version <= 2:
        wishes |= Wish.NO_UNKNOWN
    if version <= 3:
        wishes |= Wish.NO_DATA
    size = data_size if wishes & OFFERED_SIZE & SIZES[data_size] else 65535
    return Terms(actions, wishes & ALL_WISHES, size, _wanted_macros(data[12:]))


def _wanted_macros(data: bytes) -> dict[Stage, tuple[bytes, ...]]:
    found: dict[Stage, tuple[bytes, ...]] = {}
    while len(data) > 4:
        (number,) = struct.unpack_from(">I", data)
        text, zero, data = data[4:].partition(b"\0")
        if number not in list(Stage) or not zero:
            raise FilterFailed(f"negotiation: macros of stage {number}")
        found[Stage(number)] = tuple(text.replace(b",", b" ").split())
    return found


def verdict(letter: bytes, data: bytes) -> FilterVerdict:
    """The answer to an event. Raise FilterFailed for what is none."""
    if letter == b"y":
        reply = _reply(data)
        # RFC 5321 section 4.2.2: with it the connection ends.
        return FilterVerdict(Word.SHUTDOWN if reply.code == 421 else Word.REPLY, reply)
    try:
        # "f" asks for a failure of the connection, which to a client is the same.
        word = Word.SHUTDOWN if letter == b"f" else Word(letter.decode("ascii", "replace"))
    except ValueError:
        raise FilterFailed(f"bogus response {shown(letter)!r}") from None
    if data:
        raise FilterFailed(f"{len(data)} octets behind {shown(letter)!r}")
    return CONTINUE if word is Word.CONTINUE else FilterVerdict(word)


def _reply(data: bytes) -> Reply:
    """ "550-5.7.1 a\r\n550 5.7.1 b\0" Raise FilterFailed."""
    # DIFFERS: what is no such reply is a failure; Sendmail takes it for 550 5.7.1 or 554 5.7.1.
    text, zero, rest = data.partition(b"\0")
    # smfi_setreply() wants "%" doubled.
    lines = text.decode("utf-8", "replace").replace("%%", "%").rstrip("\r\n").split("\r\n")
    matches = [_REPLY_LINE.match(line) for line in lines]
    if not zero or rest or None in matches or len(lines) > _MOST_LINES:
        raise FilterFailed(f"bogus reply {shown(text, 60)!r}")
    found = [match.groups() for match in matches if match]
    codes = {code for code, _, _ in found}
    statuses = [_ENHANCED.match(rest) for _, _, rest in found]
    status = statuses[0][1] if statuses[0] else ""
    if len(codes) > 1 or (status and status[0] != found[0][0][0]):
        raise FilterFailed(f"bogus reply {shown(text, 60)!r}")
    texts = [
        shown(line[match.end() :] if match else line, _LONGEST_LINE)
        for (_, _, line), match in zip(found, statuses, strict=True)
    ]
    return Reply(int(found[0][0]), status, tuple(texts))


def after_message(letter: bytes, data: bytes, agreed: Terms) -> FilterVerdict | Change | Progress:
    """What a filter says after the end of a message. Raise FilterFailed, also if it may not."""
    if letter == b"p" and not data:
        return Progress()
    if letter not in _CHANGES:
        found = verdict(letter, data)
        if found.word is Word.SKIP:
            raise FilterFailed("skip after the end of the message")
        return found
    action, read = _CHANGES[letter]
    if not agreed.actions & action:
        # DIFFERS: Sendmail does most of what a filter has not asked for; it says that it lied.
        raise FilterFailed(f"{action.name} was not negotiated")
    return read(letter, data)


def _field_change(letter: bytes, data: bytes) -> FieldChange:
    index = 0
    if letter != b"h":
        if len(data) < 4:
            raise FilterFailed("a change of the header is cut short")
        (index,) = struct.unpack_from(">I", data)
        data = data[4:]
    name, value = _strings(data, 2)
    if not name or field_name(name + b":") != name or len(name) > _LONGEST_NAME:
        raise FilterFailed(f"{shown(name, 60)!r} is no name of a field")
    return FieldChange(_FIELD_KINDS[letter], name, _field_value(value), index)


def _field_value(value: bytes) -> bytes:
    """A value with LF line ends, all of whose further lines are folded. Raise FilterFailed."""
    value = value.replace(b"\r\n", b"\n").rstrip(b"\n")
    if b"\r" in value or len(value) > _LONGEST_VALUE:
        raise FilterFailed("a field has a bare carriage return, or is too long")
    first, *rest = value.split(b"\n")
    # Whatever is not folded would begin a field, or end the header.
    folded = [line if line[:1] in (b" ", b"\t") else b"\t" + line for line in rest if line.strip()]
    return b"\n".join([first, *folded])


def _envelope_change(letter: bytes, data: bytes) -> EnvelopeChange:
    with_parameters = letter in (b"e", b"2") and data.count(b"\0") > 1
    address, *parameters = _strings(data, 2 if with_parameters else 1)
    if not address:
        raise FilterFailed("an empty address")
    return EnvelopeChange(_ENVELOPE_KINDS[letter], address, b"".join(parameters))


def _body_piece(letter: bytes, data: bytes) -> BodyPiece:
    return BodyPiece(data)


def _hold(letter: bytes, data: bytes) -> Hold:
    (reason,) = _strings(data, 1)
    return Hold(shown(reason, 200) or "held by a filter")


def _strings(data: bytes, count: int) -> list[bytes]:
    """Exactly *count* strings, each with its NUL. Raise FilterFailed."""
    parts = data.split(b"\0")
    if len(parts) != count + 1 or parts[-1]:
        raise FilterFailed(f"{len(parts) - 1} strings in place of {count}")
    return parts[:-1]


_FIELD_KINDS = {b"h": "add", b"i": "insert", b"m": "change"}
_ENVELOPE_KINDS = {b"+": "add", b"2": "add", b"-": "delete", b"e": "sender"}
#: letter -> what must have been negotiated, and the reader
_CHANGES: dict[bytes, tuple[Action, Callable[[bytes, bytes], Change]]] = {
    b"h": (Action.ADD_HEADER, _field_change),
    b"i": (Action.ADD_HEADER, _field_change),
    b"m": (Action.CHANGE_HEADER, _field_change),
    b"e": (Action.CHANGE_SENDER, _envelope_change),
    b"+": (Action.ADD_RECIPIENT, _envelope_change),
    b"2": (Action.ADD_RECIPIENT_WITH_PARAMETERS, _envelope_change),
    b"-": (Action.DELETE_RECIPIENT, _envelope_change),
    b"b": (Action.REPLACE_BODY, _body_piece),
    b"q": (Action.QUARANTINE, _hold),
}
