"""SMTP command lines to values (RFC 5321 section 4.1). Pure: no socket, no state."""

from __future__ import annotations

import re
from dataclasses import dataclass

from minimta.smtp import parameters, path
from minimta.smtp.reply import Reply, quoted, reply

#: octets with the line end: RFC 5321 section 4.5.3.1.4 says 512, extensions add (RFC 4954: 12288).
#: A longer line is refused; at the second limit the session is over.
MAX_LINE, MAX_BUFFERED = 2048, 12288

# RFC 5321 section 4.1.3, and what machines really call themselves.
_HOST = re.compile(rb"[A-Za-z0-9\[\]._:+#/-]{1,255}")


class CommandError(Exception):
    """The line cannot be this command; ``reply`` is the answer."""

    def __init__(self, answer: Reply) -> None:
        super().__init__(str(answer))
        self.reply = answer


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL FROM:<reverse-path>."""

    #: as the client wrote it, to be quoted back
    given: bytes
    #: as the queue keeps it: b"<emma@lab1.campus>", b"emma@lab1.campus", b"<>"
    reverse_path: bytes
    parameters: parameters.MailParameters


@dataclass(frozen=True, slots=True)
class Rcpt:
    """RCPT TO:<forward-path>."""

    given: bytes
    #: as the queue keeps it
    forward_path: bytes
    parameters: parameters.RcptParameters


def split(line: bytes) -> tuple[bytes, bytes]:
    """(verb in capitals, argument) of a line without its end; white space at the end is nothing.

    RFC 5321 section 4.1.1: verbs are not case sensitive, and trailing white space is tolerated.
    """
    verb, _, argument = line.partition(b" ")
    if b"\t" in verb:
        verb, _, argument = line.partition(b"\t")
    return verb.strip().upper(), argument.strip(b" \t")


def parse_hello(verb: str, argument: bytes) -> bytes:
    """The name in HELO and EHLO. It is not believed, only written down (section 4.1.4)."""
    if not argument:
        raise CommandError(reply(501, "5.0.0", f"{verb} requires domain address"))
    if not _HOST.fullmatch(argument):
        raise CommandError(reply(501, "5.0.0", "Invalid domain name"))
    return argument


def parse_mail(argument: bytes, *, dsn: bool = True) -> Mail:
    """Parse what follows MAIL. Raise CommandError."""
    given, rest = _path(b"FROM", argument)
    try:
        found = parameters.of_mail(rest, dsn=dsn)
    except parameters.ParameterError as error:
        raise CommandError(error.reply) from error
    return Mail(given, path.canonical(given), found)


def parse_rcpt(argument: bytes, *, dsn: bool = True) -> Rcpt:
    """Parse what follows RCPT; the null path is no recipient. Raise CommandError."""
    given, rest = _path(b"TO", argument)
    if not path.mailbox(given):
        raise CommandError(reply(553, "5.0.0", f"{quoted(given)}... User address required"))
    try:
        found = parameters.of_rcpt(rest, dsn=dsn)
    except parameters.ParameterError as error:
        raise CommandError(error.reply) from error
    return Rcpt(given, path.canonical(given), found)


def _path(keyword: bytes, argument: bytes) -> tuple[bytes, bytes]:
    """(path, parameters) after *keyword* and its colon."""
    word, colon, rest = argument.partition(b":")
    if word.strip().upper() != keyword or not colon:
        first = argument.split(None, 1)[0] if not colon and argument else word.strip()
        raise CommandError(_scanning(first))
    given, rest = path.scan(rest)
    if not given:
        raise CommandError(_scanning(keyword))
    # DIFFERS: Sendmail takes MAIL FROM:<x>garbage.
    closed = given.rfind(b">") + 1
    if given[:1] == b"<" and closed and given[closed:] and b'"' not in given[closed:]:
        keyword_after = quoted(given[closed:])
        raise CommandError(reply(555, "5.5.4", f"{keyword_after} parameter unrecognized"))
    wrong = path.problem(given)
    if wrong:
        raise CommandError(wrong)
    return given, rest


def _scanning(word: bytes) -> Reply:
    return reply(501, "5.5.2", f'Syntax error in parameters scanning "{quoted(word)}"')
