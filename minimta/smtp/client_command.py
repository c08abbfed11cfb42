"""The MAIL and RCPT commands that a Client says, with the parameters that the peer offered.

What could end a path or begin another parameter or line is not said: a ValueError, or left out.
"""

from __future__ import annotations

from collections.abc import Container

from minimta.message.address import split, without_final_dot
from minimta.message.printable import is_text

#: longest address that we say; RFC 5321 section 4.5.3.1.3 has 256
MAX_PATH = 1000


class Utf8Needed(ValueError):
    """The address can be said only to a host that offers SMTPUTF8 (RFC 6531 section 3.2)."""


def mail_line(
    reverse_path: bytes,
    extensions: Container[str],
    *,
    size: int = 0,
    body_type: bytes = b"",
    envid: bytes = b"",
    ret: bytes = b"",
    logged_in: bool = False,
    utf8: bool = False,
) -> bytes:
    """The MAIL command with those of the parameters that the peer offered.

    *size* is in octets on the wire, *envid* xtext; *utf8*: a recipient needs SMTPUTF8, which the
    reverse-path may need, too. Raise ValueError as path() does.
    """
    spoken = path(reverse_path, extensions) if reverse_path else b""
    line = b"MAIL From:<%b>" % spoken
    if "SIZE" in extensions:
        line += b" SIZE=%d" % size
    if body_type and "8BITMIME" in extensions:
        line += b" BODY=" + body_type
    if (utf8 or not spoken.isascii()) and "SMTPUTF8" in extensions:
        # DIFFERS: RFC 6531 section 3.6 wants it for a header in UTF-8, too. That goes to every host
        # with 8BITMIME, as it has gone for decades, rather than back to its sender.
        line += b" SMTPUTF8"
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
    line = b"RCPT To:<%b>" % path(forward_path, extensions)
    if "DSN" in extensions:
        line += _parameter(b"NOTIFY", notify.encode("ascii")) + _parameter(b"ORCPT", original)
    return line


def path(address: bytes, extensions: Container[str]) -> bytes:
    """*address* as it stands between "<" and ">". Raise ValueError: it would forge a command.

    An address of which only the domain is beyond ASCII is said in A-labels, to everybody; what needs
    SMTPUTF8 where it is not offered is an Utf8Needed.

    DIFFERS: "<" and ">" are refused inside a quoted local part too; some hosts end the path there.
    """
    if not is_text(address):
        raise ValueError("control character in the address, or no UTF-8")
    if not address.isascii():
        address = _spoken(address, "SMTPUTF8" in extensions)
    unquoted = address.rpartition(b"@")[2] if address[:1] == b'"' else address
    if b"<" in address or b">" in address or b" " in unquoted or len(address) > MAX_PATH:
        raise ValueError("no mailbox address")
    return without_final_dot(address)


def _spoken(address: bytes, is_offered: bool) -> bytes:
    """An address beyond ASCII as a host takes it. Raise Utf8Needed."""
    from minimta.message import internationalized  # few addresses are beyond ASCII

    said = internationalized.downgraded(*split(address)) or (address if is_offered else b"")
    if not said:
        raise Utf8Needed("SMTPUTF8 is required, but was not offered by the host")
    return said


def _parameter(keyword: bytes, value: bytes) -> bytes:
    """A blank inside would begin another parameter; such a value is left out."""
    return b" %b=%b" % (keyword, value) if value and b" " not in value else b""
