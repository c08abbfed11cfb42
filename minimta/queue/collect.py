"""The only way into the queue: a message and its envelope become a df and a qf, durably.

``Incoming`` takes the text as it comes, in pieces of any size. The header is kept in memory (and
limited); of the body at most 64 KiB, the rest is already in the df. ``commit()`` returns when the
message is ours; until then nothing of it is in the queue but a df that nobody looks at.
"""

from __future__ import annotations

import os

from minimta.message import addresslist, dates, headers, missing_fields, received
from minimta.queue import first_control
from minimta.queue import qid as queue_id
from minimta.queue.control import Control
from minimta.queue.spool import Spool
from minimta.system import files, hostnames, log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options
    from minimta.message.envelope import Envelope

#: what of a body stays in memory
_IN_MEMORY = 65536
_MOST_FIELDS = 1000


class MessageRefused(Exception):
    """The message cannot be accepted: SMTP reply code, RFC 3463 status, text."""

    def __init__(self, code: int, status: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.status = status
        self.text = text


class Incoming:
    """One message on its way in.

    The keyword arguments are for what did not come by SMTP: *trace_recipient* is named after "for"
    in Received (None: the only recipient of an SMTP transaction), *submit* marks the submission
    form of the product, *qualify* completes unqualified addresses in the header, *response* marks a
    bounce, *hops* is what the message has behind it already (-h), *date* replaces the clock in
    Date, *host* is our name (else hosts.own_name).
    """

    def __init__(
        self,
        spool: Spool,
        options: Options,
        envelope: Envelope,
        *,
        qid: str,
        now: float,
        host: str = "",
        trace_recipient: bytes | None = None,
        submit: bool = False,
        qualify: bool = False,
        response: bool = False,
        hops: int = 0,
        date: float | None = None,
    ) -> None:
        self.envelope = envelope
        self.qid = qid
        #: octets of the message, LF line ends
        self.size = 0
        self.date = now if date is None else date
        self.trace_recipient = trace_recipient
        self._spool = spool
        self._options = options
        self._now = now
        self._host = host
        self._submit = submit
        self._qualify = qualify
        self._response = response
        self._hops = hops
        self._header = bytearray()
        self._checked = 0  # octets of _header that are whole lines and belong to the header
        self._count = 0
        self._fields: list[bytes] | None = None  # None while the header is not over
        self._body: list[bytes] = []
        self._held = 0
        self._eight_bit = False
        self._complete_line = True
        self._data = -1

    @property
    def host(self) -> str:
        """Our name, as it stands in Received and Message-Id."""
        if not self._host:
            self._host = hostnames.own_name(self._options)
        return self._host

    def write(self, text: bytes) -> None:
        """Take a piece of canonical text. Raise Refused (a limit) or OSError (the disk)."""
        if b"\r" in text or b"\0" in text:
            # RFC 5321 section 2.3.8; nothing stored may turn into a line end later.
            raise MessageRefused(554, "5.6.1", "Bare carriage return or NUL not allowed")
        self.size += len(text)
        limit = self._options.max_message_size
        if limit and self.size > limit:
            raise MessageRefused(552, "5.2.3", f"Message exceeds maximum fixed size ({limit})")
        if text:
            self._complete_line = text.endswith(b"\n")
            self._eight_bit = self._eight_bit or not text.isascii()
        if self._fields is not None:
            self._write_body(text)
            return
        self._header += text
        self._look_for_body()

    def fields(self) -> list[bytes]:
        """The header fields of the message, once all of it is written; may be called often."""
        if self._fields is None:
            if not self._complete_line:
                self.write(b"\n")
            if self._fields is None:
                self._end_header(len(self._header))
        assert self._fields is not None
        return self._fields

    def commit(self) -> str:
        """Make the message ours: durable on return. Returns the queue id.

        Raise Refused (too many hops) or OSError; then nothing is left in the queue.
        """
        try:
            self._check_hops()
            control = self.control()
            self._store()
            data, self._data = self._data, -1
            self._spool.accept(self.qid, data, control)
        except BaseException:
            self.abort()
            raise
        self._log(control)
        return self.qid

    def abort(self) -> None:
        """Leave nothing behind."""
        if self._data >= 0:
            data, self._data = self._data, -1
            self._spool.discard(self.qid, data)

    def text(self, reverse_path: bytes) -> bytes:
        """The header block as a local mailbox would get it."""
        control = self.control()
        return headers.render(
            control.headers, mailer="local", reverse_path=reverse_path, flags=control.flags
        )

    def copy_body(self, file: int) -> None:
        """Write the body to *file*, wherever it is kept."""
        position = 0
        while self._data >= 0:
            piece = os.pread(self._data, _IN_MEMORY, position)
            if not piece:
                break
            files.write_all(file, piece)
            position += len(piece)
        files.write_all(file, b"".join(self._body))

    # --- header -----------------------------------------------------------------------------------

    def _look_for_body(self) -> None:
        """Find the end of the header in what has come; each line is looked at once."""
        header = self._header
        while (stop := header.find(b"\n", self._checked)) >= 0:
            first = header[self._checked : self._checked + 1]
            if first == b"\n":
                return self._end_header(self._checked, skip=1)
            if bytes(first) not in (b" ", b"\t") or not self._checked:
                if not headers.field_name(bytes(header[self._checked : stop])):
                    return self._end_header(self._checked)
                self._count += 1
            self._checked = stop + 1
            if self._checked > self._options.max_headers_length or self._count > _MOST_FIELDS:
                break
        limit = self._options.max_headers_length
        if len(header) > limit:
            raise MessageRefused(552, "5.6.0", f"Headers too large ({limit} max)")
        if self._count > _MOST_FIELDS:
            raise MessageRefused(552, "5.6.0", f"Too many header fields ({_MOST_FIELDS} max)")
        return None

    def _end_header(self, end: int, skip: int = 0) -> None:
        body = bytes(self._header[end + skip :])
        self._fields = headers.split_message(bytes(self._header[:end]))[0]
        self._header.clear()
        self._write_body(body)

    # --- body -------------------------------------------------------------------------------------

    def _write_body(self, text: bytes) -> None:
        if text:
            self._body.append(text)
            self._held += len(text)
        if self._held > _IN_MEMORY:
            self._store()

    def _store(self) -> None:
        """Put what is held of the body into the df."""
        if self._data < 0:
            self._data = self._create()
        files.write_all(self._data, b"".join(self._body))
        self._body.clear()
        self._held = 0

    def _create(self) -> int:
        while True:
            try:
                return self._spool.create(self.qid)
            except FileExistsError:
                self.qid = queue_id.new(self._now)

    # --- control file -----------------------------------------------------------------------------

    def control(self) -> Control:
        """The control file of the message; its Received field names ``qid`` as it is now."""
        fields = self.fields()
        if not self._complete_line:
            self.write(b"\n")
        if self._data < 0:
            self._data = self._create()  # from here on the id is certain
        host = self.host.encode("ascii", "replace")
        mode = self._options.delivery_mode
        control = first_control.make(self.envelope, int(self._now), host, mode)
        control.headers = missing_fields.complete(fields, self.envelope, self._facts(host))
        control.priority = first_control.priority(
            self._options, self.size, len(self.envelope.recipients), fields
        )
        control.flags = first_control.flags(
            self.envelope, fields, eight_bit=self._eight_bit, response=self._response
        )
        return control

    def _check_hops(self) -> None:
        """RFC 5321 section 6.3: count the Received fields, ours included."""
        own = [field for field in self.fields() if headers.name(field) == b"received"]
        hops = self._hops + 1 + len(own)
        most = self._options.max_hop_count
        if hops > most:
            to = ", ".join(log.clean(r.address) for r in self.envelope.recipients[:1])
            sender = log.clean(self.envelope.reverse_path)
            via = log.clean(self.envelope.helo or b"localhost")
            text = f"Too many hops {hops} ({most} max): from {sender} via {via}, to {to}"
            raise MessageRefused(554, "5.4.6", text)

    def _facts(self, host: bytes) -> missing_fields.Facts:
        envelope, options = self.envelope, self._options
        recipient = self.trace_recipient
        if recipient is None:
            only = len(envelope.recipients) == 1 and envelope.protocol
            recipient = envelope.recipients[0].address if only else b""
        trace = received.received(
            client=envelope.client,
            helo=envelope.helo,
            protocol=envelope.protocol,
            host=host,
            product=received.PRODUCT + b"/Submit" if self._submit else received.PRODUCT,
            qid=self.qid.encode("ascii"),
            recipient=recipient,
            date=dates.rfc5322(self._now).encode("ascii"),
        )
        return missing_fields.Facts(
            qid=self.qid.encode("ascii"),
            host=host,
            date=dates.rfc5322(self.date).encode("ascii"),
            compact_date=dates.compact(self._now).encode("ascii"),
            trace=trace,
            no_recipient_action=options.no_recipient_action,
            qualify=(lambda field: addresslist.qualify_field(field, host))
            if self._qualify
            else None,
        )

    def _log(self, control: Control) -> None:
        """The from= line, in the order of Sendmail's fields."""
        envelope = self.envelope
        message_id = headers.find(control.headers, b"message-id")
        facts = [
            f"from={log.fact(envelope.reverse_path)}",
            f"size={self.size}",
            f"class={first_control.precedence(self.fields())}",
            f"nrcpts={len(envelope.recipients)}",
        ]
        if message_id:
            facts.append(f"msgid={log.fact(headers.value(message_id[0]))}")
        if envelope.body_type:
            facts.append(f"bodytype={log.clean(envelope.body_type)}")
        if envelope.protocol:
            facts.append(f"proto={log.clean(envelope.protocol)}")
            if not envelope.daemon_flags:
                facts.append("daemon=MTA")
        facts.append(f"relay={log.fact(envelope.client)}")
        log.line(self.qid, ", ".join(facts), level=5)
