"""The sending session: what to say next, and what the answers mean for it (RFC 5321, RFC 2920).

No socket here. The driver sends what ``take`` gives, feeds what it reads to ``receive``, and goes
on until nothing is ``awaiting``; it looks up how long to wait under that word.

    awaiting          then
    greeting          220 makes us say EHLO; a 5yz to that, HELO
    EHLO HELO LHLO    name and extensions of the peer; messages may begin
    STARTTLS          a 2yz: ``wants_handshake``; the driver makes it and calls secured()
    AUTH              334: a challenge, which the driver answers; else the login is over, see auth_reply
    MAIL RCPT DATA    one group with PIPELINING, else one by one
    BDAT              instead of DATA, with the text behind it (RFC 3030), where the driver gives it
    (content)         354 came: ``wants_content``; the driver streams it and calls content_sent()
    .                 the only reply that makes the message the peer's
    RSET QUIT         between and after

A message that ended before its content leaves a half transaction behind; RSET goes out in front
of the next MAIL. A 421 to anything but the final dot ends the session (PeerClosed).

LMTP is another Dialect: it greets with LHLO, and answers the final dot once for each recipient.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minimta.message.printable import is_text, shown
from minimta.smtp.reply import Reply, ReplyError, ReplyReader, verbatim


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the protocols that a Client speaks."""

    #: "EHLO"
    hello: str
    #: said when that is refused for good, "" if there is nothing else to say
    older_hello: str
    #: does the final dot get an answer for each RCPT that was taken, in their order?
    answers_each: bool


SMTP = Dialect("EHLO", "HELO", answers_each=False)
#: RFC 2033, sections 4.1 and 4.2
LMTP = Dialect("LHLO", "", answers_each=True)


#: characters of the shortest text that is hidden when a peer repeats it
_LEAST_HIDDEN = 4


class PeerClosed(Exception):
    """The peer will take nothing more: a greeting or HELO that is no welcome, or a 421."""

    def __init__(self, reply: Reply, command: str) -> None:
        super().__init__(verbatim(reply)[-1])
        self.reply = reply
        #: what it answered: "greeting", "EHLO", "MAIL" ...
        self.command = command


class Transaction:
    """One message to some recipients: the lines to say, and the replies as they come."""

    __slots__ = ("chunk", "data", "finals", "mail", "mail_line", "rcpt", "rcpt_lines")

    def __init__(self, mail_line: bytes, rcpt_lines: Sequence[bytes], chunk: bytes = b"") -> None:
        """*chunk* is the text as BDAT takes it, CRLF line ends and one at its end; b"": by DATA."""
        self.mail_line = mail_line
        self.rcpt_lines = rcpt_lines
        self.chunk = chunk
        self.mail: Reply | None = None
        #: in the order of rcpt_lines; shorter when the peer refused MAIL
        self.rcpt: list[Reply] = []
        self.data: Reply | None = None
        #: the answer to the final dot of a message with content; LMTP: one for each that was taken
        self.finals: list[Reply] = []

    @property
    def text_line(self) -> str:
        """The command that the text follows."""
        return f"BDAT {len(self.chunk)} LAST" if self.chunk else "DATA"

    @property
    def final(self) -> Reply | None:
        """The answer to the final dot, None if there was none."""
        return self.finals[0] if self.finals else None

    @property
    def taken(self) -> int:
        """How many recipients the peer has taken."""
        return sum(reply.code < 300 for reply in self.rcpt)

    @property
    def has_recipient(self) -> bool:
        """Did the peer take anyone?"""
        return self.taken > 0

    def taken_before(self, number: int) -> int:
        """How many the peer has taken before recipient *number*: the place in ``finals`` (LMTP)."""
        return sum(reply.code < 300 for reply in self.rcpt[:number])


class Client:
    """One connection, from the greeting to QUIT."""

    def __init__(
        self,
        own_name: str,
        dialect: Dialect = SMTP,
        *,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """*own_name* is what we greet with; *say* gets each line of the dialogue (-v)."""
        self.dialect = dialect
        #: what we greet with from now on
        self.own_name = own_name
        self._say = say
        self._reader = ReplyReader()
        self._unsent: deque[tuple[str, bytes]] = deque()
        self._expected: deque[str] = deque(["greeting"])
        self._transaction: Transaction | None = None
        self._needs_reset = False
        #: name the peer gave in its answer to EHLO or HELO
        self.peer_name = ""
        #: EHLO keyword in capitals -> its parameters; of the last EHLO only
        self.extensions: dict[str, str] = {}
        #: the peer waits for the text of the message
        self.wants_content = False
        #: the answer to STARTTLS, None if there was none
        self.starttls_reply: Reply | None = None
        #: the last answer to AUTH, None before it
        self.auth_reply: Reply | None = None
        #: has the peer taken our login? Who logs in says so
        self.is_logged_in = False
        #: what nobody may be shown, even if the peer repeats it
        self._hidden: list[str] = []
        #: the peer said 421 where that was an answer too; nothing more can be sent
        self.closing = False
        #: last line sent, for the transcript
        self.last_sent = ""
        #: replies so far, and messages
        self.answered = self.begun = 0

    @property
    def awaiting(self) -> str:
        """What the next reply answers, "" if none is due."""
        return self._expected[0] if self._expected else ""

    @property
    def wants_handshake(self) -> bool:
        """Does the peer wait for a TLS handshake?"""
        return self.starttls_reply is not None and self.starttls_reply.code < 300

    def hello(self) -> None:
        """Queue EHLO and forget what was said to an earlier one; after the greeting it is queued."""
        self.peer_name, self.extensions = "", {}
        self._say_hello(self.dialect.hello)

    def starttls(self) -> None:
        """Queue STARTTLS; a refusal leaves everything as it was."""
        self._unsent.append(("STARTTLS", b"STARTTLS"))

    def secured(self) -> None:
        """The handshake is over: queue EHLO once more.

        Nothing that came in clear counts any more (RFC 3207 section 4.2): somebody in between could
        have taken extensions away or added some. What came behind the answer to STARTTLS, to be
        taken for replies under TLS (CVE-2021-38371), has been refused by receive().
        """
        self.starttls_reply = None
        self.hello()

    def authenticate(self, line: bytes, *secrets: str) -> None:
        """Queue an AUTH command, or the answer to a challenge (RFC 4954 section 4).

        Neither is shown to anybody, nor are the *secrets* in it, if the peer repeats them.
        """
        self._hidden += [text for text in secrets if len(text) >= _LEAST_HIDDEN]
        self._unsent.append(("AUTH", line))

    def begin(self, transaction: Transaction) -> None:
        """Queue a message. Raise ValueError if one of its lines could forge another command."""
        for line in (transaction.mail_line, *transaction.rcpt_lines):
            if not is_text(line):
                raise ValueError("a control character would forge a command")
        self._transaction = transaction
        self.begun += 1
        if self._needs_reset:
            self._unsent.append(("RSET", b"RSET"))
            self._needs_reset = False
        self._unsent.append(("MAIL", transaction.mail_line))
        self._unsent += [("RCPT", line) for line in transaction.rcpt_lines]
        if transaction.chunk:
            # The line end that take() puts behind it is the last one of the chunk.
            text = transaction.text_line.encode("ascii") + b"\r\n" + transaction.chunk
            self._unsent.append(("BDAT", text.removesuffix(b"\r\n")))
        else:
            self._unsent.append(("DATA", b"DATA"))

    def content_sent(self) -> None:
        """The driver has sent the whole content and the final dot."""
        self.wants_content = False
        self._expected += ["."] * (self._open().taken if self.dialect.answers_each else 1)
        self._tell(".")

    def quit(self) -> None:
        """Queue QUIT."""
        self._unsent.append(("QUIT", b"QUIT"))

    def take(self) -> bytes:
        """What to send now, perhaps nothing.

        What is queued together ends in DATA or BDAT or is alone, as RFC 2920 section 3.1 wants a group.
        """
        if not self._unsent or (self._expected and "PIPELINING" not in self.extensions):
            return b""
        lines = []
        while self._unsent:
            verb, line = self._unsent.popleft()
            lines.append(line)
            self._expected.append(verb)
            self._tell(_shown(verb, shown(line.partition(b"\r\n")[0])))
            if "PIPELINING" not in self.extensions:
                break
        return b"\r\n".join(lines) + b"\r\n"

    def receive(self, octets: bytes) -> None:
        """Take what was read. Raise PeerClosed or ReplyError; then close the connection."""
        for whole in self._reader.feed(octets):
            is_challenge = self.awaiting == "AUTH" and whole.code == 334
            reply = whole if is_challenge else self._without_secrets(whole)
            if self._say:
                for line in ["334 ***"] if is_challenge else verbatim(reply):
                    self._say(line)
            if not self._expected:
                raise _unasked(reply)
            self._answer(self._expected.popleft(), reply)
        # Something behind the last answer would be taken for the answer to what we say next:
        # the content would count as accepted before it is sent.
        if not self._expected and self._reader.has_leftover:
            raise ReplyError("reply to nothing")

    def _without_secrets(self, reply: Reply) -> Reply:
        """The reply, fit for log and bounce: "535 bad password hunter2" would be in both."""
        if not any(text in line for text in self._hidden for line in reply.lines):
            return reply
        lines = reply.lines
        for text in self._hidden:
            lines = tuple(line.replace(text, "***") for line in lines)
        return Reply(reply.code, reply.enhanced, lines)

    def _tell(self, line: str) -> None:
        self.last_sent = line
        if self._say:
            self._say(f">>> {line}")

    def _answer(self, verb: str, reply: Reply) -> None:
        self.answered += 1
        if reply.code == 421:
            if verb not in (".", "BDAT", "lone dot", "QUIT"):
                raise PeerClosed(reply, verb)
            self.closing = True
        if verb in _ANSWERS:
            _ANSWERS[verb](self, reply)
        elif verb == "RSET" and reply.code >= 300:
            raise ReplyError("RSET refused")

    def _greeted(self, reply: Reply) -> None:
        if reply.code >= 300:
            raise PeerClosed(reply, "greeting")
        self.hello()

    def _say_hello(self, verb: str) -> None:
        self._unsent.append(
            (verb, b"%b %b" % (verb.encode("ascii"), self.own_name.encode("ascii")))
        )

    def _hello(self, reply: Reply) -> None:
        if reply.code >= 500 and self.dialect.older_hello:
            self._say_hello(self.dialect.older_hello)
        elif reply.code >= 300:
            raise PeerClosed(reply, self.dialect.hello)
        else:
            self.peer_name = reply.lines[0].partition(" ")[0]
            for line in reply.lines[1:]:
                # AUTH=LOGIN, SIZE=1000: so some said it before there was a standard.
                is_old = "=" in line.partition(" ")[0]
                spaced = line.replace("=", " ", 1) if is_old else line
                keyword, _, parameters = spaced.partition(" ")
                self._offered(keyword.upper(), parameters.strip())

    def _offered(self, keyword: str, parameters: str) -> None:
        # "AUTH=LOGIN" is for clients of old; some hosts have others in it than behind "AUTH ".
        before = self.extensions.get(keyword, "") if keyword == "AUTH" else ""
        self.extensions[keyword] = f"{before} {parameters}".strip()

    def _starttls(self, reply: Reply) -> None:
        self.starttls_reply = reply

    def _auth(self, reply: Reply) -> None:
        self.auth_reply = reply

    def _helo(self, reply: Reply) -> None:
        if reply.code >= 300:
            raise PeerClosed(reply, "HELO")
        self.peer_name = reply.lines[0].partition(" ")[0]

    def _mail(self, reply: Reply) -> None:
        self._open().mail = reply
        if reply.code >= 300:
            self._unsent.clear()  # without PIPELINING the rest was not yet said

    def _rcpt(self, reply: Reply) -> None:
        transaction = self._open()
        transaction.rcpt.append(reply)
        last = len(transaction.rcpt) == len(transaction.rcpt_lines)
        # Without PIPELINING the DATA is not said yet, and need not be said for nobody.
        if last and self._unsent and not transaction.has_recipient:
            self._unsent.clear()
            self._needs_reset = True

    def _data(self, reply: Reply) -> None:
        transaction = self._open()
        transaction.data = reply
        if 300 <= reply.code < 400:
            self._content_wanted(transaction)
        else:
            self._needs_reset = transaction.mail is not None and transaction.mail.code < 300

    def _bdat(self, reply: Reply) -> None:
        """The chunk was the whole message: its answer is that to a final dot."""
        transaction = self._open()
        transaction.finals.append(reply)
        if reply.code >= 300:
            self._needs_reset = transaction.mail is not None and transaction.mail.code < 300

    def _content_wanted(self, transaction: Transaction) -> None:
        if transaction.has_recipient:
            self.wants_content = True
        elif self.dialect.answers_each:
            self.closing = True  # no reply would come to the dot: RFC 2033 section 4.2 wants a 503
        else:
            # RFC 2920 section 3.1: a 354 after all recipients were refused; send an empty message.
            self._unsent.append(("lone dot", b"."))

    def _final(self, reply: Reply) -> None:
        self._open().finals.append(reply)

    def _open(self) -> Transaction:
        if self._transaction is None:
            raise ReplyError("reply to nothing")
        return self._transaction


def _shown(verb: str, line: str) -> str:
    """A line as people see it: of AUTH the name of the mechanism, and nothing else."""
    if verb != "AUTH":
        return line
    command, mechanism, secret = [*line.split(" ", 2), "", ""][:3]
    if command != "AUTH":
        return "***"
    return f"AUTH {mechanism} ***" if secret else f"AUTH {mechanism}"


def _unasked(reply: Reply) -> Exception:
    """A 421 may come at any time (RFC 5321 section 3.8), nothing else may."""
    return PeerClosed(reply, "") if reply.code == 421 else ReplyError("reply to nothing")


_ANSWERS: dict[str, Callable[[Client, Reply], None]] = {
    "greeting": Client._greeted,
    "EHLO": Client._hello,
    "LHLO": Client._hello,
    "HELO": Client._helo,
    "STARTTLS": Client._starttls,
    "AUTH": Client._auth,
    "MAIL": Client._mail,
    "RCPT": Client._rcpt,
    "DATA": Client._data,
    "BDAT": Client._bdat,
    ".": Client._final,
}
