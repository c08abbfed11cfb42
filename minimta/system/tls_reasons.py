"""What OpenSSL says when TLS fails, in words that a human can act on."""

from __future__ import annotations

#: OpenSSL's reason -> what it means
_REASONS = {
    "WRONG_VERSION_NUMBER": "the other side does not speak TLS",
    "HTTP_REQUEST": "the other side speaks HTTP",
    "UNSUPPORTED_PROTOCOL": "only TLS older than 1.2 is offered",
    "TLSV1_ALERT_PROTOCOL_VERSION": "no version of TLS that both know (1.2 or later)",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the other side refused the handshake (no common cipher?)",
    "NO_SHARED_CIPHER": "no cipher that both know",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the other side wants a certificate of ours",
    "TLSV1_ALERT_UNKNOWN_CA": "the other side does not trust the authority of our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the other side refused our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the other side refused our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired, says the other side",
    "TLSV1_UNRECOGNIZED_NAME": "the other side has no certificate for this name",
    "DH_KEY_TOO_SMALL": "the other side's key is too short",
    "EE_KEY_TOO_SMALL": "the other side's key is too short",
}
#: X509_V_ERR_... -> what it means
_VERDICTS = {
    9: "the certificate is not valid yet (is the clock right?)",
    10: "the certificate has expired",
    18: "the certificate is self-signed",
    19: "the certificate's authority is not trusted",
    20: "the certificate's authority is unknown, or its chain is not complete",
    21: "the certificate's authority is unknown, or its chain is not complete",
    23: "the certificate was revoked",
}


def reason(name: str | None) -> str:
    """What *name*, "WRONG_VERSION_NUMBER", means; None: the other side said nothing."""
    name = name or "connection closed"
    _, alert, said = name.partition("_ALERT_")
    shown = f"the other side says: {said}" if alert else name
    return _REASONS.get(name) or shown.replace("_", " ").lower()


def verdict(code: int, message: str) -> str:
    """What is wrong with a certificate; *message* is OpenSSL's, for codes that we have no words for."""
    return _VERDICTS.get(code, f"the certificate is no good: {message}")


def result(code: int) -> str:
    """The same in the words of RFC 8460 section 4.3."""
    if code == 10:
        return "certificate-expired"
    return "certificate-not-trusted" if 18 <= code <= 21 else "validation-failure"
