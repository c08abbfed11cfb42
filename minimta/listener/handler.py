"""What the commands of an SMTP session mean for mail: an envelope, then a message in the queue.

One Handler a connection, used by one thread. Who may send and who receives is judged in ``checks``.
Nothing is delivered here: a message is made durable, and the queue runner finds it. Whatever ends a
transaction, nothing of it is left in the queue unless the client was told 250.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from minimta.listener import etrn, login_senders, vrfy
from minimta.listener.checks import Checks
from minimta.listener.filtering import Filtering
from minimta.listener.new_envelope import new_envelope
from minimta.listener.peer import Peer
from minimta.listener.refusals import not_now, one_word
from minimta.listener.shared_state import DISK_FULL, SharedState
from minimta.message import address, received
from minimta.message.envelope import Envelope, Recipient
from minimta.queue import collect
from minimta.queue import qid as queue_id
from minimta.queue.control import is_plain
from minimta.smtp.command import Mail, Rcpt
from minimta.smtp.reply import Reply, quoted, reply
from minimta.system import log, statistics

#: octets of a refused message that are read before the session is ended
_MOST_SKIPPED = 16 << 20

_GO_AHEAD = reply(354, "", "End data with <CR><LF>.<CR><LF>")
_TOO_MANY = reply(452, "4.5.3", "Too many recipients")
_NOT_PLAIN = "... Cannot mail directly to programs or files"
_QUEUE_FAILED = reply(451, "4.3.0", "Queue error; try again later")
_NO_RESOURCES = reply(452, "4.3.1", "Insufficient system resources; try again later")
#: what the queue met -> how it is told; _QUEUE_FAILED for all else
_SHORTAGES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), DISK_FULL),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOMEM), _NO_RESOURCES),
}


class Handler:
    """The Receiver of one SMTP session; see smtp/receiver for what each method may answer."""

    def __init__(
        self,
        shared: SharedState,
        client: Peer,
        queued: Callable[[str], None] = lambda qid: None,
    ) -> None:
        """*client* is the other end; *queued* is told the id of every message that was accepted."""
        self._shared = shared
        self._options = shared.options
        self._client = client
        self._queued = queued
        self._checks = Checks(shared, client)
        self._filters = Filtering(shared, client)
        self._qid = ""
        self._helo = b""
        #: did the client say EHLO, and of the message at hand SMTPUTF8?
        self._is_extended = self._is_utf8 = False
        self._envelope: Envelope | None = None
        #: recipients that were accepted: LocalHost.key() -> as the client named it
        self._recipients: dict[bytes, str] = {}
        #: how many of them get nothing, by the access table
        self._discarded = 0
        #: octets of the message: those announced, then those that came
        self._size = 0
        self._incoming: collect.Incoming | None = None
        #: what the final dot will be answered with, once the message has been given up
        self._refusal: Reply | None = None
        self._skipped = 0
        #: what X-Authentication-Warning shall say of every message
        self.warnings: list[str] = []

    def admit(self) -> Reply | None:
        """The client has connected: why it is refused, whatever it says; None if it is not."""
        return self._checks.connect() or self._filters.connect()

    def end(self) -> None:
        """The connection is over."""
        self._filters.quit()

    @property
    def qid(self) -> str:
        """Of the message at hand, or one that the log lines of this connection have in common."""
        if not self._qid:
            self._qid = queue_id.new(self._shared.clock())
        return self._qid

    def note(self, text: str) -> None:
        """Log *text* under the id of the message at hand."""
        log.line(self.qid, log.clean(text, 500))

    def note_unused(self) -> None:
        """Log that the connection ends and the client wanted nothing."""
        what = "did not issue MAIL/EXPN/VRFY/ETRN during connection to"
        self.note(f"{self._client.shown} {what} {self._client.way_in}")

    @property
    def client_name(self) -> str:
        """The client's name, "lab1.campus", or its address if it has none."""
        return self._client.name or self._client.shown

    def hello(self, name: bytes, *, extended: bool) -> Reply | None:
        """HELO and EHLO: what Received will say; None, or why the client is refused."""
        self._helo, self._is_extended, self._is_utf8 = name, extended, False
        return self._filters.hello(name, self._protocol)

    def unknown(self, line: bytes) -> Reply | None:
        """A command that is not served: a filter may have its own answer."""
        return self._filters.unknown(line)

    def secured(self) -> None:
        """The client was secured by a handshake: what it said in clear is forgotten."""
        self._helo, self._is_extended, self._client.mechanism = b"", False, ""

    @property
    def _protocol(self) -> bytes:
        """What Received says after "with"."""
        return received.protocol(
            extended=self._is_extended,
            secured=bool(self._client.secured),
            logged_in=bool(self._client.mechanism),
            utf8=self._is_utf8,
        )

    # --- sender -----------------------------------------------------------------------------------

    def mail(self, mail: Mail) -> Reply:
        """MAIL: begin an envelope, under a new id."""
        self._shared.activity.note()
        self._qid = queue_id.new(self._shared.clock())
        self._size, self._is_utf8 = max(mail.parameters.size, 0), mail.parameters.utf8
        refusal = self._refuse_size(mail) or self._checks.mail(mail, self._qid)
        refusal = refusal or self._refuse_login(mail) or self._filters.mail(mail, self._qid)
        if refusal:
            self._log_message(mail.reverse_path, 0)
            return refusal
        self._envelope = self._new_envelope(mail)
        self._recipients.clear()
        self._discarded = 0
        return reply(250, "2.1.0", f"{quoted(mail.given)}... Sender ok")

    def _refuse_login(self, mail: Mail) -> Reply | None:
        """Is this login bound to another sender?"""
        shared = self._shared
        return login_senders.check(mail, self._client, shared.login_senders, shared.here, self._qid)

    def _refuse_size(self, mail: Mail) -> Reply | None:
        limit = self._options.max_message_size
        if limit and self._size > limit:
            text = f"Message size exceeds fixed maximum message size ({limit})"
            return reply(552, "5.2.3", text)
        return self._shared.lacks_space(mail.parameters.size)

    def _new_envelope(self, mail: Mail) -> Envelope:
        envelope = new_envelope(
            self._as_queued(mail.reverse_path),
            mail.parameters,
            self._client,
            self._shared,
            protocol=self._protocol,
            helo=self._helo,
        )
        self._warn(envelope)
        return envelope

    def _as_queued(self, path: bytes) -> bytes:
        bare = address.bare(path)
        if not bare or not self._client.rights.completes:
            return path
        return b"<%b>" % self._shared.here.qualified(bare)

    def _warn(self, envelope: Envelope) -> None:
        """X-Authentication-Warning (PrivacyOptions=authwarnings)."""
        if "authwarnings" not in self._options.privacy_options:
            return
        warnings = list(self.warnings)
        if not self._helo:
            warnings.append(f"{self._client.shown} didn't use HELO protocol")
        for text in warnings:
            whole = f"{self._shared.host}: {text}"
            envelope.warnings.append(whole.encode("ascii", "replace"))
            self.note(f"Authentication-Warning: {whole}")

    # --- recipients -------------------------------------------------------------------------------

    def rcpt(self, rcpt: Rcpt) -> Reply:
        """RCPT: one more recipient, unless it is the same as an earlier one."""
        envelope = self._envelope
        assert envelope is not None
        shown = quoted(rcpt.given)
        try:
            key = self._shared.here.key(rcpt.mailbox)
        except OSError as error:
            return not_now(rcpt, error, self._qid)
        if key in self._recipients:
            # Sendmail answers with the address that it knows already.
            known = reply(250, "2.1.5", f"{self._recipients[key]}... Recipient ok")
            return self._filters.rcpt(rcpt, None) or known
        most = self._options.max_recipients
        if most and len(envelope.recipients) + self._discarded >= most:
            return _TOO_MANY
        path = self._as_queued(rcpt.forward_path)
        flags = "P" + (rcpt.parameters.notify or "FD")
        recipient = Recipient(path, flags, original=rcpt.parameters.original)
        refusal = self._checks.rcpt(rcpt, self._qid)
        if not refusal and not is_plain(recipient):
            # The runner would put the whole message aside, though we had said 250.
            refusal = reply(550, "5.7.1", f"{shown}{_NOT_PLAIN}")
        refusal = self._filters.rcpt(rcpt, refusal)
        if refusal:
            return refusal
        self._recipients[key] = shown
        if self._checks.discards_recipient:
            self._discarded += 1
        else:
            envelope.recipients.append(recipient)
        return reply(250, "2.1.5", f"{shown}... Recipient ok")

    # --- message ----------------------------------------------------------------------------------

    def data(self) -> Reply:
        """DATA: the envelope is complete, the text may come."""
        envelope = self._envelope
        assert envelope is not None
        if refusal := self._filters.data(len(envelope.recipients)):
            return refusal
        self._refusal, self._skipped = None, 0
        envelope.quarantine = self._checks.quarantine
        self._incoming = collect.Incoming(
            self._shared.spool,
            self._options,
            envelope,
            qid=self._qid,
            now=self._shared.clock(),
            host=self._shared.host,
            submit=self._client.port is None,
            qualify=self._client.rights.completes,
        )
        return _GO_AHEAD

    def text(self, text: bytes) -> Reply | None:
        """Put a piece of the message into the queue's file; after a failure only count it."""
        if self._refusal is not None:
            # The client goes on to the final dot, and is told there; but not for ever.
            self._skipped += len(text)
            limit = max(_MOST_SKIPPED, self._options.max_message_size)
            return self._refusal if self._skipped > limit else None
        assert self._incoming is not None
        try:
            self._incoming.write(text)
        except (collect.MessageRefused, OSError) as error:
            self._refusal = self._explain(error)
            self._incoming.abort()
        return None

    def refuse(self, answer: Reply) -> None:
        """The message is not taken: it is given up, and its end is answered with *answer*."""
        if self._refusal is None and self._incoming is not None:
            self._collect_failed(f"info={answer.lines[0]}, where=body, status=permfail")
            self._refusal = answer
            self._incoming.abort()

    def refused(self) -> Reply | None:
        """What the end of the message will be answered with, if that is certain by now."""
        return self._refusal

    def end_of_data(self) -> Reply:
        """The final dot: make the message durable, then say 250."""
        incoming, envelope = self._incoming, self._envelope
        assert incoming is not None and envelope is not None
        answer = self._refusal
        if answer is None:
            try:
                self._name_sender(incoming)
                incoming.finish()
                answer = self._settle(incoming, envelope)
            except (collect.MessageRefused, OSError) as error:
                answer = self._explain(error)
                incoming.abort()
        if answer.code != 250:
            self._log_message(envelope.reverse_path, incoming.size)
        self._forget()
        return answer

    def _settle(self, incoming: collect.Incoming, envelope: Envelope) -> Reply:
        """The whole message is there, and we have not said 250. Raise MessageRefused, OSError."""
        refusal = None if self._checks.discards else self._filters.message(incoming, envelope)
        if refusal is not None:
            incoming.abort()
            return refusal
        discards = self._checks.discards or self._filters.discards
        if discards or not envelope.recipients:
            qid = self._discard(incoming, envelope)
        else:
            qid = incoming.commit()
            if envelope.quarantine:
                statistics.count("esmtp", "msgsqur")
            self._queued(qid)
        return reply(250, "2.0.0", f"{qid} Message accepted for delivery")

    def _discard(self, incoming: collect.Incoming, envelope: Envelope) -> str:
        """Throw the message away, as the access table or a filter wants it; returns its id."""
        incoming.abort()
        self._log_message(envelope.reverse_path, incoming.size)
        self.note("discarded")
        statistics.count("esmtp", "msgsdis")
        return self._qid

    def _name_sender(self, incoming: collect.Incoming) -> None:
        """A From field that we have to add gets the name of a sender who is a user of this host."""
        if b"from" in incoming.names():
            return
        envelope = incoming.envelope
        try:
            envelope.full_name = self._shared.here.full_name(address.bare(envelope.reverse_path))
        except OSError as error:  # a name that is not known is no reason to refuse a message
            self.note(f"cannot look up the sender's full name: {error.strerror or error}")

    def _explain(self, error: Exception) -> Reply:
        """The reply for what went wrong with the message, and its log line."""
        if isinstance(error, collect.MessageRefused):
            self.note(f"{error.text} from {self.client_name}")
            return reply(error.code, error.status, log.clean(error.text))
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number) if number else str(error)
        log.line(self.qid, f"SYSERR(root): queueing: {log.clean(reason)}", level=1, error=True)
        return _SHORTAGES.get(number or 0, _QUEUE_FAILED)

    def violation(self, text: str) -> None:
        """Log the line end that could smuggle a second message; the session ends."""
        self._collect_failed(f"info={text}, where=body, status=tempfail")

    def timed_out(self) -> str:
        """The client stopped in the middle of the message. Returns the text of the 421."""
        return self._collect_failed("info=read timeout")

    def lost(self, state: str) -> None:
        """The connection is gone; *state* names the last command of the transaction, "rcpt"."""
        if state in ("data", "bdat"):
            self._collect_failed("info=unexpected close")
        elif self._envelope is not None:
            text = f"lost input channel from {self._client.shown} to {self._client.way_in}"
            self.note(f"{text} after {state}")
        self.reset()

    def _collect_failed(self, info: str) -> str:
        """Log in Sendmail's words that the text did not come to its end; returns them."""
        sender = log.clean(self._envelope.reverse_path) if self._envelope else ""
        who = self.client_name
        text = f"collect: relay={who}, from={sender}, {info}"
        log.line(self.qid, text)
        return log.clean(text, 400)

    def reset(self) -> None:
        """Forget the transaction, and leave nothing of it in the queue."""
        self._filters.reset()
        if self._incoming is not None:
            self._size = self._incoming.size
            self._incoming.abort()
        if self._envelope is not None:
            self._log_message(self._envelope.reverse_path, self._size)
        self._forget()

    def _forget(self) -> None:
        self._incoming = None
        self._envelope = None
        self._recipients.clear()

    def _log_message(self, reverse_path: bytes, size: int) -> None:
        """The from= line of what did not become a message."""
        recipients = len(self._envelope.recipients) + self._discarded if self._envelope else 0
        daemon = f"daemon={self._client.port.name}, " if self._client.port else ""
        log.line(
            self.qid,
            f"from={one_word(log.clean(reverse_path))}, size={size}, class=0, nrcpts={recipients},"
            f" proto={self._protocol.decode()}, {daemon}relay={self._client.shown}",
        )

    # --- questions --------------------------------------------------------------------------------

    def etrn(self, argument: bytes) -> Reply:
        """ETRN."""
        return etrn.answer(argument, self._client, self._shared)

    def verify(self, argument: bytes, utf8: bool) -> Reply:
        """VRFY."""
        return vrfy.answer_now(argument, self._shared.here, self.note, expand=False, utf8=utf8)

    def expand(self, argument: bytes, utf8: bool) -> Reply:
        """EXPN."""
        return vrfy.answer_now(argument, self._shared.here, self.note, expand=True, utf8=utf8)
