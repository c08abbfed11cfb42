"""One SMTP connection: a stream, the session on it, and the time that a client may take.

    Timeout.command, Timeout.datablock   between two chunks of its octets
    30 minutes                           for a transaction, MAIL to final dot
    MinDataRate                          for message text, after its first minute
    5 minutes                            to take a reply

A client could hold connections open at less cost than ours, and take them all; so each has an end.
One recv a chunk, one send for the replies to it: pipelined commands are answered together.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from minimta.config.ports import Port
from minimta.listener import proxy, rights
from minimta.listener.auth import LoginSession
from minimta.listener.handler import Handler
from minimta.listener.peer import Peer
from minimta.listener.shared_state import SharedState
from minimta.listener.stream import Stream
from minimta.smtp.auth import AuthCommand
from minimta.smtp.server import Session
from minimta.smtp.state import State
from minimta.system import hostnames, log, traffic
from minimta.system.tls_values import CertificateError, TlsError

#: seconds for a transaction
TRANSACTION_DEADLINE = 1800.0
#: seconds after which a transaction must have brought MinDataRate octets of text a second
_SLOW_AFTER = 60.0
#: milliseconds that a row can ask for; RFC 5321 section 4.5.3.2.1: clients wait five minutes
_LONGEST_PAUSE = 240_000
#: what a client that may relay need not await the reply to
_GROUPED = frozenset(("EHLO", "HELO", "DATA"))
#: seconds of a pause in which nobody looks whether the client is still there
_SHORT_PAUSE = 2.0


def _unawaited(client: Peer) -> frozenset[str]:
    """The commands whose reply *client* need not await: printf ... | sendmail -bs has to work."""
    # DIFFERS: Sendmail refuses its own host, and its own user's program, as it refuses strangers.
    return _GROUPED if client.rights.may_relay else frozenset()


def session(shared: SharedState, handler: Handler, client: Peer) -> Session:
    """A session for *client* as the options want it; *handler* decides about its mail."""
    options = shared.options
    return Session(
        handler,
        host=shared.host,
        client=client.shown,
        privacy=shared.privacy,
        max_message_size=options.max_message_size,
        bad_rcpt_throttle=options.bad_rcpt_throttle,
        max_noop_commands=options.max_noop_commands,
        soft_bounce=options.soft_bounce,
        unawaited=_unawaited(client),
        has_tls=shared.tls is not None and client.port is not None and client.port.has_starttls,
        max_recipients=options.max_recipients,
        deliver_by_min=options.deliver_by_min,
        has_etrn=client.port is not None and "E" not in client.port.modifiers,
        auth=_auth(shared, handler, client),
    )


def _auth(shared: SharedState, handler: Handler, client: Peer) -> AuthCommand:
    logins = LoginSession(shared.logins, client, handler.note)
    required = client.port is not None and "a" in client.port.modifiers
    return AuthCommand(logins, is_required=required)


class Connection:
    """A client's connection. One thread runs it; others may only wake() and drop() it."""

    def __init__(self, stream: Stream, ip: str, port: Port, shared: SharedState) -> None:
        """A client at *ip* that came by *port*."""
        self.ip = ip
        self.port = port
        #: what the proxy of the port has said of the client
        self._claimed: proxy.Claimed | None = None
        self._stream = stream
        self._traffic = traffic.SmtpTraffic()
        self._shared = shared
        self._session: Session | None = None
        #: called when the connection is over
        self._at_end: Callable[[], None] = lambda: None
        #: of the transaction: when it began (time.monotonic(), 0: there is none), octets of text
        self._begun = 0.0
        self._received = 0

    def run(self) -> None:
        """Serve the client to the end. Raises nothing: a bug costs one connection and a log line."""
        try:
            self._serve()
        except OSError:
            self._lost()  # the client is gone
        except Exception:
            log.bug("", "session")
            self._hang_up(421, "4.3.0", "Internal error; try again later")
        finally:
            self._at_end()
            self._stream.close()

    def hear_proxy(self) -> None:
        """Learn from the port's proxy who the client is: ``ip`` is its address then.

        Raise BadHeader, OSError; then there is only turn_away() left.
        """
        end = time.monotonic() + proxy.PATIENCE
        self._claimed = proxy.read(lambda count: self._stream.take(count, end))
        self.ip = self._claimed.ip or self.ip

    def turn_away(self, text: str) -> None:
        """Say one line, a reply, and end the connection."""
        with contextlib.suppress(OSError):  # the client is gone
            self._stream.send(text.encode("ascii", "replace") + b"\r\n")
            self._stream.end()
        self._stream.close()

    def wake(self) -> None:
        """From another thread: end the session, unless a message is on its way."""
        # The session may go on while we look. If a transaction begins just now, its client reads
        # 421 in the middle of it; if one ends just now, _serve() sees is_stopping by itself.
        if self._session is None or not self._session.is_in_transaction:
            self._stream.wake()

    def drop(self) -> None:
        """From another thread: end it, whatever is on its way."""
        self._stream.drop()

    # --- life -------------------------------------------------------------------------------------

    def _serve(self) -> None:
        session = self._begin()
        while not session.is_closed:
            if self._shared.is_stopping and not session.is_in_transaction:
                return self._shut_down()
            chunk = self._receive()
            if not chunk:
                return self._shut_down() if self._shared.is_stopping else self._lost()
            is_text = session.is_reading_text
            asked = time.monotonic()
            replies = session.receive(chunk)
            if self._begun:  # what a filter or a name server takes is not the client's
                self._begun += time.monotonic() - asked
            has_ended, why_late = session.state is State.CLOSED, self._why_late(len(chunk))
            pause = session.throttle.take_pause()
            delay_la = self.port.delay_la or self._shared.options.delay_la
            if delay_la and not is_text:
                pause += self._shared.load_average() >= delay_la
            if pause:
                self._wait(pause)
            if replies:
                self._send(replies)
            if has_ended:
                last = replies.rfind(b"\n", 0, -1) + 1
                return self._finish(said_quit=replies.startswith(b"221", last))
            if session.state is State.HANDSHAKE:
                self._secure(session)
            if why_late:
                self._handler.note(why_late)
                text = f"{self._shared.host} Too slow; closing connection"
                return self._hang_up(421, "4.4.2", text)

    def _begin(self) -> Session:
        """Look up the client's name and send the greeting."""
        name, certain, confirmed = hostnames.client_name(self.ip)
        client = Peer(
            self.ip,
            name,
            confirmed=confirmed,
            certain=certain,
            port=self.port,
            rights=self._rights(),
            if_address=self._own_address(),
            ip_port=self._ip_port(),
            nowhere=self._is_nowhere(),
        )
        self._client, self._handler = client, Handler(self._shared, client)
        self._at_end = self._handler.end
        refused = self._handler.admit()  # gives rights, too, which the session asks for
        self._session = session(self._shared, self._handler, client)
        if refused is not None and refused.code == 421:
            self._hang_up(421, refused.enhanced, refused.lines[0])
            return self._session
        if refused is not None:
            self._session.refuse(refused)
        if self.port.is_tls:
            self._secure(self._session)
        self._greet(client)
        return self._session

    def _secure(self, session: Session) -> None:
        """Make the handshake; all that was said before is forgotten (RFC 3207 section 4.2).

        Raise TlsError if it fails: then there is nobody to whom anything could be said.
        """
        client, tls = self._client, self._shared.tls
        try:
            if tls is None:
                raise TlsError("there is no certificate that can be used (ServerCertFile)")
            layer = tls.accept(self.ip, self.port.oldest_tls)
            self._stream.secure(layer, self._shared.options.timeout_starttls)
        except TlsError as error:
            if tls is not None and isinstance(error, CertificateError):
                tls.forgive(self.ip)
            what = f"accept failed=-1, reason={log.clean(error.reason)}, relay={client.shown}"
            log.line("", f"STARTTLS=server, error: {what}", level=5)
            raise
        client.secured = secured = tls.secured(layer, self.ip)
        anew = self._rights()
        client.rights = rights.with_certificate(anew, may_relay=secured.may_relay)
        self._handler.secured()
        session.secured()
        log.line("", f"STARTTLS=server, relay={client.shown}, {secured}", level=8)

    def _greet(self, client: Peer) -> None:
        """220; or with GreetPause 554 to strangers that talk first, as programs do that never listen."""
        assert self._session is not None
        begun, pause = time.monotonic(), self._greet_pause(client)
        if pause > 0 and self._stream.speaks_within(pause):
            text = f"rejecting commands from {client.shown} due to pre-greeting traffic"
            self._handler.note(f"{text} after {time.monotonic() - begun:.0f} seconds")
            return self._send(self._session.rejection())
        return self._send(self._session.greeting(self._shared.greeting()))

    def _greet_pause(self, client: Peer) -> float:
        """Seconds of silence before the 220: a GreetPause: row, or the option."""
        if client.rights.may_relay:
            return 0.0
        try:
            row = self._shared.access_rows().number("greetpause", client.ip, client.name)
        except (OSError, ValueError):
            row = None  # MAIL will hear of it
        milliseconds = self._shared.options.greet_pause if row is None else min(row, _LONGEST_PAUSE)
        return milliseconds / 1000

    def _rights(self) -> rights.Rights:
        """What the client may do before it has said anything; the tables may add to it."""
        trusts = self._shared.options.trust_loopback and self._claimed is None
        ours = self._stream.own_address()
        return rights.at_connect(self.ip, self.port, ours, trusts_loopback=trusts)

    def _own_address(self) -> str:
        """The address that the client connected to, "" for loopback."""
        if rights.may_relay(self.ip):
            return ""
        address = self._claimed.our_ip if self._claimed else self._stream.own_address()
        return "" if address == "::1" or address.startswith("127.") else address

    def _ip_port(self) -> int:
        """The port that the client connects from, 0 if nobody wants to know."""
        if not self._shared.has_filters:
            return 0
        return self._stream.other_port() if self._claimed is None else self._claimed.ip_port

    def _is_nowhere(self) -> bool:
        """Has a proxy told an address that nobody can have who comes from elsewhere, or none?"""
        if self._claimed is None:
            return False
        try:
            return not self._claimed.ip or rights.is_ours(self._claimed.ip)
        except OSError:  # of /proc: who does not know gives nobody rights
            return True

    def _send(self, replies: bytes) -> None:
        self._traffic.sent(replies)
        self._stream.send(replies)

    def _receive(self) -> bytes:
        """The next octets; b"" at the end of the connection, or when the client was too slow."""
        session, options = self._session, self._shared.options
        assert session is not None
        in_data = session.is_reading_text
        try:
            seconds = options.timeout_datablock if in_data else options.timeout_command
            octets = self._stream.recv(seconds)
            self._traffic.received(octets)
            return octets
        except TimeoutError:
            pass
        if in_data:
            self._hang_up(421, "4.4.1", self._handler.timed_out())
        else:
            where = self._handler.client_name
            text = f"timeout waiting for input from {where} during server cmd read"
            self._handler.note(text)
            self._hang_up(421, "4.4.2", f"{self._shared.host} Timeout; closing connection")
        return b""

    def _why_late(self, octets: int) -> str:
        """What the log says of a transaction that takes too long, now that *octets* came; "": fine.

        It has a deadline and, in its text, a least speed: a client that sends an octet a minute
        keeps within every timeout.
        """
        session, now = self._session, time.monotonic()
        assert session is not None
        if session.state in (State.IDLE, State.HANDSHAKE, State.CLOSED):
            self._begun = self._received = 0
            return ""
        self._begun = self._begun or now
        has_text = session.state in (State.DATA, State.BDAT)
        self._received += octets if has_text else 0
        elapsed = now - self._begun
        crawls = has_text and elapsed > _SLOW_AFTER
        least = elapsed * self._shared.options.min_data_rate
        if elapsed > TRANSACTION_DEADLINE or (crawls and self._received < least):
            return f"transaction too slow: {self._received} octets in {elapsed:.0f} s"
        return ""

    def _wait(self, seconds: float) -> None:
        """Let the client wait, but not the end of the daemon. Raise OSError if the client hangs up."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._shared.is_stopping:
            # Who only closed its sending side cannot be told apart; a short pause is waited out.
            if left > _SHORT_PAUSE and self._stream.has_hung_up():
                raise ConnectionResetError("the client has hung up")
            time.sleep(min(left, 0.5))

    # --- the end ----------------------------------------------------------------------------------

    def _lost(self) -> None:
        session = self._session
        if session is None or session.is_closed:
            return
        if session.is_in_transaction:
            self._handler.lost(session.state.name.lower())
        self._note_if_unused()
        session.closing(421, "4.4.2", "Connection lost")

    def _shut_down(self) -> None:
        self._hang_up(421, "4.3.2", f"{self._shared.host} Shutting down")

    def _hang_up(self, code: int, status: str, text: str) -> None:
        """End the session from our side, and tell the client."""
        if self._session is None or self._session.is_closed:
            return
        try:
            self._send(self._session.closing(code, status, text))
            self._finish(said_quit=False)
        except OSError:
            pass  # the client is gone

    def _finish(self, *, said_quit: bool) -> None:
        """Close so that the last reply arrives; a client that said QUIT waits for it by itself."""
        self._note_if_unused()
        if not said_quit:
            self._stream.end()

    def _note_if_unused(self) -> None:
        if self._session is not None and not self._session.was_used:
            self._handler.note_unused()
