"""BDAT (RFC 3030): the text of a message in chunks of so many octets, without a final dot.

    BDAT 1000            a chunk; 250 once all of it has come
    BDAT 86 LAST         the last one, perhaps of 0 octets: the message is complete
    BDAT 20-digits       as far as it goes; a number that is none ends the session, because nobody
                         knows where its chunk ends and the next command begins

Whatever is answered, the octets of the chunk are read first and are no commands (section 2).

A chunk may end anywhere, also between a CR and its LF. Outside BODY=BINARYMIME the text has the line
ends that DATA has; any other is a Violation. Here it does not end the session, for a count cannot
be mistaken for another one; the message is refused, as a host behind us might read its bare CR or
LF as an end of line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from minimta.smtp.data import stored
from minimta.smtp.reply import refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Decoder(Protocol):
        """Makes text with LF line ends of the octets of a message, in pieces of any size."""

        def feed(self, octets: bytes) -> bytes:
            """The text that is certain by now."""
            ...

        def finish(self) -> bytes:
            """The rest of it."""
            ...


# RFC 3030 section 2: chunk-size is one digit or more; 20 of them are more than anybody has.
_ARGUMENT = re.compile(rb"([0-9]{1,20})(?:[ \t]+(LAST))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a BDAT command says."""

    size: int
    is_last: bool


def parse(argument: bytes) -> Chunk:
    """Read what follows BDAT. Raise CommandError; then the session has to end."""
    match = _ARGUMENT.fullmatch(argument)
    if match is None:
        raise refusal(501, "5.5.4", "Syntax error in BDAT: no chunk size; closing connection")
    return Chunk(int(match[1]), match[2] is not None)


class LineDecoder:
    """The Decoder of text that is not binary."""

    def __init__(self, eol: bytes) -> None:
        """*eol* is the line end of the session, b"\\r\\n" or b"\\n"."""
        self._eol = eol
        self._held = b""

    def feed(self, octets: bytes) -> bytes:
        """Take *octets*; a CR at their end waits for its LF. Raise Violation."""
        octets = self._held + octets
        self._held = b"\r" if octets[-1:] == b"\r" else b""
        return stored(octets[: len(octets) - len(self._held)], self._eol)

    def finish(self) -> bytes:
        """All was given. Raise Violation."""
        held, self._held = self._held, b""
        return stored(held, self._eol)
