"""Commands that this server knows and does not serve, and what is no SMTP at all."""

from __future__ import annotations

from minimta.smtp.reply import Reply, quoted, reply

# Browsers, proxies, and what malware says (threats T10).
_FOREIGN = frozenset(
    ("GET", "POST", "HEAD", "PUT", "DELETE", "TRACE", "PATCH", "PRI", "CONNECT", "PROXY", "USER")
)
_OBSOLETE = frozenset(("SEND", "SAML", "SOML", "TURN", "AUTH", "BDAT"))

NOT_ALLOWED = reply(502, "5.7.0", "Sorry, we do not allow this operation")
_KNOWN = {
    "STARTTLS": reply(454, "4.3.3", "TLS not available after start"),
    # DIFFERS: nothing is delivered while the client waits, so there is nothing to tell him.
    "VERB": reply(502, "5.7.0", "Verbose unavailable"),
    # DIFFERS: the listener has no rights to run the queue, and strangers would start it (T12).
    "ETRN": NOT_ALLOWED,
}


def is_foreign(verb: str) -> bool:
    """Is it the beginning of another protocol?"""
    return verb in _FOREIGN


def answer(verb: str, line: bytes) -> Reply:
    """The reply to a command that is not served (RFC 5321 section 4.2.4)."""
    if verb in _KNOWN:
        return _KNOWN[verb]
    if verb in _OBSOLETE:
        return reply(502, "5.5.1", f'Command not implemented: "{quoted(line)}"')
    return reply(500, "5.5.1", f'Command unrecognized: "{quoted(line)}"')
