"""What a row of the access table wants of TLS (TLS_Srv:, TLS_Clt:, TLS_Rcpt:), and whether there is that.

    VERIFY, VERIFY:112    a certificate that an authority vouches for whom we trust; so many bits
    ENCR:112              so many bits, with anybody
    TEMP+..., PERM+...    not met it is 403 4.7.0, 503 5.7.0; without one of them 454 4.7.0
    OK, NO, NONE          nothing, whatever a row that is less near wants

    behind it, after "+", and "++" between several; all must be so:
    CN, CN:mx.campus      the certificate is for the other side's name, or for this one (a blank is "+20")
    CS:/O=Lab/CN=mx       the subject of the certificate, as CERTSubject: rows have it
    CI:/O=Lab/CN=ca       who has signed it, as CERTIssuer: rows have it
    CITag:MyCA            the table has a row "MyCA:/O=Lab/CN=ca  OK" for who has signed it

Replies are those of Sendmail's rulesets TLS_connection and TLS_req. No file and no socket is seen here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from minimta.config.values import nearest
from minimta.system.certificates import PeerCertificate, is_named, plain

_ROW = re.compile(
    r"(?:(TEMP|PERM)\s*\+\s*)?(VERIFY|ENCR)(?::([0-9]{1,4}))?\s*(?:\+{1,2}(.+))?", re.I
)
#: prefix -> reply code and status of what is not met
_REPLIES = {"": (454, "4.7.0"), "TEMP": (403, "4.7.0"), "PERM": (503, "5.7.0")}
#: of an exception
_NOTHING = ("OK", "NO", "NONE")
#: small letters -> what may stand there
_KNOWN = {"verify": "VERIFY", "encr": "ENCR:112", **{word.lower(): word for word in _NOTHING}}
_WISHES = {"cn": "CN", "cs": "CS", "ci": "CI", "citag": "CITag"}
#: ${verify} -> why that is no verified certificate
_UNVERIFIED = {
    "FAIL": "authentication failed",
    "NO": "not authenticated",
    "NOT": "no authentication requested",
    "NONE": "other side does not support STARTTLS",
    "CLEAR": "STARTTLS disabled locally",
}


@dataclass(frozen=True, slots=True)
class Proved:
    """What is known of the other side's TLS."""

    #: Sendmail's ${verify}: as in TlsFacts; NONE: there is no TLS, CLEAR: by a choice of ours,
    #: SOFTWARE: a handshake broke
    verify: str = "NONE"
    bits: int = 0
    #: empty unless it was verified
    certificate: PeerCertificate = field(default_factory=PeerCertificate)


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a row wants."""

    #: of the reply if it is not met
    code: int
    status: str
    verified: bool
    bits: int
    #: ("CN", "mx.campus"), ("CITag", "MyCA") ...
    wishes: tuple[tuple[str, str], ...] = ()
    #: who says so, for people: "TLS_Srv:mx.campus of /etc/mail/access"
    origin: str = ""

    def unmet(self, proved: Proved, name: str, allows: Callable[[str], bool]) -> str:
        """What *proved* lacks, in Sendmail's words; "" if it is enough.

        *name* is that of the other side. *allows* tells whether the table has a row of this key, "MyCA:/CN=ca", with
        OK; what it raises is raised.
        """
        if proved.verify == "SOFTWARE":
            return "TLS handshake failed."
        if self.verified and proved.verify not in ("OK", "TRUSTED"):
            return _UNVERIFIED.get(proved.verify, f"authentication failure {proved.verify}")
        if proved.bits < self.bits:
            return f"encryption too weak {proved.bits} less than {self.bits}"
        told = (_lacks(*wish, proved.certificate, name, allows) for wish in self.wishes)
        return next((text for text in told if text), "")


def _lacks(
    wish: str, wanted: str, shown: PeerCertificate, name: str, allows: Callable[[str], bool]
) -> str:
    if wish == "CN":
        wanted = wanted or name.strip("[]").removesuffix(".")
        # DIFFERS: Sendmail looks at the common name alone, which new certificates do not have
        # (RFC 7817 section 3); the administrator means either.
        fits = shown.common_name.lower() == wanted.lower() or is_named(shown.names, [wanted])
        told = shown.common_name or plain(", ".join(shown.names[:1]))
        return "" if fits else f"CN {told} does not match {wanted}"
    if wish == "CS":
        fits = shown.subject.lower() == wanted.lower()
        return "" if fits else f"Cert Subject {shown.subject} does not match {wanted}"
    if wish == "CI":
        fits = shown.issuer.lower() == wanted.lower()
        return "" if fits else f"Cert Issuer {shown.issuer} does not match {wanted}"
    return (
        "" if allows(f"{wanted}:{shown.issuer}") else f"Cert Issuer {shown.issuer} not acceptable"
    )


def read(value: str, origin: str = "") -> Requirement | None:
    """What the right-hand side *value* wants; None: nothing. Raise ValueError if it makes no sense."""
    # DIFFERS: Sendmail takes any other word for "nothing": a misspelt VERIFY, too.
    text = value.strip().strip('"')
    if text.upper() in _NOTHING:
        return None
    match = _ROW.fullmatch(text)
    if match is None:
        word = re.split(r"[:+ ]", text.lower().removeprefix("temp+").removeprefix("perm+"))[0]
        raise ValueError(f"{text[:60]!r} is no requirement of TLS{nearest(word, _KNOWN)}")
    prefix, word, bits, wishes = match.groups()
    if word.upper() == "ENCR" and bits is None:
        raise ValueError(f"{text[:60]!r} lacks the number of bits: ENCR:112")
    wanted = tuple(map(_wish, wishes.split("++"))) if wishes else ()
    # DIFFERS: Sendmail believes names in a certificate that nobody vouches for ("ENCR:112+CN:x").
    verified = word.upper() == "VERIFY" or bool(wanted)
    code, status = _REPLIES[(prefix or "").upper()]
    return Requirement(code, status, verified, int(bits or 0), wanted, origin)


def _wish(text: str) -> tuple[str, str]:
    word, _, wanted = text.strip().partition(":")
    name = _WISHES.get(word.lower())
    if name is None or not (wanted or name == "CN"):
        known = {key: f"{shown}:" for key, shown in _WISHES.items()}
        raise ValueError(
            f"{text[:60]!r} is none of CN CN: CS: CI: CITag:{nearest(word.lower(), known)}"
        )
    return name, wanted.strip()
