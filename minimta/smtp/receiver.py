"""What a Session asks of the code that decides about mail, and takes it.

The Session has read the command and found it in order; every answer goes to the client as it is.
An exception is a bug: the Session lets it pass, and its driver ends the connection.
"""

from __future__ import annotations

from minimta.smtp.command import Mail, Rcpt
from minimta.smtp.reply import Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Receiver(Protocol):
        """One for each session. The calls come in the order of ``state.AFTER``."""

        def hello(self, name: bytes, *, extended: bool) -> Reply | None:
            """The client said HELO, or EHLO (*extended*); *name* proves nothing. None, or why not."""

        def mail(self, mail: Mail) -> Reply:
            """Begin a message: 250, or why not (4yz, 5yz)."""
            ...

        def rcpt(self, rcpt: Rcpt) -> Reply:
            """Take a recipient: 250, or why not. 4yz is not held against the client."""
            ...

        def data(self) -> Reply:
            """354, or why not; before the first chunk of BDAT, too. Only after a 354 does text() follow."""
            ...

        def text(self, text: bytes) -> Reply | None:
            """A piece of the message, LF line ends, cut anywhere. A reply ends the session."""

        def refuse(self, answer: Reply) -> None:
            """The message has something that no message may have; *answer* says so at its end."""

        def refused(self) -> Reply | None:
            """What end_of_data() will answer whatever else comes; None as long as nothing is wrong."""
            ...

        def end_of_data(self) -> Reply:
            """All was given. 250 says that the message is durable; any answer ends the transaction."""
            ...

        def reset(self) -> None:
            """The transaction, if there is one, is over without a message. May come at any time."""

        def violation(self, text: str) -> None:
            """The message that was coming in had line ends that it may not have; reset() follows."""

        def verify(self, argument: bytes, utf8: bool) -> Reply:
            """The answer to VRFY; *argument* is not empty, and not checked. *utf8*: SMTPUTF8 was said."""
            ...

        def expand(self, argument: bytes, utf8: bool) -> Reply:
            """The same for EXPN."""
            ...

        def unknown(self, line: bytes) -> Reply | None:
            """A command that is not served: what is answered in place of the usual; None: nothing."""

        def etrn(self, argument: bytes) -> Reply:
            """The answer to ETRN; *argument* is not checked."""
            ...

        def note(self, text: str) -> None:
            """A fact for the log; *text* is printable."""
