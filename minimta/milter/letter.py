"""A message between us and its filters: header, envelope and body, and the changes made to them.

The header has three parts. Filters see the first and the last, which is all that came in and all
that filters before them have added:

    above    inserted at the top, over our own Received, Return-Path apart
    ours     Received, and the fields that a message lacks: Sendmail counts eight of them
    fields   as they came in
"""

from __future__ import annotations

from minimta.message import address, headers
from minimta.message.envelope import Recipient
from minimta.milter.body import MessageBody
from minimta.milter.protocol import Change, EnvelopeChange, FieldChange, FilterFailed, Hold
from minimta.smtp import command
from minimta.smtp.reply import CommandError, quoted

#: how many of our fields Sendmail counts, there or not, when a filter says where a field goes:
#: Received, Date, From, Message-Id, Full-Name, and three of Resent-
_OURS = 8


class Letter:
    """What filters judge; what becomes of it is read off its attributes."""

    __slots__ = (
        "_addressees",
        "_host",
        "_parts",
        "above",
        "body",
        "body_type",
        "envid",
        "fields",
        "quarantine",
        "recipients",
        "ret",
        "reverse_path",
    )

    def __init__(
        self,
        body: MessageBody,
        fields: list[bytes],
        reverse_path: bytes,
        recipients: list[Recipient],
        *,
        host: str,
    ) -> None:
        """*fields* are those of the message itself, *host* is our full name."""
        #: while a filter's changes are made: both parts of the header, and key -> recipients
        self._parts: tuple[_Fields, ...] = ()
        self._addressees: dict[bytes, list[Recipient]] = {}
        self.body = body
        self.above: list[bytes] = []
        self.fields = list(fields)
        #: as queued: b"<emma@lab1.campus>"
        self.reverse_path = reverse_path
        self.recipients = list(recipients)
        #: why it is held, "" if it is not
        self.quarantine = ""
        #: parameters of the sender, if a filter has changed that; else None
        self.body_type: bytes | None = None
        self.ret: bytes | None = None
        self.envid: bytes | None = None
        self._host = host

    def seen(self) -> list[bytes]:
        """The fields that a filter is told of."""
        return [*self.above, *self.fields]

    def apply(self, changes: list[Change]) -> list[str]:
        """All that one filter wants, or nothing of it; what the log says. Raise FilterFailed."""
        saved = {name: getattr(self, name) for name in self.__slots__ if name != "body"}
        # A filter may want as many changes as a message has fields: none may look through them all.
        self._parts = above, fields = _Fields(self.above), _Fields(self.fields)
        self._addressees = {}
        for one in self.recipients:
            self._addressees.setdefault(self._key(address.bare(one.address)), []).append(one)
        try:
            told = [self._apply(change) for change in changes]
        except FilterFailed:
            for name, value in saved.items():
                setattr(self, name, value)
            raise
        self.above, self.fields = above.left(), fields.left()
        self.recipients = [one for same in self._addressees.values() for one in same]
        return told

    def _apply(self, change: Change) -> str:
        if isinstance(change, FieldChange):
            return self._change_field(change)
        if isinstance(change, EnvelopeChange):
            return self._change_envelope(change)
        assert isinstance(change, Hold)
        self.quarantine = change.reason
        return f"quarantine={change.reason}"

    # --- header -----------------------------------------------------------------------------------

    def _change_field(self, change: FieldChange) -> str:
        name = quoted(change.name)
        if change.kind == "add":
            self._add(_field(change))
            return f"Milter add: header: {name}"
        if change.kind == "insert":
            self._insert(change.index, _field(change))
            return f"Milter insert ({change.index}): header: {name}"
        return self._replace(change, name)

    def _add(self, field: bytes) -> None:
        """In front of the first of its name, as in Sendmail, or behind them all."""
        above, fields = self._parts
        wanted = headers.name(field)
        if wanted == b"received":
            return above.append(field)
        for part in self._parts:
            if places := part.of(wanted):
                return part.insert(places[0], field)
        return fields.append(field)

    def _insert(self, index: int, field: bytes) -> None:
        """Behind *index* fields of all but Return-Path."""
        above, fields = self._parts
        count = len(above)
        if index <= count:
            above.insert_behind(index, field)
        else:
            fields.insert_behind(max(index - count - _OURS, 0), field)

    def _replace(self, change: FieldChange, name: str) -> str:
        wanted, number = change.name.lower(), max(change.index, 1) - 1
        for part in self._parts:
            count = len(part.of(wanted))
            if number < count:
                part.replace(wanted, number, _field(change) if change.value else b"")
                return f"Milter {'change' if change.value else 'delete'}: header {name}"
            number -= count
        if not change.value:
            return f"Milter delete (noop): header: {name}"
        self._add(_field(change))
        return f"Milter change (add): header: {name}"

    # --- envelope ---------------------------------------------------------------------------------

    def _change_envelope(self, change: EnvelopeChange) -> str:
        shown = quoted(change.address)
        if change.kind == "delete":
            self._addressees.pop(self._key(address.bare(change.address)), None)
            return f"Milter delete: rcpt {shown}"
        path = change.address if change.address[:1] == b"<" else b"<%b>" % change.address
        try:
            if change.kind == "sender":
                self._change_sender(path, change.parameters)
                return f"Milter chgfrom: {shown}"
            self._add_recipient(path, change.parameters)
        except CommandError as error:
            raise FilterFailed(f"address {shown}: {error}") from error
        return f"Milter add: rcpt: {shown}"

    def _change_sender(self, path: bytes, parameters: bytes) -> None:
        mail = command.parse_mail(b"FROM:%b %b" % (path, parameters))
        bare = address.bare(mail.reverse_path)
        self.reverse_path = b"<%b>" % address.qualified(bare, self._host)
        if parameters:
            found = mail.parameters
            # What was binary has been converted when it came.
            is_binary = found.body_type == b"BINARYMIME"
            self.body_type = b"8BITMIME" if is_binary else found.body_type
            self.ret, self.envid = found.ret, found.envid

    def _add_recipient(self, path: bytes, parameters: bytes) -> None:
        rcpt = command.parse_rcpt(b"TO:%b %b" % (path, parameters))
        if why := address.why_special(rcpt.forward_path):
            raise FilterFailed(f"recipient {quoted(path)}: {why}")
        bare = address.bare(rcpt.forward_path)
        if (key := self._key(bare)) in self._addressees:
            return
        flags = "P" + (rcpt.parameters.notify or "FD")
        original = rcpt.parameters.original
        self._addressees[key] = [Recipient(b"<%b>" % bare, flags, original=original)]

    def _key(self, bare: bytes) -> bytes:
        return address.qualified(bare, self._host).lower()


class _Fields:
    """Fields of a header, found by name and number."""

    __slots__ = ("_fields", "_names", "_places")

    def __init__(self, fields: list[bytes]) -> None:
        #: b"" for those that are gone: the places of the others stay
        self._fields = list(fields)
        self._names = [headers.name(one) for one in fields]
        #: name -> where its fields stand, None: not known
        self._places: dict[bytes, list[int]] | None = None

    def left(self) -> list[bytes]:
        """Those that are there now."""
        return [one for one in self._fields if one]

    def __len__(self) -> int:
        return len(self._fields) - self._names.count(b"")

    def of(self, name: bytes) -> list[int]:
        """Where the fields of that *name* stand, in small letters."""
        if self._places is None:
            self._places = {}
            for place, one in enumerate(self._names):
                self._places.setdefault(one, []).append(place)
        return self._places.get(name, [])

    def append(self, field: bytes) -> None:
        """The last one."""
        name = headers.name(field)
        if self._places is not None:
            self._places.setdefault(name, []).append(len(self._fields))
        self._fields.append(field)
        self._names.append(name)

    def insert(self, place: int, field: bytes) -> None:
        """At *place*, as of() gives them."""
        self._fields.insert(place, field)
        self._names.insert(place, headers.name(field))
        self._places = None

    def insert_behind(self, count: int, field: bytes) -> None:
        """With *count* fields before it, or all."""
        if count >= len(self):
            return self.append(field)
        self._fields, self._names = self.left(), [one for one in self._names if one]
        self.insert(count, field)

    def replace(self, name: bytes, number: int, field: bytes) -> None:
        """The *number*-th of that *name*, from 0 on, by *field*; b"": it goes."""
        places = self.of(name)
        self._fields[places[number]] = field
        if not field:
            self._names[places.pop(number)] = b""


def _field(change: FieldChange) -> bytes:
    # With Wish.LEADING_SPACE the filter gives the blank itself.
    return b"%b:%b" % (change.name, change.value)
