"""Forward- and reverse-paths on the wire: where one ends, and what is wrong with it.

RFC 5321 section 4.1.2:  Path = "<" [ A-d-l ":" ] Mailbox ">"

Also taken: no brackets at all, as people type into nc(1), and brackets twice. A source route is
stripped (RFC 5321 appendix C). Local parts are opaque: "%", "!" and comments mean nothing (threats
T13). Linear time, no backtracking (threats T8).
"""

from __future__ import annotations

import re

from minimta.message import address
from minimta.message.printable import is_printable
from minimta.smtp.reply import Reply, quoted, reply

_PLAIN = re.compile(rb'<[^<>"\s\\]*>')
_BLANK = b" \t\v\f"
# What nearly all paths are: atoms, dots, one "@", a host name.
_USUAL = re.compile(rb"<[A-Za-z0-9!#$&'*+/=?^_`{|}~.-]+@[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*>")
# RFC 5321 section 4.1.2, and the underscore that real names have; one final dot.
_DOMAIN = re.compile(rb"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")
_LITERAL = re.compile(rb"\[[A-Za-z0-9.:-]+\]")


def scan(text: bytes) -> tuple[bytes, bytes]:
    """(path as given, the rest after it) of what follows "FROM:"; the path is b"" if none is there.

    A blank outside brackets and quotes ends the path. Whether brackets match is seen by problem().
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


def problem(path: bytes) -> Reply | None:
    """Why *path*, as given, is no path; None if it is one. The null path is one."""
    if len(path) <= address.MAX_PATH and _USUAL.fullmatch(path):
        return None
    shown = quoted(path)
    mark = _unbalanced(path)
    if mark:
        return reply(553, "5.0.0", f"{shown}... Unbalanced '{mark}'")
    bare = mailbox(path)
    if not bare:
        return None
    if len(bare) > address.MAX_PATH:
        return reply(553, "5.1.0", f"{shown}... Address too long")
    if not bare.isascii():
        # DIFFERS: Sendmail takes the eighth bit off. RFC 6531 section 3.5: only after SMTPUTF8.
        return reply(553, "5.6.7", f"{shown}... Address must be ASCII")
    if not is_printable(bare):
        return reply(553, "5.1.3", f"{shown}... Control character in address")
    local, domain = address.split(bare)
    return _problem(shown, bare, local, domain)


def _problem(shown: str, bare: bytes, local: bytes, domain: bytes) -> Reply | None:
    if b"@" in local and not _is_quoted(local):
        status = "5.1.3" if domain else "5.1.2"
        return reply(553, status, f"{shown}... Invalid route address")
    if bare.endswith(b"@") and not domain:
        return reply(553, "5.1.3", f"{shown}... Hostname required")
    if not address.unquote(local):
        return reply(553, "5.1.3", f"{shown}... User address required")
    if domain and not (_DOMAIN.fullmatch(domain) or _LITERAL.fullmatch(domain)):
        return reply(553, "5.1.3", f"{shown}... Invalid host name")
    if (b"<" in local or b">" in local) and not _is_quoted(local):
        return reply(553, "5.1.3", f"{shown}... Invalid address")
    return None


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


def mailbox(path: bytes) -> bytes:
    """The mailbox in a path: without brackets, without source route; b"" for the null path."""
    bare = address.bare(path)
    if bare[:1] == b"<":
        bare = address.bare(bare)
    if bare[:1] == b"@":
        # A-d-l: what stands before the last route's colon is never looked at.
        _, colon, rest = bare.partition(b":")
        bare = rest if colon else bare
    return bare


def canonical(path: bytes) -> bytes:
    """A path as the queue keeps it: as given, but one pair of brackets and no source route."""
    bare = mailbox(path)
    return b"<%b>" % bare if path[:1] == b"<" else bare
