"""The only way into the queue: a message and its envelope become a df and a qf, durably.

    write()    the text as it comes, in pieces of any size: the header is kept in memory (and
               limited), of the body at most 64 KiB, the rest is already in the df
    finish()   header and body are complete, limits and hops are checked
    commit()   durable on return: now it is ours, and not before
    abort()    at any time: nothing is left of it

Until commit() nothing of it is in the queue but a df that nobody looks at. What fails is a
MessageRefused (a limit, a mail loop) or an OSError (the disk).
"""

from __future__ import annotations

import errno
import os
from binascii import crc32

from minimta.message import headers
from minimta.queue.directory import close
from minimta.queue.first_control import FirstControl
from minimta.queue.spool import Spool
from minimta.system import files, log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options
    from minimta.message.envelope import Envelope
    from minimta.queue.control import Control
    from minimta.queue.directories import Queue

#: octets of a body that stay in memory
_IN_MEMORY = 65536
_MOST_FIELDS = 1000


class MessageRefused(Exception):
    """The message cannot be accepted."""

    def __init__(self, code: int, status: str, text: str) -> None:
        """*code* is an SMTP reply code, *status* RFC 3463's ("5.4.6"), *text* one line of ASCII."""
        super().__init__(text)
        self.code = code
        self.status = status
        self.text = text


class Incoming:
    """One message on its way in, for one thread."""

    def __init__(
        self,
        queue: Queue,
        options: Options,
        envelope: Envelope,
        *,
        qid: str,
        now: float,
        host: str,
        submit: bool = False,
        qualify: bool = False,
        response: bool = False,
        hops: int = 0,
    ) -> None:
        """It goes into *queue*. *qid* is the id it gets if that is free, *now* epoch seconds, *host* our full name.

        *submit* marks the submission form of the product, *qualify* completes unqualified addresses
        in the header, *response* marks a bounce, *hops* is what the message has behind it (-h).
        """
        self.envelope = envelope
        self.qid = qid
        #: octets of the message, LF line ends
        self.size = 0
        #: makes the control file that it begins with
        self.first = FirstControl(
            options, host, now, submit=submit, qualify=qualify, response=response
        )
        self._queue = queue
        #: the directory that it lies in, once there is a df
        self._spool: Spool
        #: those that have failed
        self._failed: list[Spool] = []
        self._options = options
        self._now = now
        self._hops = hops
        self._header = bytearray()
        self._checked = 0  # octets of _header that are whole lines and belong to the header
        self._count = 0
        self._fields: list[bytes] | None = None  # None while the header is not over
        self._names: list[bytes] = []
        self._body: list[bytes] = []
        self._held = 0
        self._stored = 0  # octets of the body in the df
        self._sum = 0  # checksum of those
        self._is_apart = False
        self._eight_bit = False
        self._complete_line = True
        self._is_finished = False
        self._data = -1
        #: the df has its name in the queue, and to remove it is our business
        self._is_named = False

    def write(self, text: bytes) -> None:
        """Take a piece of canonical text. Raise MessageRefused or OSError; then abort() it."""
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
        """The header fields of the message, once all of it is written; may be called often.

        Raise MessageRefused or OSError as write() does: a last line without end gets one.
        """
        if not self._complete_line:
            self.write(b"\n")
        if self._fields is None:
            self._end_header(len(self._header))
        assert self._fields is not None
        return self._fields

    def names(self) -> list[bytes]:
        """Those of fields(), in small letters. Raise MessageRefused or OSError, as that does."""
        self.fields()
        return self._names

    def finish(self) -> None:
        """Header and body are complete: no more text comes. Nothing is durable, nothing promised.

        Between this and commit() stand those who judge a whole message before it is accepted
        (filters: ``fields()``, ``copy_body()``), and who rewrite its addresses. May be called
        twice. Raise MessageRefused (a limit, too many hops) or OSError; then abort() it.
        """
        if not self._is_finished:
            self._check_hops()
            self._check_mime()
            self._is_finished = True

    # --- between finish() and commit() ------------------------------------------------------------

    def body_file(self) -> tuple[int, int]:
        """The descriptor of the body, all of which is in the file now, and its octets. Raise OSError.

        Who writes to it says body_was_replaced() afterwards.
        """
        self._store()
        return self._data, self._stored

    def body_was_replaced(self, size: int, *, checksum: int, eight_bit: bool) -> None:
        """The file holds another body of *size* octets with this *checksum* (CRC-32); *eight_bit*: with
        octets beyond ASCII.
        """
        self.size += size - self._stored
        self._stored, self._sum = size, checksum
        self._eight_bit = self._eight_bit or eight_bit

    def change_header(self, above: list[bytes], fields: list[bytes]) -> None:
        """Fields to stand above our own Received, and those that take the place of the message's."""
        old = sum(len(field) + 1 for field in self.fields())
        self.size += sum(len(field) + 1 for field in (*above, *fields)) - old
        self._eight_bit = self._eight_bit or not all(one.isascii() for one in (*above, *fields))
        self.first.above = above
        self._set_fields(fields)

    # --- the end ----------------------------------------------------------------------------------

    def commit(self, *, keep_lock: bool = False) -> str:
        """Make the message ours: durable on return. Returns the queue id; finishes if need be.

        With *keep_lock* the spool keeps it locked, for a process that delivers it at once.
        Raise MessageRefused or OSError; then nothing is left in the queue, as far as the disk
        obeys, but ``text()`` and ``copy_body()`` still give the message until abort().
        """
        while True:
            try:
                return self._commit(keep_lock)
            except OSError:
                if not self._goes_elsewhere():
                    raise

    def _commit(self, keep_lock: bool) -> str:
        try:
            self.finish()
            control = self.control()
            parts = self._parts(control)
            self._store()
        except BaseException:
            if self._is_named:
                self._is_named = False
                self._spool.unlink("df" + self.qid)
            raise
        # accept() removes what it made, or leaves a whole message where it cannot: not ours to undo.
        self._is_named = False
        ids = [self.qid]
        if len(parts) == 1:
            self._spool.accept(self.qid, self._data, control, keep_lock=keep_lock)
        else:
            from minimta.queue import split  # few messages have so many recipients

            ids = split.accept(self._spool, self.qid, self._data, parts, now=self._now)
            log.line(self.qid, f"split: rcpts={len(control.recipients)}, ids={', '.join(ids)}")
        self._data = -1
        self._log(control)
        if self._queue.is_client:
            self._spool.note_own(ids)
        return self.qid

    def _parts(self, control: Control) -> list[Control]:
        """The messages that it becomes: one, or as many as a runner will adopt. Raise MessageRefused."""
        if not self._queue.is_client:
            return [control]
        from minimta.queue import client_limits  # not on the way into the MTA queue

        try:
            return client_limits.parts(control, self._options)
        except client_limits.Unacceptable as error:
            raise MessageRefused(554, "5.6.0", str(error)) from error

    def abort(self) -> None:
        """Leave nothing behind. May be called at any time, and often."""
        if self._data < 0:
            return
        data, self._data = self._data, -1
        if self._is_named:
            self._is_named = False
            self._spool.discard(self.qid, data)
        else:
            close(data)

    def keep_apart(self) -> None:
        """The queue has failed: what comes from now on stays in memory, for ``dead.letter``."""
        self._is_apart = True

    def text(self, reverse_path: bytes) -> bytes:
        """The header block as a local mailbox would get it. Nothing is asked of the queue."""
        control = self._control()
        return headers.render(
            control.headers, mailer="local", reverse_path=reverse_path, flags=control.flags
        )

    def copy_body(self, file: int) -> None:
        """Write the body to the descriptor *file*, wherever it is kept. Raise OSError."""
        self._copy_stored(file)
        files.write_all(file, b"".join(self._body))

    def _copy_stored(self, file: int) -> None:
        position, checksum = 0, 0
        # What a failed write has left in the df is still in memory, too.
        while position < self._stored:
            piece = os.pread(self._data, min(_IN_MEMORY, self._stored - position), position)
            if not piece:
                break
            files.write_all(file, piece)
            position, checksum = position + len(piece), crc32(piece, checksum)
        # What the disk did not take Linux calls clean, and forgets: then zeros are read in its place.
        if (position, checksum) != (self._stored, self._sum):
            raise OSError(errno.EIO, "what was written of the message is gone")

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
        self._set_fields(headers.split_message(bytes(self._header[:end]))[0])
        self._header.clear()
        self._write_body(body)

    def _set_fields(self, fields: list[bytes]) -> None:
        self._fields, self._names = fields, [headers.name(field) for field in fields]

    # --- body -------------------------------------------------------------------------------------

    def _write_body(self, text: bytes) -> None:
        if text:
            self._body.append(text)
            self._held += len(text)
        if self._held > _IN_MEMORY and not self._is_apart:
            self._store()

    def _store(self) -> None:
        """Put what is held of the body into the df."""
        if self._data < 0:
            self._data = self._create()
        text = b"".join(self._body)
        while True:
            try:
                files.write_all(self._data, text)
                break
            except OSError:
                if not self._goes_elsewhere():
                    raise
        self._body.clear()
        self._sum = crc32(text, self._sum)
        self._stored += self._held
        self._held = 0

    def _create(self) -> int:
        self._spool, self.qid, data = self._queue.begin(self.qid, self._now)
        self._is_named = True
        return data

    def _goes_elsewhere(self) -> bool:
        """The directory that it lies in has failed: does another one take over what is stored?

        If not, this is as after any failure: the text can still be had, until abort().
        """
        if isinstance(self._queue, Spool) or self._data < 0 or self._spool in self._failed:
            return False
        from minimta.queue import another_directory  # hardly ever

        self._lose_name()
        self._failed.append(self._spool)
        there = another_directory.begin(
            self._queue, self._failed, self.qid, self._now, self._copy_stored
        )
        if there is None:
            return False
        close(self._data)
        self._spool, self.qid, self._data = there
        self._is_named = True
        return True

    def _lose_name(self) -> None:
        if self._is_named:
            self._is_named = False
            try:
                self._spool.unlink("df" + self.qid)
            except OSError:
                pass  # a df of nobody's is swept

    # --- control file -----------------------------------------------------------------------------

    def control(self) -> Control:
        """The control file that the message begins with; its Received field names ``qid``.

        Completes the recipients' r lines. Raise OSError if the df, which fixes the id, cannot be
        made.
        """
        self.fields()
        if self._data < 0:
            self._data = self._create()  # from here on the id is certain
        return self._control()

    def _control(self) -> Control:
        fields = self.fields()  # may add the line end that a last line lacks: asked first
        size, eight_bit = self.size, self._eight_bit
        return self.first.make(self.envelope, fields, self._names, self.qid, size, eight_bit)

    def _check_hops(self) -> None:
        """RFC 5321 section 6.3: count the Received fields, ours included."""
        hops = self._hops + 1 + self.names().count(b"received")
        most = self._options.max_hop_count
        if hops > most:
            to = ", ".join(log.clean(r.address) for r in self.envelope.recipients[:1])
            sender = log.clean(self.envelope.reverse_path)
            via = log.clean(self.envelope.helo or b"localhost")
            text = f"Too many hops {hops} ({most} max): from {sender} via {via}, to {to}"
            raise MessageRefused(554, "5.4.6", text)

    def _check_mime(self) -> None:
        limits = self._options.max_mime_header_length
        if any(limits):
            from minimta.message import mime_fields  # few hosts have the option

            if what := mime_fields.too_long(self.fields(), *limits):
                raise MessageRefused(554, "5.6.0", f"Too long: {what}")

    def _log(self, control: Control) -> None:
        """The from= line, in the order of Sendmail's fields."""
        envelope = self.envelope
        message_id = headers.find(control.headers, b"message-id")
        facts = [
            f"from={log.fact(envelope.reverse_path)}",
            f"size={self.size}",
            f"class={self.first.message_class}",
            f"nrcpts={len(control.recipients)}",
        ]
        if message_id:
            facts.append(f"msgid={log.fact(headers.value(message_id[0]))}")
        if envelope.body_type:
            facts.append(f"bodytype={log.clean(envelope.body_type)}")
        if envelope.protocol:
            facts.append(f"proto={log.clean(envelope.protocol)}")
        if envelope.daemon:
            facts.append(f"daemon={envelope.daemon}")
        facts.append(f"relay={log.fact(envelope.client)}")
        log.line(self.qid, ", ".join(facts), level=5)
