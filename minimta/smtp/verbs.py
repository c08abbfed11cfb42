"""The commands of an SMTP session and their answers, one row each; the session saw to their order.

What a command means for mail, a ``Receiver`` decides; here it is read, PrivacyOptions and what the
session has behind it (HELO, TLS, a login) are asked, and the log is told of those who ask for names.
"""

from __future__ import annotations

from collections.abc import Callable

from minimta.smtp import command, extensions, help
from minimta.smtp import fixed_replies as fixed
from minimta.smtp.auth import AuthCommand
from minimta.smtp.parameters import MailParameters
from minimta.smtp.reply import CommandError, Reply, quoted, reply
from minimta.smtp.throttle import Throttle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.smtp.receiver import Receiver


class Verbs:
    """What the client of one session is answered."""

    def __init__(
        self,
        receiver: Receiver,
        auth: AuthCommand,
        throttle: Throttle,
        *,
        host: str,
        client: str,
        privacy: frozenset[str],
        max_message_size: int,
        has_tls: bool,
        max_recipients: int,
        deliver_by_min: int,
        has_etrn: bool,
    ) -> None:
        """*auth* takes logins, *throttle* counts; for the rest see Session."""
        #: has the client said MAIL, VRFY, EXPN or ETRN?
        self.was_used = False
        self._receiver = receiver
        self._auth = auth
        self._throttle = throttle
        self._host = host
        self._client = client
        self._privacy = privacy
        self._max_message_size = max_message_size
        self._has_tls = has_tls
        self._max_recipients = max_recipients
        self._deliver_by_min = deliver_by_min
        self._has_etrn = has_etrn
        #: has the handshake been made?
        self._is_secure = False
        self._dsn = extensions.has_dsn(privacy)
        self._greeted = False
        #: did the last MAIL that was accepted say BODY=BINARYMIME, and SMTPUTF8?
        self.is_binary = self._is_utf8 = False

    def secured(self) -> None:
        """The handshake was made: forget what was said in clear (RFC 3207 section 4.2)."""
        self._is_secure = True
        self._greeted = False
        self._auth.forget()

    def note(self, text: str) -> None:
        """Log *text* about the client; "" is nothing."""
        if text:
            self._receiver.note(f"{self._client}: {text}")

    def are_served(self, name: str) -> bool:
        """Is there such a command? EHLO and HELO apart, which hello() answers."""
        return name in _VERBS

    def answer(self, name: str, argument: bytes) -> Reply:
        """The answer to *name*, a command that is served and in order."""
        return _VERBS[name](self, argument)

    def why_not(self, name: str) -> Reply | None:
        """Why *name* is refused as the session stands (HELO, a login), None if it is not."""
        return self._needs_hello(name) or self._auth.why_not(name)

    def not_served(self, name: str, line: bytes) -> Reply:
        """The answer to a command that does not exist here; 421 if it is another protocol's."""
        if command.is_foreign(name):
            self.note(f"probable open proxy: command={quoted(line)}")
            return reply(421, "4.7.0", f"{self._host} Rejecting open proxy {self._client}")
        return self._receiver.unknown(line) or command.not_served(name, line)

    def _needs_hello(self, name: str) -> Reply | None:
        """PrivacyOptions needmailhelo, needvrfyhelo, needexpnhelo."""
        if self._greeted or f"need{name.lower()}helo" not in self._privacy:
            return None
        return fixed.HELO_FIRST if name == "MAIL" else fixed.INTRODUCE

    # --- session ----------------------------------------------------------------------------------

    def hello(self, name: str, own_name: bytes, eol: bytes, *, is_refused: bool) -> Reply:
        """HELO and EHLO of a client that calls itself *own_name*, in a session with this line end.

        A client that *is_refused* is offered nothing.
        """
        refusal = self._receiver.hello(own_name, extended=name == "EHLO")
        self._greeted = refusal is None
        if refusal is not None:
            return refusal
        hello = f"{self._host} Hello {self._client}, pleased to meet you"
        if name == "HELO":
            return Reply(250, "", (hello,))
        if is_refused:
            return Reply(250, "", (hello, "ENHANCEDSTATUSCODES"))
        offered = extensions.offered(
            self._privacy,
            self._max_message_size,
            eol,
            starttls=self._has_tls and not self._is_secure,
            auth=self._auth.keyword(),
            etrn=self._has_etrn,
            requiretls=self._is_secure,
            deliver_by_min=self._deliver_by_min,
            max_recipients=self._max_recipients,
        )
        return Reply(250, "", (hello, *offered))

    def _starttls(self, argument: bytes) -> Reply:
        """RFC 3207 section 4."""
        if argument:
            return fixed.NO_PARAMETERS
        if self._is_secure:
            return fixed.SECURE_ALREADY
        return fixed.READY if self._has_tls else fixed.NO_TLS

    def _begin_login(self, argument: bytes) -> Reply:
        return self._login(self._auth.begin(argument))

    def login_step(self, line: bytes) -> Reply:
        """The answer to a *line* of a login, which is no command."""
        return self._login(self._auth.answer(line))

    def _login(self, answer: Reply) -> Reply:
        """A step of a login has this *answer*."""
        self._throttle.pause += self._auth.take_pause()
        return answer

    def _noop(self, argument: bytes) -> Reply:
        return fixed.OK

    def _quit(self, argument: bytes) -> Reply:
        if argument:
            return fixed.NO_ARGUMENT
        self._receiver.reset()
        return reply(221, "2.0.0", f"{self._host} closing connection")

    def _help(self, argument: bytes) -> Reply:
        return help.answer(argument)

    # --- message ----------------------------------------------------------------------------------

    def _mail(self, argument: bytes) -> Reply:
        self.was_used = True
        try:
            mail = command.parse_mail(argument, dsn=self._dsn)
        except CommandError as error:
            return error.reply
        refused = self._wrong_wish(mail.parameters)
        if refused is not None:
            return refused
        answer = self._receiver.mail(mail)
        if answer.code == 250:
            self.is_binary = mail.parameters.body_type == b"BINARYMIME"
            self._is_utf8 = mail.parameters.utf8
            self._throttle.message_begins()
        return answer

    def _wrong_wish(self, found: MailParameters) -> Reply | None:
        """Why what the client wants of us cannot be promised, None if it can."""
        if found.requires_tls and not self._is_secure:
            return fixed.TLS_FIRST
        wish, least = found.deliver_by, self._deliver_by_min
        if wish is not None and wish.returns and 0 <= wish.seconds < least:
            return reply(555, "5.5.2", f"time {wish.seconds} less than {least}")
        return None

    def _rcpt(self, argument: bytes) -> Reply:
        try:
            return self._receiver.rcpt(self._parsed_rcpt(argument))
        except CommandError as error:
            return error.reply

    def _parsed_rcpt(self, argument: bytes) -> command.Rcpt:
        return command.parse_rcpt(argument, dsn=self._dsn, utf8=self._is_utf8)

    def _data(self, argument: bytes) -> Reply:
        if argument:
            # DIFFERS: Sendmail takes "DATA now". RFC 5321 section 4.1.1.4 has no argument.
            return fixed.NO_ARGUMENT
        # RFC 3030 section 3: what is binary has no final dot.
        return fixed.BDAT_NEEDED if self.is_binary else self._receiver.data()

    def begin_chunks(self) -> Reply | None:
        """The first chunk of a message is next: why it may not come, None if it may."""
        answer = self._receiver.data()
        return None if answer.code == 354 else answer

    def _rset(self, argument: bytes) -> Reply:
        if argument:
            return fixed.NO_ARGUMENT
        self._receiver.reset()
        return fixed.RESET

    # --- questions --------------------------------------------------------------------------------

    def _vrfy(self, argument: bytes) -> Reply:
        return self._question("VRFY", argument, fixed.CANNOT_VERIFY, self._receiver.verify)

    def _expn(self, argument: bytes) -> Reply:
        return self._question("EXPN", argument, command.NOT_ALLOWED, self._receiver.expand)

    def _etrn(self, argument: bytes) -> Reply:
        """RFC 1985; PrivacyOptions noetrn."""
        self.was_used = True
        is_refused = "noetrn" in self._privacy or not self._has_etrn
        self.note(f"ETRN {quoted(argument)}{' [rejected]' if is_refused else ''}".rstrip())
        return command.NOT_ALLOWED if is_refused else self._receiver.etrn(argument)

    def _question(
        self, verb: str, argument: bytes, hidden: Reply, look: Callable[[bytes, bool], Reply]
    ) -> Reply:
        """PrivacyOptions novrfy, noexpn: then the answer is *hidden*."""
        self.was_used = True
        is_hidden = f"no{verb.lower()}" in self._privacy
        self.note(f"{verb} {quoted(argument)}{' [rejected]' if is_hidden else ''}")
        if is_hidden:
            return hidden
        name, utf8 = command.parse_question(argument)
        return look(name, utf8) if name else fixed.ARGUMENT


#: what is served, EHLO and HELO apart: they may come in every state, and begin anew
_VERBS: dict[str, Callable[[Verbs, bytes], Reply]] = {
    "MAIL": Verbs._mail,
    "RCPT": Verbs._rcpt,
    "DATA": Verbs._data,
    "RSET": Verbs._rset,
    "STARTTLS": Verbs._starttls,
    "AUTH": Verbs._begin_login,
    "NOOP": Verbs._noop,
    "QUIT": Verbs._quit,
    "HELP": Verbs._help,
    "VRFY": Verbs._vrfy,
    "EXPN": Verbs._expn,
    "ETRN": Verbs._etrn,
}
