"""xtext, as ENVID, ORCPT and AUTH carry text in a parameter (RFC 3461 section 4).

Printable ASCII without "=" and "+" stands for itself; any octet may be "+" and two capital
hexadecimal digits. The queue keeps xtext as it was received: what is shown to people is decoded,
and may then hold any octet.
"""

from __future__ import annotations

#: octets of an ENVID (RFC 3461 section 4.4)
MAX_ENVID = 100

_PLAIN = bytes(code for code in range(0x21, 0x7F) if code != ord("="))
_UTF8_PLAIN = frozenset(chr(code) for code in range(0x21, 0x7F) if chr(code) not in "+=\\")
_CAPITAL_HEX = b"0123456789ABCDEF"


def is_xtext(octets: bytes) -> bool:
    """Is it xtext, at least one octet of it?"""
    if not octets or octets.translate(None, _PLAIN):
        return False
    codes = octets.split(b"+")[1:]
    return all(len(code) > 1 and not code[:2].translate(None, _CAPITAL_HEX) for code in codes)


def utf8_address(octets: bytes) -> bytes:
    """UTF-8 as ORCPT of type "utf-8" has it in ASCII: "\\x{F6}" is "ö" (RFC 6533 section 3)."""
    text = octets.decode("utf-8", "replace")
    return "".join(c if c in _UTF8_PLAIN else f"\\x{{{ord(c):02X}}}" for c in text).encode("ascii")


def decode_utf8_address(octets: bytes) -> bytes:
    """The inverse of utf8_address(); what stands for no character stays as it is."""
    first, *rest = octets.split(b"\\x{")
    out = [first]
    for piece in rest:
        digits, brace, tail = piece.partition(b"}")
        is_code = brace and 0 < len(digits) <= 6 and not digits.translate(None, _CAPITAL_HEX)
        code = int(digits, 16) if is_code else 0
        if not code or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            out.append(b"\\x{" + piece)
        else:
            out.append(chr(code).encode() + tail)
    return b"".join(out)


def decode_xtext(octets: bytes) -> bytes:
    """The text meant: "+2B" is "+". A "+" that begins no code stays, small digits are taken too."""
    if b"+" not in octets:
        return octets
    first, *rest = octets.split(b"+")
    out = [first]
    for piece in rest:
        digits = piece[:2]
        if len(digits) == 2 and not digits.translate(None, _CAPITAL_HEX + b"abcdef"):
            out.append(bytes((int(digits, 16),)) + piece[2:])
        else:
            out.append(b"+" + piece)
    return b"".join(out)
