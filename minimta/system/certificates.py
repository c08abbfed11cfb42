"""Certificates and names, without OpenSSL: which is asked for, which is right, which are in a file.

RFC 7817 section 3: DNS-ID, never a common name.
"""

from __future__ import annotations

from collections.abc import Collection


def is_named(certified: Collection[str], wanted: Collection[str]) -> bool:
    """Does one of the names in a certificate stand for one of the *wanted*? RFC 7817 section 3.

    A wanted ".campus" stands for every name below campus. An asterisk is a whole first label.
    """
    have = {_normal(name) for name in certified}
    return any(_stands(name, one) for name in map(_normal, wanted) for one in have)


def _normal(name: str) -> str:
    """As names are compared; getpeercert() writes an IPv6 address without its zeros left out."""
    import ipaddress

    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name.strip().removesuffix(".").lower()


def _stands(wanted: str, certified: str) -> bool:
    if wanted[:1] == ".":
        return certified.removeprefix("*").endswith(wanted)
    if certified[:2] == "*.":
        return wanted.partition(".")[2] == certified[2:] and "." in certified[2:]
    return bool(wanted) and wanted == certified


def server_name(name: str) -> str | None:
    """A host's name as RFC 6066 section 3 wants it: no address, no final dot; None if it is none."""
    import ipaddress

    name = name.removesuffix(".")
    if not name or len(name) > 253 or any(not 0 < len(part) < 64 for part in name.split(".")):
        return None
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name if name.isascii() else None
    return None


def fingerprints(path: str) -> frozenset[str]:
    """SHA-256, hexadecimal digits, of each certificate in the file *path* (PEM).

    Raise OSError, with the path, if it cannot be read, ValueError if it has what is none.
    """
    import hashlib
    from binascii import a2b_base64

    with open(path, encoding="ascii", errors="replace") as file:
        ends = file.read().split("-----END CERTIFICATE-----")
    armoured = [one.rpartition("-----BEGIN CERTIFICATE-----")[2] for one in ends[:-1]]
    return frozenset(hashlib.sha256(a2b_base64(one)).hexdigest() for one in armoured)
