"""DANE for SMTP (RFC 7672): what TLSA records say of a host, if DNSSEC vouches for the way to them.

    what DNS says                                     then
    MX or address of the host is not vouched for      None: TLS if it can be had
    no TLSA record                                    None
    records, some of which count                      TLS with one of the certificates that they name
    records, none of which counts                     TLS with anybody
    nobody can tell, or it is bogus (SERVFAIL)        LookupFailed: the host is not used now

A host that the administrator has named is vouched for by that. Records stand below the name that all
aliases of the host lead to, else below its own name (section 2.2.2).
"""

from __future__ import annotations

from dataclasses import dataclass

from minimta.mailers.remote.mx_targets import Target
from minimta.system import tlsa
from minimta.system.certificates import is_named
from minimta.system.dns import Resolver
from minimta.system.tls import TlsClient
from minimta.system.tlsa import TlsaRecord
from minimta.system.x509 import dns_names


@dataclass(frozen=True, slots=True)
class DaneRecords:
    """What was found for one host."""

    #: where they stand: "_25._tcp.mx.campus"
    place: str
    #: the name that is asked for in the handshake (SNI; RFC 7671 section 10.2)
    base: str
    #: for one of which the certificate must be, if an authority is named (usage 2)
    names: tuple[str, ...]
    #: those that count, perhaps none
    records: tuple[TlsaRecord, ...]
    #: all of them, as a zone has them: "3 1 1 0b9f..."
    strings: tuple[str, ...] = ()

    def are_met(self, chain: list[bytes], tls: TlsClient) -> bool:
        """Is the certificate that begins *chain* (DER) one that they name?"""
        if tlsa.is_pinned(self.records, chain):
            return True
        found = list(tlsa.anchors(self.records, chain))
        if not found or not self._is_named(chain[0]):
            return False
        return any(tls.vouches_by(authority, chain) for authority in found)

    def _is_named(self, certificate: bytes) -> bool:
        try:
            return is_named(dns_names(certificate), self.names)
        except ValueError:
            return False


def records_of(target: Target, domain: str, resolver: Resolver) -> DaneRecords | None:
    """What TLSA records say of *target*, to which the next hop *domain* led.

    Raise LookupFailed if nobody can tell, so that the host is not used.
    """
    if not (target.vouched and resolver.can_vouch):
        return None
    host = target.name.removeprefix("[").removesuffix("]").removesuffix(".")
    for base in resolver.vouched_names(host):
        found = resolver.tlsa(base, target.port)
        if found:
            names = tuple(dict.fromkeys((base, host.lower(), domain.lower())))
            place, told = f"_{target.port}._tcp.{base}", tuple(one.told() for one in found)
            return DaneRecords(place, base, names, tlsa.usable(found), told)
    return None
