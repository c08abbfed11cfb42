"""TLS with one peer: the handshake, and what its certificate must be for the policy to be met.

    policy         the certificate
    may, encrypt   anybody's; the log says what it was worth
    verify         OpenSSL verifies the chain, and breaks off; then one of the names must be right
    fingerprint    its SHA-256 must be one of those wanted
    dane           a TLSA record must name it, or who signed it and then its name must be right

Whatever goes wrong is a TlsError; nothing was said by then that is not said in clear anyway.
"""

from __future__ import annotations

import time

from minimta.mailers.remote.mx_targets import Target
from minimta.mailers.remote.peer_stream import PeerStream, is_tls
from minimta.mailers.remote.tls_policy import Level, Policy
from minimta.system.certificates import PeerCertificate, is_named
from minimta.system.tls import TlsClient, TlsLayer
from minimta.system.tls_requirement import Proved, Requirement
from minimta.system.tls_values import CertificateError, TlsError, TlsFacts
from minimta.system.x509 import dns_names

#: names of a certificate that are told
_MAX_TOLD = 5
#: seconds for a port to answer a ClientHello
_PATIENCE = 10.0


class TlsPort(TlsError):
    """We spoke in clear, and the port speaks TLS from the first octet."""

    def __init__(self, target: Target, policy: Policy) -> None:
        """*policy* is what held for *target*: the remedy asks for no less."""
        level = policy.level if policy.is_binding else Level.ENCRYPT
        reason = f"port {target.port} speaks TLS from the first octet"
        super().__init__(reason, remedy=f"{level.value} implicit")


class Unmet(TlsError):
    """It is not what the access table wants."""

    def __init__(self, requirement: Requirement, what: str) -> None:
        """*what* is the sentence of Requirement.unmet()."""
        super().__init__(f"{requirement.code} {requirement.status} {what}")
        self.requirement = requirement


class SecureSession:
    """TLS with a peer that is whom the policy wants."""

    def __init__(self, tls: TlsClient, target: Target, policy: Policy) -> None:
        """*tls* begins it with *target*, as *policy* wants it. Raise TlsError if it cannot."""
        self._tls = tls
        self._policy = policy
        self._key = f"{target.name} {target.address} {target.port}"
        self._is_verified = policy.level is Level.VERIFY
        host = target.name.removeprefix("[").removesuffix("]")
        if policy.dane is not None:
            # Whose session is taken up need not show its certificates again.
            host, self._key = policy.dane.base, ""
        self.layer: TlsLayer = tls.begin(host, verified=self._is_verified, key=self._key)

    def establish(self, stream: PeerStream, deadline: float) -> TlsFacts:
        """Make the handshake over *stream* until *deadline* (time.monotonic()). Raise TlsError."""
        stream.secure(self.layer, deadline)
        return self.layer.facts(self._verdict())

    def proved(self, facts: TlsFacts) -> Proved:
        """What establish() has shown of the peer."""
        is_known = facts.verify in ("OK", "TRUSTED")
        shown = self.layer.certificate if is_known else PeerCertificate()
        return Proved(facts.verify, facts.bits, shown)

    def why_untrusted(self, host: str) -> str:
        """What "verify" for the name *host* would have found wrong (RFC 8460 section 4.3); "": nothing."""
        chain = self.layer.chain()
        if not self._tls.vouches(chain):
            return "certificate-not-trusted"
        try:
            is_right = is_named(dns_names(chain[0]), [host])
        except ValueError:
            is_right = False
        return "" if is_right else "certificate-host-mismatch"

    def keep(self) -> None:
        """At the end: the next connection to the same host takes the session up."""
        if self._key:
            self._tls.remember(self.layer, verified=self._is_verified, key=self._key)

    def _verdict(self) -> str:
        """What Sendmail's ${verify} has. Raise CertificateError if it is the wrong certificate."""
        policy, layer = self._policy, self.layer
        if policy.level is Level.FINGERPRINT:
            if not layer.is_pinned(policy.fingerprints):
                found = f"sha256:{layer.fingerprint}"
                reason = "the certificate is not the pinned one"
                raise CertificateError(reason, remedy=f"fingerprint {found}")
            return "TRUSTED"
        if policy.dane is not None:
            if not policy.dane.are_met(layer.chain(), self._tls):
                reason = f"the certificate is none that {policy.dane.place} (TLSA) names"
                raise CertificateError(reason, remedy=Level.ENCRYPT.value)
            return "TRUSTED"
        if policy.level is Level.VERIFY:
            names = layer.certificate.names
            if not is_named(names, policy.names):
                told = ", ".join(names[:_MAX_TOLD]) or "no name"
                wanted = ", ".join(policy.names)
                reason = f"the certificate is for {told}, not for {wanted}"
                remedy = f"verify match={names[0]}" if names else ""
                raise CertificateError(reason, remedy=remedy, result="certificate-host-mismatch")
            return "OK"
        return "OK" if self._tls.vouches(layer.chain()) else "FAIL"


def speaks_tls(tls: TlsClient, target: Target) -> bool:
    """Does the port answer a ClientHello, over a connection of its own?"""
    layer = tls.begin("", verified=False)
    layer.handshake()
    try:
        stream = PeerStream.connect(target.address, target.port, _PATIENCE)
    except OSError:
        return False
    try:
        stream.send(layer.take(), _PATIENCE)
        return is_tls(stream.recv(time.monotonic() + _PATIENCE))
    except OSError:
        return False
    finally:
        stream.close()
