"""TLS for clients of the listener: what the options say, made ready once, while root may read the key.

ServerCertFile, ServerKeyFile    without them, or when they are no good, STARTTLS is not offered
CACertFile, CACertPath           clients are asked for a certificate that these vouch for
RelayCertFile                    the same; a client that shows one of these may relay
TLSSrvOptions = V                no client is asked for one

${verify}    the client
NOT          was not asked
NO           was asked, and has none
OK           has a certificate that somebody we trust has signed, or that is ours to trust
FAIL         has another one: in the log only, see _FORGIVEN
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from minimta.config.options import Options
from minimta.system import certificates, service_credentials, tls
from minimta.system.certificates import PeerCertificate
from minimta.system.tls import TlsLayer
from minimta.system.tls_requirement import Proved
from minimta.system.tls_values import Choices, KeyPair, TlsError, TlsFacts, Trust

#: seconds for which a client whose certificate was no good is not asked again, and how many such
#: are remembered. DIFFERS: Sendmail goes on with verify=FAIL; OpenSSL, as Python has it, breaks off,
#: and a client that shows a certificate of its own making to everybody would never get in.
_FORGIVEN, _MOST_FORGIVEN = 14400.0, 1000


@dataclass(frozen=True, slots=True)
class Secured:
    """What a client has proved by a handshake."""

    facts: TlsFacts
    #: is its certificate one of RelayCertFile?
    may_relay: bool = False
    #: empty unless it is OK
    certificate: PeerCertificate = field(default_factory=PeerCertificate)

    @property
    def proved(self) -> Proved:
        """For rows that want TLS (TLS_Clt:)."""
        return Proved(self.facts.verify, self.facts.bits, self.certificate)

    @property
    def trace(self) -> bytes:
        """For the Received field, as Sendmail's."""
        facts = self.facts
        text = f"version={facts.version} cipher={facts.cipher} bits={facts.bits}"
        return f"{text} verify={facts.verify}".encode("ascii")

    def __str__(self) -> str:
        facts = self.facts
        text = f"version={facts.version}, verify={facts.verify}, cipher={facts.cipher}"
        return f"{text}, bits={facts.bits}/{facts.bits}"


class ServerTls:
    """One for all connections of a listener; used by all its threads."""

    def __init__(self, options: Options) -> None:
        """Read the files that *options* name. Raise TlsError, which says what is wrong."""
        pairs = key_pairs(options)
        pinned = options.relay_cert_file
        trust = Trust(options.ca_cert_file or pinned, options.ca_cert_path)
        self._asks = "V" not in options.tls_srv_options and trust != Trust()
        self._pinned = _fingerprints(pinned) if pinned and self._asks else frozenset()
        choices = Choices(options.cipher_list, options.server_ssl_options)
        self._silent = {
            oldest: tls.server_context(*pairs, oldest=oldest, choices=choices)
            for oldest in _oldest(options)
        }
        self._asking = self._silent
        if self._asks:
            self._asking = {
                oldest: tls.server_context(
                    *pairs,
                    trust=trust,
                    asks=True,
                    pinned=pinned,
                    oldest=oldest,
                    choices=choices,
                )
                for oldest in self._silent
            }
        #: address of a client -> until when it is not asked (time.monotonic())
        self._forgiven: dict[str, float] = {}

    def accept(self, ip: str, oldest: str = "1.2") -> TlsLayer:
        """Our side of a connection with *ip*, before the handshake; *oldest* is that of the port."""
        contexts = self._asking if self._asks_of(ip) else self._silent
        return tls.accept(contexts[oldest])

    def _asks_of(self, ip: str) -> bool:
        return self._asks and self._forgiven.get(ip, 0.0) < time.monotonic()

    def forgive(self, ip: str) -> None:
        """The certificate of *ip* was no good: next time it gets in without."""
        if len(self._forgiven) >= _MOST_FORGIVEN:
            self._forgiven.clear()
        self._forgiven[ip] = time.monotonic() + _FORGIVEN

    def secured(self, layer: TlsLayer, ip: str) -> Secured:
        """What is to be said of *ip* after the handshake of *layer*."""
        if layer.fingerprint:
            return Secured(layer.facts("OK"), layer.is_pinned(self._pinned), layer.certificate)
        return Secured(layer.facts("NO" if self._asks_of(ip) else "NOT"))


def key_pairs(options: Options) -> list[KeyPair]:
    """Our certificates, of which there may be two, for two kinds of key. Raise TlsError."""
    certs, keys = _paths(options.server_cert_file), _paths(options.server_key_file)
    keys = keys or certs
    if not certs or len(keys) != len(certs):
        text = f"{len(certs)} certificates and {len(keys)} keys"
        raise TlsError(f"ServerCertFile, ServerKeyFile: {text}")
    return [KeyPair(*pair) for pair in zip(certs, keys, strict=True)]


def _paths(text: str) -> list[str]:
    given = (part.strip() for part in text.split(","))
    return [service_credentials.place(path) for path in given if path]


def _oldest(options: Options) -> set[str]:
    """The oldest versions of TLS that ports may speak."""
    return {"1.2", *(port.oldest_tls for port in options.daemon_ports)}


def _fingerprints(path: str) -> frozenset[str]:
    """Of RelayCertFile. Raise TlsError."""
    try:
        return certificates.fingerprints(path)
    except OSError as error:
        raise TlsError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise TlsError(f"{path}: {error}") from error


def from_options(options: Options) -> ServerTls | None:
    """As *options* have it; None if there is no certificate, and none was named. Raise TlsError."""
    path = options.server_cert_file
    is_default = path == Options().server_cert_file
    is_wanted = path and not (is_default and not os.path.lexists(service_credentials.place(path)))
    return ServerTls(options) if is_wanted else None
