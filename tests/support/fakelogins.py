"""An Authenticator that knows emma, whose password is "secret", and remembers what it was told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from minimta.smtp import sasl_server, scram
from minimta.smtp.reply import Reply, reply
from minimta.smtp.sasl_server import Accepted, CheckPassword, Refused
from minimta.smtp.scram import ScramServer

if TYPE_CHECKING:
    from minimta.smtp.sasl_server import SaslServer

KEYS = scram.keys_of("secret", b"salt of emma 16x", 4096)


class FakeLogins:
    """Change ``mechanisms`` (offered) and ``inside_tls`` (possible); ``fault`` is raised by a look."""

    def __init__(self) -> None:
        self.mechanisms: Sequence[str] = ("SCRAM-SHA-256", "PLAIN", "LOGIN")
        self.inside_tls: Sequence[str] = self.mechanisms
        self.fault: OSError | None = None
        #: mechanism, and what the dialogue came to
        self.finished: list[tuple[str, CheckPassword | Accepted | Refused]] = []
        self.notes: list[str] = []
        self.pause = 0.0
        self.last_words: Reply | None = None

    def offered(self) -> Sequence[str]:
        return self.mechanisms

    def possible(self) -> Sequence[str]:
        return self.inside_tls

    def begin(self, mechanism: str) -> SaslServer | Reply:
        if not mechanism.startswith("SCRAM"):
            return sasl_server.server(mechanism)
        server = ScramServer(mechanism, self._find, b"secret of the server", "server")
        return sasl_server.server(mechanism, server)

    def _find(self, user: str) -> scram.ScramKeys | None:
        if self.fault:
            raise self.fault
        return KEYS if user == "emma" else None

    def unavailable(self, mechanism: str, error: OSError) -> Reply:
        return reply(454, "4.7.0", "Temporary authentication failure")

    def finish(self, mechanism: str, step: CheckPassword | Accepted | Refused) -> Reply:
        self.finished.append((mechanism, step))
        if isinstance(step, Refused) or (
            isinstance(step, CheckPassword) and (step.user, step.password) != ("emma", "secret")
        ):
            return self.last_words or reply(535, "5.7.0", "authentication failed")
        return reply(235, "2.0.0", "OK Authenticated")

    def take_pause(self) -> float:
        pause, self.pause = self.pause, 0.0
        return pause

    def note(self, text: str) -> None:
        self.notes.append(text)
