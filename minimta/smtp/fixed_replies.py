"""Replies of the listener that are always the same, in Sendmail's words."""

from __future__ import annotations

from minimta.smtp.reply import Reply, reply

OK: Reply = reply(250, "2.0.0", "OK")
RESET = reply(250, "2.0.0", "Reset state")
REJECTED = reply(550, "5.0.0", "Command rejected")
TOO_LONG = reply(500, "5.5.2", "Line too long")
HELO_FIRST = reply(503, "5.0.0", "Polite people say HELO first")
INTRODUCE = reply(503, "5.0.0", "I demand that you introduce yourself first")
NO_ARGUMENT = reply(501, "5.5.4", "No argument allowed")
BDAT_NEEDED = reply(503, "5.5.1", "BODY=BINARYMIME needs BDAT")
PROTOCOL_ERROR = reply(554, "5.5.0", "SMTP protocol error")
READY = reply(220, "2.0.0", "Ready to start TLS")
# RFC 8689 section 4.1: only inside TLS
TLS_FIRST = reply(530, "5.7.10", "REQUIRETLS needs STARTTLS first")
NO_PARAMETERS = reply(501, "5.5.2", "Syntax error (no parameters allowed)")
NO_TLS = reply(454, "4.3.3", "TLS not available after start")
# DIFFERS: Sendmail says 454 here as well, as if it might be otherwise later.
SECURE_ALREADY = reply(503, "5.5.1", "TLS already active")
ARGUMENT = reply(501, "5.5.2", "Argument required")
CANNOT_VERIFY = reply(
    252, "2.5.2", "Cannot VRFY user; try RCPT to attempt delivery (or try finger)"
)
