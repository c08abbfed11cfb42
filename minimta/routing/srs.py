"""Sender Rewriting Scheme: senders that a forwarding host may use (pure; SPF, RFC 7208 appendix D).

    SRS0=HASH=DD=DOMAIN=LOCAL@ours     LOCAL@DOMAIN wrote, and we send it on
    SRS1=HASH=HOST==REST@ours          HOST had made SRS0=REST of it already; bounces go back by HOST

HASH is the beginning of an HMAC-SHA1 over the rest in small letters, its parts with "=" between them,
DD the day in base 32, modulo 1024 days. Hosts on the way may have changed the case, so it does not
count. Only what has the right hash, and for SRS0 is no older than 21 days, is taken
back: nobody can make an address of ours that relays.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

from minimta.message import address

_DAY, _DAYS_KEPT, _CYCLE = 86400, 21, 1024
_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_HASH_LENGTH = 4
#: what may stand behind SRS0 and SRS1; all else is "="
_FIRST = b"=+-"
#: RFC 5321 section 4.5.3.1.3: a path of 256 octets with its brackets
_LONGEST = 254


def forwarded(sender: bytes, domain: bytes, key: bytes, now: float) -> bytes:
    """The address of ours, in *domain*, for a bare *sender* of others; *now* is epoch seconds.

    As it is if the result would be too long for other hosts, or the sender has no domain.
    """
    written, host = address.split(sender)
    local = address.unquote(written)
    if not host:
        return sender
    kind = local[:4].upper() if local[4:5] in tuple(map(bytes, zip(_FIRST))) else b""
    if kind == b"SRS0":
        rest = [host, local[4:]]
        made = b"SRS1=" + b"=".join([_hash(key, rest), *rest])
    elif kind == b"SRS1" and local.count(b"=") > 2:
        rest = local[5:].split(b"=", 2)[1:]
        made = b"SRS1=" + b"=".join([_hash(key, rest), *rest])
    else:
        rest = [_stamp(int(now // _DAY)), host, local]
        made = b"SRS0=" + b"=".join([_hash(key, rest), *rest])
    whole = b"%b@%b" % (address.quoted(made), domain)
    return whole if len(whole) <= _LONGEST else sender


def original(written: bytes, keys: Sequence[bytes], now: float) -> bytes:
    """Whose address the local part of one of ours stands for; b"" if it is not signed, or too old."""
    local = address.unquote(written)
    kind, first, rest = local[:4].upper(), local[4:5], local[5:]
    if not first or first not in _FIRST:
        return b""
    given, _, rest = rest.partition(b"=")
    parts = rest.split(b"=", 2 if kind == b"SRS0" else 1)
    if len(given) < _HASH_LENGTH or len(parts) < (3 if kind == b"SRS0" else 2) or not all(parts):
        return b""
    if not any(_is_hash(given, key, parts) for key in keys):
        return b""
    if kind == b"SRS1":
        return b"%b@%b" % (address.quoted(b"SRS0" + parts[1]), parts[0])
    is_recent = kind == b"SRS0" and _is_recent(parts[0], int(now // _DAY))
    return b"%b@%b" % (address.quoted(parts[2]), parts[1]) if is_recent else b""


def _is_hash(given: bytes, key: bytes, parts: Sequence[bytes]) -> bool:
    wanted = _hash(key, parts, len(given)).lower()
    return hmac.compare_digest(given.lower(), wanted)


def _hash(key: bytes, parts: Sequence[bytes], length: int = _HASH_LENGTH) -> bytes:
    # DIFFERS: libsrs2, Mail::SRS and postsrsd put nothing between the parts. What they have signed for
    # muser@gmail.co is good for user@gmail.com too, and whoever has such a domain could relay.
    code = hmac.new(key, b"=".join(parts).lower(), hashlib.sha1)
    return base64.b64encode(code.digest())[:length]


def _stamp(day: int) -> bytes:
    return bytes((_DIGITS[day >> 5 & 31], _DIGITS[day & 31]))


def _is_recent(stamp: bytes, day: int) -> bool:
    """Is it of one of the last days? A day ahead may be another clock's."""
    places = [_DIGITS.find(digit) for digit in map(bytes, zip(stamp.upper()))]
    if len(places) != 2 or min(places) < 0:
        return False
    age = (day - (places[0] << 5 | places[1])) % _CYCLE
    return age <= _DAYS_KEPT or age == _CYCLE - 1
