"""What rows want of TLS, in the words of Sendmail 8.17's rulesets (recorded with sendmail -bt)."""

from __future__ import annotations

import pytest

from minimta.system import certificates, tls_requirement
from minimta.system.certificates import PeerCertificate
from minimta.system.tls_requirement import Proved

MX = PeerCertificate(("mx.campus", "*.lab.campus"), "Lab+20Mail", "/O=Lab/CN=mx", "/O=Lab/CN=ca")


def unmet(value: str, verify: str, bits: int = 0, shown: PeerCertificate | None = None) -> str:
    """Code, status and text of the reply, "" if there is none."""
    wanted = tls_requirement.read(value)
    if wanted is None:
        return ""
    proved = Proved(verify, bits, shown or PeerCertificate())
    what = wanted.unmet(proved, "mx.campus.", lambda key: key == "MyCA:/O=Lab/CN=ca")
    return f"{wanted.code} {wanted.status} {what}" if what else ""


@pytest.mark.parametrize(
    ("value", "verify", "bits", "reply"),
    [
        ("VERIFY", "OK", 128, ""),
        ("VERIFY", "TRUSTED", 128, ""),
        ("VERIFY", "FAIL", 256, "454 4.7.0 authentication failed"),
        ("VERIFY", "NO", 256, "454 4.7.0 not authenticated"),
        ("VERIFY", "NOT", 256, "454 4.7.0 no authentication requested"),
        ("VERIFY", "NONE", 0, "454 4.7.0 other side does not support STARTTLS"),
        ("VERIFY", "CLEAR", 0, "454 4.7.0 STARTTLS disabled locally"),
        ("VERIFY", "SOFTWARE", 0, "454 4.7.0 TLS handshake failed."),
        ("PERM+ENCR:1", "SOFTWARE", 0, "503 5.7.0 TLS handshake failed."),
        ("VERIFY", "ODD", 0, "454 4.7.0 authentication failure ODD"),
        ("VERIFY:128", "OK", 112, "454 4.7.0 encryption too weak 112 less than 128"),
        ("PERM+VERIFY:128", "NO", 256, "503 5.7.0 not authenticated"),
        ("temp+encr:112", "NONE", 0, "403 4.7.0 encryption too weak 0 less than 112"),
        ("ENCR:112", "FAIL", 112, ""),
        ("ENCR:112", "NO", 111, "454 4.7.0 encryption too weak 111 less than 112"),
        ("NONE", "NONE", 0, ""),
        ("no", "NONE", 0, ""),
    ],
)
def test_what_a_connection_lacks(value: str, verify: str, bits: int, reply: str) -> None:
    assert unmet(value, verify, bits, MX) == reply


@pytest.mark.parametrize(
    ("wishes", "text"),
    [
        ("CN", ""),
        ("CN:mx.campus", ""),
        ("CN:a.lab.campus", ""),
        ("CN:lab+20mail", ""),
        ("CN:other.campus", "CN Lab+20Mail does not match other.campus"),
        ("CS:/o=lab/cn=MX", ""),
        ("CS:/O=Lab", "Cert Subject /O=Lab/CN=mx does not match /O=Lab"),
        ("CI:/O=Lab/CN=ca", ""),
        ("CI:/CN=x", "Cert Issuer /O=Lab/CN=ca does not match /CN=x"),
        ("CITag:MyCA", ""),
        ("CITag:Other", "Cert Issuer /O=Lab/CN=ca not acceptable"),
        ("CN++CI:/O=Lab/CN=ca++CITag:MyCA", ""),
        ("CN++CI:/CN=x++CN:other.campus", "Cert Issuer /O=Lab/CN=ca does not match /CN=x"),
    ],
)
def test_what_a_certificate_lacks(wishes: str, text: str) -> None:
    reply = f"454 4.7.0 {text}" if text else ""
    for word in ("VERIFY", "VERIFY:112", "ENCR:112"):
        assert unmet(f"{word}+{wishes}", "OK", 128, MX) == reply
        assert unmet(f"{word}++{wishes}", "OK", 128, MX) == reply


def test_a_name_in_a_certificate_that_nobody_vouches_for_proves_nothing() -> None:
    assert unmet("ENCR:112+CN:mx.campus", "FAIL", 256, MX) == "454 4.7.0 authentication failed"


def test_without_a_certificate_no_wish_is_met() -> None:
    for wish in ("CN", "CN:mx.campus", "CS:/O=Lab/CN=mx", "CI:/O=Lab/CN=ca", "CITag:MyCA"):
        assert unmet(f"VERIFY+{wish}", "OK", 256).startswith("454 4.7.0 C")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("VERFY", "is no requirement of TLS (did you mean VERIFY?)"),
        ("PERM+VERIFI:112", "(did you mean VERIFY?)"),
        ("ENCR", "'ENCR' lacks the number of bits: ENCR:112"),
        ("ENC:112", "(did you mean ENCR:112?)"),
        ("VERIFY:many", "is no requirement of TLS"),
        ("", "'' is no requirement of TLS"),
        ("REJECT", "is no requirement of TLS"),
        ("VERIFY+CX:a", "'CX:a' is none of CN CN: CS: CI: CITag:"),
        ("VERIFY+CI:", "'CI:' is none of"),
        ("VERIFY:١١٢", "is no requirement of TLS"),
    ],
)
def test_what_makes_no_sense_is_said_with_what_would(value: str, why: str) -> None:
    with pytest.raises(ValueError) as raised:
        tls_requirement.read(value)
    assert why in str(raised.value)


def test_nothing_in_a_certificate_ends_a_line_or_word() -> None:
    name = ((("commonName", "x\r\n250 ok, relay=[10.0.3.4]"),),)
    shown = certificates.read({"subject": name, "subjectAltName": (("DNS", "a\nb"),)})
    assert shown.common_name == "x+0D+0A250+20ok,+20relay=[10.0.3.4]"
    reply = unmet("VERIFY+CN:y", "OK", 128, shown)
    assert reply == f"454 4.7.0 CN {shown.common_name} does not match y"
    nameless = certificates.read({"subjectAltName": (("DNS", "a\nb"),)})
    assert unmet("VERIFY+CN:y", "OK", 128, nameless) == "454 4.7.0 CN a+0Ab does not match y"
