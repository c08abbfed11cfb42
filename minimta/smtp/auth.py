"""The AUTH command as a server takes it: one dialogue, without a socket (RFC 4954 section 4).

    AUTH PLAIN AGVtbWEAc2VjcmV0      with an initial response, "=" for an empty one
    AUTH LOGIN                       334 and a challenge; the next line is the answer, both in base64
    *                                instead of an answer: the client gives up

    235  logged in                            334  go on
    501  no base64, no words of the mechanism, or given up
    503  logged in already, in a transaction, or there is no AUTH here
    504  another mechanism                    538  that one only inside TLS
    535  user or password is wrong            454  it cannot be known now

Who is who an ``Authenticator`` knows. No response is ever told to anybody but the client.
"""

from __future__ import annotations

from collections.abc import Sequence

from minimta.smtp import sasl
from minimta.smtp.reply import Reply, quoted, reply
from minimta.smtp.sasl_server import Accepted, Challenge, CheckPassword, Refused
from minimta.smtp.scram import SaslError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from minimta.smtp.sasl_server import SaslServer

    class Authenticator(Protocol):
        """Knows the users; one for each session."""

        def offered(self) -> Sequence[str]:
            """The mechanisms that may be used now; those of EHLO, in its order."""
            ...

        def possible(self) -> Sequence[str]:
            """Those that could be used inside TLS; none: there is no AUTH here."""
            ...

        def begin(self, mechanism: str) -> SaslServer | Reply:
            """A login by *mechanism*, one of offered(); or why there is none now (4yz)."""
            ...

        def unavailable(self, mechanism: str, error: OSError) -> Reply:
            """The users cannot be asked now: 454."""
            ...

        def finish(self, mechanism: str, step: CheckPassword | Accepted | Refused) -> Reply:
            """The dialogue is over: 235, 535, or 454; 421 ends the session."""
            ...

        def take_pause(self) -> float:
            """Seconds that the reply to the last step is to wait; asked once for each."""
            ...

        def note(self, text: str) -> None:
            """A fact for the log; *text* is printable, and holds nothing that the client said."""


#: octets of a line of a dialogue, and of AUTH with an initial response, with the line end
MAX_LINE = sasl.MAX_LINE + 2
#: what needs a login where one is required; RCPT and DATA come after MAIL
_CLOSED = frozenset(("MAIL", "VRFY", "EXPN"))

NEEDED = reply(530, "5.7.0", "Authentication required")
_ABSENT = reply(503, "5.3.3", "AUTH not available")
_ALREADY = reply(503, "5.5.0", "Already Authenticated")
_NO_MECHANISM = reply(501, "5.5.2", "AUTH mechanism must be specified")
_TOO_MUCH = reply(501, "5.5.4", "One initial response at most")
_GIVEN_UP = reply(501, "5.0.0", "AUTH aborted")
# RFC 4954 section 4: a code of its own, for the client will not get it shorter.
_TOO_LONG = reply(500, "5.5.6", "Authentication exchange line is too long")
# DIFFERS: Sendmail says that the mechanism is not available; RFC 4954 section 6 can tell why not.
_TLS_NEEDED = reply(538, "5.7.11", "Encryption required for requested authentication mechanism")


class AuthCommand:
    """What a session knows of AUTH."""

    def __init__(self, logins: Authenticator | None, *, is_required: bool = False) -> None:
        """*logins* None: there is no AUTH here; *is_required*: nothing is taken without it."""
        self._logins = logins
        self._is_required = is_required
        #: has the client logged in?
        self.is_done = False
        self._mechanism = ""
        self._sasl: SaslServer | None = None

    @property
    def awaits(self) -> bool:
        """Is the next line no command but an answer?"""
        return self._sasl is not None

    def takes(self, line: bytes) -> bool:
        """May *line* be longer than a command (RFC 4954 section 4)?"""
        return len(line) <= MAX_LINE and (self.awaits or line[:5].upper() == b"AUTH ")

    def why_not(self, verb: str) -> Reply | None:
        """Why *verb* may not come before a login (DaemonPortOptions M=a; RFC 6409 section 4.3)."""
        is_open = self.is_done or not self._is_required or verb not in _CLOSED
        return None if is_open else NEEDED

    def take_pause(self) -> float:
        """Seconds that the reply to the last step is to wait."""
        return self._logins.take_pause() if self._logins else 0.0

    def keyword(self) -> str:
        """The line of EHLO, "AUTH PLAIN LOGIN"; "" if there is none."""
        offered = self._logins.offered() if self._logins else ()
        return " ".join(("AUTH", *offered)) if offered else ""

    def forget(self) -> None:
        """A handshake was made: whoever logged in before it did so in clear (RFC 3207 section 4.2)."""
        self.is_done, self._sasl = False, None

    def begin(self, argument: bytes) -> Reply:
        """AUTH with its *argument*, outside of a transaction."""
        logins = self._logins
        possible = logins.possible() if logins else ()
        if logins is None or not possible:
            return _ABSENT
        if self.is_done:
            return _ALREADY
        name, *responses = argument.split() or [b""]
        mechanism = name.decode("ascii", "replace").upper()
        refusal = _why_not(mechanism, responses, logins.offered(), possible)
        if refusal is not None:
            return refusal
        response = None
        if responses:
            try:
                response = _response(responses[0])
            except SaslError as error:
                return self._undecodable(f"cannot BASE64 decode '{quoted(responses[0])}'", error)
        begun = logins.begin(mechanism)
        if isinstance(begun, Reply):
            return begun
        self._mechanism, self._sasl = mechanism, begun
        return self._step(response)

    def answer(self, line: bytes) -> Reply:
        """The line behind a 334, without its end."""
        if line == b"*":
            self._sasl = None
            return _GIVEN_UP
        try:
            response = sasl.decoded(line)
        except SaslError as error:
            return self._undecodable(f"cannot decode AUTH parameter {quoted(line)}", error)
        return self._step(response)

    def _undecodable(self, text: str, error: SaslError) -> Reply:
        self._sasl = None
        assert self._logins is not None
        # DIFFERS: Sendmail logs what it cannot decode; that may be a password.
        self._logins.note(f"AUTH decode64 error [{error}]")
        return reply(501, "5.5.4", text)

    def _step(self, response: bytes | None) -> Reply:
        logins, steps, mechanism = self._logins, self._sasl, self._mechanism
        assert logins is not None and steps is not None
        try:
            step = steps.step(response)
        except SaslError as error:
            self._sasl = None
            logins.note(f"AUTH {mechanism}: {error}")
            return reply(501, "5.5.2", f"AUTH {mechanism}: {error}")
        except OSError as error:
            self._sasl = None
            return logins.unavailable(mechanism, error)
        if isinstance(step, Challenge):
            return Reply(334, "", (sasl.encoded(step.octets).decode("ascii"),))
        self._sasl = None
        answer = logins.finish(mechanism, step)
        self.is_done = answer.code == 235
        return answer


def _why_not(
    mechanism: str, responses: list[bytes], offered: Sequence[str], possible: Sequence[str]
) -> Reply | None:
    if not mechanism:
        return _NO_MECHANISM
    if mechanism not in offered:
        if mechanism in possible:
            return _TLS_NEEDED
        shown = quoted(mechanism[:32].encode("ascii", "replace"))
        return reply(504, "5.3.3", f"AUTH mechanism {shown} not available")
    if len(responses) > 1:
        return _TOO_MUCH
    return _TOO_LONG if any(len(one) > sasl.MAX_LINE for one in responses) else None


def _response(octets: bytes) -> bytes:
    """An initial response. Raise SaslError."""
    return b"" if octets == b"=" else sasl.decoded(octets)
