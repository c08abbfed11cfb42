"""The receiving side of an SMTP session: octets in, replies out; no socket, no clock, no policy.

``receive()`` takes what the client sent and gives what to send back. What a command is answered
with stands in ``verbs``, and what it means for mail a ``Receiver`` decides. Replies to pipelined
commands come together (RFC 2920 section 3.2).

    octets                              become
    up to the first line end            a command line; it decides the line end of the session,
                                        CRLF or the bare LF of people with nc(1)
    a line end of the other kind, NUL   421 and the end, nothing kept (see ``data``)
    a line of more than 2048 octets     500, and the line is left out
    12288 octets without a line end     421 and the end
    after a 354                         message text, until the final dot
    after BDAT                          so many octets of message text, whatever they are
    after STARTTLS                      nobody's: the handshake, then secured() and a new beginning
"""

from __future__ import annotations

from minimta.smtp import chunking, command
from minimta.smtp import fixed_replies as fixed
from minimta.smtp.auth import AuthCommand
from minimta.smtp.data import Violation, check
from minimta.smtp.message_text import MessageText
from minimta.smtp.reply import CommandError, Reply, reply, temporary
from minimta.smtp.state import State, advance, out_of_order
from minimta.smtp.throttle import LIMITED, Throttle
from minimta.smtp.verbs import Verbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.smtp.receiver import Receiver

#: what is answered after a client talked before it was its turn
_ALWAYS = frozenset(("EHLO", "HELO", "NOOP", "RSET", "QUIT"))


class Session:
    """One SMTP session."""

    def __init__(
        self,
        receiver: Receiver,
        *,
        host: str,
        client: str,
        privacy: frozenset[str] = frozenset(),
        max_message_size: int = 0,
        bad_rcpt_throttle: int = 0,
        max_noop_commands: int = 20,
        soft_bounce: bool = False,
        unawaited: frozenset[str] = frozenset(),
        has_tls: bool = False,
        max_recipients: int = 0,
        deliver_by_min: int = -1,
        has_etrn: bool = False,
        auth: AuthCommand | None = None,
    ) -> None:
        """*host* is our name, *client* what the client is called: "lab1.campus [10.0.3.134]".

        *privacy* has the words of PrivacyOptions, *max_message_size* octets (0: no limit).
        *unawaited* are those of EHLO, HELO and DATA whose reply this client need not wait for.
        *has_tls*: can our side make a handshake? *auth* takes logins; None: there are none.
        """
        self.host = host
        self.client = client
        self.state = State.IDLE
        self._soft_bounce = soft_bounce
        self.throttle = Throttle(bad_rcpt_throttle, max_noop_commands)
        self._receiver = receiver
        self._unawaited = unawaited
        self._auth = auth or AuthCommand(None)
        self._verbs = Verbs(
            receiver,
            self._auth,
            self.throttle,
            host=host,
            client=client,
            privacy=privacy,
            max_message_size=max_message_size,
            has_tls=has_tls,
            max_recipients=max_recipients,
            deliver_by_min=deliver_by_min,
            has_etrn=has_etrn,
        )
        self._rejecting = False
        #: what a client whose commands are refused hears
        self._rejected = fixed.REJECTED
        self._eol = b""
        self._buffer = b""
        self._text = MessageText(receiver, host)
        #: why a chunk (BDAT) of this transaction was refused
        self._refused_chunk: Reply | None = None

    # --- in and out -------------------------------------------------------------------------------

    def greeting(self, text: str) -> bytes:
        """The 220; *text* begins with our name."""
        return bytes(Reply(220, "", (text,)))

    def rejection(self) -> bytes:
        """The 554 for a client that talks before the greeting; then its commands are refused."""
        self._rejecting = True
        return bytes(Reply(554, "", (f"{self.host} ESMTP not accepting messages",)))

    def refuse(self, answer: Reply) -> None:
        """From now on commands are answered with *answer*: the client as such is refused."""
        self._rejecting, self._rejected = True, answer

    def closing(self, code: int, status: str, text: str) -> bytes:
        """End the session from our side: what to send last."""
        self._end()
        return bytes(Reply(code, status, (text,)))

    def secured(self) -> None:
        """The handshake was made: forget what was said in clear (RFC 3207 section 4.2).

        What the client has done wrong is not forgotten.
        """
        self._verbs.secured()
        self._eol = self._buffer = b""
        self.state = State.IDLE

    @property
    def was_used(self) -> bool:
        """Has the client said MAIL, VRFY, EXPN or ETRN?"""
        return self._verbs.was_used

    @property
    def is_closed(self) -> bool:
        """Is it over? Then send what is left to send, and close the connection."""
        return self.state is State.CLOSED

    @property
    def is_reading_text(self) -> bool:
        """Are the octets that come now no commands?"""
        return self._text.is_open

    @property
    def is_in_transaction(self) -> bool:
        """Has MAIL begun a message that is not yet finished?"""
        return self.state in (State.MAIL, State.RCPT, State.DATA, State.BDAT)

    def receive(self, chunk: bytes) -> bytes:
        """Take octets of the client; returns the replies to send, b"" if none is due yet."""
        buffer = self._buffer + chunk if self._buffer else chunk
        replies: list[bytes] = []
        position = 0
        while self.state not in (State.CLOSED, State.HANDSHAKE):
            if self._text.is_open:
                if position == len(buffer) and not self._text.is_due:
                    break
                answer, buffer, position = self._text.feed(buffer, position)
                if answer is not None:
                    replies.append(self._wire(self._at_end_of_text(answer)))
                continue
            stop = buffer.find(b"\n", position) + 1
            if not stop:
                break
            line = buffer[position:stop]
            position = stop
            has_more = stop < len(buffer)
            answer = self._line(line, has_more)
            if answer is not None:
                replies.append(self._wire(answer))
        self._buffer = b"" if self.state is State.CLOSED else buffer[position:]
        if self.state not in (State.CLOSED, State.HANDSHAKE) and not self._text.is_open:
            replies += self._unfinished()
        return b"".join(replies)

    def _wire(self, answer: Reply) -> bytes:
        return bytes(temporary(answer) if self._soft_bounce else answer)

    def _unfinished(self) -> list[bytes]:
        """The replies to the beginning of a line, which alone can be too much."""
        # A ClientHello of TLS begins with this octet and has no line end that could be waited for.
        if not self._eol and self._buffer[:1] == b"\x16":
            self._verbs.note("TLS handshake on a plain port")
            return [self.closing(421, "4.7.0", f"{self.host} This is plain SMTP")]
        if len(self._buffer) > command.MAX_BUFFERED:
            return [bytes(self._far_too_long())]
        return []

    def _far_too_long(self) -> Reply:
        self._verbs.note("SMTP violation, input too long")
        text = f"{self.host} Command too long, possible attack {self.client}"
        return self._last(421, "4.7.0", text)

    def _end(self) -> None:
        if self.state is not State.CLOSED:
            self._receiver.reset()
        self.state = State.CLOSED
        self._text.close()

    # --- message text -----------------------------------------------------------------------------

    def _at_end_of_text(self, answer: Reply) -> Reply:
        """A message or a chunk has come, or nothing more of it shall; *answer* is what to say."""
        if self._text.is_fatal or answer.code == 421:  # RFC 5321 section 4.2.2
            self._end()
        elif self._text.is_complete:
            self.state = advance(self.state, ".", answer)
        return answer

    def _chunk(self, argument: bytes) -> Reply | None:
        """BDAT: whatever is wrong, its octets are read first."""
        try:
            chunk = chunking.parse(argument)
        except CommandError as error:
            self._end()
            return error.reply
        if not (chunk.size or chunk.is_last):
            self._verbs.note(self.throttle.verb("NOOP"))  # it brings a message no further
        wrong = self._rejected if self._rejecting else self._refused_chunk
        wrong = wrong or out_of_order(self.state, "BDAT")
        if wrong is None and self.state is State.RCPT:
            wrong = self._verbs.begin_chunks()
            self._text.begin_message(self._eol, is_binary=self._verbs.is_binary)
        # What is in the pipeline behind a chunk that was refused is a message without its beginning.
        self._refused_chunk = wrong
        if wrong is None:
            self.state = advance(self.state, "BDAT", fixed.OK)
        elif not self._rejecting:
            wrong = self._settled("BDAT", wrong)
        if self.state is not State.CLOSED:
            self._text.begin_chunk(chunk, wrong)
            return None
        return wrong

    # --- commands ---------------------------------------------------------------------------------

    def _line(self, line: bytes, has_more: bool) -> Reply | None:
        """The answer to a command; None if its chunk is to come first."""
        if not self._eol:
            self._eol = b"\r\n" if line.endswith(b"\r\n") else b"\n"
        try:
            # Commands too: a client whose commands have other line ends than its text is one whose
            # end of text another server would see elsewhere.
            check(line, self._eol)
        except Violation as violation:
            self._verbs.note(violation.text)
            return self._last(421, "4.5.0", violation.text)
        if len(line) > command.MAX_LINE and not self._auth.takes(line):
            too_long = len(line) > command.MAX_BUFFERED
            return self._far_too_long() if too_long else self._counted(fixed.TOO_LONG)
        if self._auth.awaits:
            return self._settled("AUTH", self._verbs.login_step(line[: -len(self._eol)]))
        verb, argument = command.split(line[: -len(self._eol)])
        name = verb.decode("ascii", "replace")
        if name == "BDAT":
            return self._chunk(argument)
        if self._rejecting and name not in _ALWAYS:
            return self._rejected
        if name in LIMITED:
            self._verbs.note(self.throttle.verb(name))
            if self.throttle.has_asked_enough():
                text = f"{self.host} Too many {name} commands; closing connection"
                return self._last(421, "4.7.0", text)
        if name in ("EHLO", "HELO"):
            return self._hello(name, argument, has_more)
        if not self._verbs.are_served(name):
            return self._settled(name, self._verbs.not_served(name, line[: -len(self._eol)]))
        answer = out_of_order(self.state, name) or self._verbs.why_not(name)
        if answer is None:
            answer = self._verbs.answer(name, argument)
            if answer.code == 354 and has_more and self._must_await("DATA"):
                return self._talked_first("DATA")
            if answer is fixed.READY and has_more:
                # Whoever stands between us may have put it there: CVE-2011-0411.
                return self._talked_first("STARTTLS")
            self.state = advance(self.state, name, answer)
            if name == "MAIL":
                self._refused_chunk = None
            if self.state is State.DATA:
                self._text.begin_data(self._eol)
        return self._settled(name, answer)

    def _settled(self, name: str, answer: Reply) -> Reply:
        """The *answer* to the command *name* is known: what it costs the client."""
        if answer.code == 421:  # RFC 5321 section 4.2.2: with it the connection ends
            self._end()
        # A RCPT out of order names nobody: it is a bad command, not a bad recipient.
        elif name == "RCPT" and answer.code != 503:
            return self._counted_recipient(answer)
        return self._counted(answer) if answer.code >= 500 else answer

    def _last(self, code: int, status: str, text: str) -> Reply:
        self._end()
        return reply(code, status, text)

    def _hello(self, name: str, argument: bytes, has_more: bool) -> Reply:
        if has_more and self._must_await(name):
            self._rejecting = True
            self._note_early(name)
            return fixed.PROTOCOL_ERROR
        try:
            own_name = command.parse_hello(name, argument)
        except CommandError as error:
            return self._counted(error.reply)
        if self.state is not State.IDLE:
            self._receiver.reset()
        self.state = State.IDLE
        answer = self._verbs.hello(name, own_name, self._eol, is_refused=self._rejecting)
        return self._settled(name, answer)

    def _must_await(self, name: str) -> bool:
        """Must the reply to *name* be awaited? RFC 2920 section 3.1: it ends a group of commands.

        EHLO tells whether there may be groups, and before the 354 nobody knows that text is wanted:
        a client that does not wait does not read. What is pasted into nc(1) (LF line ends) may pass.
        """
        return self._eol == b"\r\n" and name not in self._unawaited

    def _talked_first(self, name: str) -> Reply:
        self._note_early(name)
        self._end()
        return fixed.PROTOCOL_ERROR

    def _note_early(self, name: str) -> None:
        why = "due to traffic before response"
        self._receiver.note(f"rejecting server {name} from {self.client} {why}")

    # --- limits -----------------------------------------------------------------------------------

    def _counted(self, answer: Reply) -> Reply:
        if self.throttle.error():
            text = f"{self.host} Too many bad commands; closing connection"
            return self._last(421, "4.7.0", text)
        return answer

    def _counted_recipient(self, answer: Reply) -> Reply:
        """A recipient that may come later (4yz) is neither good nor bad."""
        if not 400 <= answer.code < 500:
            self._verbs.note(self.throttle.recipient(accepted=answer.code < 400))
        if self.throttle.has_harvester():
            text = f"{self.host} Too many bad recipients; closing connection"
            return self._last(421, "4.7.0", text)
        return answer
