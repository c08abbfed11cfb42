"""TLSA records (RFC 6698): which of them count for mail, and which certificates they are for.

    usage  0, 1          authorities that we cannot know: unusable (RFC 7672 section 3.1.3)
           2, DANE-TA    an authority in the chain that the other side sends, or the record itself
           3, DANE-EE    the certificate of the other side; names and dates do not count
    selector  0, 1       the whole certificate; its key with the algorithm (SubjectPublicKeyInfo)
    matching  0, 1, 2    as it is; its SHA-256; its SHA-512

Pure, but for hashlib.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from minimta.system.x509 import public_key

DANE_TA, DANE_EE = 2, 3
_WHOLE, _KEY = 0, 1
#: matching type -> name of the digest, its octets
_DIGESTS = {1: ("sha256", 32), 2: ("sha512", 64)}


@dataclass(frozen=True, slots=True)
class TlsaRecord:
    """One record."""

    usage: int
    selector: int
    matching: int
    data: bytes

    @property
    def is_usable(self) -> bool:
        """Can it be for any certificate at all?"""
        if self.usage not in (DANE_TA, DANE_EE) or self.selector not in (_WHOLE, _KEY):
            return False
        if self.matching in _DIGESTS:
            return len(self.data) == _DIGESTS[self.matching][1]
        return self.matching == 0 and bool(self.data)

    def is_for(self, certificate: bytes) -> bool:
        """Does it match *certificate* (DER)?"""
        import hashlib

        try:
            chosen = certificate if self.selector == _WHOLE else public_key(certificate)
        except ValueError:
            return False
        if self.matching == 0:
            return chosen == self.data
        return hashlib.new(_DIGESTS[self.matching][0], chosen).digest() == self.data

    def told(self) -> str:
        """As it stands in a zone: "3 1 1 0b9f..."."""
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"


#: one that makes no sense, and so does not count
DAMAGED = TlsaRecord(255, 255, 255, b"")


def usable(records: Sequence[TlsaRecord]) -> tuple[TlsaRecord, ...]:
    """Those that count: of digests of the same thing only the strongest (RFC 7671 section 9)."""
    found = [record for record in records if record.is_usable]
    best: dict[tuple[int, int], int] = {}
    for record in found:
        kind = record.usage, record.selector
        best[kind] = max(best.get(kind, 0), record.matching)
    return tuple(
        record for record in found if record.matching in (0, best[record.usage, record.selector])
    )


def is_pinned(records: Sequence[TlsaRecord], chain: Sequence[bytes]) -> bool:
    """Is the certificate that begins *chain* (DER) exactly one that a record of usage 3 names?"""
    ends = [record for record in records if record.usage == DANE_EE]
    return bool(chain) and any(record.is_for(chain[0]) for record in ends)


def anchors(records: Sequence[TlsaRecord], chain: Sequence[bytes]) -> Iterator[bytes]:
    """Authorities that records of usage 2 name (DER); the chain must be verified with one of them."""
    for record in records:
        if record.usage == DANE_TA:
            yield from (one for one in chain[1:] if record.is_for(one))
            if record.matching == 0 and record.selector == _WHOLE:
                yield record.data  # it need not be sent (RFC 7671 section 5.2.2)
