"""Full names of people: out of the passwd entry, and into a header field.

Users set both themselves (chfn, -F, NAME), so any octet may come in; what goes out is ASCII.
"""

from __future__ import annotations

_ATEXT = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~"
_PLAIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#: RFC 2047 section 2: at most 75 characters, of which "=?iso-8859-1?q?" and "?=" take 17
_ENCODED_WORD = 58


def from_gecos(gecos: str, login: str) -> bytes:
    """The name in a passwd entry, in octets: up to the first "," ";" or "%", "&" is the login name."""
    for end in ",;%":
        gecos = gecos.partition(end)[0]
    return (
        gecos.replace("&", login[:1].upper() + login[1:]).strip().encode("utf-8", "surrogateescape")
    )


def phrase(full_name: bytes) -> bytes:
    """*full_name* as a phrase of RFC 5322: words, a quoted string, or encoded words (RFC 2047)."""
    words = b" ".join(full_name.replace(b"\0", b" ").split())
    if not words.isascii():
        return _encoded(words)
    words = bytes(octet for octet in words if 32 <= octet < 127)
    if not words.translate(None, _ATEXT + b" "):
        return words
    return b'"%b"' % words.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _encoded(words: bytes) -> bytes:
    """Encoded words, "Q" encoding; no character is cut in two (RFC 2047 section 5)."""
    out, current = [], b""
    try:
        text, charset = words.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:  # an old passwd file
        text, charset = words.decode("iso-8859-1"), "iso-8859-1"
    for character in text:
        code = b"".join(_q(octet) for octet in character.encode(charset))
        if len(current) + len(code) > _ENCODED_WORD:
            out.append(current)
            current = b""
        current += code
    return b" ".join(b"=?%b?q?%b?=" % (charset.encode(), word) for word in [*out, current])


def _q(octet: int) -> bytes:
    if octet == 0x20:
        return b"_"
    return bytes((octet,)) if octet in _PLAIN else b"=%02X" % octet
