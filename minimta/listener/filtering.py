"""What the filters (milter) of a port say in one session, as replies; one Filtering a session.

    at connect   refused: each command is answered with it
    HELO, MAIL, RCPT, DATA, unknown commands, the final dot: the reply to it

The filters are asked when our own checks have passed: what we refuse they need not see, but a
recipient, if they want to. Macros are what Sendmail calls ${...}; those that nobody knows of a
session are left out, as there.
"""

from __future__ import annotations

import minimta
from minimta.listener.peer import Peer
from minimta.listener.shared_state import SharedState
from minimta.message import headers
from minimta.message.envelope import Envelope
from minimta.message.xtext import decode_xtext
from minimta.milter import input_filters, macros, protocol
from minimta.milter.body import MessageBody
from minimta.milter.chain import FilterChain
from minimta.milter.letter import Letter
from minimta.milter.macros import octets
from minimta.milter.protocol import CONTINUE, Event, FilterVerdict, Word
from minimta.queue.collect import Incoming
from minimta.smtp.command import Mail, Rcpt
from minimta.smtp.reply import Reply, quoted, reply
from minimta.system import log

_REJECTED = reply(550, "5.7.1", "Command rejected")
_REJECTED_TEXT = reply(554, "5.7.1", "Command rejected")
_LATER = reply(451, "4.3.2", "Please try again later")


class Filtering:
    """The filters of one session's port. After each command ``discards`` tells what becomes of it."""

    def __init__(self, shared: SharedState, client: Peer) -> None:
        self._shared = shared
        self._client = client
        rows = input_filters.of_port(client.port, shared.options) if client.port else ()
        self._chain = FilterChain(rows, shared.options, self._note)
        #: why the client is refused by the name that it gave, until it gives another
        self._refusal: Reply | None = None
        #: id of the message at hand, "" if there is none
        self._qid = ""
        #: name -> value, b"{if_name}" and b"j"
        self._macros: dict[bytes, bytes] = {}
        #: is the message at hand to be accepted and thrown away?
        self.discards = False

    def _note(self, text: str, level: int) -> None:
        options = self._shared.options
        most = options.milter_log_level if options.milter_log_level >= 0 else options.log_level
        if level <= most:
            log.line(self._qid, text, level=1, error=level <= 1)

    # --- session ----------------------------------------------------------------------------------

    def connect(self) -> Reply | None:
        """The client has connected: why it is refused, whatever it says, or None."""
        # DIFFERS: if a filter has words of its own, the client hears them; Sendmail says "Command
        # rejected".
        if not self._chain:
            return None
        client = self._client
        self._macros = self._of_connection()
        verdict = self._chain.open()
        if verdict is CONTINUE:
            data = protocol.connect(client.name or client.literal, client.ip, client.ip_port)
            verdict = self._chain.tell(Event.CONNECT, data, self._macros)
        if verdict is not CONTINUE:
            self.quit()
            self._chain = FilterChain((), self._shared.options, self._note)
        answer = self._reply(verdict, reply(550, "5.0.0", "Command rejected"))
        if answer is not None:
            name = client.name or client.literal
            self._note(
                f"Milter: connect: host={name}, addr={client.ip}, reject={log.clean(str(answer))}",
                4,
            )
        return answer

    def _of_connection(self) -> dict[bytes, bytes]:
        shared, client, port = self._shared, self._client, self._client.port
        assert port is not None
        resolve = "OK" if client.is_confirmed else "FORGED" if client.name else "FAIL"
        found = {
            "j": shared.host,
            "v": minimta.__version__,
            "_": client.shown,
            "{daemon_name}": port.name,
            "{daemon_addr}": protocol.address(port.address),
            "{daemon_port}": str(port.port),
            "{daemon_family}": port.family,
            "{daemon_flags}": port.flags.decode("ascii"),
            "{client_name}": client.name or client.literal,
            "{client_addr}": protocol.address(client.ip),
            "{client_port}": str(client.ip_port),
            "{client_ptr}": client.name or client.literal,
            "{client_resolve}": resolve if client.is_certain else "TEMP",
        }
        # DIFFERS: Sendmail looks up the name of the address; here it is ours.
        found["{if_name}"] = shared.host if client.if_address else "localhost"
        if client.if_address:
            found["{if_addr}"] = protocol.address(client.if_address)
        return {octets(name): octets(value) for name, value in found.items()}

    def hello(self, name: bytes, protocol_name: bytes) -> Reply | None:
        """HELO or EHLO: why the session ends, or None; who is refused hears it at MAIL, as in Sendmail."""
        self._forget_message()
        self._refusal = None
        if not self._chain:
            return None
        self._macros |= {b"s": name, b"r": protocol_name, **self._of_handshake()}
        verdict = self._chain.tell(Event.HELO, protocol.arguments(name), self._macros)
        answer = self._reply(verdict, reply(550, "5.0.0", "Command rejected"))
        if answer is not None:
            self._note(f"Milter: helo={quoted(name)}, reject={log.clean(str(answer))}", 4)
        if answer is None or answer.code == 421:
            return answer
        # DIFFERS: until it gives another name; of Sendmail it is refused for good.
        self._refusal = answer
        return None

    def _of_handshake(self) -> dict[bytes, bytes]:
        secured = self._client.secured
        if secured is None:
            return {}
        facts = secured.facts
        return {
            b"{tls_version}": octets(facts.version),
            b"{cipher}": octets(facts.cipher),
            b"{cipher_bits}": b"%d" % facts.bits,
            b"{verify}": octets(facts.verify),
            b"{cert_subject}": octets(secured.certificate.subject),
            b"{cert_issuer}": octets(secured.certificate.issuer),
        }

    def unknown(self, line: bytes) -> Reply | None:
        """A command that nobody serves: what a filter says instead of us, or None."""
        if not self._chain:
            return None
        verdict = self._chain.tell(Event.UNKNOWN, protocol.arguments(line), self._macros)
        return self._reply(verdict, _REJECTED)

    def quit(self) -> None:
        """The session is over."""
        self._chain.quit()

    # --- envelope ---------------------------------------------------------------------------------

    def mail(self, mail: Mail, qid: str) -> Reply | None:
        """MAIL, which our checks have passed, for message *qid*: why it is refused, or None."""
        self._forget_message()
        if self._refusal is not None or not self._chain:
            return self._refusal
        self._qid = qid
        self._macros |= self._of_sender(mail)
        data = protocol.arguments(mail.given, *mail.words)
        verdict = self._chain.tell(Event.MAIL, data, self._macros)
        answer = _about(self._obey(verdict, _REJECTED), mail.given)
        if answer is not None:
            self._note(f"Milter: from={quoted(mail.given)}, reject={log.clean(str(answer))}", 4)
        return answer

    def _of_sender(self, mail: Mail) -> dict[bytes, bytes]:
        found = {b"i": octets(self._qid), b"f": mail.mailbox, b"{nrcpts}": b"0"}
        found |= self._triple(b"mail", mail.mailbox)
        for name in (b"{auth_type}", b"{auth_authen}", b"{auth_ssf}", b"{auth_author}"):
            self._macros.pop(name, None)
        client = self._client
        if client.mechanism:
            found[b"{auth_type}"] = octets(client.mechanism)
            found[b"{auth_authen}"] = octets(client.rights.identity)
            found[b"{auth_ssf}"] = b"0"  # no mechanism here encrypts
        if mail.parameters.auth:
            found[b"{auth_author}"] = decode_xtext(mail.parameters.auth)
        return found

    def _triple(self, prefix: bytes, mailbox: bytes) -> dict[bytes, bytes]:
        """${mail_mailer}, ${mail_host}, ${mail_addr}, or the same of a recipient."""
        try:
            route = self._shared.here.router.route(mailbox)
        except OSError as error:  # a macro is no reason to refuse anybody
            self._note(f"cannot look up {quoted(mailbox)}: {error.strerror or error}", 9)
            return macros.triple(prefix, "local", "", mailbox)
        return macros.triple(prefix, route.mailer, route.host, route.user)

    def rcpt(self, rcpt: Rcpt, refusal: Reply | None) -> Reply | None:
        """RCPT, of which we say *refusal*; that, or why a filter refuses it, or None."""
        if not self._chain or self.discards:
            return refusal
        if refusal is None:
            self._macros |= self._triple(b"rcpt", rcpt.mailbox)
        else:
            self._macros |= {
                b"{rcpt_mailer}": b"error",
                b"{rcpt_host}": octets(refusal.enhanced),
                b"{rcpt_addr}": octets(str(refusal).replace(f"{quoted(rcpt.given)}... ", "", 1)),
            }
        data = protocol.arguments(rcpt.given, *rcpt.words)
        is_refused = refusal is not None
        verdict = self._chain.tell(Event.RCPT, data, self._macros, is_refused=is_refused)
        if refusal is not None:
            return refusal  # whatever they say
        answer = _about(self._obey(verdict, _REJECTED), rcpt.given)
        if answer is not None:
            self._note(f"Milter: to={quoted(rcpt.given)}, reject={log.clean(str(answer))}", 4)
        return answer

    # --- message ----------------------------------------------------------------------------------

    def data(self, recipients: int) -> Reply | None:
        """DATA, with so many *recipients*: why it is refused, or None."""
        if not self._chain or self.discards:
            return None
        self._macros[b"{nrcpts}"] = b"%d" % recipients
        answer = self._obey(self._chain.tell(Event.DATA, b"", self._macros), _REJECTED)
        if answer is not None:
            self._note(f"Milter: cmd=data, reject={log.clean(str(answer))}", 4)
        return answer

    def message(self, incoming: Incoming, envelope: Envelope) -> Reply | None:
        """The message is there, and not yet durable: why it is refused, or None.

        What filters have changed stands in *incoming* and *envelope*. Raise OSError.
        """
        if not self._chain or self.discards:
            return None
        descriptor, size = incoming.body_file()
        body = MessageBody(descriptor, size, self._shared.options.max_message_size)
        letter = Letter(
            body,
            incoming.fields(),
            envelope.reverse_path,
            envelope.recipients,
            host=self._shared.host,
        )
        self._macros[b"{msg_id}"] = _message_id(incoming)
        self._macros[b"{msg_size}"] = b"%d" % incoming.size
        verdict = self._chain.judge(letter, self._macros)
        answer = self._obey(verdict, _REJECTED_TEXT)
        if answer is not None:
            self._note(f"Milter: data, reject={log.clean(str(answer))}", 4)
        elif verdict is CONTINUE:
            _take_over(letter, incoming, envelope)
        else:
            self._note("Milter: data, discard", 4)
        return answer

    def reset(self) -> None:
        """The transaction is over without a message."""
        self._chain.abort()
        self._forget_message()

    def _forget_message(self) -> None:
        self.discards, self._qid = False, ""
        for name in (b"i", b"{msg_id}", b"{msg_size}"):
            self._macros.pop(name, None)

    # --- verdicts ---------------------------------------------------------------------------------

    def _obey(self, verdict: FilterVerdict, rejected: Reply) -> Reply | None:
        self.discards = self.discards or verdict.word is Word.DISCARD
        return self._reply(verdict, rejected)

    def _reply(self, verdict: FilterVerdict, rejected: Reply) -> Reply | None:
        """None if the verdict is not against the client."""
        if verdict.word in (Word.CONTINUE, Word.DISCARD):
            return None
        if verdict.word is Word.REPLY:
            return verdict.reply
        if verdict.word is Word.SHUTDOWN:
            closing = reply(421, "4.7.0", f"{self._shared.host} closing connection")
            return verdict.reply or closing
        return _LATER if verdict.word is Word.TEMPFAIL else rejected


def _take_over(letter: Letter, incoming: Incoming, envelope: Envelope) -> None:
    """What the filters have changed."""
    if incoming.first.trace_recipient is None:
        # Whoever has been added stays unnamed in Received.
        named = envelope.recipients if len(envelope.recipients) == 1 else []
        incoming.first.trace_recipient = named[0].address if named else b""
    envelope.reverse_path, envelope.recipients = letter.reverse_path, letter.recipients
    envelope.quarantine = letter.quarantine or envelope.quarantine
    if letter.envid is not None:
        envelope.body_type = letter.body_type or b""
        envelope.ret, envelope.envid = letter.ret or b"", letter.envid
    incoming.change_header(letter.above, letter.fields)
    if letter.body.is_replaced:
        body = letter.body
        incoming.body_was_replaced(body.size, checksum=body.checksum, eight_bit=body.eight_bit)


def _message_id(incoming: Incoming) -> bytes:
    """That of the message, or the one that it gets."""
    found = [one for one in incoming.fields() if headers.name(one) == b"message-id"]
    found = found or headers.find(incoming.control().headers, b"message-id")
    return headers.value(found[0]) if found else b""


def _about(answer: Reply | None, given: bytes) -> Reply | None:
    """With the address in front, as Sendmail tells what is refused for good."""
    if answer is None or answer.code < 500:
        return answer
    first, *rest = answer.lines
    return Reply(answer.code, answer.enhanced, (f"{quoted(given)}... {first}", *rest))
