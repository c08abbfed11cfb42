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
        "_host",
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
        saved["above"], saved["fields"] = list(self.above), list(self.fields)
        saved["recipients"] = list(self.recipients)
        try:
            return [self._apply(change) for change in changes]
        except FilterFailed:
            for name, value in saved.items():
                setattr(self, name, value)
            raise

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
        wanted = headers.name(field)
        if wanted == b"received":
            return self.above.append(field)
        for part in (self.above, self.fields):
            for place, other in enumerate(part):
                if headers.name(other) == wanted:
                    return part.insert(place, field)
        return self.fields.append(field)

    def _insert(self, index: int, field: bytes) -> None:
        """Behind *index* fields of all but Return-Path."""
        if index <= len(self.above):
            self.above.insert(index, field)
        else:
            self.fields.insert(max(index - len(self.above) - _OURS, 0), field)

    def _replace(self, change: FieldChange, name: str) -> str:
        wanted, count = change.name.lower(), 0
        for part in (self.above, self.fields):
            for place, other in enumerate(part):
                count += headers.name(other) == wanted
                if headers.name(other) == wanted and count >= max(change.index, 1):
                    part[place : place + 1] = [_field(change)] if change.value else []
                    return f"Milter {'change' if change.value else 'delete'}: header {name}"
        if not change.value:
            return f"Milter delete (noop): header: {name}"
        self._add(_field(change))
        return f"Milter change (add): header: {name}"

    # --- envelope ---------------------------------------------------------------------------------

    def _change_envelope(self, change: EnvelopeChange) -> str:
        shown = quoted(change.address)
        if change.kind == "delete":
            wanted = self._key(address.bare(change.address))
            self.recipients = [
                one for one in self.recipients if self._key(address.bare(one.address)) != wanted
            ]
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
            self.body_type, self.ret, self.envid = found.body_type, found.ret, found.envid

    def _add_recipient(self, path: bytes, parameters: bytes) -> None:
        rcpt = command.parse_rcpt(b"TO:%b %b" % (path, parameters))
        if why := address.why_special(rcpt.forward_path):
            raise FilterFailed(f"recipient {quoted(path)}: {why}")
        bare = address.bare(rcpt.forward_path)
        if self._key(bare) in {self._key(address.bare(one.address)) for one in self.recipients}:
            return
        flags = "P" + (rcpt.parameters.notify or "FD")
        original = rcpt.parameters.original
        self.recipients.append(Recipient(b"<%b>" % bare, flags, original=original))

    def _key(self, bare: bytes) -> bytes:
        return address.qualified(bare, self._host).lower()


def _field(change: FieldChange) -> bytes:
    # With Wish.LEADING_SPACE the filter gives the blank itself.
    return b"%b:%b" % (change.name, change.value)
