"""The octets of a session that are message text: after DATA to the final dot, after BDAT so many.

    DATA    text until CRLF "." CRLF; a line end of the other kind ends the session (see ``data``)
    BDAT    a chunk (see ``chunking``); each gets its answer when its last octet has come

A chunk that may not come now is read and thrown away, and answered then with what is wrong: were it
not read, its octets would be taken for commands. Once a message has been refused, all its chunks are
answered so, up to the last one.
"""

from __future__ import annotations

from minimta.message.binary_mime import BinaryMime
from minimta.message.mime_entity import NotConvertible
from minimta.smtp.chunking import Chunk, LineDecoder
from minimta.smtp.data import DataReader, Violation
from minimta.smtp.reply import Reply, reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.smtp.chunking import Decoder
    from minimta.smtp.receiver import Receiver

#: octets of chunks that one session may have thrown away
MAX_DISCARDED = 16 << 20


class MessageText:
    """What the client of one session sends as message text, passed on to the Receiver."""

    def __init__(self, receiver: Receiver, host: str) -> None:
        """*host* is our name, for the note that a message was converted."""
        self._receiver = receiver
        self._note = b"%s by " + host.encode("ascii", "replace")
        self._data: DataReader | None = None
        self._chunk: Chunk | None = None
        #: octets of the chunk that have not come yet
        self._left = 0
        #: what the chunk is answered with, which is thrown away; None: it is text of the message
        self._wrong: Reply | None = None
        #: of the message that comes in chunks; None: it has been refused
        self._decoder: Decoder | None = None
        self._discarded = 0
        #: was the last answer that to a whole message?
        self.is_complete = False
        #: does the last answer end the session?
        self.is_fatal = False

    @property
    def is_open(self) -> bool:
        """Are the octets that come now text?"""
        return self._data is not None or self._chunk is not None

    @property
    def is_due(self) -> bool:
        """Will feed() answer, though nothing more comes? So it is with a chunk of no octets."""
        return self._chunk is not None and not self._left

    def begin_data(self, eol: bytes) -> None:
        """A 354 was sent, in a session with the line end *eol*."""
        self._data = DataReader(eol)

    def begin_message(self, eol: bytes, *, is_binary: bool) -> None:
        """The first chunk of a message is next; *is_binary*: BODY=BINARYMIME."""
        self._decoder = BinaryMime(self._note) if is_binary else LineDecoder(eol)

    def begin_chunk(self, chunk: Chunk, wrong: Reply | None = None) -> None:
        """A chunk comes, which is thrown away if something is *wrong*."""
        self._chunk, self._left, self._wrong = chunk, chunk.size, wrong

    def feed(self, buffer: bytes, position: int) -> tuple[Reply | None, bytes, int]:
        """Take text out of *buffer* from *position* on: (answer if one is due, what is left, from where).

        See ``is_complete`` and ``is_fatal`` for what the answer means.
        """
        self.is_complete = self.is_fatal = False
        if self._data is None:
            stop = min(position + self._left, len(buffer))
            return self._feed_chunk(buffer[position:stop]), buffer, stop
        reader = self._data
        answer = self._feed_data(reader, buffer[position:])
        if answer is not None:
            self._data = None
        return answer, b"" if self.is_fatal else reader.trailing, 0

    def close(self) -> None:
        """The session is over."""
        self._data = self._chunk = None

    # --- DATA -------------------------------------------------------------------------------------

    def _feed_data(self, reader: DataReader, octets: bytes) -> Reply | None:
        try:
            text = reader.feed(octets)
        except Violation as violation:
            self._receiver.violation(violation.text)
            return self._fatal(reply(421, "4.5.0", violation.text))
        last_words = self._receiver.text(text) if text else None
        if last_words is not None:
            return self._fatal(last_words)
        if not reader.done:
            return None
        self.is_complete = True
        return self._receiver.end_of_data()

    def _fatal(self, answer: Reply) -> Reply:
        self.is_fatal = True
        return answer

    # --- BDAT -------------------------------------------------------------------------------------

    def _feed_chunk(self, octets: bytes) -> Reply | None:
        chunk, wrong = self._chunk, self._wrong
        assert chunk is not None
        self._left -= len(octets)
        is_over = not self._left
        if wrong is not None:
            self._discarded += len(octets)
            if self._discarded > MAX_DISCARDED:
                return self._fatal(wrong)
        else:
            last_words = self._keep(octets, is_last=chunk.is_last and is_over)
            if last_words is not None:
                return self._fatal(last_words)
        if not is_over:
            return None
        self._chunk = None
        if wrong is not None:
            return wrong
        self.is_complete = chunk.is_last
        if chunk.is_last:
            return self._receiver.end_of_data()
        return self._receiver.refused() or reply(250, "2.0.0", f"{chunk.size} octets received")

    def _keep(self, octets: bytes, *, is_last: bool) -> Reply | None:
        """Pass on a piece of the message. A reply ends the session."""
        text, decoder = octets, self._decoder
        if decoder is not None:
            try:
                text = decoder.feed(octets) + (decoder.finish() if is_last else b"")
            except (Violation, NotConvertible) as error:
                self._decoder = None
                self._receiver.refuse(_refusal(error))
        return self._receiver.text(text) if text else None


def _refusal(error: Violation | NotConvertible) -> Reply:
    # RFC 3463: 5.6.3 conversion required but not supported, 5.6.0 what is wrong with the text.
    if isinstance(error, Violation):
        return reply(554, "5.6.0", error.text)
    return reply(554, "5.6.3", f"Cannot convert binary message: {error}")
