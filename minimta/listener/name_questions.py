"""What sessions ask of name servers; the module that does it is loaded by the first one that asks.

It costs 1 MB, and where all clients are of this host nobody asks. Where strangers come, ``load()`` is
called while we are root: RunAsUser may have no right to read our installation.
"""

from __future__ import annotations


def load() -> None:
    """Import now what the others need."""
    from minimta.system import dns

    dns.load()


def ipv4_addresses(name: str, seconds: float) -> list[str]:
    """See dns.ipv4_addresses."""
    from minimta.system import dns

    return dns.ipv4_addresses(name, seconds)


def resolves(domain: str) -> bool | None:
    """See dns.resolves."""
    from minimta.system import dns

    return dns.resolves(domain)


def has_null_mx(domain: str) -> bool | None:
    """See dns.has_null_mx."""
    from minimta.system import dns

    return dns.has_null_mx(domain)
