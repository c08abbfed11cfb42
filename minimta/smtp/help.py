"""What HELP says (RFC 5321 section 4.1.1.8): a topic is a verb of the protocol, or an extension."""

from __future__ import annotations

import minimta
from minimta.smtp.reply import Reply, quoted, reply

_VERBS = ("HELO", "EHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY", "EXPN", "HELP")
_ABSENT = "Not available at this server."

_TOPICS: dict[str, tuple[str, ...]] = {
    "HELO": ("HELO <name>", "Say who you are."),
    "EHLO": ("EHLO <name>", "Say who you are; the answer lists the extensions of this server."),
    "MAIL": (
        "MAIL FROM:<sender> [parameters]",
        "Begin a message. Parameters: SIZE BODY RET ENVID.",
    ),
    "RCPT": ("RCPT TO:<recipient> [parameters]", "Name a recipient. Parameters: NOTIFY ORCPT."),
    "DATA": ("DATA", "The message follows; a line with a single dot ends it."),
    "RSET": ("RSET", "Forget the message that was begun."),
    "NOOP": ("NOOP", "Do nothing."),
    "QUIT": ("QUIT", "End the session."),
    "VRFY": ("VRFY <recipient>", "Is this a recipient here?"),
    "EXPN": ("EXPN <recipient>", "Who receives what is sent to this alias?"),
    "HELP": ("HELP [topic]", "This."),
    "DSN": (
        "MAIL FROM:<sender> RET=FULL|HDRS ENVID=<text>",
        "RCPT TO:<recipient> NOTIFY=NEVER|SUCCESS,FAILURE,DELAY ORCPT=<type>;<address>",
        "What to report about the delivery, and to return with it (RFC 3461).",
    ),
    "AUTH": ("AUTH <mechanism> [initial response]", "Log in (RFC 4954), inside TLS."),
    "ETRN": ("ETRN", _ABSENT),
    "STARTTLS": ("STARTTLS", "Encrypt the connection (RFC 3207); then say EHLO again."),
    "VERB": ("VERB", _ABSENT),
    "-BT": ("Address test mode", f"{_ABSENT} Try sendmail -bv."),
}


def answer(topic: bytes) -> Reply:
    """The reply to HELP with this argument, b"" if it had none: 214, or 504."""
    if not topic:
        return Reply(214, "2.0.0", _general())
    lines = _TOPICS.get(topic.decode("ascii", "replace").upper())
    if lines is None:
        return reply(504, "5.3.0", f'HELP topic "{quoted(topic)}" unknown')
    return Reply(214, "2.0.0", (*lines, "End of HELP info"))


def _general() -> tuple[str, ...]:
    return (
        f"This is minimta version {minimta.__version__}",
        f"Topics: {' '.join((*_VERBS, 'DSN'))}",
        'For more info use "HELP <topic>".',
        "For local information send email to Postmaster at your site.",
        "End of HELP info",
    )
