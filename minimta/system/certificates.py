"""Certificates and names, without OpenSSL: which is asked for, which is right, which are in a file.

RFC 7817 section 3: DNS-ID, never a common name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What one says of its owner; of none all is empty."""

    #: "mx.campus", "*.campus", "::1"
    names: tuple[str, ...] = ()
    #: for those who ask for it by name, else names count; "My+20Lab"
    common_name: str = ""
    #: "/O=Lab/CN=mx"
    subject: str = ""
    #: who has signed it: "/O=Lab/CN=ca"
    issuer: str = ""


def read(found: Mapping[str, object]) -> PeerCertificate:
    """A certificate as OpenSSL tells of it (SSLObject.getpeercert)."""
    entries, subject = found.get("subjectAltName", ()), found.get("subject", ())
    assert isinstance(entries, tuple) and isinstance(subject, tuple)
    # An address that is written as a DNS-ID is neither (RFC 7817 section 3).
    names = tuple(
        str(name)
        for kind, name in entries
        if kind == "IP Address" or (kind == "DNS" and not is_address(str(name)))
    )
    common = [
        plain(str(value)) for several in subject for kind, value in several if kind == "commonName"
    ]
    issuer = one_line(found.get("issuer", ()))
    return PeerCertificate(names, (common or [""])[-1], one_line(subject), issuer)


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
    name = name.removesuffix(".")
    if not name or len(name) > 253 or any(not 0 < len(part) < 64 for part in name.split(".")):
        return None
    return name if name.isascii() and not is_address(name) else None


def is_address(name: str) -> bool:
    """Is it an address of IPv4 or IPv6, no name?"""
    import ipaddress

    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def one_line(name: object) -> str:
    """A distinguished name as getpeercert() has it, in Sendmail's form: "/O=My+20Lab/CN=ca".

    What could end a word, or be taken for something else in a table or log, is "+" and two digits.
    """
    assert isinstance(name, tuple)
    parts = (part for several in name for part in several)
    return "".join(f"/{_SHORT.get(kind, kind)}={plain(value)}" for kind, value in parts)


#: names of X.520 attributes -> what openssl(1) calls them
_SHORT = {
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "commonName": "CN",
    "domainComponent": "DC",
    "userId": "UID",
    "surname": "SN",
    "givenName": "GN",
    "streetAddress": "street",
}


def plain(value: str) -> str:
    """A value of a name as Sendmail writes it, without what could end a word or a line: "My+20Lab"."""
    octets = value.encode("utf-8", "surrogateescape")
    # DIFFERS: Sendmail leaves "/" as it is; then who may choose their organization, O=x/CN=lab3.campus,
    # is as good as lab3.campus itself.
    return "".join(
        chr(octet) if 32 < octet < 127 and octet not in b'<>()"+/' else f"+{octet:02X}"
        for octet in octets
    )


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


def is_hashed(directory: str) -> bool:
    """Has openssl-rehash(1) been there? Its links are "2e5ac55d.0"."""
    import os

    try:
        names = os.listdir(directory)
    except OSError:
        return False
    return any(name[8:] == ".0" and not name[:8].strip("0123456789abcdef") for name in names)
