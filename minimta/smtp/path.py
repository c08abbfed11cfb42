"""Forward- and reverse-paths on the wire: where one ends, and what is wrong with it.

RFC 5321 section 4.1.2:  Path = "<" [ A-d-l ":" ] Mailbox ">"

Also taken: no brackets at all, as people type into nc(1), and brackets twice. A source route is
stripped (RFC 5321 appendix C). Local parts are opaque: "%", "!" and comments mean nothing, or what
was checked as one address would be routed as another.

Every function takes linear time, whatever the client nests: no regular expression here backtracks.
"""

from __future__ import annotations

import re

from minimta.message import address
from minimta.message.printable import is_text
from minimta.smtp.reply import CommandError, quoted, refusal

_PLAIN = re.compile(rb'<[^<>"\s\\]*>')
_BLANK = b" \t\v\f"
# What nearly all paths are: atoms, dots, one "@", a host name.
_USUAL = re.compile(rb"<[A-Za-z0-9!#$&'*+/=?^_`{|}~.-]+@[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*>")
# RFC 5321 section 4.1.2, and the underscore that real names have; one final dot.
_DOMAIN = re.compile(rb"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")
_LITERAL = re.compile(rb"\[[A-Za-z0-9.:-]+\]")


def scan(text: bytes) -> tuple[bytes, bytes]:
    """(path as given, the rest after it) of what follows "FROM:"; the path is b"" if none is there.

    A blank outside brackets and quotes ends the path. Whether brackets match is seen by parse().
    """
    text = text.lstrip(_BLANK)
    plain = _PLAIN.match(text)
    end = plain.end() if plain else _end(text)
    if plain and text[end : end + 1].strip(_BLANK):
        end = _end(text)
    return text[:end], text[end:]


def _end(text: bytes) -> int:
    depth, in_quotes, position = 0, False, 0
    while position < len(text):
        octet = text[position : position + 1]
        if octet == b"\\":
            position += 1
        elif octet == b'"':
            in_quotes = not in_quotes
        elif not in_quotes:
            depth += {b"<": 1, b">": -1}.get(octet, 0)
            if octet in (b" ", b"\t") and depth <= 0:
                return position
        position += 1
    return len(text)


def parse(given: bytes, *, utf8: bool = False) -> bytes:
    """The mailbox in a path as scan() found it, without brackets and source route.

    b"" is the null path. *utf8*: SMTPUTF8 was said. Raise CommandError if it is no path.
    """
    if len(given) <= address.MAX_PATH and _USUAL.fullmatch(given):
        return given[1:-1]
    mark = _unbalanced(given)
    if mark:
        raise refusal(553, "5.0.0", f"{quoted(given)}... Unbalanced '{mark}'")
    mailbox = _mailbox(given)
    wrong = _problem(quoted(given), mailbox, utf8) if mailbox else None
    if wrong:
        raise wrong
    return mailbox


def _problem(shown: str, mailbox: bytes, utf8: bool) -> CommandError | None:
    if len(mailbox) > address.MAX_PATH:
        return refusal(553, "5.1.0", f"{shown}... Address too long")
    if not (mailbox.isascii() or utf8):
        # DIFFERS: Sendmail takes the eighth bit off. RFC 6531 section 3.5: only after SMTPUTF8.
        return refusal(553, "5.6.7", f"{shown}... Address must be ASCII")
    if not is_text(mailbox):
        return refusal(553, "5.1.3", f"{shown}... Control character in address")
    local, domain = address.split(mailbox)
    if b"@" in local and not _is_quoted(local):
        status = "5.1.3" if domain else "5.1.2"
        return refusal(553, status, f"{shown}... Invalid route address")
    if mailbox.endswith(b"@") and not domain:
        return refusal(553, "5.1.3", f"{shown}... Hostname required")
    if not address.unquote(local):
        return refusal(553, "5.1.3", f"{shown}... User address required")
    if domain and not _is_domain(domain):
        return refusal(553, "5.1.3", f"{shown}... Invalid host name")
    if (b"<" in local or b">" in local) and not _is_quoted(local):
        return refusal(553, "5.1.3", f"{shown}... Invalid address")
    return None


def _is_domain(domain: bytes) -> bool:
    """A name, in ASCII or with U-labels (RFC 6531 section 3.3), or an address literal."""
    if domain.isascii():
        return bool(_DOMAIN.fullmatch(domain) or _LITERAL.fullmatch(domain))
    return bool(_DOMAIN.fullmatch(address.domain_key(domain)))


def _is_quoted(local: bytes) -> bool:
    return len(local) > 1 and local[:1] == b'"' and local[-1:] == b'"'


def _unbalanced(path: bytes) -> str:
    """The mark that has no partner, "" if all have."""
    depth, in_quotes, position = 0, False, 0
    while position < len(path):
        octet = path[position : position + 1]
        if octet == b"\\":
            position += 1
        elif octet == b'"':
            in_quotes = not in_quotes
        elif not in_quotes and octet in (b"<", b">"):
            depth += 1 if octet == b"<" else -1
            if depth < 0:
                return ">"
        position += 1
    return '"' if in_quotes else "<" if depth else ""


def _mailbox(path: bytes) -> bytes:
    bare = address.bare(path)
    if bare[:1] == b"<":
        bare = address.bare(bare)
    if bare[:1] == b"@":
        # A-d-l: what stands before the last route's colon is never looked at.
        _, colon, rest = bare.partition(b":")
        bare = rest if colon else bare
    return bare


def as_queued(given: bytes, mailbox: bytes) -> bytes:
    """A path as the queue keeps it: with one pair of brackets if it came with brackets."""
    return b"<%b>" % mailbox if given[:1] == b"<" else mailbox
