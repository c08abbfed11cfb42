"""The MAIL and RCPT commands that a Client says, with the parameters that the peer offered.

What could end a path or begin another parameter or line is not said: a ValueError, or left out.
"""

from __future__ import annotations

from collections.abc import Container

from minimta.message.address import without_final_dot
from minimta.message.printable import is_printable

#: longest address that we say; RFC 5321 section 4.5.3.1.3 has 256
MAX_PATH = 1000


def mail_line(
    reverse_path: bytes,
    extensions: Container[str],
    *,
    size: int = 0,
    body_type: bytes = b"",
    envid: bytes = b"",
    ret: bytes = b"",
    logged_in: bool = False,
) -> bytes:
    """The MAIL command with those of the parameters that the peer offered.

    *size* is in octets on the wire, *envid* xtext. Raise ValueError as path() does.
    """
    line = b"MAIL From:<%b>" % (path(reverse_path) if reverse_path else b"")
    if "SIZE" in extensions:
        line += b" SIZE=%d" % size
    if body_type and "8BITMIME" in extensions:
        line += b" BODY=" + body_type
    if "DSN" in extensions:
        line += _parameter(b"ENVID", envid) + _parameter(b"RET", ret)
    if logged_in and "AUTH" in extensions:
        # RFC 4954 section 5: it is we who have logged in; who wrote the message is not vouched for.
        line += b" AUTH=<>"
    return line


def rcpt_line(
    forward_path: bytes, extensions: Container[str], *, notify: str = "", original: bytes = b""
) -> bytes:
    """The RCPT command; *notify* as on the wire ("NEVER"), *original* is ORCPT.

    Raise ValueError as path() does.
    """
    line = b"RCPT To:<%b>" % path(forward_path)
    if "DSN" in extensions:
        line += _parameter(b"NOTIFY", notify.encode("ascii")) + _parameter(b"ORCPT", original)
    return line


def path(address: bytes) -> bytes:
    """*address* as it stands between "<" and ">". Raise ValueError: it would forge a command.

    DIFFERS: "<" and ">" are refused inside a quoted local part too; some hosts end the path there.
    """
    if not is_printable(address):
        raise ValueError("control or 8-bit character in the address")
    unquoted = address.rpartition(b"@")[2] if address[:1] == b'"' else address
    if b"<" in address or b">" in address or b" " in unquoted or len(address) > MAX_PATH:
        raise ValueError("no mailbox address")
    return without_final_dot(address)


def _parameter(keyword: bytes, value: bytes) -> bytes:
    """A blank inside would begin another parameter; such a value is left out."""
    return b" %b=%b" % (keyword, value) if value and b" " not in value else b""
