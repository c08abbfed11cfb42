"""Which command may follow which (RFC 5321 sections 3.3 and 4.1.4), as one table."""

from __future__ import annotations

import enum

from minimta.smtp.reply import Reply, reply


class State(enum.Enum):
    """Where an SMTP session stands, named after what it has accepted so far."""

    IDLE = enum.auto()
    MAIL = enum.auto()
    RCPT = enum.auto()
    DATA = enum.auto()
    #: chunks of the message have come, or one is coming
    BDAT = enum.auto()
    #: STARTTLS was answered with 220; secured() or the end follows
    HANDSHAKE = enum.auto()
    CLOSED = enum.auto()

    # Enum's own is written in Python, and each command looks twice into the table below.
    __hash__ = object.__hash__


_I, _M, _R, _D, _B, _H, _X = State

#: (state, verb) -> state once we answer 2yz or 3yz. A pair not here is out of order and gets 503.
#: A 4yz or 5yz answer does not move the state, except that the final dot ends the transaction
#: whatever we answer (section 4.1.1.4). HELO is expected, not demanded: PrivacyOptions.
AFTER: dict[tuple[State, str], State] = {
    **{(s, verb): _I for s in (_I, _M, _R, _B) for verb in ("EHLO", "HELO", "RSET")},
    **{(s, "QUIT"): _X for s in (_I, _M, _R, _B)},
    **{(s, verb): s for s in (_I, _M, _R, _B) for verb in ("NOOP", "HELP", "VRFY", "EXPN", "ETRN")},
    (_I, "STARTTLS"): _H,
    (_I, "AUTH"): _I,
    (_I, "MAIL"): _M,
    (_M, "RCPT"): _R,
    (_R, "RCPT"): _R,
    (_R, "DATA"): _D,
    (_D, "."): _I,
    # RFC 3030 section 2: nothing else in between, and the last chunk is the final dot.
    (_R, "BDAT"): _B,
    (_B, "BDAT"): _B,
    (_B, "."): _I,
}

_NOT_NOW = "not permitted during a mail transaction"
# Where the status is 5.0.0, RFC 3463 has 5.5.1; these are what Sendmail says.
_WHY_NOT = {
    (_M, "MAIL"): reply(503, "5.5.0", "Sender already specified"),
    (_R, "MAIL"): reply(503, "5.5.0", "Sender already specified"),
    (_I, "RCPT"): reply(503, "5.0.0", "Need MAIL before RCPT"),
    (_I, "DATA"): reply(503, "5.0.0", "Need MAIL command"),
    (_M, "DATA"): reply(503, "5.0.0", "Need RCPT (recipient)"),
    (_I, "BDAT"): reply(503, "5.0.0", "Need MAIL command"),
    (_M, "BDAT"): reply(503, "5.0.0", "Need RCPT (recipient)"),
    (_B, "MAIL"): reply(503, "5.5.0", "Sender already specified"),
    **{
        (s, verb): reply(503, "5.5.0", f"{verb} {_NOT_NOW}")
        for s in (_M, _R, _B)
        for verb in ("STARTTLS", "AUTH")
    },
}
_BAD_SEQUENCE = reply(503, "5.5.1", "Bad sequence of commands")


def out_of_order(state: State, verb: str) -> Reply | None:
    """Return the 503 to send if *verb* may not come in *state*, else None."""
    if (state, verb) in AFTER:
        return None
    return _WHY_NOT.get((state, verb), _BAD_SEQUENCE)


def advance(state: State, verb: str, answer: Reply) -> State:
    """The state after *verb* was answered with *answer*."""
    return AFTER[state, verb] if answer.code < 400 or verb == "." else state
