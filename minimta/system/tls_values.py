"""What is said of TLS: whom we trust, who we are, what was agreed upon, what failed.

Values without ssl, for those who talk of TLS and do not make it.
"""

from __future__ import annotations

from dataclasses import dataclass


class TlsError(OSError):
    """No TLS, no longer, or not with whom we want; ``reason`` says why."""

    def __init__(
        self, reason: str, *, remedy: str = "", result: str = "validation-failure"
    ) -> None:
        """*remedy*: what would be accepted, in the words of a policy; "" if nothing would.

        *result* is the reason in the words of RFC 8460 section 4.3.
        """
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.result = result


class CertificateError(TlsError):
    """It is not the other side, as far as its certificate goes."""


class ClearTextError(TlsError):
    """The answer to our first octets of TLS was text."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose certificates are believed; both empty: the authorities that the system knows."""

    #: file of certificates (PEM)
    ca_file: str = ""
    #: directory of certificates, named by their hashes as openssl-rehash(1) does
    ca_path: str = ""


@dataclass(frozen=True, slots=True)
class Choices:
    """What the administrator says of versions and ciphers (CipherList, ServerSSLOptions ...)."""

    #: as openssl-ciphers(1) has them, "" for the system's
    ciphers: str = ""
    #: names in the module ssl: "OP_NO_TLSv1_3"
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Who we are: files of a certificate, with its chain, and its key (PEM, without a password)."""

    cert_file: str
    key_file: str

    def __str__(self) -> str:
        """Its files, for people."""
        return ", ".join(dict.fromkeys((self.cert_file, self.key_file)))


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What was agreed upon, as Sendmail's log and Received have it."""

    #: "TLSv1.3"
    version: str
    #: "TLS_AES_256_GCM_SHA384"
    cipher: str
    bits: int
    #: Sendmail's ${verify}: OK, FAIL, NO (no certificate), NOT (none asked for), TRUSTED (pinned)
    verify: str
