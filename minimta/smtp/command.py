"""SMTP command lines to values (RFC 5321 section 4.1), and what is said to commands not served.

Pure: no socket, no state. A line that cannot be read is a CommandError, which carries the reply.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from minimta.smtp import parameters, path
from minimta.smtp.reply import CommandError, Reply, quoted, refusal, reply

#: octets with the line end: RFC 5321 section 4.5.3.1.4 says 512, extensions add (RFC 4954: 12288).
#: A longer line is refused; at the second limit the session is over.
MAX_LINE, MAX_BUFFERED = 2048, 12290

# RFC 5321 section 4.1.3, and what machines really call themselves.
_HOST = re.compile(rb"[A-Za-z0-9\[\]._:+#/-]{1,255}")


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL FROM:<reverse-path>."""

    #: as the client wrote it, to be quoted back
    given: bytes
    #: without brackets and source route: b"emma@lab1.campus"; b"" is the null reverse-path
    mailbox: bytes
    #: as the queue keeps it: b"<emma@lab1.campus>", b"emma@lab1.campus", b"<>"
    reverse_path: bytes
    parameters: parameters.MailParameters
    #: the parameters as the client wrote them
    words: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Rcpt:
    """RCPT TO:<forward-path>."""

    #: as the client wrote it, to be quoted back
    given: bytes
    #: without brackets and source route, never b""
    mailbox: bytes
    #: as the queue keeps it
    forward_path: bytes
    parameters: parameters.RcptParameters
    #: the parameters as the client wrote them
    words: tuple[bytes, ...] = ()


def split(line: bytes) -> tuple[bytes, bytes]:
    """(verb in capitals, argument) of a line without its end; white space at the end is nothing.

    RFC 5321 section 4.1.1: verbs are not case sensitive, and trailing white space is tolerated.
    """
    verb, _, argument = line.partition(b" ")
    if b"\t" in verb:
        verb, _, argument = line.partition(b"\t")
    return verb.strip().upper(), argument.strip(b" \t")


def parse_hello(verb: str, argument: bytes) -> bytes:
    """The name in HELO and EHLO, as it was given. Raise CommandError.

    It is not believed, only written down (section 4.1.4).
    """
    if not argument:
        raise refusal(501, "5.0.0", f"{verb} requires domain address")
    if not _HOST.fullmatch(argument):
        raise refusal(501, "5.0.0", "Invalid domain name")
    return argument


def parse_mail(argument: bytes, *, dsn: bool = True) -> Mail:
    """Parse what follows MAIL; *dsn* False refuses RET and ENVID. Raise CommandError."""
    # What follows the path says how it is read.
    utf8 = b"SMTPUTF8" in argument.upper().split()[1:]
    given, mailbox, queued, rest = _path(b"FROM", argument, utf8=utf8)
    found = parameters.of_mail(rest, dsn=dsn)
    return Mail(given, mailbox, queued, found, tuple(rest.split()))


def parse_rcpt(argument: bytes, *, dsn: bool = True, utf8: bool = False) -> Rcpt:
    """Parse what follows RCPT; *dsn* False refuses NOTIFY and ORCPT. Raise CommandError.

    The null path is no recipient. *utf8*: SMTPUTF8 was said to MAIL.
    """
    given, mailbox, queued, rest = _path(b"TO", argument, utf8=utf8)
    if not mailbox:
        raise refusal(553, "5.0.0", f"{quoted(given)}... User address required")
    found = parameters.of_rcpt(rest, dsn=dsn, utf8=utf8)
    return Rcpt(given, mailbox, queued, found, tuple(rest.split()))


def parse_question(argument: bytes) -> tuple[bytes, bool]:
    """(whom VRFY or EXPN asks for, was SMTPUTF8 said?), RFC 6531 section 3.7.4.2."""
    name, _, word = argument.rpartition(b" ")
    is_said = word.upper() == b"SMTPUTF8" and bool(name)
    return (name.rstrip(b" \t"), True) if is_said else (argument, False)


def _path(keyword: bytes, argument: bytes, *, utf8: bool) -> tuple[bytes, bytes, bytes, bytes]:
    """(path as given, its mailbox, as the queue has it, parameters) after *keyword* and colon."""
    word, colon, rest = argument.partition(b":")
    if word.strip().upper() != keyword or not colon:
        first = argument.split(None, 1)[0] if not colon and argument else word.strip()
        raise _scanning(first)
    given, rest = path.scan(rest)
    if not given:
        raise _scanning(keyword)
    # DIFFERS: Sendmail takes MAIL FROM:<x>garbage.
    closed = given.rfind(b">") + 1
    if given[:1] == b"<" and closed and given[closed:] and b'"' not in given[closed:]:
        raise refusal(555, "5.5.4", f"{quoted(given[closed:])} parameter unrecognized")
    mailbox = path.parse(given, utf8=utf8)
    return given, mailbox, path.as_queued(given, mailbox), rest


def _scanning(word: bytes) -> CommandError:
    return refusal(501, "5.5.2", f'Syntax error in parameters scanning "{quoted(word)}"')


# --- not served -----------------------------------------------------------------------------------

# What browsers and proxies say, and malware that has them speak to a mail server: the session ends
# at once, before a message in the body of their request is read as commands.
_FOREIGN = frozenset(
    ("GET", "POST", "HEAD", "PUT", "DELETE", "TRACE", "PATCH", "PRI", "CONNECT", "PROXY", "USER")
)
_NOT_IMPLEMENTED = frozenset(("SEND", "SAML", "SOML", "TURN"))

NOT_ALLOWED = reply(502, "5.7.0", "Sorry, we do not allow this operation")
_REFUSED = {
    # DIFFERS: nothing is delivered while the client waits, so there is nothing to report to it.
    "VERB": reply(502, "5.7.0", "Verbose unavailable"),
}


def is_foreign(verb: str) -> bool:
    """Is it the beginning of another protocol?"""
    return verb in _FOREIGN


def not_served(verb: str, line: bytes) -> Reply:
    """The reply to a command that is not served (RFC 5321 section 4.2.4)."""
    if verb in _REFUSED:
        return _REFUSED[verb]
    if verb in _NOT_IMPLEMENTED:
        return reply(502, "5.5.1", f'Command not implemented: "{quoted(line)}"')
    return reply(500, "5.5.1", f'Command unrecognized: "{quoted(line)}"')
