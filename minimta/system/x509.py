"""A certificate in DER, taken apart as far as DANE, MTA-STS and people want it (RFC 5280 section 4.1, pure).

Python's ssl tells the names of a certificate only when it has verified it; those of DANE and of a
policy that is only tested are verified by us. OpenSSL has read it before: what cannot be read here is
a ValueError, and the certificate is not the right one.
"""

from __future__ import annotations

from calendar import timegm
from collections.abc import Iterator

_SEQUENCE, _CONTEXT_0, _CONTEXT_3 = 0x30, 0xA0, 0xA3
_SUBJECT_ALT_NAME, _COMMON_NAME = b"\x55\x1d\x11", b"\x55\x04\x03"
_DNS_NAME = 0x82
#: fields of tbsCertificate without its version
_VALIDITY, _SUBJECT, _PUBLIC_KEY, _OTHERS = 3, 4, 5, 6


def public_key(certificate: bytes) -> bytes:
    """Its SubjectPublicKeyInfo (DER). Raise ValueError."""
    return _fields(certificate)[_PUBLIC_KEY][2]


def validity(certificate: bytes) -> tuple[float, float]:
    """From when to when it is good (epoch seconds; RFC 5280 section 4.1.2.5). Raise ValueError."""
    [first, last] = [
        _seconds(content) for _, content, _ in _parts(_fields(certificate)[_VALIDITY][1])
    ]
    return first, last


def _seconds(text: bytes) -> float:
    """UTCTime "YYMMDDHHMMSSZ", or GeneralizedTime "YYYYMMDDHHMMSSZ"."""
    digits = text.decode("ascii")
    if len(digits) == 13:
        digits = ("19" if digits[:2] >= "50" else "20") + digits
    if len(digits) != 15 or not digits[:14].isdigit() or digits[14] != "Z":
        raise ValueError("no time")
    year, *rest = int(digits[:4]), *(int(digits[i : i + 2]) for i in range(4, 14, 2))
    return float(timegm((year, *rest)))


def dns_names(certificate: bytes) -> tuple[str, ...]:
    """Names of hosts in subjectAltName; without any the common name. Raise ValueError."""
    fields = _fields(certificate)
    alternatives = tuple(_alternative_names(fields[_OTHERS:]))
    return alternatives or tuple(_common_names(fields[_SUBJECT][1]))


def _fields(certificate: bytes) -> list[tuple[int, bytes, bytes]]:
    [(tag, whole, _)] = _parts(certificate)
    _, inside, _ = next(_parts(whole), (0, b"", b""))
    fields = list(_parts(inside))
    if fields and fields[0][0] == _CONTEXT_0:
        del fields[0]
    if tag != _SEQUENCE or len(fields) <= _PUBLIC_KEY:
        raise ValueError("no certificate")
    return fields


def _alternative_names(fields: list[tuple[int, bytes, bytes]]) -> Iterator[str]:
    for _, content, _ in (field for field in fields if field[0] == _CONTEXT_3):
        [(_, extensions, _)] = _parts(content)
        for _, extension, _ in _parts(extensions):
            (_, oid, _), *_, (_, value, _) = _parts(extension)
            if oid == _SUBJECT_ALT_NAME:
                [(_, names, _)] = _parts(value)
                yield from (_text(name) for kind, name, _ in _parts(names) if kind == _DNS_NAME)


def _common_names(subject: bytes) -> Iterator[str]:
    for _, several, _ in _parts(subject):
        for _, pair, _ in _parts(several):
            (_, oid, _), (_, value, _) = _parts(pair)
            if oid == _COMMON_NAME:
                yield _text(value)


def _text(octets: bytes) -> str:
    """A NUL in it would end it for others (CVE-2009-2408): it stays, and equals no name."""
    return octets.decode("ascii", "backslashreplace")


def _parts(octets: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(tag, content, all of it) of each value in *octets*. Raise ValueError."""
    position = 0
    while position < len(octets):
        start = position
        header = octets[position : position + 2]
        if len(header) < 2:
            raise ValueError("cut short")
        tag, length = header
        position += 2
        if length & 0x80:
            count = length & 0x7F
            if not 0 < count <= 4:
                raise ValueError("no length")
            length = int.from_bytes(octets[position : position + count], "big")
            position += count
        end = position + length
        if end > len(octets):
            raise ValueError("cut short")
        yield tag, octets[position:end], octets[start:end]
        position = end
